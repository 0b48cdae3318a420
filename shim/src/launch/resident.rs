//! A process of ours in a user namespace that is joined by path, because the kernel tells the
//! maps of a namespace through a process in it only. containerd keeps a pod's namespace in a file
//! before anybody lives in it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use nix::unistd::{pipe2, write};
use portcullis_gate::{Code, Refusal, quote};
use portcullis_hardening::UserNamespaceMaps;

use crate::sys;

/// The maps of the user namespace at `path`; `None` if it cannot be entered, because it is none or
/// that of the host.
///
/// # Errors
///
/// `host-unreadable`.
pub(super) fn maps(path: &str) -> Result<Option<UserNamespaceMaps>, Refusal> {
    let unreadable = |error: io::Error| {
        let subject = format!("user namespace {}", quote(path));
        let expected = "one that can be read";
        Refusal::new(
            Code::HostUnreadable,
            subject,
            expected,
            quote(&error.to_string()),
        )
    };
    let Some(namespace) = open_namespace(path).map_err(unreadable)? else {
        return Ok(None);
    };
    let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(|errno| unreadable(errno.into()));
    let ((inside, tell_inside), (end, tell_end)) = (pipe()?, pipe()?);
    let keep = [
        namespace.as_raw_fd(),
        tell_inside.as_raw_fd(),
        end.as_raw_fd(),
    ];
    let child = sys::fork_errand(&keep, || {
        if setns(&namespace, CloneFlags::CLONE_NEWUSER).is_ok() && write(&tell_inside, b"1").is_ok()
        {
            // Until the other side lets go, or dies.
            drop(end.try_clone().map(|end| File::from(end).read(&mut [0])));
        }
    })
    .map_err(unreadable)?;
    drop((tell_inside, end));
    // It neither looks at a filesystem nor waits for anybody, so this is over at once.
    let entered = File::from(inside).read(&mut [0]).map_err(unreadable)? == 1;
    let maps = if entered {
        let process = format!("/proc/{child}");
        portcullis_host::user_namespace_maps(path, Path::new(&process))
            .map_err(|error| error.refusal())
    } else {
        Ok(None)
    };
    drop(tell_end);
    maps
}

/// Opens a namespace, and nothing else: to open a FIFO or a device is to do something with it.
fn open_namespace(path: &str) -> io::Result<Option<File>> {
    let place = match open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(place) => place,
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    if fstatfs(&place)?.filesystem_type() != NSFS_MAGIC {
        return Ok(None);
    }
    File::open(format!("/proc/self/fd/{}", place.as_raw_fd())).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_namespaces_only() {
        assert!(open_namespace("/proc/self/ns/user").unwrap().is_some());
        for path in ["/dev/zero", "/proc/self/status", "/no/such/file"] {
            assert!(open_namespace(path).unwrap().is_none(), "{path}");
        }
    }
}
