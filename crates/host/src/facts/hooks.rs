//! The programs that hooks run.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;
use portcullis_attestation::hex;
use portcullis_hardening::HookFile;
use sha2::{Digest as _, Sha256};

use crate::error::HostError;
use crate::trusted_file::refuse_foreign;

/// Largest program that is read; a launch waits for it.
const LIMIT_BYTES: u64 = 256 << 20;
/// Bytes read at once.
const PIECE_BYTES: usize = 64 << 10;

/// The digest of the program at `path`, which must be a file that only root can change. A link is
/// followed, as the runtime does.
pub(super) fn file(path: &str) -> HookFile {
    let digest = digest(Path::new(path));
    HookFile {
        path: path.to_owned(),
        sha256: digest.map_err(|error| error.to_string()),
    }
}

fn digest(path: &Path) -> Result<String, HostError> {
    let open = |cause| HostError::Open {
        path: path.into(),
        cause,
    };
    let read = |cause| HostError::Read {
        path: path.into(),
        cause,
    };
    // Non-blocking, so that a FIFO in place of the file cannot hold us.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)
        .map_err(open)?;
    refuse_foreign(path, &file.metadata().map_err(read)?)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = LIMIT_BYTES;
    loop {
        let count = file.read(&mut piece).map_err(read)?;
        if count == 0 {
            return Ok(hex::encode(&hash.finalize()));
        }
        left = left
            .checked_sub(u64::try_from(count).unwrap_or(u64::MAX))
            .ok_or_else(|| HostError::Size {
                path: path.into(),
                limit_bytes: LIMIT_BYTES,
            })?;
        hash.update(piece.get(..count).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_program_is_hashed_if_only_root_can_change_it() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("hook");
        let named = path.display().to_string();
        assert!(file(&named).sha256.unwrap_err().contains("cannot open"));
        std::fs::write(&path, "abc").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o775)).unwrap();
        assert!(file(&named).sha256.unwrap_err().contains("cannot trust"));
        assert!(file("/dev/null").sha256.is_err() && file("/usr").sha256.is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        if nix::unistd::geteuid().is_root() {
            // FIPS 180-4, the example of one block.
            let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
            assert_eq!(file(&named).sha256.unwrap(), digest);
        }
    }
}
