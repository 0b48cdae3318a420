//! Who is at the other end of a connection.

use std::fs::metadata;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{getsockopt, sockopt};

use crate::look::look;
use crate::sys;

/// Why a caller is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stranger {
    /// Another user.
    #[error("uid {uid} called: expected root")]
    User {
        /// Its uid, as this user namespace sees it.
        uid: u32,
    },
    /// A process that this process namespace does not show, or one of another namespace.
    #[error("a process in another {kind} namespace called: expected one of the host")]
    Namespace {
        /// "process" or "user".
        kind: &'static str,
    },
    /// A process of a container, or of another system: it sees other files.
    #[error("a process with another root directory called: expected one of the host")]
    Root,
    /// It ended before it could be looked at.
    #[error("the caller is gone")]
    Gone,
    /// The kernel does not tell.
    #[error("cannot see who called")]
    Unknown(#[source] io::Error),
}

/// Checks that a process of root on this host made the connection: uid 0, in our process and user
/// namespace, and with our root directory.
///
/// Not our mount namespace, though CVE-2020-15257 suggests it: where containerd's service has
/// private mounts it comes back from a restart in a new one, and must find its pods. A container
/// has a root directory of its own.
///
/// Uid 0 alone does not say that: a container without a user namespace that gets at the socket,
/// through a volume say, has it too (CVE-2020-15257 was of this kind). What was looked at is what
/// called: the descriptor of the process is taken from the connection (kernel 6.5), and it still
/// lives after the look, so its number meant no other process in between. Before 6.5 the number
/// could do so only if the caller ended, and its number came round, before the call was accepted.
///
/// # Errors
///
/// [`Stranger`].
pub(crate) fn verify(connection: &impl AsFd) -> Result<(), Stranger> {
    let peer = getsockopt(connection, sockopt::PeerCredentials).map_err(unknown)?;
    if peer.uid() != 0 {
        return Err(Stranger::User { uid: peer.uid() });
    }
    let pid = peer.pid();
    if pid <= 0 {
        return Err(Stranger::Namespace { kind: "process" });
    }
    let process = process(connection, pid)?;
    let seen = look_at(pid);
    // Also when the look failed: then most likely because it is gone.
    if has_ended(&process)? {
        return Err(Stranger::Gone);
    }
    seen
}

fn process(connection: &impl AsFd, pid: i32) -> Result<OwnedFd, Stranger> {
    match getsockopt(connection, sockopt::PeerPidfd) {
        Ok(process) => return Ok(process),
        // COMPAT(linux<6.5)
        Err(Errno::ENOPROTOOPT) => {}
        // What is told of a process that was collected already.
        Err(Errno::ESRCH | Errno::EINVAL | Errno::ENODATA) => return Err(Stranger::Gone),
        Err(errno) => return Err(unknown(errno)),
    }
    sys::open_process(pid).map_err(|error| match error.raw_os_error() {
        Some(libc::ESRCH) => Stranger::Gone,
        _ => Stranger::Unknown(error),
    })
}

fn look_at(pid: i32) -> Result<(), Stranger> {
    let identity = |path: &str| {
        metadata(path)
            .map(|file| (file.dev(), file.ino()))
            .map_err(Stranger::Unknown)
    };
    for (kind, file) in [("process", "pid"), ("user", "user")] {
        if identity(&format!("/proc/{pid}/ns/{file}"))?
            != identity(&format!("/proc/self/ns/{file}"))?
        {
            return Err(Stranger::Namespace { kind });
        }
    }
    if identity(&format!("/proc/{pid}/root"))? == identity("/")? {
        Ok(())
    } else {
        Err(Stranger::Root)
    }
}

fn has_ended(process: &OwnedFd) -> Result<bool, Stranger> {
    look(process.as_fd(), PollFlags::POLLIN)
        .map(|found| !found.is_empty())
        .map_err(Stranger::Unknown)
}

fn unknown(errno: Errno) -> Stranger {
    Stranger::Unknown(errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_process_of_this_host_is_known_if_it_is_root() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let _caller = UnixStream::connect(&path).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let known = verify(&accepted);
        if nix::unistd::geteuid().is_root() {
            known.unwrap();
        } else {
            assert!(matches!(known, Err(Stranger::User { .. })));
        }
    }

    #[test]
    fn a_caller_that_has_ended_is_not_taken_for_another() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let program = "use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0); \
                       connect($s, sockaddr_un($ARGV[0])) or die";
        let called = std::process::Command::new("perl")
            .args(["-e", program])
            .arg(&path)
            .status();
        assert!(called.unwrap().success());
        let (accepted, _) = listener.accept().unwrap();
        let stranger = verify(&accepted).unwrap_err();
        assert!(matches!(stranger, Stranger::Gone), "{stranger:?}");
    }
}
