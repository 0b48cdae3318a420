//! Logs that the kernel keeps of what was measured.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use portcullis_attestation::event_log;
use portcullis_config::paths;
use sha2::{Digest as _, Sha256};

use crate::log;

/// The whole log at `path`, and one byte more than `limit_bytes` of a longer one, so that the
/// verifier sees that it is too long.
///
/// `None` if the kernel keeps none, which is how many hosts are, and if it cannot be read: to a
/// verifier that needs the log both are the same.
pub(crate) fn read(path: &str, limit_bytes: usize) -> Option<Vec<u8>> {
    match read_file(Path::new(path), limit_bytes) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            log::warn(
                "log of the kernel not read",
                &[("path", path), ("cause", &error.to_string())],
            );
            None
        }
    }
}

/// SHA-256 of the firmware's log as it is now; `None` if there is none.
pub(crate) fn firmware_digest() -> Option<[u8; 32]> {
    read(paths::EVENT_LOG, event_log::MAX_BYTES).map(|log| digest(&log))
}

/// SHA-256 of a log.
pub(crate) fn digest(log: &[u8]) -> [u8; 32] {
    Sha256::digest(log).into()
}

fn read_file(path: &Path, limit_bytes: usize) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(limit_bytes).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_up_to_one_byte_beyond_the_limit() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log");
        for (size, read_bytes) in [(0, 0), (9, 9), (10, 10), (11, 11), (100, 11)] {
            std::fs::write(&path, vec![7; size]).unwrap();
            let bytes = read(path.to_str().unwrap(), 10).unwrap();
            assert_eq!(bytes, vec![7; read_bytes], "{size}");
        }
    }

    #[test]
    fn a_log_that_is_not_there_or_cannot_be_read_is_none() {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(
            read(scratch.path().join("none").to_str().unwrap(), 10),
            None
        );
        assert_eq!(read(scratch.path().to_str().unwrap(), 10), None);
    }
}
