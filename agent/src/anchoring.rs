//! Anchoring the ledger in the TPM: when, and what if something is in the way.
//!
//! Nothing of it is on the path of a launch: it runs on the TPM's thread when that has nothing else
//! to do, and launches are served between any two of its steps. A ledger that cannot be anchored
//! goes on without; the status says why.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_attestation::ak::AkPublic;
use portcullis_attestation::anchor::{AnchorError, Purpose};
use portcullis_attestation::{StructureError, base64url};
use portcullis_client::AgentError;
use portcullis_client::method::{AnchorLedgerReply, CertifyLedgerReply, LedgerAnchor};
use portcullis_config::paths;
use portcullis_ledger::anchor::{APART_EVENT, Anchor, EVENT, signed_json};
use portcullis_ledger::entry::Entry;
use portcullis_ledger::link::Link;
use portcullis_ledger::reconcile::{Step, next_step};
use portcullis_tpm::{AnchorState, Deadline, TpmError};
use serde_json::{Map, Value};

use crate::attester::PATIENCE;
use crate::cycle::tpm_answer;
use crate::ledger::{self, LedgerError};
use crate::node::Node;
use crate::tpm_thread::{TpmThread, serve_waiting};
use crate::{boot, log};

/// When the ledger is anchored next, and what it was anchored with.
#[derive(Debug)]
pub(crate) struct Anchoring {
    /// Zero: never.
    interval: Duration,
    due: Instant,
    known: Option<Known>,
    /// What the TPM held when it was last written down that it does not fit.
    noted: Option<AnchorState>,
}

/// What the ledger says about its anchors.
#[derive(Debug, Clone, Default)]
struct Known {
    last: Option<(u64, [u8; 32])>,
    /// Last line that is covered, or is the ledger's own: nothing new up to there.
    done: u64,
    at_unix_s: Option<u64>,
}

/// Why the ledger is not anchored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnchoringError {
    /// There is no AK.
    #[error("cannot anchor ledger of a node that is not enrolled")]
    Enrolled,
    /// The ledger takes no more lines.
    #[error("cannot anchor a ledger that is not usable")]
    Unusable,
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The anchor cannot be written down.
    #[error("cannot record anchor: {0}")]
    Record(String),
    /// The TPM failed.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The AK's public area cannot be read.
    #[error("cannot read AK")]
    Ak(#[from] StructureError),
    /// What the TPM signed is not what it was asked for.
    #[error(transparent)]
    Certificate(#[from] AnchorError),
}

// === impl Anchoring ===

impl Anchoring {
    /// Nothing is anchored before `interval` has passed: an agent that starts again and again must
    /// not wear out the TPM.
    pub(crate) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            due: now.checked_add(interval).unwrap_or(now),
            known: None,
            noted: None,
        }
    }

    /// Time until the ledger may be anchored; `None` if it never is.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        (!self.interval.is_zero()).then(|| self.due.saturating_duration_since(now))
    }

    /// Looks, once, how long ago the last anchor was: one that an agent made before this one counts.
    fn recall(&mut self, known: &Known, now: Instant, now_unix_s: u64) {
        let Some(at) = known.at_unix_s else { return };
        let age = Duration::from_secs(now_unix_s.saturating_sub(at));
        let due = now.checked_add(self.interval.saturating_sub(age));
        self.due = due.map_or(self.due, |due| due.min(self.due));
    }

    fn postpone(&mut self, now: Instant) {
        self.due = now.checked_add(self.interval).unwrap_or(now);
    }
}

// === impl Known ===

impl Known {
    /// Reads the last anchor out of the ledger.
    fn read() -> Result<Self, LedgerError> {
        let needle = format!(r#""event":"{EVENT}""#);
        let mut known = Self::default();
        ledger::for_each_line(Path::new(paths::LEDGER), &mut |line| {
            if ledger::contains(line, &needle)
                && let Ok(entry) = Entry::parse(line)
                && entry.event() == Some(EVENT)
                && let Ok(anchor) = Anchor::from_record(&entry.record)
            {
                known = Self {
                    last: Some((anchor.counter, anchor.extend)),
                    done: done(anchor.through, entry.sequence),
                    at_unix_s: unix_s(&entry.at),
                };
            }
        })?;
        Ok(known)
    }

    /// The lines since the last anchor's.
    fn since(&self) -> Vec<Link> {
        let mut links = Vec::new();
        let anchored = self.done;
        // One that cannot be read explains nothing, and then it is said that nothing does.
        let _unread = ledger::for_each_line(Path::new(paths::LEDGER), &mut |line| {
            if let Ok(link) = Link::of_line(line)
                // Lines may be written between the head that is anchored and the anchor's own.
                && link.sequence.saturating_add(MOST_BETWEEN) > anchored
            {
                links.push(link);
            }
        });
        links
    }
}

/// Up to where nothing is new after an anchor: it covers `through` and stands in line `sequence`.
/// Lines that came between the two are not covered.
fn done(through: u64, sequence: u64) -> u64 {
    if through.checked_add(1) == Some(sequence) {
        sequence
    } else {
        through
    }
}

/// More lines than can be written while the TPM works on one anchor.
const MOST_BETWEEN: u64 = 65_536;

// === impl TpmThread ===

impl TpmThread {
    /// Anchors the ledger if it is time to and there is something new.
    pub(crate) fn anchor_on_schedule(&mut self) {
        let now = Instant::now();
        if self.anchoring.known.is_none()
            && !self.anchoring.interval.is_zero()
            && let Ok(known) = self.known()
        {
            self.anchoring.recall(&known, now, boot::unix_s());
        }
        if self.anchoring.wait(now).is_none_or(|wait| !wait.is_zero()) {
            return;
        }
        self.anchor_what_is_new();
        self.anchoring.postpone(Instant::now());
    }

