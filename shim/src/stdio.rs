//! Standard streams: from containerd's FIFOs to the container and back.
//!
//! The container never gets a FIFO or file itself: it gets pipes (or a terminal), and the shim
//! moves the data. So an orphan that keeps a stream open cannot keep containerd waiting after
//! Delete, and a container cannot reach back into containerd's files. Only the pipes of a logging
//! program are the container's own, as in the stock shim.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::{Gid, Uid, fchown, pipe2};
use tokio::task::JoinHandle;

use crate::options::RuntimeOptions;
use crate::stdio::copy::{Sink, copy_from_terminal, copy_input, copy_output, copy_to_terminal};
use crate::stdio::driver::Driver;
use crate::stdio::fifo::{Fifo, READER_LIMIT};
use crate::stdio::file::LogFile;
use crate::stdio::target::Target;

mod copy;
mod driver;
mod error;
mod fifo;
mod file;
mod target;
pub(crate) mod terminal;

pub(crate) use driver::{Source, Spawn};
pub(crate) use error::StdioError;
pub(crate) use terminal::{ConsoleSocket, Terminal};

/// How long Delete waits for the last output after the process ended, as the stock shim does.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// The names of the output streams.
const OUTPUTS: [&str; 2] = ["stdout", "stderr"];

/// The streams a request names; an empty text means none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Streams {
    /// Whether the process gets a terminal.
    pub(crate) terminal: bool,
    /// Where input comes from, in the client's words.
    pub(crate) stdin: String,
    /// Where output goes, in the client's words.
    pub(crate) stdout: String,
    /// Where errors go, in the client's words; unused with a terminal.
    pub(crate) stderr: String,
    input: Option<Target>,
    outputs: [Option<Target>; 2],
}

/// The ends of the pipes that the runtime's child inherits.
#[derive(Debug)]
pub(crate) struct ChildStreams([Option<OwnedFd>; 3]);

/// The shim's ends and the tasks that move the data.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    /// Where input comes from, until the process exists.
    stdin: Option<Fifo>,
    /// Held open so that input does not end when a client detaches; dropped by CloseIO.
    input_writer: Option<OwnedFd>,
    input: Option<JoinHandle<()>>,
    /// Where a terminal's output goes, until there is one.
    sink: Option<Sink>,
    output: Vec<JoinHandle<()>>,
    terminal: Option<Terminal>,
    driver: Option<Driver>,
}

// === impl Streams ===

impl Streams {
    /// Reads what a request says.
    ///
    /// # Errors
    ///
    /// [`StdioError::Scheme`], [`StdioError::Uri`].
    pub(crate) fn parse(
        terminal: bool,
        stdin: String,
        stdout: String,
        stderr: String,
    ) -> Result<Self, StdioError> {
        let refused = |stream, expected| StdioError::Uri {
            stream,
            expected,
            found: "another kind".to_owned(),
        };
        let input = Target::parse("stdin", &stdin)?;
        if !matches!(input, None | Some(Target::Fifo(_))) {
            return Err(refused("stdin", "a FIFO"));
        }
        let out = Target::parse("stdout", &stdout)?;
        let mut err = Target::parse("stderr", &stderr)?.filter(|_| !terminal);
        match (&out, &err) {
            // One program reads both, and gets both if only one is named.
            (Some(Target::Program(_)), None) if !terminal => err.clone_from(&out),
            (Some(Target::Program(one)), Some(Target::Program(other))) if one != other => {
                return Err(refused("stderr", "the logging program of stdout"));
            }
            _ => {}
        }
        Ok(Self {
            terminal,
            stdin,
            stdout,
            stderr,
            input,
            outputs: [out, err],
        })
    }

