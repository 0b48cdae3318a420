//! What the agent remembers of reference values that were withdrawn; it survives a restart.

use std::path::PathBuf;

use portcullis_attestation::reference::Floors;
use portcullis_json::{JsonError, Limits};

use crate::atomic_file::{self, FileError};

/// 256 providers with names of 256 bytes, and their numbers.
const LIMITS: Limits = Limits {
    max_bytes: 128 * 1024,
    max_depth: 2,
};

/// The floors on disk.
#[derive(Debug)]
pub(crate) struct FloorsFile {
    path: PathBuf,
    floors: Floors,
}

/// They cannot be read or kept. Going on without them would let old documents come back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FloorsError {
    /// The file cannot be read or written.
    #[error("cannot remember which reference values were withdrawn")]
    File(#[from] FileError),
    /// The file is not JSON.
    #[error("cannot read '{}'", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: JsonError,
    },
    /// The file holds something else.
    #[error("cannot read '{}': expected providers and sequence numbers", path.display())]
    Form {
        /// The file.
        path: PathBuf,
    },
}

// === impl FloorsFile ===

impl FloorsFile {
    /// Reads them; none if there is no file.
    pub(crate) fn open(path: PathBuf) -> Result<Self, FloorsError> {
        let limit = u64::try_from(LIMITS.max_bytes).unwrap_or(u64::MAX);
        let floors = match atomic_file::read(&path, limit)? {
            None => Floors::default(),
            Some(bytes) => match portcullis_json::parse(&bytes, LIMITS) {
                Ok(value) => match Floors::from_json(&value) {
                    Some(floors) => floors,
                    None => return Err(FloorsError::Form { path }),
                },
                Err(source) => return Err(FloorsError::Json { path, source }),
            },
        };
        Ok(Self { path, floors })
    }

    /// What is remembered.
    pub(crate) const fn floors(&self) -> &Floors {
        &self.floors
    }

    /// Remembers `floors`, if they are others; on disk before it returns.
    pub(crate) fn keep(&mut self, floors: Floors) -> Result<(), FloorsError> {
        if self.floors != floors {
            atomic_file::write(&self.path, floors.to_json().to_string().as_bytes())?;
            self.floors = floors;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn remembers_across_a_restart_and_takes_no_damage_for_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("reference-floors.json");
        let floors = Floors::from_json(&json!({ "ops": 7 })).unwrap();
        let mut file = FloorsFile::open(path.clone()).unwrap();
        assert_eq!(*file.floors(), Floors::default());
        file.keep(floors.clone()).unwrap();
        assert_eq!(*FloorsFile::open(path.clone()).unwrap().floors(), floors);
        for damaged in ["", "{", "[]", "{\"a\":\"7\"}", "{\"a\":1,\"a\":2}"] {
            std::fs::write(&path, damaged).unwrap();
            FloorsFile::open(path.clone()).unwrap_err();
        }
    }
}