    /// Anchors the ledger at the end, whenever the last time was.
    pub(crate) fn anchor_at_the_end(&mut self) {
        if self.anchoring.wait(Instant::now()).is_some() {
            self.anchor_what_is_new();
        }
    }

    /// Anchors the ledger now, because an operator asks for it.
    pub(crate) fn anchor_on_demand(&mut self) -> Result<AnchorLedgerReply, AgentError> {
        let outcome = self.anchor();
        self.publish(&outcome);
        self.anchoring.postpone(Instant::now());
        let (sequence, anchor) = outcome.map_err(|error| answer(&error))?;
        Ok(AnchorLedgerReply {
            sequence,
            through: anchor.through,
            counter: anchor.counter,
        })
    }

    /// Has the TPM sign what the indices hold, for somebody who drew `nonce`.
    pub(crate) fn certify_ledger(
        &mut self,
        nonce: &[u8; 32],
    ) -> Result<CertifyLedgerReply, AgentError> {
        let failed = |error: &AnchoringError| answer(error);
        let identity = self
            .identify()
            .map_err(|error| failed(&AnchoringError::Tpm(error)))?;
        let purpose = Purpose::Challenge { nonce };
        let deadline = Deadline::within(PATIENCE);
        let certificates = self
            .tpm
            .certify_anchor(&identity.ak_name, &purpose, &deadline)
            .map_err(|error| failed(&AnchoringError::Tpm(error)))?;
        Ok(CertifyLedgerReply {
            ak_public: base64url::encode(&identity.ak_public),
            counter_certificate: object(signed_json(&certificates.counter)),
            extend_certificate: object(signed_json(&certificates.extend)),
        })
    }

    fn anchor_what_is_new(&mut self) {
        let is_new = match self.known() {
            Ok(known) => known.done < self.node.ledger_end().map_or(0, |end| end.sequence),
            // Said by trying.
            Err(_) => true,
        };
        if is_new {
            let outcome = self.anchor();
            self.publish(&outcome);
        }
    }

    fn known(&mut self) -> Result<Known, LedgerError> {
        if let Some(known) = &self.anchoring.known {
            return Ok(known.clone());
        }
        let known = Known::read()?;
        self.anchoring.known = Some(known.clone());
        Ok(known)
    }

    /// Anchors the ledger up to its newest line, or finishes what was begun before.
    fn anchor(&mut self) -> Result<(u64, Anchor), AnchoringError> {
        let node = Arc::clone(&self.node);
        if node.published().enrollment.is_none() {
            return Err(AnchoringError::Enrolled);
        }
        let known = self.known()?;
        // All that can fail comes before what wears the TPM.
        let identity = self.identify()?;
        let ak = AkPublic::parse(&identity.ak_public)?;
        serve_waiting(&mut self.tpm, &node);
        self.tpm.define_anchor(&deadline())?;
        let state = self.tpm.anchor_state(&deadline())?;
        let step = next_step(known.last, (state.counter, state.extend), || known.since());
        if let Step::Apart(reason) = &step {
            self.note_apart(state, reason)?;
        }
        let link = match step {
            Step::Begin | Step::Apart(_) => {
                // What the TPM will vouch for must not be lost in a power cut.
                if !node.sync_ledger() {
                    return Err(AnchoringError::Unusable);
                }
                let end = node.ledger_end().ok_or(AnchoringError::Unusable)?;
                self.tpm.extend_anchor(&end.head, &deadline())?;
                serve_waiting(&mut self.tpm, &node);
                self.tpm.count_anchor(&deadline())?;
                end
            }
            Step::Count(link) => {
                self.tpm.count_anchor(&deadline())?;
                link
            }
            Step::Certify(link) => link,
        };
        serve_waiting(&mut self.tpm, &node);
        let purpose = Purpose::Anchor {
            head: &link.head,
            sequence: link.sequence,
        };
        let certificates = self
            .tpm
            .certify_anchor(&identity.ak_name, &purpose, &deadline())?;
        serve_waiting(&mut self.tpm, &node);
        let certified = certificates.verify(&ak, &purpose)?;
        let anchor = Anchor {
            through: link.sequence,
            head: link.head,
            counter: certified.counter,
            extend: certified.extend,
            ak_public: identity.ak_public,
            certificates,
        };
        let sequence = node
            .append_event(&anchor.to_record())
            .map_err(AnchoringError::Record)?;
        self.anchoring.known = Some(Known {
            last: Some((anchor.counter, anchor.extend)),
            done: done(link.sequence, sequence),
            at_unix_s: Some(boot::unix_s()),
        });
        self.anchoring.noted = None;
        Ok((sequence, anchor))
    }

