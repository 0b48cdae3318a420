//! FIFOs, whose other end is with containerd's client.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::poll::PollFlags;
use nix::sys::stat::{Mode, SFlag, fstat};

use super::StdioError;
use crate::look::look;
use crate::sys;

/// How long a launch waits for containerd's client to open its end of a FIFO, as in the stock
/// shim.
pub(super) const READER_LIMIT: Duration = Duration::from_secs(30);

/// How long output that the client has not read yet is kept for it, after the last writer.
const LINGER_LIMIT: Duration = Duration::from_secs(2);

/// Shortest and longest time between two looks. inotify could tell of a reader, but the kernel takes
/// some 15 ms to close it, which is longer than any client takes.
const PAUSES: (Duration, Duration) = (Duration::from_micros(250), Duration::from_millis(50));

/// A FIFO, found and judged once; nobody can put another in its place.
#[derive(Debug)]
pub(super) struct Fifo {
    stream: &'static str,
    path: PathBuf,
    file: OwnedFd,
}

/// The writing end of a FIFO.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) writer: OwnedFd,
    pub(super) keeper: Keeper,
}

/// A reader of our own: containerd or its client may go away and come back, and what is written
/// in between is kept and kills nobody.
#[derive(Debug)]
pub(super) struct Keeper(OwnedFd);

/// Pauses that grow.
struct Pauses(Duration);

// === impl Fifo ===

impl Fifo {
    /// Finds the FIFO at `path`; a link in its place is not followed.
    ///
    /// # Errors
    ///
    /// [`StdioError::Open`], [`StdioError::Kind`].
    pub(super) fn find(stream: &'static str, path: &Path) -> Result<Self, StdioError> {
        let fifo = Self {
            stream,
            path: path.to_owned(),
            file: open(
                path,
                OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
                Mode::empty(),
            )
            .map_err(|errno| StdioError::Open {
                stream,
                path: path.to_owned(),
                source: errno.into(),
            })?,
        };
        let mode = fstat(&fifo.file).map(|stat| SFlag::from_bits_truncate(stat.st_mode));
        if mode.map(|mode| mode & SFlag::S_IFMT) == Ok(SFlag::S_IFIFO) {
            return Ok(fifo);
        }
        Err(StdioError::Kind {
            stream,
            expected: "a FIFO",
            path: fifo.path,
        })
    }

    /// Opens the end that the process's input comes from.
    ///
    /// # Errors
    ///
    /// [`StdioError::Open`].
    pub(super) fn reader(&self) -> Result<OwnedFd, StdioError> {
        self.open(OFlag::O_RDONLY)
    }

    /// Opens a writing end.
    ///
    /// # Errors
    ///
    /// [`StdioError::Open`], with `ENXIO` if nobody reads.
    pub(super) fn writer(&self) -> Result<OwnedFd, StdioError> {
        self.open(OFlag::O_WRONLY)
    }

    /// Opens the end that the process's output goes to, once somebody reads it.
    ///
    /// containerd's clients open their ends in the background and stop doing so when the process
    /// has ended: what a short process wrote before that would be lost.
    ///
    /// # Errors
    ///
    /// [`StdioError::NoReader`] after `limit`, [`StdioError::Open`].
    pub(super) async fn outlet(self, limit: Duration) -> Result<Outlet, StdioError> {
        // Without a reader no writing end opens; with ours it does, and stays when ours goes.
        let first = self.reader()?;
        let writer = self.writer()?;
        drop(first);
        let since = Instant::now();
        let mut pauses = Pauses::new();
        while !has_reader(writer.as_fd()) {
            if since.elapsed() >= limit {
                return Err(StdioError::NoReader {
                    stream: self.stream,
                    path: self.path,
                    limit,
                });
            }
            pauses.next().await;
        }
        let keeper = Keeper(self.reader()?);
        Ok(Outlet { writer, keeper })
    }

    fn open(&self, access: OFlag) -> Result<OwnedFd, StdioError> {
        let flags = access | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        open(&self.link(), flags, Mode::empty()).map_err(|errno| StdioError::Open {
            stream: self.stream,
            path: self.path.clone(),
            source: errno.into(),
        })
    }

