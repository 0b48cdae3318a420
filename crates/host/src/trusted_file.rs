//! Files that only root can have written.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

use crate::error::HostError;

/// Write bits of group and others.
pub(crate) const FOREIGN_WRITE: u32 = 0o022;

/// Reads a settings or key file of at most `limit_bytes` bytes.
///
/// The file is opened once, without following a link in its last component, and must be a regular
/// file that belongs to root and that neither group nor others may write. Does not look at the
/// directories above it.
///
/// # Errors
///
/// [`HostError::Open`] (its cause is `NotFound` if there is no such file),
/// [`HostError::Untrusted`], [`HostError::Size`], [`HostError::Read`].
pub fn read_trusted_file(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, HostError> {
    // Non-blocking, so that a FIFO in place of the file cannot hold us.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = File::options()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
        .map_err(|cause| HostError::Open {
            path: path.into(),
            cause,
        })?;
    let read = |cause| HostError::Read {
        path: path.into(),
        cause,
    };
    let metadata = file.metadata().map_err(read)?;
    refuse_foreign(path, &metadata)?;
    let mut bytes = Vec::new();
    file.take(limit_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(read)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit_bytes {
        return Err(HostError::Size {
            path: path.into(),
            limit_bytes,
        });
    }
    Ok(bytes)
}

/// Refuses everything but a regular file that only root can write.
pub(crate) fn refuse_foreign(path: &Path, metadata: &Metadata) -> Result<(), HostError> {
    let untrusted = |expected, found| HostError::Untrusted {
        path: path.into(),
        expected,
        found,
    };
    if !metadata.is_file() {
        return Err(untrusted("a regular file", "something else".to_owned()));
    }
    if metadata.uid() != 0 {
        return Err(untrusted("owner root", format!("uid {}", metadata.uid())));
    }
    if metadata.mode() & FOREIGN_WRITE != 0 {
        let found = format!("mode {:04o}", metadata.mode() & 0o7777);
        return Err(untrusted("no write right for group and others", found));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn file(mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("settings");
        fs::write(&path, "four").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (scratch, path)
    }

    #[test]
    fn a_directory_and_a_link_are_no_settings() {
        let (scratch, path) = file(0o644);
        let link = scratch.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(
            read_trusted_file(&link, 4),
            Err(HostError::Open { .. })
        ));
        let directory = read_trusted_file(scratch.path(), 4)
            .unwrap_err()
            .to_string();
        assert!(directory.ends_with("expected a regular file, found something else"));
    }

    mod needs_root {
        use super::*;

        #[test]
        fn a_file_of_root_is_read_up_to_its_limit() {
            let (_scratch, path) = file(0o644);
            if fs::metadata(&path).unwrap().uid() != 0 {
                eprintln!("skipped: needs root; run as root, or with 'cargo xtask test'");
                return;
            }
            assert_eq!(read_trusted_file(&path, 4).unwrap(), b"four");
            assert!(matches!(
                read_trusted_file(&path, 3),
                Err(HostError::Size { .. })
            ));
        }

        #[test]
        fn a_file_that_others_may_write_is_refused() {
            let (_scratch, path) = file(0o664);
            if fs::metadata(&path).unwrap().uid() != 0 {
                eprintln!("skipped: needs root; run as root, or with 'cargo xtask test'");
                return;
            }
            let refused = read_trusted_file(&path, 4).unwrap_err().to_string();
            assert!(
                refused.ends_with("expected no write right for group and others, found mode 0664")
            );
        }
    }
}
