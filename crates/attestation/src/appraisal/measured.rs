//! The event log of the evidence, and how far the quote proves it.

use super::chain;
use crate::event_log::{Event, EventLog};
use crate::evidence::Evidence;
use crate::finding::Finding;
use crate::hex;
use crate::pcr::{PcrIndex, PcrValues};

/// What finding there is if there is no log to believe, told for one boot state.
pub(super) struct Measured<'a> {
    log: Result<Replayed<'a>, Unusable>,
}

/// A log that was read and replayed in the quote's bank.
pub(super) struct Replayed<'a> {
    log: EventLog<'a>,
    values: PcrValues,
}

struct Unusable {
    code: &'static str,
    found: String,
}

// === impl Measured ===

impl<'a> Measured<'a> {
    /// Reads and replays the log; nothing is compared yet.
    pub(super) fn read(evidence: &'a Evidence) -> Self {
        let malformed = |found| Unusable {
            code: "event-log-malformed",
            found,
        };
        let read = |bytes: &'a [u8]| {
            let log = EventLog::parse(bytes).map_err(|cause| malformed(chain(&cause)))?;
            let values = log
                .replay(evidence.pcrs.bank())
                .map_err(|cause| malformed(chain(&cause)))?;
            Ok(Replayed { log, values })
        };
        let missing = || {
            Err(Unusable {
                code: "event-log-missing",
                found: "none".to_owned(),
            })
        };
        Self {
            log: evidence.event_log.as_deref().map_or_else(missing, read),
        }
    }

    /// The log, or the finding that there is none for the rules of boot state `state`.
    pub(super) fn log(&self, state: &str) -> Result<&Replayed<'a>, Finding> {
        self.log.as_ref().map_err(|unusable| {
            Finding::new(
                unusable.code,
                "event log of the firmware",
                format!("one to check against the rules of boot state '{state}'"),
                unusable.found.clone(),
            )
        })
    }
}

// === impl Replayed ===

impl<'a> Replayed<'a> {
    /// The events of `pcr`, which the quote proves; or the finding that it does not.
    pub(super) fn proven(&self, pcr: PcrIndex, quoted: &[u8]) -> Result<Vec<&Event<'a>>, Finding> {
        let bank = self.values.bank();
        let initial = self.log.initial(bank, pcr);
        let replayed = self.values.value(pcr).unwrap_or(&initial);
        if replayed == quoted {
            return Ok(self.log.measured(pcr).collect());
        }
        Err(Finding::new(
            "event-log-mismatch",
            format!("event log for PCR {pcr} ({bank})"),
            format!("{} as quoted", hex::encode(quoted)),
            format!("{} by replay", hex::encode(replayed)),
        ))
    }
}
