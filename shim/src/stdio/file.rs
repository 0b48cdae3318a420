//! Files that output is appended to.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::StdioError;
use crate::log;

/// A file that output is appended to; what does not fit on the disk is lost, and the process that
/// wrote it goes on.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    path: PathBuf,
    fails: bool,
}

impl LogFile {
    /// Opens the file at `path`, makes it (0644) and the directories above it (0755) if they are
    /// not there. A link in its place is not followed: it could be somebody else's.
    ///
    /// # Errors
    ///
    /// [`StdioError::Open`]; [`StdioError::Kind`] if it is not a regular file.
    ///
    /// # Source
    ///
    /// containerd, `cmd/containerd-shim-runc-v2/process/io.go: createIO`.
    pub(super) fn open(stream: &'static str, path: &Path) -> Result<Self, StdioError> {
        let failed = |source| StdioError::Open {
            stream,
            path: path.to_owned(),
            source,
        };
        if let Some(parent) = path.parent() {
            let mut directories = DirBuilder::new();
            directories.recursive(true).mode(0o755);
            directories.create(parent).map_err(failed)?;
        }
        // Non-blocking, so that a FIFO in place of the file cannot hold us.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o644)
            .custom_flags(flags)
            .open(path)
            .map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(StdioError::Kind {
                stream,
                expected: "a regular file",
                path: path.to_owned(),
            });
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            fails: false,
        })
    }

    /// Appends `bytes`, and tells of the first of a row of failures.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        let written = self.file.write_all(bytes);
        if let Err(error) = &written
            && !self.fails
        {
            let path = self.path.display();
            log::warn(&format!(
                "cannot write '{path}': {error}, its output is lost"
            ));
        }
        self.fails = written.is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn appends_and_makes_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/web.log");
        LogFile::open("stdout", &path).unwrap().append(b"one\n");
        LogFile::open("stderr", &path).unwrap().append(b"two\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777 & !0o644, 0);
    }

    #[test]
    fn takes_no_link_and_nothing_but_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        std::fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let error = LogFile::open("stdout", &link).unwrap_err();
        assert!(matches!(error, StdioError::Open { .. }), "{error}");
        let error = LogFile::open("stdout", Path::new("/dev/zero")).unwrap_err();
        assert!(matches!(error, StdioError::Kind { .. }), "{error}");
    }

    #[test]
    fn a_full_disk_stops_nothing() {
        let Ok(file) = OpenOptions::new().append(true).open("/dev/full") else {
            return;
        };
        let mut full = LogFile {
            file,
            path: "/dev/full".into(),
            fails: false,
        };
        full.append(b"lost");
        assert!(full.fails);
    }
}
