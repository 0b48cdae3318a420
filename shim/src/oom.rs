//! Out-of-memory kills in a container, told to containerd as they happen.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::unistd::read;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use crate::cgroup::{Cgroup, table};
use crate::sys;

/// Watches a cgroup until it is dropped.
#[derive(Debug)]
pub(crate) struct OomWatch(JoinHandle<()>);

/// What tells of a kill.
enum Source {
    /// Version 1: an event descriptor, counted up at each kill and when the cgroup goes away.
    Events(PathBuf),
    /// Version 2: changes of `memory.events`, which counts kills among other things.
    Counter(PathBuf),
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
        let (fd, source) = match cgroup {
            Cgroup::V1(controllers) => match controllers.get("memory") {
                Some(dir) => (version_1(dir)?, Source::Events(dir.clone())),
                None => return Ok(None),
            },
            Cgroup::V2(dir) if dir.join("memory.events").exists() => {
                (version_2(dir)?, Source::Counter(dir.clone()))
            }
            Cgroup::V2(_) => return Ok(None),
        };
        let fd = sys::watch(fd, Interest::READABLE)?;
        Ok(Some(Self(tokio::spawn(async move {
            // A cgroup that is gone ends the watch.
            drop(forward(fd, source, tell).await);
        }))))
    }
}

impl Drop for OomWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn forward(fd: AsyncFd<OwnedFd>, source: Source, tell: impl Fn()) -> io::Result<()> {
    let mut kills = source.kills();
    let mut buffer = [0; 1024];
    loop {
        let ready = fd.readable().await?.try_io(|fd| Ok(read(fd, &mut buffer)?));
        match ready {
            Ok(read) => drop(read?),
            Err(_would_block) => continue,
        }
        match &source {
            Source::Events(dir) if dir.join("cgroup.procs").exists() => tell(),
            Source::Events(_) => return Ok(()),
            Source::Counter(_) => {
                let now = source.kills();
                if now > kills {
                    tell();
                }
                kills = now;
            }
        }
    }
}

/// Registers an event descriptor: `cgroup.event_control` takes its number and that of the file.
fn version_1(dir: &Path) -> io::Result<OwnedFd> {
    let control = fs::File::open(dir.join("memory.oom_control"))?;
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let mut register = OpenOptions::new()
        .write(true)
        .open(dir.join("cgroup.event_control"))?;
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    register.write_all(line.as_bytes())?;
    Ok(event.into())
}

fn version_2(dir: &Path) -> io::Result<OwnedFd> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    inotify.add_watch(&dir.join("memory.events"), AddWatchFlags::IN_MODIFY)?;
    Ok(inotify.into())
}

// === impl Source ===

impl Source {
    /// Kills so far, where they are counted.
    fn kills(&self) -> u64 {
        match self {
            Self::Events(_) => 0,
            Self::Counter(dir) => table(dir, "memory.events")
                .get("oom_kill")
                .copied()
                .unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tells_of_a_kill_and_not_of_other_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("memory.events");
        fs::write(&file, "max 0\noom_kill 0\n").unwrap();
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        let cgroup = Cgroup::V2(dir.path().to_owned());
        let _watch = OomWatch::start(&cgroup, move || sender.send(()).unwrap())
            .unwrap()
            .unwrap();
        fs::write(&file, "max 7\noom_kill 0\n").unwrap();
        tokio::task::yield_now().await;
        assert!(told.try_recv().is_err());
        fs::write(&file, "max 7\noom_kill 1\n").unwrap();
        assert_eq!(told.recv().await, Some(()));
    }

    #[tokio::test]
    async fn has_nothing_to_watch_without_a_memory_controller() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = Cgroup::V2(dir.path().to_owned());
        assert!(OomWatch::start(&cgroup, || ()).unwrap().is_none());
    }
}
