//! Reading inputs and writing results: with limits, never following what somebody else placed.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Largest key, token or capture that is read, in bytes. A token is at most 64 KiB; captures of a
/// fleet may be longer.
pub(crate) const INPUT_LIMIT_BYTES: u64 = 1024 * 1024;

/// Mode of what everybody may read.
pub(crate) const PUBLIC: u32 = 0o644;
/// Mode of what only the owner may read.
pub(crate) const PRIVATE: u32 = 0o600;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("cannot read '{}'", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot accept '{}' of more than {limit_bytes} bytes", path.display())]
    Large { path: PathBuf, limit_bytes: u64 },
    #[error("cannot read '{}': it is not text in UTF-8", path.display())]
    Encoding { path: PathBuf },
    #[error("cannot write '{}': the file exists; name another one, or use '--force'", path.display())]
    Exists { path: PathBuf },
    #[error("cannot write '{}'", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

// === impl FileError ===

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Write { .. } => Self::internal(error),
            FileError::Read { .. }
            | FileError::Large { .. }
            | FileError::Encoding { .. }
            | FileError::Exists { .. } => Self::usage(error),
        }
    }
}

/// Reads a whole input file; `-` is standard input.
pub(crate) fn read(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_path_buf(),
        source,
    };
    let mut bytes = Vec::new();
    let limit = limit_bytes.saturating_add(1);
    if path == Path::new("-") {
        io::stdin()
            .lock()
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
    } else {
        let file = File::open(path).map_err(failed)?;
        file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    }
    if u64::try_from(bytes.len()).is_ok_and(|size| size > limit_bytes) {
        return Err(FileError::Large {
            path: path.to_path_buf(),
            limit_bytes,
        });
    }
    Ok(bytes)
}

/// Reads a text file, without white space around the text.
pub(crate) fn read_text(path: &Path) -> Result<String, FileError> {
    let bytes = read(path, INPUT_LIMIT_BYTES)?;
    match str::from_utf8(&bytes) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(_place_does_not_help) => Err(FileError::Encoding {
            path: path.to_path_buf(),
        }),
    }
}

/// Writes a result. Without `force` the file must not exist; with it, it is replaced at once, so
/// that nobody sees half of it and a link in its place is not followed.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32, force: bool) -> Result<(), FileError> {
    if force {
        let temporary = temporary_beside(path);
        create(&temporary, bytes, mode)?;
        return std::fs::rename(&temporary, path).map_err(|source| {
            let removed = std::fs::remove_file(&temporary);
            FileError::Write {
                path: path.to_path_buf(),
                source: removed.err().unwrap_or(source),
            }
        });
    }
    create(path, bytes, mode)
}

/// Makes a directory for results, if it does not exist, for its owner only.
pub(crate) fn make_directory(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| FileError::Write {
            path: path.to_path_buf(),
            source,
        })
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => FileError::Exists {
            path: path.to_path_buf(),
        },
        _ => FileError::Write {
            path: path.to_path_buf(),
            source,
        },
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(failed)?;
    // The mode at creation is a ceiling that the umask lowers; the file gets exactly this one.
    file.set_permissions(Permissions::from_mode(mode))
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn writes_with_the_mode_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        for (name, mode) in [("public", PUBLIC), ("private", PRIVATE)] {
            let path = directory.path().join(name);
            write(&path, b"x", mode, false).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, mode);
        }
    }

    #[test]
    fn replaces_a_file_only_when_forced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        write(&path, b"old", PUBLIC, false).unwrap();
        let error = write(&path, b"new", PUBLIC, false).unwrap_err();
        assert!(matches!(error, FileError::Exists { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        write(&path, b"new", PUBLIC, true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn does_not_write_through_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        std::fs::write(&target, b"kept").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(write(&link, b"new", PUBLIC, false).is_err());
        write(&link, b"new", PUBLIC, true).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"kept");
        assert_eq!(std::fs::read(&link).unwrap(), b"new");
    }

    #[test]
    fn reads_up_to_the_limit_and_not_one_byte_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        for (size, accepted) in [(9, true), (10, true), (11, false)] {
            std::fs::write(&path, vec![b'x'; size]).unwrap();
            assert_eq!(read(&path, 10).is_ok(), accepted, "{size}");
        }
    }

    #[test]
    fn leaves_nothing_behind_where_it_cannot_write() {
        let directory = tempfile::tempdir().unwrap();
        let occupied = directory.path().join("occupied");
        std::fs::create_dir(&occupied).unwrap();
        std::fs::write(occupied.join("inside"), b"").unwrap();
        assert!(matches!(
            write(&occupied, b"x", PUBLIC, true),
            Err(FileError::Write { .. })
        ));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
