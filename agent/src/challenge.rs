//! Challenges for attestations: drawn at random, and never drawn twice.
//!
//! A source of random bytes that repeats itself (a cloned machine, a broken driver) would let old
//! evidence answer a new challenge, so what comes from it is compared with what came before: with
//! all of this run, and with the last one of the run before.

use std::collections::HashSet;
use std::path::PathBuf;

use portcullis_attestation::base64url;
use portcullis_attestation::nonce::Nonce;

use crate::atomic_file::{self, FileError};
use crate::log;

/// In the state directory: the last challenge.
pub(crate) const FILE: &str = "nonce";
/// 32 bytes in base64url and a line end.
const LIMIT_BYTES: u64 = 44;
/// Challenges that are remembered: a year of them at one every eight minutes.
const MEMORY: usize = 65_536;

/// Draws challenges.
#[derive(Debug)]
pub(crate) struct Challenges {
    path: PathBuf,
    drawn: HashSet<[u8; 32]>,
}

/// A challenge that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChallengeError {
    /// The kernel gives no random bytes.
    #[error("cannot draw a nonce")]
    Random(#[source] getrandom::Error),
    /// What it gives is not random.
    #[error("cannot use a nonce that was used before: this machine's random source repeats itself")]
    Repeated,
    /// The challenge cannot be remembered.
    #[error("cannot remember a nonce")]
    Store(#[from] FileError),
}

// === impl Challenges ===

impl Challenges {
    /// Remembers the last one that was drawn, as the file at `path` has it.
    pub(crate) fn open(path: PathBuf) -> Self {
        let mut drawn = HashSet::new();
        match atomic_file::read(&path, LIMIT_BYTES) {
            Ok(None) => {}
            Ok(Some(text)) => {
                let text = std::str::from_utf8(&text).map(str::trim_end).ok();
                match text.and_then(base64url::decode_array::<32>) {
                    Some(last) => drop(drawn.insert(last)),
                    None => log::warn("last nonce unreadable", &[]),
                }
            }
            Err(error) => log::warn("last nonce unreadable", &[("cause", &log::chain(&error))]),
        }
        Self { path, drawn }
    }

    /// A new one. It is on disk before it is returned.
    pub(crate) fn draw(&mut self) -> Result<Nonce, ChallengeError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(ChallengeError::Random)?;
        self.take(bytes)
    }

    fn take(&mut self, bytes: [u8; 32]) -> Result<Nonce, ChallengeError> {
        if bytes == [0; 32] || self.drawn.contains(&bytes) {
            return Err(ChallengeError::Repeated);
        }
        if self.drawn.len() >= MEMORY {
            self.drawn.clear();
        }
        let nonce = Nonce::new(bytes);
        atomic_file::write(&self.path, format!("{nonce}\n").as_bytes())?;
        self.drawn.insert(bytes);
        Ok(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_none_twice_in_one_run_and_across_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let mut challenges = Challenges::open(path.clone());
        let first = challenges.draw().unwrap();
        let second = challenges.draw().unwrap();
        assert_ne!(first, second);
        for repeated in [first, second] {
            let refused = challenges.take(*repeated.as_bytes()).unwrap_err();
            assert!(matches!(refused, ChallengeError::Repeated));
        }
        let mut next = Challenges::open(path);
        let refused = next.take(*second.as_bytes()).unwrap_err();
        assert!(matches!(refused, ChallengeError::Repeated));
    }

    #[test]
    fn a_source_that_gives_nothing_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let mut challenges = Challenges::open(directory.path().join(FILE));
        challenges.take([0; 32]).unwrap_err();
        challenges.take([1; 32]).unwrap();
        challenges.take([1; 32]).unwrap_err();
    }

    #[test]
    fn one_that_cannot_be_remembered_is_not_given() {
        let directory = tempfile::tempdir().unwrap();
        let mut challenges = Challenges::open(directory.path().join("gone").join(FILE));
        assert!(matches!(challenges.draw(), Err(ChallengeError::Store(_))));
    }
}