    /// Opens everything that is named, waits until somebody reads the output, and starts moving
    /// data. With a terminal, see [`Relay::attach_terminal`].
    ///
    /// # Errors
    ///
    /// [`StdioError`]; nothing is left running then.
    pub(crate) async fn open(
        &self,
        options: &RuntimeOptions,
        source: Source<'_>,
    ) -> Result<(ChildStreams, Relay), StdioError> {
        let mut relay = Relay::default();
        let mut child = ChildStreams::null();
        if let Some(Target::Fifo(path)) = &self.input {
            relay.stdin = Some(Fifo::find("stdin", path)?);
        }
        let program = self
            .outputs
            .iter()
            .flatten()
            .find_map(|target| match target {
                Target::Program(program) => Some(program),
                Target::Fifo(_) | Target::File(_) => None,
            });
        let mut pipes = [None, None];
        if let Some(program) = program {
            let (driver, writers) = Driver::start(program, options, source).await?;
            relay.driver = Some(driver);
            pipes = writers.map(Some);
        }
        let mut sinks = [None, None];
        let each = OUTPUTS.into_iter().zip(&self.outputs).zip(pipes);
        for (((stream, target), pipe), sink) in each.zip(&mut sinks) {
            *sink = match target {
                None => None,
                Some(Target::Fifo(path)) => {
                    let fifo = Fifo::find(stream, path)?;
                    Some(Sink::Fifo(fifo.outlet(READER_LIMIT).await?))
                }
                Some(Target::File(path)) => Some(Sink::File(LogFile::open(stream, path)?)),
                Some(Target::Program(_)) => pipe.map(Sink::Pipe),
            };
        }
        let [out, err] = sinks;
        if self.terminal {
            relay.sink = out;
            return Ok((child, relay));
        }
        let [stdin, stdout, stderr] = &mut child.0;
        if let Some(fifo) = &relay.stdin {
            let (theirs, ours) = pipe("stdin", options)?;
            *stdin = Some(theirs);
            relay.input = Some(copy_input(fifo.reader()?, ours)?);
        }
        let each = OUTPUTS.into_iter().zip([out, err]).zip([stdout, stderr]);
        for ((stream, sink), slot) in each {
            *slot = match sink {
                None => None,
                Some(Sink::Pipe(pipe)) => Some(pipe),
                Some(sink) => {
                    let (ours, theirs) = pipe(stream, options)?;
                    relay.output.push(copy_output(stream, ours, sink)?);
                    Some(theirs)
                }
            };
        }
        Ok((child, relay))
    }
}

// === impl ChildStreams ===

impl ChildStreams {
    /// No streams at all: `/dev/null` three times.
    pub(crate) const fn null() -> Self {
        Self([None, None, None])
    }

    /// Makes these the standard streams of `command`.
    pub(crate) fn give_to(self, command: &mut Command) {
        let [stdin, stdout, stderr] = self.0.map(|fd| fd.map_or_else(Stdio::null, Stdio::from));
        command.stdin(stdin).stdout(stdout).stderr(stderr);
    }
}

// === impl Relay ===

impl Relay {
    /// Connects the terminal that the runtime sent with what was opened for it.
    ///
    /// # Errors
    ///
    /// [`StdioError`].
    pub(crate) fn attach_terminal(&mut self, terminal: Terminal) -> Result<(), StdioError> {
        if let Some(fifo) = &self.stdin {
            self.input = Some(copy_to_terminal(fifo.reader()?, terminal.clone())?);
        }
        if let Some(sink) = self.sink.take() {
            let copy = copy_from_terminal(terminal.duplicate()?, terminal.hung_up(), sink)?;
            self.output.push(copy);
        }
        self.terminal = Some(terminal);
        Ok(())
    }

    /// The terminal, if there is one.
    pub(crate) fn terminal(&self) -> Option<&Terminal> {
        self.terminal.as_ref()
    }

    /// Keeps input open until CloseIO, although the client that wrote it may go away. To be called
    /// when the process exists: a client that is done before has closed the FIFO, and that counts.
    pub(crate) fn hold_input(&mut self) {
        if let Some(fifo) = self.stdin.take() {
            // Without a reader (ENXIO) the input has ended already.
            self.input_writer = fifo.writer().ok();
        }
    }

    /// Ends input: the process reads what is still in the FIFO, then end of file.
    pub(crate) fn close_stdin(&mut self) {
        self.input_writer = None;
    }

    /// Waits for the last output, at most [`DRAIN_LIMIT`], and for the end of a logging program,
    /// then closes everything.
    pub(crate) async fn drain(mut self) {
        let outputs: Vec<_> = std::mem::take(&mut self.output)
            .into_iter()
            .map(AbortOnDrop)
            .collect();
        let all = async {
            for mut output in outputs {
                // The copy ends by itself; how it ended was logged there.
                drop((&mut output.0).await);
            }
        };
        drop(tokio::time::timeout(DRAIN_LIMIT, all).await);
        if let Some(driver) = self.driver.take() {
            driver.finish().await;
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for task in self.input.iter().chain(&self.output) {
            task.abort();
        }
    }
}

/// A copy that must not outlive the wait for it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A pipe owned by the user the caller named, so that the container may open it again through
/// `/dev/stdout`; gives the reading and the writing end.
fn pipe(stream: &'static str, options: &RuntimeOptions) -> Result<(OwnedFd, OwnedFd), StdioError> {
    let failed = |errno: nix::Error| StdioError::Pipe {
        stream,
        source: errno.into(),
    };
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    if (options.io_uid, options.io_gid) != (0, 0) {
        let owner = Some(Uid::from_raw(options.io_uid));
        fchown(reader.as_fd(), owner, Some(Gid::from_raw(options.io_gid))).map_err(failed)?;
    }
    Ok((reader, writer))
}
