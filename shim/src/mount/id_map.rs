//! Ids of a filesystem shown as other ids: the map, and a user namespace that holds it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe2, write};

use crate::errand::Failed;
use crate::sys;

/// Most ranges that the kernel takes (`user_namespaces(7)`).
const MAX_RANGES: usize = 340;

/// A map in the kernel's own form: lines of first id on the disk, first id shown, and count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IdMap(String);

// === impl IdMap ===

impl IdMap {
    /// Reads `0:100000:65536,65536:300000:1`; `None` if it is anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = String::new();
        let mut ranges = 0;
        for range in text.split(',') {
            let mut numbers = range.split(':').map(number);
            let (first, shown, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
            let fits = |start: u32| count > 0 && start.checked_add(count).is_some();
            ranges += 1;
            if numbers.next().is_some() || !fits(first) || !fits(shown) || ranges > MAX_RANGES {
                return None;
            }
            lines.push_str(&format!("{first} {shown} {count}\n"));
        }
        Some(Self(lines))
    }
}

/// Digits only: `parse` alone would take a plus sign.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A new user namespace with these maps. Nobody lives in it.
///
/// # Preconditions
///
/// This process is a child made for the purpose, because it waits for a child of its own.
///
/// # Errors
///
/// [`Failed`].
pub(super) fn user_namespace(uids: &IdMap, gids: &IdMap) -> Result<OwnedFd, Failed> {
    let failed = |source: io::Error| Failed {
        step: "make a user namespace".to_owned(),
        source,
    };
    let (ready, tell_ready) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| failed(errno.into()))?;
    let (end, tell_end) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| failed(errno.into()))?;
    let keep = [tell_ready.as_raw_fd(), end.as_raw_fd()];
    let child = sys::fork_errand(&keep, || {
        if unshare(CloneFlags::CLONE_NEWUSER).is_ok() && write(&tell_ready, b"1").is_ok() {
            // Until the other side lets go, or dies.
            drop(end.try_clone().map(|end| File::from(end).read(&mut [0])));
        }
    })
    .map_err(failed)?;
    drop((tell_ready, end));
    let made = mapped(child, File::from(ready), uids, gids).map_err(failed);
    drop(tell_end);
    // It ends either way; nobody asks how.
    waitpid(child, None).map_err(|errno| failed(errno.into()))?;
    made
}

fn mapped(child: Pid, mut ready: File, uids: &IdMap, gids: &IdMap) -> io::Result<OwnedFd> {
    ready.read_exact(&mut [0])?;
    std::fs::write(format!("/proc/{child}/uid_map"), &uids.0)?;
    std::fs::write(format!("/proc/{child}/gid_map"), &gids.0)?;
    File::open(format!("/proc/{child}/ns/user")).map(OwnedFd::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_one_range_and_several() {
        let map = |text| IdMap::parse(text).map(|map| map.0);
        assert_eq!(map("0:100000:65536").as_deref(), Some("0 100000 65536\n"));
        assert_eq!(
            map("0:100000:10,10:300000:1").as_deref(),
            Some("0 100000 10\n10 300000 1\n")
        );
    }

    #[test]
    fn takes_nothing_else() {
        let many = vec!["0:1:1"; 341].join(",");
        for bad in [
            "",
            "0",
            "0:1",
            "0:1:2:3",
            "a:1:2",
            "-1:1:2",
            "+1:1:2",
            "0:1:0",
            "0:1:2,",
            "0:1:2 ",
            "4294967295:0:1",
            "0:4294967290:65536",
            "0:99999999999:1",
            &many,
        ] {
            assert_eq!(IdMap::parse(bad), None, "{bad}");
        }
    }
}
