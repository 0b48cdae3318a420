//! What needs the rights of root, opened first and in one place: the agent's own directories, the
//! lock that keeps it the only one, and the socket.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use nix::sys::stat::{Mode, umask};

use portcullis_config::paths;

/// Held as long as the agent runs.
const LOCK: &str = "agent.lock";
/// Calls that may wait to be accepted: a whole node's containers starting at once.
const BACKLOG: i32 = 1024;

/// Everything that was opened.
#[derive(Debug)]
pub(crate) struct Privileged {
    /// The socket, listening.
    pub(crate) listener: UnixListener,
    /// Keeps a second agent away; released when dropped.
    pub(crate) lock: Flock<File>,
}

/// Something that could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivilegedError {
    /// A directory cannot be made or looked at.
    #[error("cannot open directory '{}'", path.display())]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Others can read or write a directory that must be ours alone.
    #[error(
        "cannot trust directory '{}': expected owner {expected_uid} and mode 0700, \
         found owner {uid} and mode {mode:04o}", path.display()
    )]
    TrustDirectory {
        /// The directory.
        path: PathBuf,
        /// Who must own it.
        expected_uid: u32,
        /// Who owns it.
        uid: u32,
        /// Its mode.
        mode: u32,
    },
    /// The lock file cannot be opened.
    #[error("cannot open lock '{}'", path.display())]
    OpenLock {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Another agent runs.
    #[error("cannot take lock '{}': another agent runs", path.display())]
    TakeLock {
        /// The file.
        path: PathBuf,
    },
    /// Something that is no socket lies where the socket belongs.
    #[error("cannot replace '{}': it is not a socket", path.display())]
    ReplaceSocket {
        /// The path.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("cannot listen on '{}'", path.display())]
    Listen {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Opens everything. Must run before any thread is started, because it sets the umask.
pub(crate) fn open() -> Result<Privileged, PrivilegedError> {
    umask(Mode::from_bits_truncate(0o077));
    let state = Path::new(paths::STATE);
    own_directory(state)?;
    own_directory(Path::new(paths::KEYS))?;
    let lock = take_lock(&state.join(LOCK))?;
    own_directory(Path::new(paths::RUN))?;
    let listener = listen_at(Path::new(paths::SOCKET))?;
    Ok(Privileged { listener, lock })
}

/// Makes `path` if it is not there, and sees to it that only we can enter.
fn own_directory(path: &Path) -> Result<(), PrivilegedError> {
    let opening = |source| PrivilegedError::OpenDirectory {
        path: path.to_owned(),
        source,
    };
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(opening(error)),
    }
    let metadata = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)
        .and_then(|directory| directory.metadata())
        .map_err(opening)?;
    let expected_uid = nix::unistd::geteuid().as_raw();
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if uid != expected_uid || mode & 0o077 != 0 {
        return Err(PrivilegedError::TrustDirectory {
            path: path.to_owned(),
            expected_uid,
            uid,
            mode,
        });
    }
    Ok(())
}

fn take_lock(path: &Path) -> Result<Flock<File>, PrivilegedError> {
    let opening = |source| PrivilegedError::OpenLock {
        path: path.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(opening)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_file, errno)| match errno {
        Errno::EWOULDBLOCK => PrivilegedError::TakeLock {
            path: path.to_owned(),
        },
        other => opening(other.into()),
    })
}

/// Binds and listens. The lock is held, so a socket that is there is a dead agent's.
fn listen_at(path: &Path) -> Result<UnixListener, PrivilegedError> {
    let listening = |source: io::Error| PrivilegedError::Listen {
        path: path.to_owned(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(PrivilegedError::ReplaceSocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => std::fs::remove_file(path).map_err(listening)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(listening(error)),
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let descriptor = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .map_err(|errno| listening(errno.into()))?;
    let address = UnixAddr::new(path).map_err(|errno| listening(errno.into()))?;
    // 0600 from the first instant: a chmod after bind would leave a gap.
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = bind(descriptor.as_raw_fd(), &address);
    umask(before);
    bound
        .and_then(|()| Backlog::new(BACKLOG))
        .and_then(|backlog| listen(&descriptor, backlog))
        .map_err(|errno| listening(errno.into()))?;
    Ok(UnixListener::from(descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_missing_directory_is_made_for_us_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("portcullis");
        own_directory(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        own_directory(&path).unwrap();
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        for bits in [0o701, 0o710, 0o770, 0o755] {
            std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(bits))
                .unwrap();
            let refused = own_directory(scratch.path()).unwrap_err();
            assert!(
                matches!(refused, PrivilegedError::TrustDirectory { .. }),
                "{bits:o}"
            );
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("link");
        std::os::unix::fs::symlink("/", &path).unwrap();
        let refused = own_directory(&path).unwrap_err();
        assert!(matches!(refused, PrivilegedError::OpenDirectory { .. }));
    }

    #[test]
    fn the_lock_admits_one() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(LOCK);
        let held = take_lock(&path).unwrap();
        let refused = take_lock(&path).unwrap_err();
        assert!(
            matches!(refused, PrivilegedError::TakeLock { .. }),
            "{refused}"
        );
        drop(held);
        take_lock(&path).unwrap();
    }

    #[test]
    fn the_socket_has_mode_0600_and_replaces_a_dead_one() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("agent.sock");
        for _ in 0..2 {
            // Dropping a listener leaves its file behind, as a crash does.
            drop(listen_at(&path).unwrap());
            assert_eq!(mode(&path), 0o600);
        }
    }

    #[test]
    fn a_file_in_place_of_the_socket_is_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("agent.sock");
        std::fs::write(&path, "precious").unwrap();
        let refused = listen_at(&path).unwrap_err();
        assert!(matches!(refused, PrivilegedError::ReplaceSocket { .. }));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
