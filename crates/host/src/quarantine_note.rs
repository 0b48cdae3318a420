//! That the operator has put this host into quarantine, for relying parties that do not get as far
//! as the PCR that says so: a break-glass token waives a verdict that is missing or old, and must
//! not waive a quarantine with it.
//!
//! The agent can neither write nor remove it. A reboot, which ends the quarantine, does.

use std::path::Path;

use crate::error::HostError;
use crate::kept::{self, Lasting, lock};

/// The file in the directory.
const FILE: &str = "quarantine";
/// All that is in it.
const TEXT: &str = "portcullis-quarantine 1\n";
/// More than that.
const LIMIT_BYTES: u64 = 1024;

/// Notes a quarantine in `directory`, which is root's and does not outlive a boot.
///
/// # Errors
///
/// [`HostError`].
pub fn note_quarantine(directory: &Path) -> Result<(), HostError> {
    let _lock = lock(directory)?;
    kept::replace(&directory.join(FILE), TEXT.as_bytes(), Lasting::Boot)
}

/// Whether a quarantine was noted in `directory`, in this boot.
///
/// # Errors
///
/// [`HostError`]: what cannot be read is not taken for none.
pub fn quarantine_is_noted(directory: &Path) -> Result<bool, HostError> {
    Ok(kept::read(&directory.join(FILE), LIMIT_BYTES)?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root_only::is_root;

    mod needs_root {
        use super::*;

        #[test]
        fn a_quarantine_is_noted_and_stays() {
            if !is_root() {
                return;
            }
            let scratch = tempfile::tempdir().unwrap();
            let directory = scratch.path().join("gate");
            assert!(!quarantine_is_noted(&directory).unwrap());
            note_quarantine(&directory).unwrap();
            note_quarantine(&directory).unwrap();
            assert!(quarantine_is_noted(&directory).unwrap());
        }

        #[test]
        fn a_note_that_cannot_be_read_is_not_none() {
            if !is_root() {
                return;
            }
            let scratch = tempfile::tempdir().unwrap();
            std::fs::create_dir(scratch.path().join("quarantine")).unwrap();
            quarantine_is_noted(scratch.path()).unwrap_err();
        }
    }
}