    /// The very file that was judged, whatever is at its path by now.
    fn link(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

// === impl Keeper ===

impl Keeper {
    /// Ends the stream when its reader has read all of it, or is gone, or does not read.
    ///
    /// containerd's clients (from 1.7.2 on) throw away what they have not read yet when Delete
    /// has answered, or when they hear of the end of an init.
    pub(super) async fn linger(self, writer: OwnedFd) {
        drop(self.0);
        let since = Instant::now();
        let mut pauses = Pauses::new();
        while since.elapsed() < LINGER_LIMIT
            && has_reader(writer.as_fd())
            && sys::unread_bytes(writer.as_fd()).is_ok_and(|unread| unread > 0)
        {
            pauses.next().await;
        }
    }
}

// === impl Pauses ===

impl Pauses {
    fn new() -> Self {
        Self(PAUSES.0)
    }

    async fn next(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSES.1);
    }
}

/// Whether anybody could read what is written to `writer`.
fn has_reader(writer: BorrowedFd<'_>) -> bool {
    look(writer, PollFlags::POLLOUT).is_ok_and(|found| !found.contains(PollFlags::POLLERR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, OpenOptions};
    use std::io::{Read, Write};
    use std::thread;

    use nix::unistd::mkfifo;

    fn fifo(dir: &tempfile::TempDir) -> PathBuf {
        let path = dir.path().join("stdout");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        path
    }

    #[tokio::test]
    async fn waits_for_a_reader_that_comes_before_or_after() {
        let dir = tempfile::tempdir().unwrap();
        let path = fifo(&dir);
        for late in [false, true] {
            let other = path.clone();
            let reader = thread::spawn(move || {
                if late {
                    thread::park_timeout(Duration::from_millis(50));
                }
                let mut text = String::new();
                File::open(other)
                    .unwrap()
                    .read_to_string(&mut text)
                    .unwrap();
                text
            });
            if !late {
                thread::park_timeout(Duration::from_millis(50));
            }
            let outlet = Fifo::find("stdout", &path).unwrap();
            let outlet = outlet.outlet(Duration::from_secs(10)).await.unwrap();
            File::from(outlet.writer.try_clone().unwrap())
                .write_all(b"whole")
                .unwrap();
            outlet.keeper.linger(outlet.writer).await;
            assert_eq!(reader.join().unwrap(), "whole");
        }
    }

    #[tokio::test]
    async fn a_client_that_never_reads_fails_the_launch() {
        let dir = tempfile::tempdir().unwrap();
        let path = fifo(&dir);
        let outlet = Fifo::find("stdout", &path).unwrap();
        let error = outlet.outlet(Duration::from_millis(20)).await.unwrap_err();
        assert!(
            error.to_string().starts_with("nobody opened FIFO '"),
            "{error}"
        );
        assert_eq!(error.code(), ttrpc::Code::DEADLINE_EXCEEDED);
    }

    #[tokio::test]
    async fn lingers_for_a_slow_reader_and_not_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = fifo(&dir);
        let mut reader = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let outlet = Fifo::find("stdout", &path).unwrap();
        let outlet = outlet.outlet(READER_LIMIT).await.unwrap();
        File::from(outlet.writer.try_clone().unwrap())
            .write_all(b"whole")
            .unwrap();
        let slow = thread::spawn(move || {
            thread::park_timeout(Duration::from_millis(100));
            let mut text = [0; 5];
            reader.read_exact(&mut text).unwrap();
            reader
        });
        let since = Instant::now();
        outlet.keeper.linger(outlet.writer).await;
        assert!(since.elapsed() >= Duration::from_millis(100) && since.elapsed() < LINGER_LIMIT);
        let reader = slow.join().unwrap();

        let outlet = Fifo::find("stdout", &path).unwrap();
        let outlet = outlet.outlet(READER_LIMIT).await.unwrap();
        File::from(outlet.writer.try_clone().unwrap())
            .write_all(b"lost")
            .unwrap();
        drop(reader);
        let since = Instant::now();
        outlet.keeper.linger(outlet.writer).await;
        assert!(since.elapsed() < LINGER_LIMIT / 2);
    }

    #[test]
    fn only_a_fifo_is_taken_and_no_link_to_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = fifo(&dir);
        Fifo::find("stdout", &path).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for other in [link.as_path(), Path::new("/dev/null"), dir.path()] {
            let error = Fifo::find("stdout", other).unwrap_err();
            assert!(matches!(error, StdioError::Kind { .. }), "{error}");
        }
        let absent = Fifo::find("stdout", Path::new("/nowhere/x")).unwrap_err();
        assert!(matches!(absent, StdioError::Open { .. }), "{absent}");
    }
}
