//! A logging program that reads the output of one process, as nerdctl runs it.
//!
//! It gets the reading ends of two pipes; the process has the writing ends, so nothing is copied
//! on the way. The shim keeps reading ends too: if the program dies, what the process writes is
//! read and thrown away, and the process goes on.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::fcntl::{OFlag, open};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use tokio::io::Interest;
use tokio::task::JoinHandle;

use super::StdioError;
use super::copy::read_some;
use super::target::Program;
use crate::child::Child;
use crate::options::RuntimeOptions;
use crate::{log, sys};

/// Within this time the program has to say that it is ready.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// How long the program may take to end by itself after the last output.
const END_LIMIT: Duration = Duration::from_secs(2);

/// How long it may take after SIGTERM until it is killed; both together as in the stock shim.
const TERM_LIMIT: Duration = Duration::from_secs(10);

/// Starts a child of the server, which the reaper knows of.
pub(crate) type Spawn<'a> = &'a (dyn Fn(&mut Command) -> io::Result<Child> + Sync);

/// Whose output it is, and how a program for it is started.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    /// The container's id, or the exec's.
    pub(crate) id: &'a str,
    /// The containerd namespace.
    pub(crate) namespace: &'a str,
    /// How to start a program.
    pub(crate) spawn: Spawn<'a>,
}

/// A running logging program.
#[derive(Debug)]
pub(super) struct Driver {
    child: Child,
    /// Reads what the program cannot read any more.
    stand_in: JoinHandle<()>,
    /// Its end is no surprise any more.
    released: Arc<AtomicBool>,
}

// === impl Driver ===

impl Driver {
    /// Runs `program` and waits until it is ready; gives the writing ends for stdout and stderr.
    ///
    /// Descriptors of the program: 0 to 2 `/dev/null`, 3 stdout, 4 stderr, 5 to say that it is
    /// ready, by a byte or (not `binary-v2`) by closing it. It is killed with the shim.
    ///
    /// # Errors
    ///
    /// [`StdioError`]; the program is killed then.
    ///
    /// # Source
    ///
    /// containerd, `cmd/containerd-shim-runc-v2/process/io.go: NewBinaryIO`,
    /// `core/runtime/v2/logging/logging_unix.go: Run`.
    pub(super) async fn start(
        program: &Program,
        options: &RuntimeOptions,
        source: Source<'_>,
    ) -> Result<(Self, [OwnedFd; 2]), StdioError> {
        Self::start_within(program, options, source, READY_LIMIT).await
    }

    async fn start_within(
        program: &Program,
        options: &RuntimeOptions,
        source: Source<'_>,
        limit: Duration,
    ) -> Result<(Self, [OwnedFd; 2]), StdioError> {
        let path = || program.path.clone();
        let binary = portcullis_host::runtime_binary(&program.path).map_err(|source| {
            StdioError::Untrusted {
                path: path(),
                source: Box::new(source),
            }
        })?;
        let pipe = |stream| super::pipe(stream, options);
        let (out, out_writer) = pipe("stdout")?;
        let (err, err_writer) = pipe("stderr")?;
        let (ready, ready_writer) = pipe("logging program")?;
        let failed = |source| StdioError::Program {
            path: path(),
            source,
        };
        let ends = [
            own_end(&out).map_err(failed)?,
            own_end(&err).map_err(failed)?,
        ];
        let ready = own_end(&ready).map_err(failed)?;
        let mut command = Command::new(binary.path());
        command
            .args(&program.arguments)
            .env_clear()
            .envs(
                program
                    .environment
                    .iter()
                    .map(|(name, value)| (name, value)),
            )
            .env("CONTAINER_ID", source.id)
            .env("CONTAINER_NAMESPACE", source.namespace)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        sys::die_with_parent(&mut command);
        sys::pass_on(&mut command, [out, err, ready_writer]).map_err(failed)?;
        let child = (source.spawn)(&mut command).map_err(failed)?;
        // The command holds the program's ends: as long as it lives, no end of file.
        drop(command);
        let released = Arc::new(AtomicBool::new(false));
        let name = path().display().to_string();
        let stand_in = stand_in_for(child.watch(), ends, name, Arc::clone(&released));
        let driver = Self {
            stand_in: tokio::spawn(stand_in),
            child,
            released,
        };
        let said = tokio::time::timeout(limit, first_byte(ready)).await;
        match said {
            Err(_elapsed) => Err(StdioError::NotReady {
                path: path(),
                limit,
            }),
            Ok(Err(source)) => Err(failed(source)),
            Ok(Ok(0)) if program.must_say_ready => Err(StdioError::GaveUp { path: path() }),
            Ok(Ok(_)) => Ok((driver, [out_writer, err_writer])),
        }
    }

    /// Waits until the program has ended: by itself after the last output, else after SIGTERM,
    /// else killed. The stock shim sends SIGTERM at once, and loses what a plain script has not
    /// read.
    pub(super) async fn finish(mut self) {
        self.released.store(true, Ordering::Relaxed);
        for (signal, limit) in [(Signal::SIGTERM, END_LIMIT), (Signal::SIGKILL, TERM_LIMIT)] {
            if tokio::time::timeout(limit, self.child.ended())
                .await
                .is_ok()
            {
                return;
            }
            self.signal(signal);
        }
    }

    fn signal(&self, signal: Signal) {
        if let Err(errno) = self.child.signal_group(signal) {
            log::error(&format!(
                "cannot send {signal} to a logging program: {errno}"
            ));
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.released.store(true, Ordering::Relaxed);
        self.signal(Signal::SIGKILL);
        // Otherwise it ends with the program, whose end somebody should hear of.
        if self.child.has_ended() {
            self.stand_in.abort();
        }
    }
}

/// Waits for the end of the program, and then reads in its place.
async fn stand_in_for(
    mut child: Child,
    ends: [OwnedFd; 2],
    path: String,
    released: Arc<AtomicBool>,
) {
    let Some(status) = child.ended().await else {
        return;
    };
    if released.load(Ordering::Relaxed) {
        return;
    }
    let warned = AtomicBool::new(false);
    let warn = || {
        if !warned.swap(true, Ordering::Relaxed) {
            log::warn(&format!(
                "logging program '{path}' ended ({status}), what it has not read is lost"
            ));
        }
    };
    if !status.success() {
        warn();
    }
    let [out, err] = ends;
    let done = tokio::join!(throw_away(out, warn), throw_away(err, warn));
    if let (Err(error), _) | (_, Err(error)) = done {
        log::warn(&format!(
            "cannot read in place of a logging program: {error}, ignoring"
        ));
    }
}

/// Reads `end` to its end, and tells of the first bytes.
async fn throw_away(end: OwnedFd, tell: impl Fn()) -> io::Result<()> {
    let end = sys::watch(end, Interest::READABLE)?;
    while read_some(&end, &mut [0; 512]).await? > 0 {
        tell();
    }
    Ok(())
}

/// Reads one byte; 0 is the end of the stream.
async fn first_byte(ready: OwnedFd) -> io::Result<usize> {
    let ready = sys::watch(ready, Interest::READABLE)?;
    read_some(&ready, &mut [0]).await
}

/// A reading end of our own: what is set on it is not set on the program's.
fn own_end(end: &OwnedFd) -> io::Result<OwnedFd> {
    let link = format!("/proc/self/fd/{}", end.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    Ok(open(link.as_str(), flags, Mode::empty())?)
}
