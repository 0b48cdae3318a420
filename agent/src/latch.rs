//! The failure that stands, on disk: it outlives the agent and the boot.
//!
//! The file is the agent's own, in a directory of root's alone. Root can remove it, as root can do
//! anything to an embedded verifier; the ledger tells when a failure was found and when it was
//! cleared. One that cannot be read is a failure that stands.

use std::path::{Path, PathBuf};

use portcullis_attestation::appraisal::Appraisal;
use portcullis_attestation::latch::{Failure, Latch, LatchRule};
use portcullis_client::method::{Finding, LatchSummary};

use crate::atomic_file::{self, FileError};
use crate::log;

/// In the state directory.
pub(crate) const FILE: &str = "latch.json";
/// A latch is about 500 bytes.
const LIMIT_BYTES: u64 = 16 * 1024;

/// What stands against this node.
#[derive(Debug)]
pub(crate) struct Standing {
    path: PathBuf,
    latch: Option<Latch>,
}

// === impl Standing ===

impl Standing {
    /// Reads what stood when an earlier agent ended.
    pub(crate) fn open(path: &Path, now_s: u64) -> Self {
        let latch = match atomic_file::read(path, LIMIT_BYTES) {
            Ok(None) => None,
            Ok(Some(text)) => {
                Some(Latch::parse(&text).unwrap_or_else(|error| unreadable(path, now_s, &error)))
            }
            Err(error) => Some(unreadable(path, now_s, &error)),
        };
        Self {
            path: path.to_owned(),
            latch,
        }
    }

    /// What stands, for clients.
    pub(crate) fn summary(&self) -> Option<LatchSummary> {
        let latch = self.latch.as_ref()?;
        let Failure {
            code,
            subject,
            expected,
            found,
        } = latch.failure.clone();
        Some(LatchSummary {
            since: latch.since_s,
            failure: Finding {
                code,
                subject,
                expected,
                found,
            },
        })
    }

    /// Holds an appraisal against what stands: a new failure stands from now on, an old one makes
    /// the appraisal speak against the host, unless it has ended. Returns the one that stands.
    pub(crate) fn judge(
        &mut self,
        appraisal: &mut Appraisal,
        rule: LatchRule,
        now_s: u64,
    ) -> Option<Latch> {
        if rule == LatchRule::Off {
            return None;
        }
        let failure = Latch::of(appraisal, now_s);
        match (&self.latch, failure, &appraisal.state) {
            // The first one stays: what it was about is not explained by a second one.
            (Some(_), Some(_), _) => {}
            (None, Some(failure), _) => self.set(failure),
            (Some(latch), None, Some(state)) if !latch.holds(rule, state) => {
                log::warn("failure approved or over, no longer stands", &[]);
                if let Err(error) = self.clear() {
                    log::error("failure still stands", &[("cause", &log::chain(&error))]);
                }
            }
            (_, None, _) => {}
        }
        let latch = self.latch.as_ref()?;
        latch.apply(appraisal);
        Some(latch.clone())
    }

    /// Notes a failure that gave no appraisal.
    pub(crate) fn note(
        &mut self,
        failure: Failure,
        rule: LatchRule,
        now_s: u64,
        boot_seed: String,
    ) {
        if rule != LatchRule::Off && self.latch.is_none() {
            self.set(Latch::new(failure, now_s, boot_seed));
        }
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// If the file cannot be removed; it stands on then.
    pub(crate) fn clear(&mut self) -> Result<(), FileError> {
        atomic_file::remove_durably(&self.path)?;
        self.latch = None;
        Ok(())
    }

    fn set(&mut self, latch: Latch) {
        let fields = [
            ("code", &*latch.failure.code),
            ("subject", &latch.failure.subject),
        ];
        log::error("attestation failed, and stands until cleared", &fields);
        if let Err(error) = atomic_file::write(&self.path, latch.to_text().as_bytes()) {
            // It stands as long as this agent runs.
            log::error("failure not stored", &[("cause", &log::chain(&error))]);
        }
        self.latch = Some(latch);
    }
}

fn unreadable(path: &Path, now_s: u64, error: &dyn std::error::Error) -> Latch {
    let cause = log::chain(error);
    log::error("record of failures unreadable", &[("cause", &cause)]);
    let failure = Failure {
        code: "verdict-latched".to_owned(),
        subject: format!("record of failures '{}'", path.display()),
        expected: "one that can be read".to_owned(),
        found: cause,
    };
    // Of no boot, so that a reboot alone does not end it where that would.
    Latch::new(failure, now_s, String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Failure {
        Failure {
            code: "pcr-mismatch".to_owned(),
            subject: "PCR 7 (sha256)".to_owned(),
            expected: "00".to_owned(),
            found: "01".to_owned(),
        }
    }

    fn seed() -> String {
        portcullis_attestation::base64url::encode(&[7; 32])
    }

    #[test]
    fn a_failure_outlives_the_agent_until_it_is_cleared() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let mut standing = Standing::open(&path, 1);
        assert_eq!(standing.summary(), None);
        standing.note(failure(), LatchRule::UntilCleared, 5, seed());
        let mut second = failure();
        second.subject = "PCR 4 (sha256)".to_owned();
        standing.note(second, LatchRule::UntilCleared, 6, seed());
        let mut again = Standing::open(&path, 9);
        let summary = again.summary().unwrap();
        assert_eq!(
            (summary.since, &*summary.failure.subject),
            (5, "PCR 7 (sha256)")
        );
        again.clear().unwrap();
        assert_eq!(Standing::open(&path, 9).summary(), None);
    }

    #[test]
    fn one_that_cannot_be_read_stands() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        for damaged in ["", "{}", "x", "{\"version\":1}"] {
            std::fs::write(&path, damaged).unwrap();
            let summary = Standing::open(&path, 9).summary().unwrap();
            assert_eq!(summary.failure.code, "verdict-latched", "{damaged:?}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(Standing::open(&path, 9).summary().is_some());
    }

    #[test]
    fn nothing_stands_where_the_rule_is_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let mut standing = Standing::open(&path, 1);
        standing.note(failure(), LatchRule::Off, 5, seed());
        assert_eq!(standing.summary(), None);
        assert!(!path.exists());
    }
}
