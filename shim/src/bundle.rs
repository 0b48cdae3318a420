//! Files of a bundle: read with a limit, written whole, never through a link.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The OCI configuration.
pub(crate) const CONFIG: &str = "config.json";

/// Largest OCI configuration, in bytes; the strict parser's own limit.
pub(crate) const MAX_CONFIG_BYTES: u64 = 10 * 1024 * 1024;

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
///
/// The error of the operating system; `InvalidData` for anything but a regular file or for more
/// than `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let invalid = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return invalid("not a regular file");
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(limit)).unwrap_or(0) + 1);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        invalid("larger than the limit")
    } else {
        Ok(bytes)
    }
}

/// Writes a new file that only root can read; an older one of that name is replaced.
///
/// # Errors
///
/// The error of the operating system.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    file.write_all(bytes)
}

/// Replaces `path` in one step: readers see the old file or the new one.
///
/// Of two processes that do so at once, as two starts of one task, one comes last; neither fails.
/// Not synced to disk: a bundle does not survive a crash of the machine.
///
/// # Errors
///
/// The error of the operating system.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("new{}", std::process::id()));
    write_private(&temporary, bytes)?;
    std::fs::rename(&temporary, path).inspect_err(|_| drop(std::fs::remove_file(&temporary)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn reads_up_to_the_limit_and_not_a_byte_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(
            read(&path, 4).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn refuses_links_and_what_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
        assert_eq!(
            read(&link, 100).unwrap_err().raw_os_error(),
            Some(libc::ELOOP)
        );
        assert_eq!(
            read(dir.path(), 100).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn replaces_a_file_by_a_private_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, b"old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }
}
