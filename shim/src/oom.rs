//! Out-of-memory kills in a container, told to containerd as they happen.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::uio::pread;
use nix::unistd::read;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use crate::cgroup::{Cgroup, read_table};
use crate::sys;

/// Where version 2 counts kills, among other things, and under which name.
const COUNTER: (&str, &str) = ("memory.events", "oom_kill");

/// Most bytes read of a counting file, which has a line for each of a few names.
const MAX_COUNTER_BYTES: usize = 1024;

/// Watches a cgroup until it is dropped.
#[derive(Debug)]
pub(crate) struct OomWatch(JoinHandle<()>);

/// Version 1: an event descriptor, counted up at each kill and when the cgroup goes away.
struct Kills {
    event: AsyncFd<OwnedFd>,
    dir: PathBuf,
}

/// Version 2: a number in a file of the cgroup, whose changes the kernel tells those who hold it
/// open. To be told, a reader has to read it: that is what its next change is measured from.
///
/// Not by inotify, which the kernel takes some 15 ms to close: the one thread of this process
/// would stand still at the end of each container.
///
/// # Source
///
/// Linux, `Documentation/admin-guide/cgroup-v2.rst`, "Basic Operations": poll events;
/// `fs/kernfs/file.c`, `kernfs_generic_poll`.
struct Counter {
    file: AsyncFd<OwnedFd>,
    key: &'static str,
}

// === impl OomWatch ===

impl OomWatch {
    /// Calls `tell` once for each time the kernel killed in `cgroup`. Must be called inside the
    /// event loop.
    ///
    /// # Errors
    ///
    /// The error of the operating system; a container without memory controller has no such
    /// events, and that is not one.
    pub(crate) fn start(
        cgroup: &Cgroup,
        tell: impl Fn() + Send + 'static,
    ) -> io::Result<Option<Self>> {
        // A cgroup that is gone ends the watch.
        let watch = match cgroup {
            Cgroup::V1(controllers) => match controllers.get("memory") {
                Some(dir) => {
                    let kills = Kills::of(dir)?;
                    tokio::spawn(async move { drop(kills.forward(tell).await) })
                }
                None => return Ok(None),
            },
            Cgroup::V2(dir) => match Counter::open(dir, COUNTER) {
                Ok(counter) => {
                    let counted = counter.read()?;
                    tokio::spawn(async move { drop(counter.forward(counted, tell).await) })
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        Ok(Some(Self(watch)))
    }
}

impl Drop for OomWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === impl Kills ===

impl Kills {
    /// Registers an event descriptor: `cgroup.event_control` takes its number and that of the
    /// file.
    fn of(dir: &Path) -> io::Result<Self> {
        let control = File::open(dir.join("memory.oom_control"))?;
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let mut register = OpenOptions::new()
            .write(true)
            .open(dir.join("cgroup.event_control"))?;
        let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
        register.write_all(line.as_bytes())?;
        Ok(Self {
            event: sys::watch(event.into(), Interest::READABLE)?,
            dir: dir.to_owned(),
        })
    }

    async fn forward(self, tell: impl Fn()) -> io::Result<()> {
        let mut count = [0; 8];
        loop {
            let mut ready = self.event.readable().await?;
            match ready.try_io(|event| Ok(read(event, &mut count)?)) {
                Ok(read) => drop(read?),
                Err(_would_block) => continue,
            }
            if !self.dir.join("cgroup.procs").exists() {
                return Ok(());
            }
            tell();
        }
    }
}

// === impl Counter ===

impl Counter {
    /// Opens the file of `dir` that has the number `key`.
    fn open(dir: &Path, (file, key): (&str, &'static str)) -> io::Result<Self> {
        let file = File::open(dir.join(file))?;
        let file = sys::watch(file.into(), Interest::PRIORITY)?;
        Ok(Self { file, key })
    }

    /// The number now; one that is not there counts as 0.
    fn read(&self) -> io::Result<u64> {
        let mut text = [0; MAX_COUNTER_BYTES];
        let length = pread(self.file.get_ref(), &mut text, 0)?;
        let text = text.get(..length).unwrap_or_default();
        let table = read_table(&String::from_utf8_lossy(text));
        Ok(table.get(self.key).copied().unwrap_or(0))
    }

    /// Calls `tell` when the number is higher than `counted`, then when it is higher again.
    async fn forward(self, mut counted: u64, tell: impl Fn()) -> io::Result<()> {
        loop {
            // Cleared before the number is read: a change in between is told again.
            self.file.ready(Interest::PRIORITY).await?.clear_ready();
            let now = self.read()?;
            if now > counted {
                tell();
            }
            counted = now;
        }
    }
}

#[cfg(test)]
mod tests;