    /// Writes down, once for each state, that TPM and ledger do not fit.
    fn note_apart(&mut self, state: AnchorState, reason: &str) -> Result<(), AnchoringError> {
        if self.anchoring.noted == Some(state) {
            return Ok(());
        }
        log::warn("TPM and ledger are apart", &[("cause", reason)]);
        let mut note = Map::new();
        note.insert("event".to_owned(), APART_EVENT.into());
        note.insert("reason".to_owned(), reason.into());
        self.node
            .append_event(&note)
            .map_err(AnchoringError::Record)?;
        self.anchoring.noted = Some(state);
        Ok(())
    }

    fn publish(&self, outcome: &Result<(u64, Anchor), AnchoringError>) {
        let shown = match outcome {
            Ok((sequence, anchor)) => {
                let fields = [
                    ("through", &*anchor.through.to_string()),
                    ("counter", &*anchor.counter.to_string()),
                    ("seq", &*sequence.to_string()),
                ];
                log::info("ledger anchored", &fields);
                LedgerAnchor {
                    state: "anchored".to_owned(),
                    reason: None,
                    through: Some(anchor.through),
                    counter: Some(anchor.counter),
                    at: Some(boot::unix_s()),
                }
            }
            Err(error) => {
                let reason = log::chain(error);
                let is_known = self
                    .node
                    .published()
                    .ledger_anchor
                    .as_ref()
                    .is_some_and(|shown| shown.reason.as_ref() == Some(&reason));
                if !is_known {
                    log::warn("ledger not anchored", &[("cause", &reason)]);
                }
                LedgerAnchor {
                    state: "not-anchored".to_owned(),
                    reason: Some(reason),
                    through: None,
                    counter: None,
                    at: None,
                }
            }
        };
        self.node.published().ledger_anchor = Some(shown);
    }
}

/// Seconds since 1970 of the time in a line.
fn unix_s(at: &str) -> Option<u64> {
    let at: jiff::Timestamp = at.parse().ok()?;
    u64::try_from(at.as_second()).ok()
}

/// What the status says before anything was tried.
pub(crate) fn not_yet(node: &Node) -> LedgerAnchor {
    let (state, reason) = if node.config.agent.ledger_anchor_interval.is_zero() {
        ("off", "switched off by 'agent.ledger_anchor_interval'")
    } else {
        ("not-yet", "not tried since the agent started")
    };
    LedgerAnchor {
        state: state.to_owned(),
        reason: Some(reason.to_owned()),
        through: None,
        counter: None,
        at: None,
    }
}

fn answer(error: &AnchoringError) -> AgentError {
    match error {
        AnchoringError::Enrolled => AgentError::NotEnrolled {},
        AnchoringError::Tpm(error) => tpm_answer(error),
        AnchoringError::Ak(_) | AnchoringError::Certificate(_) => AgentError::TpmFailed {
            reason: log::chain(error),
        },
        AnchoringError::Unusable | AnchoringError::Ledger(_) | AnchoringError::Record(_) => {
            AgentError::LedgerFailed {
                reason: log::chain(error),
            }
        }
    }
}

fn deadline() -> Deadline {
    Deadline::within(PATIENCE)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_mins(15);

    fn known(at: &str) -> Known {
        Known {
            at_unix_s: unix_s(at),
            ..Known::default()
        }
    }

    #[test]
    fn an_agent_that_starts_again_and_again_anchors_no_more_often() {
        let now = Instant::now();
        let mut anchoring = Anchoring::new(INTERVAL, now);
        assert_eq!(anchoring.wait(now), Some(INTERVAL));
        let at = unix_s("2026-11-21T20:58:04Z").unwrap();
        for (age, wait) in [(0, 900), (60, 840), (900, 0), (9000, 0)] {
            let mut anchoring = Anchoring::new(INTERVAL, now);
            anchoring.recall(&known("2026-11-21T20:58:04Z"), now, at + age);
            assert_eq!(
                anchoring.wait(now),
                Some(Duration::from_secs(wait)),
                "{age}"
            );
        }
        // A clock that was set back makes it wait no longer than the interval.
        anchoring.recall(&known("2026-11-21T20:58:04Z"), now, 0);
        assert_eq!(anchoring.wait(now), Some(INTERVAL));
    }

    #[test]
    fn lines_that_came_during_an_anchor_are_new() {
        assert_eq!(done(41, 42), 42);
        assert_eq!(done(41, 43), 41);
        assert_eq!(done(u64::MAX, 7), u64::MAX);
    }

    #[test]
    fn an_interval_of_zero_is_never() {
        let now = Instant::now();
        assert_eq!(Anchoring::new(Duration::ZERO, now).wait(now), None);
    }
}
