//! Standard streams: from containerd's FIFOs to the container and back.
//!
//! The container never gets a FIFO itself: it gets pipes (or a terminal), and the shim moves
//! the data. So an orphan that keeps a stream open cannot keep containerd waiting after Delete,
//! and a container cannot reach back into containerd's files.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Gid, Uid, fchown, pipe2};
use tokio::task::JoinHandle;

use crate::options::RuntimeOptions;
use crate::stdio::copy::{copy_from_terminal, copy_to_terminal, splice_all};

mod copy;
pub(crate) mod terminal;

pub(crate) use terminal::{ConsoleSocket, Terminal};

/// How long Delete waits for the last output after the process ended, as the stock shim does.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// How long a launch waits for containerd's client to open its ends of the FIFOs.
const READER_LIMIT: Duration = Duration::from_secs(10);

/// Time between two looks.
const READER_PAUSE: Duration = Duration::from_millis(1);

/// The streams a request names; an empty path means none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Streams {
    /// Whether the process gets a terminal.
    pub(crate) terminal: bool,
    /// FIFO for input.
    pub(crate) stdin: String,
    /// FIFO for output.
    pub(crate) stdout: String,
    /// FIFO for errors; unused with a terminal.
    pub(crate) stderr: String,
}

/// The ends of the pipes that the runtime's child inherits.
#[derive(Debug)]
pub(crate) struct ChildStreams([Option<OwnedFd>; 3]);

/// The shim's ends and the tasks that move the data.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    /// Held open so that input does not end when a client detaches; dropped by CloseIO.
    input_writer: Option<OwnedFd>,
    input: Option<JoinHandle<()>>,
    output: Vec<JoinHandle<()>>,
    terminal: Option<Terminal>,
}

/// Why the streams could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StdioError {
    /// A stream of a kind this shim does not carry.
    #[error("cannot use '{path}' for {stream}: expected the absolute path of a FIFO")]
    NotFifo {
        /// "stdin", "stdout" or "stderr".
        stream: &'static str,
        /// What was named.
        path: String,
    },
    /// The FIFO did not open.
    #[error("cannot open FIFO '{path}' for {stream}")]
    Open {
        /// "stdin", "stdout" or "stderr".
        stream: &'static str,
        /// The FIFO.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A pipe, or its registration with the event loop.
    #[error("cannot set up {stream}")]
    Pipe {
        /// "stdin", "stdout", "stderr" or "terminal".
        stream: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The runtime did not send a terminal.
    #[error("the OCI runtime sent no terminal")]
    NoTerminal {
        /// Why none could be received.
        #[source]
        source: io::Error,
    },
    /// Where the runtime should send the terminal.
    #[error("cannot make console socket '{path}'")]
    ConsoleSocket {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

// === impl Streams ===

impl Streams {
    /// Waits until somebody reads each output FIFO, at most [`READER_LIMIT`], and holds them open.
    ///
    /// containerd's clients open their ends in the background and stop doing so when the process
    /// has ended: what a short process wrote before that would be lost. The caller keeps the
    /// descriptors until it has opened the FIFOs for itself, or the readers would see an end.
    ///
    /// # Errors
    ///
    /// [`StdioError`].
    pub(crate) async fn readers(&self) -> Result<Vec<OwnedFd>, StdioError> {
        let since = Instant::now();
        let mut held = Vec::new();
        for (stream, path) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if path.is_empty() || (self.terminal && stream == "stderr") {
                continue;
            }
            loop {
                match open_fifo(stream, path, OFlag::O_WRONLY) {
                    Ok(fifo) => held.push(fifo),
                    // ENXIO: no reader. Nothing tells of one but another try.
                    Err(StdioError::Open { source, .. })
                        if source.raw_os_error() == Some(libc::ENXIO)
                            && since.elapsed() < READER_LIMIT =>
                    {
                        tokio::time::sleep(READER_PAUSE).await;
                        continue;
                    }
                    // Nobody reads: the process runs all the same, as after a restart of containerd.
                    Err(StdioError::Open { source, .. })
                        if source.raw_os_error() == Some(libc::ENXIO) => {}
                    Err(error) => return Err(error),
                }
                break;
            }
        }
        Ok(held)
    }

    /// Makes pipes for the named streams and starts moving data. With a terminal, see
    /// [`Relay::attach_terminal`].
    ///
    /// # Errors
    ///
    /// [`StdioError`].
    pub(crate) fn relay(
        &self,
        options: &RuntimeOptions,
    ) -> Result<(ChildStreams, Relay), StdioError> {
        let mut child = ChildStreams::null();
        let mut relay = Relay::default();
        if self.terminal {
            return Ok((child, relay));
        }
        let [stdin, stdout, stderr] = &mut child.0;
        if !self.stdin.is_empty() {
            let fifo = open_fifo("stdin", &self.stdin, OFlag::O_RDONLY)?;
            let (theirs, ours) = pipe("stdin", options)?;
            *stdin = Some(theirs);
            relay.input = Some(splice_all("stdin", fifo, ours)?);
        }
        for (stream, path, slot) in [
            ("stdout", &self.stdout, stdout),
            ("stderr", &self.stderr, stderr),
        ] {
            if path.is_empty() {
                continue;
            }
            // Read-write: containerd may restart and leave the FIFO without a reader for a while.
            let fifo = open_fifo(stream, path, OFlag::O_RDWR)?;
            let (ours, theirs) = pipe(stream, options)?;
            *slot = Some(theirs);
            relay.output.push(splice_all(stream, ours, fifo)?);
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
    /// Connects the terminal that the runtime sent with the FIFOs of `streams`.
    ///
    /// # Errors
    ///
    /// [`StdioError`].
    pub(crate) fn attach_terminal(
        &mut self,
        streams: &Streams,
        terminal: Terminal,
    ) -> Result<(), StdioError> {
        if !streams.stdin.is_empty() {
            let fifo = open_fifo("stdin", &streams.stdin, OFlag::O_RDONLY)?;
            self.input = Some(copy_to_terminal(fifo, terminal.duplicate()?)?);
        }
        if !streams.stdout.is_empty() {
            let fifo = open_fifo("stdout", &streams.stdout, OFlag::O_RDWR)?;
            self.output
                .push(copy_from_terminal(terminal.duplicate()?, fifo)?);
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
    pub(crate) fn hold_input(&mut self, streams: &Streams) {
        if self.input.is_some() {
            // Without a reader (ENXIO) the input has ended already.
            self.input_writer = open_fifo("stdin", &streams.stdin, OFlag::O_WRONLY).ok();
        }
    }

    /// Ends input: the process reads what is still in the FIFO, then end of file.
    pub(crate) fn close_stdin(&mut self) {
        self.input_writer = None;
    }

    /// Waits for the last output, at most [`DRAIN_LIMIT`], then closes everything.
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

/// Opens once, then judges the descriptor: only a FIFO is moved data through.
fn open_fifo(stream: &'static str, path: &str, access: OFlag) -> Result<OwnedFd, StdioError> {
    let not_fifo = || StdioError::NotFifo {
        stream,
        path: path.chars().take(128).collect(),
    };
    if !Path::new(path).is_absolute() {
        return Err(not_fifo());
    }
    let flags = access | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY;
    let fd = open(path, flags, Mode::empty()).map_err(|errno| StdioError::Open {
        stream,
        path: path.to_owned(),
        source: errno.into(),
    })?;
    let kind = fstat(&fd).map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
    if kind == Ok(SFlag::S_IFIFO) {
        Ok(fd)
    } else {
        Err(not_fifo())
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
