//! A directory in which relying parties keep what the next one of them has to know: made by the
//! first that needs it, root's alone, and written by one of them at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::poll::{PollTimeout, poll};

use crate::error::HostError;
use crate::trusted_file::{FOREIGN_WRITE, read_trusted_file};

/// How often, and with what pause, a lock is tried that another relying party holds. It is held
/// for one small file; whoever holds it for longer has been stopped.
const TRIES: u32 = 50;
/// See [`TRIES`].
const PAUSE_MS: u8 = 5;

/// What becomes of a file when the host loses its power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// It is in memory.
    Boot,
    /// It is what was written last.
    Always,
}

/// The text of a file, nothing if there is none.
pub(crate) fn read(path: &Path, limit_bytes: u64) -> Result<Option<String>, HostError> {
    let bytes = match read_trusted_file(path, limit_bytes) {
        Ok(bytes) => bytes,
        Err(HostError::Open { cause, .. }) if cause.kind() == ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(HostError::Untrusted {
            path: path.into(),
            expected: "text",
            found: "other bytes".to_owned(),
        }),
    }
}

/// Writes the whole of a file; readers see the old one or the new one. The lock must be held.
pub(crate) fn replace(path: &Path, bytes: &[u8], lasting: Lasting) -> Result<(), HostError> {
    let next = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&next)?;
        file.write_all(bytes)?;
        if lasting == Lasting::Always {
            file.sync_all()?;
        }
        std::fs::rename(&next, path)?;
        if lasting == Lasting::Always {
            sync_directory(path)?;
        }
        Ok(())
    };
    write().map_err(|cause| HostError::Write {
        path: next.clone(),
        cause,
    })
}

/// Removes a file for good. The lock must be held.
pub(crate) fn remove(path: &Path) -> Result<(), HostError> {
    let removed = std::fs::remove_file(path).and_then(|()| sync_directory(path));
    removed.map_err(|cause| HostError::Write {
        path: path.into(),
        cause,
    })
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Opens the directory, made if it is not there.
pub(crate) fn open(directory: &Path) -> Result<File, HostError> {
    let failed = |cause| HostError::Open {
        path: directory.into(),
        cause,
    };
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits())
        .open(directory)
        .map_err(failed)?;
    let metadata = opened.metadata().map_err(failed)?;
    if metadata.uid() != nix::unistd::geteuid().as_raw() || metadata.mode() & FOREIGN_WRITE != 0 {
        return Err(HostError::Untrusted {
            path: directory.into(),
            expected: "owner root and no write right for others",
            found: format!(
                "uid {}, mode {:04o}",
                metadata.uid(),
                metadata.mode() & 0o7777
            ),
        });
    }
    Ok(opened)
}

/// The same, for nobody but us until the lock is dropped.
pub(crate) fn lock(directory: &Path) -> Result<Flock<File>, HostError> {
    let failed = |cause| HostError::Open {
        path: directory.into(),
        cause,
    };
    let mut opened = open(directory)?;
    for _ in 0..TRIES {
        match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => opened = file,
            Err((_file, errno)) => return Err(failed(errno.into())),
        }
        // Cut short by a signal, it is a shorter pause.
        let _woken = poll(&mut [], PollTimeout::from(PAUSE_MS));
    }
    Err(failed(ErrorKind::TimedOut.into()))
}
