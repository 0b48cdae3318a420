//! A process that a test adds to a running container, with streams of the test's own.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;

use crate::failure::{Doing, Failure, Outcome};
use crate::grpc::Status;
use crate::subject::Subject;
use crate::tasks::Stdio;
use crate::wait::PATIENCE;

/// Container that processes are added to.
pub const ID: &str = "one";

/// A process that a case adds to the container.
#[derive(Debug)]
pub struct Added<'a> {
    /// Its exec id.
    pub id: &'static str,
    subject: &'a Subject<'a>,
    stdio: Stdio,
}

impl<'a> Added<'a> {
    /// A process without streams.
    #[must_use]
    pub fn new(subject: &'a Subject<'a>, id: &'static str) -> Self {
        let stdio = Stdio::default();
        Self { subject, id, stdio }
    }

    /// A FIFO of this process.
    fn fifo(&self, name: &str) -> Outcome<PathBuf> {
        let path = self.subject.scratch.join(format!("{}-{name}", self.id));
        mkfifo(&path, Mode::S_IRWXU).doing("make a FIFO")?;
        Ok(path)
    }

    /// Gives it an output that the case reads, and errors that are read aside: containerd's own
    /// shim takes no output without errors.
    ///
    /// # Errors
    ///
    /// When the FIFOs cannot be made.
    pub fn with_output(mut self) -> Outcome<(Self, PathBuf)> {
        let path = self.fifo("stdout")?;
        if !self.stdio.terminal {
            let errors = self.fifo("stderr")?;
            self.stdio.stderr = errors.display().to_string();
            drop(reading(&errors));
        }
        self.stdio.stdout = path.display().to_string();
        Ok((self, path))
    }

    /// Gives it an input that the case writes.
    ///
    /// # Errors
    ///
    /// When the FIFO cannot be made.
    pub fn with_input(mut self) -> Outcome<(Self, PathBuf)> {
        let path = self.fifo("stdin")?;
        self.stdio.stdin = path.display().to_string();
        Ok((self, path))
    }

    /// Gives it a terminal; to be said first.
    #[must_use]
    pub fn on_terminal(mut self) -> Self {
        self.stdio.terminal = true;
        self
    }

    /// Sends its output and its errors to `uri`.
    #[must_use]
    pub fn all_to(mut self, uri: &str) -> Self {
        self.stdio.stdout = uri.to_owned();
        self.stdio.stderr = uri.to_owned();
        self
    }

    /// Asks for it to be added, running a shell script.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn add(&self, script: &str) -> Outcome<Result<(), Status>> {
        let spec = json!({
            "args": ["/bin/sh", "-c", script],
            "cwd": "/tmp",
            "env": ["PATH=/bin", "SECRET_VARIABLE=hush-environment"],
            "user": {"uid": 1000, "gid": 1000},
            "terminal": self.stdio.terminal,
        });
        let tasks = self.subject.containerd.tasks();
        tasks.exec_with(ID, self.id, spec.to_string().as_bytes(), self.stdio.clone())
    }

    /// Asks for it to be started.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn begin(&self) -> Outcome<Result<(), Status>> {
        self.subject.containerd.tasks().start(ID, self.id)
    }

    /// Adds and starts it.
    ///
    /// # Errors
    ///
    /// When either is refused.
    pub fn start(&self, script: &str) -> Outcome {
        self.add(script)?.doing("add a process")?;
        self.begin()?.doing("start a process")
    }

    /// Waits for its end; gives its exit status.
    ///
    /// # Errors
    ///
    /// When containerd refuses.
    pub fn wait(&self) -> Outcome<u32> {
        let tasks = self.subject.containerd.tasks();
        tasks.wait(ID, self.id)?.doing("wait for a process")
    }

    /// Removes it.
    ///
    /// # Errors
    ///
    /// When containerd refuses.
    pub fn delete(&self) -> Outcome {
        let tasks = self.subject.containerd.tasks();
        tasks.delete_process(ID, self.id)?.doing("delete a process")
    }

    /// Ends its input.
    ///
    /// # Errors
    ///
    /// When containerd refuses.
    pub fn close_input(&self) -> Outcome {
        let tasks = self.subject.containerd.tasks();
        tasks.close_stdin(ID, self.id)?.doing("close the input")
    }

    /// The status with which it is refused, at Exec or at Start; it is gone then.
    ///
    /// # Errors
    ///
    /// When it is started.
    pub fn refused(&self, script: &str) -> Outcome<Status> {
        if let Err(status) = self.add(script)? {
            return Ok(status);
        }
        let Err(refused) = self.begin()? else {
            return Err(Failure::new(format!("'{}' was started", self.id)));
        };
        self.delete()?;
        Ok(refused)
    }
}

/// Reads a FIFO to its end, on a thread of its own.
#[must_use]
pub fn reading(path: &Path) -> JoinHandle<Outcome<String>> {
    let path = path.to_owned();
    thread::spawn(move || {
        let mut text = String::new();
        let mut file = File::open(path).doing("open a FIFO")?;
        file.read_to_string(&mut text).doing("read a FIFO")?;
        Ok(text)
    })
}

/// What a thread came to.
///
/// # Errors
///
/// Its own.
///
/// # Panics
///
/// When it panicked.
pub fn joined<T>(thread: JoinHandle<Outcome<T>>) -> Outcome<T> {
    thread.join().expect("a thread")
}

/// Reads what must be `wanted`.
///
/// # Errors
///
/// When the stream ends before.
///
/// # Panics
///
/// When it is something else.
pub fn expect(file: &mut File, wanted: &str) -> Outcome {
    let mut copy = file.try_clone().doing("share a stream")?;
    let mut bytes = vec![0; wanted.len()];
    let (send, receive) = mpsc::channel();
    // On its own thread: a stream that gives nothing must fail the test, not hold it.
    thread::spawn(move || send.send(copy.read_exact(&mut bytes).map(|()| bytes)));
    let read = receive.recv_timeout(PATIENCE).doing("wait for a stream")?;
    let bytes = read.doing("read a stream")?;
    assert_eq!(String::from_utf8_lossy(&bytes), wanted);
    Ok(())
}

/// Compares what is left in `file` with what `seq 1 …` prints; gives the number of bytes.
///
/// # Errors
///
/// When a byte is not in its place.
pub fn compare_with_seq(mut file: File) -> Outcome<usize> {
    let mut line = b"1\n".to_vec();
    let (mut at, mut total) = (0, 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer).doing("read a stream")?;
        if count == 0 {
            return Ok(total);
        }
        for &byte in &buffer[..count] {
            if byte != line[at] {
                return Err(Failure::new(format!("byte {total} is not in its place")));
            }
            total += 1;
            at += 1;
            if at == line.len() {
                at = 0;
                count_up(&mut line);
            }
        }
    }
}

/// Adds one to the decimal number before the line feed.
fn count_up(line: &mut Vec<u8>) {
    for at in (0..line.len() - 1).rev() {
        if line[at] != b'9' {
            line[at] += 1;
            return;
        }
        line[at] = b'0';
    }
    line.insert(0, b'1');
}
