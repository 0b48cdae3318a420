//! Work that may hang, or that must not leave its mark on this process: done in a child, within
//! a time limit.
//!
//! The shim has one thread. A path on a network filesystem whose server is gone holds up whoever
//! looks at it, and a mount may need another working directory or mount namespace. The child is a
//! copy without our descriptors, so that a hanging one keeps no stream of a container open.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys;

/// Longest report of a failed step, in bytes: two paths and some words. Less than a pipe takes at
/// once, so that a child never waits for its reader.
const REPORT_LIMIT_BYTES: u64 = 16 * 1024;

/// Why the work of a child was not done: which step failed, on what, and how.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}")]
pub(crate) struct Failed {
    /// What was to be done, in words that follow "cannot".
    pub(crate) step: String,
    /// Why.
    #[source]
    pub(crate) source: io::Error,
}

/// Runs `work` in a child process and waits for its result, at most for `limit`.
///
/// The child is killed when it is late. What it was doing in the kernel may still come to its
/// end; so it must not change anything that others see except in its last step.
///
/// # Errors
///
/// What `work` reports, or that there is no report.
pub(crate) async fn run(
    limit: Duration,
    work: impl FnOnce() -> Result<(), Failed>,
) -> Result<(), Failed> {
    let begin = |source| failed("start a child process", source);
    let (reader, writer) =
        pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(|errno| begin(errno.into()))?;
    let child = sys::fork_errand(&[writer.as_raw_fd()], || tell(&writer, work())).map_err(begin)?;
    drop(writer);
    let reader = sys::watch(reader, Interest::READABLE).map_err(begin)?;
    let Ok(report) = tokio::time::timeout(limit, read(&reader)).await else {
        return Err(late(child, limit));
    };
    let report = report.map_err(|source| failed("read what a child process reports", source))?;
    result(&report)
}

fn failed(step: &str, source: io::Error) -> Failed {
    Failed {
        step: step.to_owned(),
        source,
    }
}

/// Kills a child that has not reported. It holds its end of the pipe open, so it was not
/// collected, and its number is still its own.
fn late(child: Pid, limit: Duration) -> Failed {
    if let Err(errno) = kill(child, Signal::SIGKILL) {
        crate::log::error(&format!("cannot kill late child process {child}: {errno}"));
    }
    let step = format!("wait longer than {} s for the filesystem", limit.as_secs());
    failed(&step, io::Error::from_raw_os_error(libc::ETIMEDOUT))
}

/// In the child: nothing for success is not enough, because a killed child says nothing either.
fn tell(writer: &OwnedFd, result: Result<(), Failed>) {
    let report = match result {
        Ok(()) => 0_i32.to_le_bytes().to_vec(),
        Err(Failed { step, source }) => {
            let errno = source.raw_os_error().filter(|errno| *errno != 0);
            let mut report = errno.unwrap_or(libc::EIO).to_le_bytes().to_vec();
            let limit = usize::try_from(REPORT_LIMIT_BYTES).unwrap_or(usize::MAX);
            report.extend(step.bytes().take(limit - report.len()));
            report
        }
    };
    // If this fails the parent takes silence for failure.
    drop(
        writer
            .try_clone()
            .map(|fd| File::from(fd).write_all(&report)),
    );
}

async fn read(reader: &AsyncFd<OwnedFd>) -> io::Result<Vec<u8>> {
    let mut report = Vec::new();
    let mut source = File::from(reader.get_ref().try_clone()?).take(REPORT_LIMIT_BYTES);
    loop {
        let mut ready = reader.readable().await?;
        // Keeps what it read before it would have to wait.
        match source.read_to_end(&mut report) {
            Ok(_) => return Ok(report),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) => return Err(error),
        }
    }
}

fn result(report: &[u8]) -> Result<(), Failed> {
    let Some((errno, step)) = report.split_first_chunk() else {
        let ended = io::Error::from(Errno::ECHILD);
        return Err(failed("get a report from a child process", ended));
    };
    match i32::from_le_bytes(*errno) {
        0 => Ok(()),
        errno => Err(Failed {
            step: String::from_utf8_lossy(step).into_owned(),
            source: io::Error::from_raw_os_error(errno),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_needed_for_success() {
        result(&0_i32.to_le_bytes()).unwrap();
        assert!(result(b"").is_err());
        assert!(result(b"\0\0\0").is_err());
        let mut report = libc::EBUSY.to_le_bytes().to_vec();
        report.extend(b"mount it");
        let failed = result(&report).unwrap_err();
        assert_eq!(failed.to_string(), "cannot mount it");
        assert_eq!(failed.source.raw_os_error(), Some(libc::EBUSY));
    }

    #[test]
    fn what_is_written_can_be_read() {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let source = io::Error::from_raw_os_error(libc::ENOENT);
        tell(
            &writer,
            Err(Failed {
                step: "find 'x'".to_owned(),
                source,
            }),
        );
        drop(writer);
        let mut report = Vec::new();
        File::from(reader).read_to_end(&mut report).unwrap();
        assert_eq!(result(&report).unwrap_err().to_string(), "cannot find 'x'");
    }
}
