//! The logs of this host: the firmware's events, and IMA's list.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use portcullis_attestation::event_log::MAX_BYTES;
use portcullis_attestation::ima;
use portcullis_config::paths;

use crate::failure::Failure;
use crate::files::{self, FileError};

#[derive(Debug, thiserror::Error)]
enum LiveLogError {
    #[error(
        "cannot find this host's event log '{}': the kernel has none; firmware without a TPM, and \
         boot loaders that do not pass it on, leave none", path.display()
    )]
    Missing { path: PathBuf },
    #[error(
        "cannot find this host's IMA list '{}': the kernel has none, or not for this user", path.display()
    )]
    NoList { path: PathBuf },
}

/// Reads the event log.
pub(crate) fn read_live() -> Result<Vec<u8>, Failure> {
    let path = Path::new(paths::EVENT_LOG);
    read(path).map_err(|error| match error {
        FileError::Read { source, .. } if source.kind() == ErrorKind::NotFound => {
            Failure::usage(LiveLogError::Missing {
                path: path.to_path_buf(),
            })
        }
        other => other.into(),
    })
}

/// Reads the IMA list. To be read after the PCRs, which it then explains at some place.
pub(crate) fn read_ima_list() -> Result<Vec<u8>, Failure> {
    let path = Path::new(paths::IMA_LIST);
    let limit = u64::try_from(ima::MAX_BYTES).unwrap_or(u64::MAX);
    files::read(path, limit).map_err(|error| match error {
        FileError::Read { source, .. } if source.kind() == ErrorKind::NotFound => {
            Failure::usage(LiveLogError::NoList {
                path: path.to_path_buf(),
            })
        }
        other => other.into(),
    })
}

/// Reads an event log from a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    files::read(path, u64::try_from(MAX_BYTES).unwrap_or(u64::MAX))
}
