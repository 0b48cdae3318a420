//! Ending a container: SIGKILL to its processes, so that its engine sees an exit and clears up.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::processes::{self, Group};

/// A container that was killed, until its first process has ended.
#[derive(Debug)]
pub(crate) struct Ending(OwnedFd);

// === impl Ending ===

impl Ending {
    /// Kills the first process of `group`, with which a process namespace ends, and then what is
    /// left of the others: a container may be a guest in another's process namespace.
    ///
    /// Each is held by a descriptor before it is looked at once more, so that none is killed that
    /// has the number of one that ended. `None` if the first has ended by itself.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub(crate) fn of(proc: &Path, group: &Group) -> io::Result<Option<Self>> {
        let first = kill(proc, group, group.pid)?;
        for pid in group.pids.iter().filter(|pid| **pid != group.pid) {
            kill(proc, group, *pid)?;
        }
        Ok(first.map(Self))
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> io::Result<bool> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut watched = [PollFd::new(&self.0, PollFlags::IN)];
        Ok(poll(&mut watched, Some(&now))? > 0)
    }
}

fn kill(proc: &Path, group: &Group, pid: u32) -> io::Result<Option<OwnedFd>> {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let process = match pidfd_open(number, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(None),
        opened => opened?,
    };
    if processes::mount_namespace(proc, pid) != Some(group.namespace) {
        return Ok(None);
    }
    match pidfd_send_signal(&process, Signal::KILL) {
        Err(Errno::SRCH) => Ok(None),
        sent => sent.map(|()| Some(process)).map_err(io::Error::from),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    fn group(namespace: u64, pid: u32) -> Group {
        Group {
            namespace,
            pid,
            start_ticks: 1,
            cgroup: String::new(),
            own_pids: true,
            pids: vec![pid],
        }
    }

    #[test]
    fn only_a_process_of_that_mount_namespace_is_killed() {
        let proc = Path::new("/proc");
        let mine = std::fs::metadata("/proc/self/ns/mnt").unwrap().ino();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let other = Ending::of(proc, &group(mine + 1, child.id())).unwrap();
        assert!(other.is_none());
        assert!(child.try_wait().unwrap().is_none());
        let ending = Ending::of(proc, &group(mine, child.id())).unwrap().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert!(ending.is_over().unwrap());
        let again = Ending::of(proc, &group(mine, child.id())).unwrap();
        assert!(again.is_none(), "one that ended is no failure");
    }
}
