//! Whether the socket is root's, and root answers on it.
//!
//! Somebody who can bind the socket's path, or answer on it, can withhold the verdict and say what
//! the TPM says. The shim checks its own connection with [`examine_socket`] and [`verify_uid`].

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The only user whose agent is asked.
pub const TRUSTED_UID: u32 = 0;

/// Permission bits that let others than the owner replace a file in a directory.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The sticky bit: others may write to the directory, but not replace the owner's files.
const STICKY: u32 = 0o1000;

/// Why the socket cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The path cannot be looked at; worth a retry, the agent may be starting.
    #[error("cannot look at '{}'", path.escape_debug())]
    Inspect {
        /// The socket or its directory.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The path does not belong to root alone.
    #[error("cannot trust '{}': expected {expected}, found {found}", path.escape_debug())]
    Untrusted {
        /// The socket or its directory.
        path: String,
        /// What would have been right.
        expected: &'static str,
        /// What was there.
        found: String,
    },
}

/// Checks that `path` is a socket of root's that nobody else may write to, in such a directory.
///
/// The socket may be replaced after this check, by root only. It does not say who answers on it:
/// that is [`verify_uid`] on the connection.
///
/// # Errors
///
/// [`PeerError::Inspect`] if the path does not exist or cannot be read, [`PeerError::Untrusted`] if
/// it belongs to somebody else.
pub fn examine_socket(path: &Path) -> Result<(), PeerError> {
    let directory = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let parent = inspect(&directory)?;
    let socket = inspect(path)?;
    if !parent.is_dir() {
        return Err(untrusted(
            &directory,
            "a directory",
            "something else".to_owned(),
        ));
    }
    if !socket.file_type().is_socket() {
        return Err(untrusted(path, "a socket", "something else".to_owned()));
    }
    examine_owner(&directory, parent.uid(), parent.mode())?;
    examine_owner(path, socket.uid(), socket.mode())
}

/// Checks that the process on the other end of the connection runs as root.
///
/// `uid` comes from `SO_PEERCRED`, where the kernel keeps who called `listen`.
///
/// # Errors
///
/// [`PeerError::Untrusted`] if it is not root.
pub fn verify_uid(path: &Path, uid: u32) -> Result<(), PeerError> {
    if uid == TRUSTED_UID {
        Ok(())
    } else {
        Err(untrusted(path, "an agent of uid 0", format!("uid {uid}")))
    }
}

fn examine_owner(path: &Path, uid: u32, mode: u32) -> Result<(), PeerError> {
    if uid != TRUSTED_UID {
        return Err(untrusted(path, "owner root", format!("uid {uid}")));
    }
    if mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
        let found = format!("mode {:04o}", mode & 0o7777);
        return Err(untrusted(
            path,
            "no write permission for group and others",
            found,
        ));
    }
    Ok(())
}

fn inspect(path: &Path) -> Result<std::fs::Metadata, PeerError> {
    // Not followed: a link would move the question to another place than the answer comes from.
    std::fs::symlink_metadata(path).map_err(|source| PeerError::Inspect {
        path: path.display().to_string(),
        source,
    })
}

fn untrusted(path: &Path, expected: &'static str, found: String) -> PeerError {
    PeerError::Untrusted {
        path: path.display().to_string(),
        expected,
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusts_uid_0_only() {
        let path = Path::new("/run/portcullis/agent.sock");
        verify_uid(path, 0).unwrap();
        assert_eq!(
            verify_uid(path, 1000).unwrap_err().to_string(),
            "cannot trust '/run/portcullis/agent.sock': expected an agent of uid 0, found uid 1000"
        );
        assert!(verify_uid(path, u32::MAX).is_err());
    }

    #[test]
    fn refuses_a_socket_that_others_may_write_to() {
        let path = Path::new("/run/portcullis/agent.sock");
        for mode in [0o600, 0o700, 0o755, 0o644] {
            assert!(examine_owner(path, 0, mode).is_ok(), "{mode:o}");
        }
        for mode in [0o620, 0o602, 0o666] {
            assert!(examine_owner(path, 0, mode).is_err(), "{mode:o}");
        }
        assert_eq!(
            examine_owner(path, 0, 0o140_666).unwrap_err().to_string(),
            "cannot trust '/run/portcullis/agent.sock': expected no write permission for group \
             and others, found mode 0666"
        );
    }

    #[test]
    fn accepts_a_directory_of_root_where_the_sticky_bit_guards_the_socket() {
        examine_owner(Path::new("/tmp"), 0, 0o041_777).unwrap();
        assert!(examine_owner(Path::new("/tmp"), 1000, 0o041_777).is_err());
    }

    #[test]
    fn refuses_what_is_not_a_socket_and_what_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("agent.sock");
        assert!(matches!(
            examine_socket(&file),
            Err(PeerError::Inspect { .. })
        ));
        std::fs::write(&file, b"").unwrap();
        let error = examine_socket(&file).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("expected a socket, found something else"),
            "{error}"
        );
    }

    #[test]
    fn refuses_a_link_to_a_socket() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("real.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = directory.path().join("agent.sock");
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        assert!(matches!(
            examine_socket(&link),
            Err(PeerError::Untrusted { .. })
        ));
    }
}
