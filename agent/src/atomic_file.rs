//! Files that are there as a whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use portcullis_host::write_whole;

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The file cannot be opened or read.
    #[error("cannot read '{}'", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The file is larger than what we write there.
    #[error("cannot accept '{}': it has more than {limit_bytes} bytes", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit_bytes: u64,
    },
    /// The file cannot be written.
    #[error("cannot write '{}'", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Puts `contents` at `path`, mode 0600, and makes sure it survives a power cut.
///
/// Readers see the old contents or the new ones. The directory must belong to us alone.
pub(crate) fn write(path: &Path, contents: &[u8]) -> Result<(), FileError> {
    write_whole(path, contents).map_err(|source| FileError::Write {
        path: path.to_owned(),
        source,
    })
}

/// Removes `path` if it is there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Removes `path` if it is there, and makes sure it does not come back with a power cut.
pub(crate) fn remove_durably(path: &Path) -> Result<(), FileError> {
    let synced = || match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    };
    remove(path)
        .and_then(|()| synced())
        .map_err(|source| FileError::Write {
            path: path.to_owned(),
            source,
        })
}

/// Reads at most `limit_bytes`; `None` if there is no file.
pub(crate) fn read(path: &Path, limit_bytes: u64) -> Result<Option<Vec<u8>>, FileError> {
    let reading = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(reading(error)),
    };
    let mut contents = Vec::new();
    // One byte more than allowed shows the excess.
    file.take(limit_bytes.saturating_add(1))
        .read_to_end(&mut contents)
        .map_err(reading)?;
    if contents.len() as u64 > limit_bytes {
        return Err(FileError::Size {
            path: path.to_owned(),
            limit_bytes,
        });
    }
    Ok(Some(contents))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn writes_and_replaces_with_mode_0600() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("verdict.jwt");
        for contents in [b"one".as_slice(), b"another"] {
            write(&path, contents).unwrap();
            assert_eq!(read(&path, 10).unwrap().unwrap(), contents);
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_left_by_a_crash_is_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("verdict.jwt");
        std::fs::write(directory.path().join("verdict.jwt.new"), "half").unwrap();
        write(&path, b"whole").unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"whole");
    }

    #[test]
    fn reads_up_to_the_limit_and_not_beyond() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        assert!(read(&path, 3).unwrap().is_none());
        write(&path, b"123").unwrap();
        assert!(read(&path, 3).unwrap().is_some());
        assert!(matches!(read(&path, 2), Err(FileError::Size { .. })));
    }

    #[test]
    fn follows_no_link() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link");
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert!(matches!(read(&path, 1000), Err(FileError::Read { .. })));
    }
}
