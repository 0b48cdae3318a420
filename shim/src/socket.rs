//! The socket a server listens on: its name, and the race-free way to get or join it.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::sys::stat::{Mode, umask};
use sha2::{Digest, Sha256};

/// Where sockets go unless containerd names a directory; the stock shim's place.
const SOCKET_DIR: &str = "/run/containerd/s";

/// Longest path that fits `sockaddr_un` with its terminating zero.
const MAX_PATH_BYTES: usize = 107;

/// Mixed into every name, so that a task group shared with a stock shim can never resolve to
/// that shim, which checks nothing.
const NAME_SALT: &[u8] = b"io.containerd.portcullis.v1";

/// The socket of a task group.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Nobody listened: bound and listening now, mode 0600 from its first instant.
    Bound {
        /// The listener, close-on-exec.
        listener: UnixListener,
        /// Its path.
        path: PathBuf,
    },
    /// A server of this group already listens there.
    Joined {
        /// Its path.
        path: PathBuf,
    },
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// The directory cannot be made or opened.
    #[error("cannot prepare socket directory '{dir}'")]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The path does not fit a Unix socket address.
    #[error("cannot use socket path '{path}' of {length} bytes: expected at most {MAX_PATH_BYTES}")]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
    /// `bind`, `listen` or `connect` failed.
    #[error("cannot listen on '{path}'")]
    Listen {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The path for the task group `group` of `namespace` under the containerd at `grpc_address`.
pub(crate) fn path(dir: Option<&str>, grpc_address: &str, namespace: &str, group: &str) -> PathBuf {
    let mut hash = Sha256::new();
    for part in [
        NAME_SALT,
        grpc_address.as_bytes(),
        namespace.as_bytes(),
        group.as_bytes(),
    ] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let name: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Path::new(dir.unwrap_or(SOCKET_DIR)).join(name)
}

/// Binds `path`, or finds the server that already listens there. A stale file is replaced.
///
/// Two callers at once get one server: the directory is locked from the first look to the
/// moment the socket listens.
///
/// # Errors
///
/// [`SocketError`].
pub(crate) fn bind_or_join(path: PathBuf) -> Result<Socket, SocketError> {
    let length = path.as_os_str().len();
    if length > MAX_PATH_BYTES {
        return Err(SocketError::PathTooLong { path, length });
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    let directory = |source| SocketError::Directory {
        dir: dir.to_owned(),
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(dir)
        .map_err(directory)?;
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let dir_fd = open(dir, flags, Mode::empty()).map_err(|errno| directory(errno.into()))?;
    let _lock = Flock::lock(dir_fd, FlockArg::LockExclusive)
        .map_err(|(_, errno)| directory(errno.into()))?;
    let listen = |source| SocketError::Listen {
        path: path.clone(),
        source,
    };
    match UnixStream::connect(&path) {
        Ok(_) => return Ok(Socket::Joined { path }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(&path).map_err(listen)?;
        }
        Err(error) => return Err(listen(error)),
    }
    let old = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(&path);
    umask(old);
    let listener = bound.map_err(listen)?;
    Ok(Socket::Bound { listener, path })
}

/// Removes `path` if it is still the socket of `listener`: another server may have taken the name.
/// To be called before the listener is closed, so that nobody joins a server that is ending.
pub(crate) fn remove(path: &Path, identity: Option<(u64, u64)>) {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let Ok(dir_fd) = open(dir, flags, Mode::empty()) else {
        return;
    };
    let Ok(_lock) = Flock::lock(dir_fd, FlockArg::LockExclusive) else {
        return;
    };
    if identity.is_some() && file_identity(path) == identity {
        drop(std::fs::remove_file(path));
    }
}

/// Device and inode of the file at `path`.
pub(crate) fn file_identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path)
        .ok()
        .map(|metadata| (metadata.dev(), metadata.ino()))
}

// === impl Socket ===

impl Socket {
    /// Gives up a socket that nobody will serve.
    pub(crate) fn abandon(self) {
        if let Self::Bound { listener, path } = self {
            remove(&path, file_identity(&path));
            drop(listener);
        }
    }

    /// The address in containerd's form.
    pub(crate) fn address(&self) -> String {
        let (Self::Bound { path, .. } | Self::Joined { path }) = self;
        format!("unix://{}", path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn names_differ_by_each_part_and_not_by_where_they_join() {
        let name = |address, namespace, group| path(None, address, namespace, group);
        assert_ne!(name("a", "b", "c"), name("a", "b", "d"));
        assert_ne!(name("ab", "c", "d"), name("a", "bc", "d"));
        assert_eq!(name("a", "b", "c"), name("a", "b", "c"));
        assert!(name("a", "b", "c").as_os_str().len() <= MAX_PATH_BYTES);
    }

    #[test]
    fn binds_private_joins_a_listener_and_replaces_a_stale_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let Socket::Bound { listener, .. } = bind_or_join(path.clone()).unwrap() else {
            panic!("nobody listened");
        };
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(matches!(
            bind_or_join(path.clone()).unwrap(),
            Socket::Joined { .. }
        ));
        drop(listener);
        assert!(matches!(bind_or_join(path).unwrap(), Socket::Bound { .. }));
    }

    #[test]
    fn removes_its_own_socket_and_not_a_later_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let first = bind_or_join(path.clone()).unwrap();
        let identity = file_identity(&path);
        // Keeps the inode, so that the next file cannot have its number.
        let kept = dir.path().join("kept");
        std::fs::rename(&path, &kept).unwrap();
        let _second = bind_or_join(path.clone()).unwrap();
        remove(&path, identity);
        assert!(path.exists());
        remove(&path, file_identity(&path));
        assert!(!path.exists());
        drop(first);
    }

    #[test]
    fn refuses_a_path_one_byte_too_long() {
        let path = |length: usize| PathBuf::from(format!("/tmp/{}", "x".repeat(length - 5)));
        let error = bind_or_join(path(MAX_PATH_BYTES + 1)).unwrap_err();
        assert!(matches!(
            error,
            SocketError::PathTooLong { length: 108, .. }
        ));
    }
}
