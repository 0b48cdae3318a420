//! The number of the last verdict: it grows with each, also across restarts and crashes.

use std::path::PathBuf;

use crate::atomic_file::{self, FileError};

/// Twenty digits and a line end.
const LIMIT_BYTES: u64 = 21;

/// A number on disk.
#[derive(Debug)]
pub(crate) struct Sequence {
    path: PathBuf,
    last: u64,
}

/// A number that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SequenceError {
    /// The file cannot be read or written.
    #[error("cannot count verdicts")]
    File(#[from] FileError),
    /// The file holds no number. Starting again from zero would make new verdicts look old.
    #[error("cannot read the number of the last verdict in '{}'", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

// === impl Sequence ===

impl Sequence {
    /// Reads the last number; zero if there is no file.
    pub(crate) fn open(path: PathBuf) -> Result<Self, SequenceError> {
        let last = match atomic_file::read(&path, LIMIT_BYTES)? {
            None => 0,
            Some(bytes) => match std::str::from_utf8(&bytes)
                .map(str::trim_end)
                .map(str::parse)
            {
                Ok(Ok(last)) => last,
                _ => return Err(SequenceError::Malformed { path }),
            },
        };
        Ok(Self { path, last })
    }

    /// The next number. It is on disk before it is returned, so it is never given twice.
    pub(crate) fn next(&mut self) -> Result<u64, SequenceError> {
        let next = self.last.saturating_add(1);
        atomic_file::write(&self.path, format!("{next}\n").as_bytes())?;
        self.last = next;
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sequence");
        let mut first = Sequence::open(path.clone()).unwrap();
        assert_eq!((first.next().unwrap(), first.next().unwrap()), (1, 2));
        assert_eq!(Sequence::open(path).unwrap().next().unwrap(), 3);
    }

    #[test]
    fn does_not_start_again_when_the_file_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sequence");
        for damaged in ["", "x", "-1", "1 2", "18446744073709551616"] {
            std::fs::write(&path, damaged).unwrap();
            let refused = Sequence::open(path.clone()).unwrap_err();
            assert!(
                matches!(refused, SequenceError::Malformed { .. }),
                "{damaged:?}"
            );
        }
    }
}
