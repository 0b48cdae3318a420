//! Watching for drift: whether the host is still what its verdict says.
//!
//! Between two attestations the agent makes the reading that a launch makes and holds it against the
//! verdict by the rule of the gate. A verdict that no longer holds is void from then on; what was
//! found stands in its place, so that a launch is told the cause. The look decides nothing that a
//! launch does not find by itself: it is there so that somebody hears of drift while nothing starts.

use std::time::{Duration, Instant};

use portcullis_attestation::verdict::TagPin;
use portcullis_client::AgentError;
use portcullis_client::method::Finding;
use portcullis_gate::{Code, Refusal};
use portcullis_tpm::Deadline;
use serde_json::json;

use crate::cycle::tpm_answer;
use crate::kernel_log;
use crate::log;
use crate::tpm_thread::{TpmThread, live_state, withdraw_file};

/// When the next look is, and what the last one found.
#[derive(Debug)]
pub(crate) struct DriftWatch {
    interval: Duration,
    due: Instant,
    /// The drift that was told of last; none once the host is as its verdict says again.
    told: Option<Vec<Finding>>,
    is_blind: bool,
    /// The firmware's log that a verdict was issued on: the verdict's number, and the digest of the
    /// log, if there was one.
    firmware_log: Option<(u64, Option<[u8; 32]>)>,
}

// === impl DriftWatch ===

impl DriftWatch {
    /// Looks every `interval`, or never if it is zero.
    pub(crate) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            due: now,
            told: None,
            is_blind: false,
            firmware_log: None,
        }
    }

    /// Takes note of the log beside a verdict. A remote verifier's verdict comes back every few
    /// seconds: what counts is the log of its first time.
    pub(crate) fn attested(&mut self, sequence: u64, digest: Option<[u8; 32]>) {
        if self.firmware_log.is_none_or(|(known, _)| known != sequence) {
            self.firmware_log = Some((sequence, digest));
        }
    }

    /// Whether the firmware's log, which nothing is added to while the system runs, is another one
    /// than beside the verdict `sequence`.
    fn is_other_log(&self, sequence: u64, digest: Option<[u8; 32]>) -> bool {
        let beside = self.firmware_log.filter(|(known, _)| *known == sequence);
        beside.is_some_and(|(_, first)| first != digest)
    }

    /// Time until the next look; `None` if there is none.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        self.is_on()
            .then(|| self.due.saturating_duration_since(now))
    }

    /// Whether to look now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.wait(now).is_some_and(|wait| wait.is_zero())
    }

    fn is_on(&self) -> bool {
        !self.interval.is_zero()
    }

    /// Plans the next look.
    fn looked(&mut self, now: Instant) {
        self.due = now.checked_add(self.interval).unwrap_or(now);
    }

    /// Notes what a look found; whether it is news.
    fn is_news(&mut self, found: &[Finding]) -> bool {
        if found.is_empty() {
            self.told = None;
            return false;
        }
        let is_known = self.told.as_deref() == Some(found);
        self.told = Some(found.to_vec());
        !is_known
    }

    /// Notes whether the TPM could be read; logs when that changes for the worse.
    fn saw(&mut self, trouble: Option<&AgentError>) {
        if let Some(trouble) = trouble.filter(|_| !self.is_blind) {
            let cause = trouble.to_string();
            log::warn("cannot look for drift", &[("cause", &cause)]);
        }
        self.is_blind = trouble.is_some();
    }
}

// === impl TpmThread ===

impl TpmThread {
    /// Looks, if there is a verdict that could be wrong by now. Returns whether the TPM was asked.
    ///
    /// A TPM that does not answer voids nothing: no launch is permitted without a reading either.
    pub(crate) fn watch_for_drift(&mut self) -> bool {
        if !self.watch.is_on() {
            return false;
        }
        self.watch.looked(Instant::now());
        let config = &self.node.config;
        let (verdict, is_tag_refused) = {
            let published = self.node.published();
            let Some(verdict) = published.verdict.clone() else {
                return false;
            };
            let is_refused = is_tag_refused(verdict.host.tag.as_ref(), &published.findings);
            (verdict, is_refused)
        };
        let deadline = Deadline::within(config.snapshot_deadline);
        let mut live = self
            .tpm
            .read(config.agent.pcrs, &deadline)
            .map_err(|error| tpm_answer(&error))
            .and_then(live_state);
        if let Ok(live) = &mut live
            && is_tag_refused
        {
            live.tag = None;
        }
        let mut found: Vec<Finding> = match &live {
            Ok(live) => portcullis_gate::drift(&config.node_name, &verdict.host, live)
                .into_iter()
                .map(finding)
                .collect(),
            Err(_) => Vec::new(),
        };
        let sequence = verdict.summary.sequence;
        if self
            .watch
            .is_other_log(sequence, kernel_log::firmware_digest())
        {
            found.push(other_log(&config.node_name));
        }
        self.watch.saw(live.as_ref().err());
        if live.is_ok() {
            self.note_drift(&found);
        }
        true
    }

    /// The wall clock was set, or the machine slept: a verdict is not known to be young any longer.
    pub(crate) fn note_clock_jump(&mut self) {
        if self.watch.is_on() && self.node.published().verdict.is_some() {
            self.note_drift(&[Finding {
                code: "verdict-withheld".to_owned(),
                subject: format!(
                    "clock of node {}",
                    portcullis_gate::quote(&self.node.config.node_name)
                ),
                expected: "wall clock and monotonic clock in step since the attestation".to_owned(),
                found: "more than 2 s between them".to_owned(),
            }]);
        }
    }

    /// Voids the verdict, if there is drift. Tells of it, unless that was done before: a remote
    /// verifier's verdict comes back for as long as the verifier does not know.
    fn note_drift(&mut self, found: &[Finding]) {
        let is_news = self.watch.is_news(found);
        if found.is_empty() {
            return;
        }
        let sequence = {
            let mut published = self.node.published();
            let verdict = published.verdict.take();
            published.findings = found.to_vec();
            published.drift_events = published.drift_events.saturating_add(u64::from(is_news));
            verdict.map(|verdict| verdict.summary.sequence)
        };
        withdraw_file();
        if !is_news {
            return;
        }
        for finding in found {
            let fields = [
                ("code", &*finding.code),
                ("subject", &finding.subject),
                ("expected", &finding.expected),
                ("found", &finding.found),
            ];
            log::warn("drift, verdict void", &fields);
        }
        let event = json!({
            "event": "drift",
            "node": self.node.config.node_name,
            "verdict_seq": sequence,
            "findings": found,
        });
        if let Err(cause) = self.node.record_event(&event) {
            log::error("drift not recorded", &[("cause", &cause)]);
        }
        if let Some(Err(error)) = self.node.notifier.as_ref().map(|to| to.tell(&event)) {
            log::error("drift not told", &[("cause", &error.to_string())]);
        }
        self.schedule.hurry(Instant::now());
    }
}

/// Whether the attestation itself has found fault with the asset tag, so that its verdict pins none.
/// That the slot is there all the same is no drift then: launches are refused for it, and a tag that
/// has merely expired must not have containers stopped that run.
fn is_tag_refused(pin: Option<&TagPin>, findings: &[Finding]) -> bool {
    let about_tag = |finding: &Finding| finding.code.starts_with("asset-tag-");
    pin.is_none() && findings.iter().any(about_tag)
}

/// The firmware's log has changed, which its PCRs need not show.
fn other_log(node: &str) -> Finding {
    finding(Refusal::new(
        Code::EventLogMismatch,
        format!("event log of node {}", portcullis_gate::quote(node)),
        "the log that was attested",
        "another one",
    ))
}

fn finding(refusal: Refusal) -> Finding {
    Finding {
        code: refusal.code.to_string(),
        subject: refusal.subject,
        expected: refusal.expected,
        found: refusal.found,
    }
}

#[cfg(test)]
mod tests {
    use portcullis_attestation::tpm_name::TpmName;

    use super::*;

    fn found(value: &str) -> Vec<Finding> {
        vec![Finding {
            code: "pcr-drift".to_owned(),
            subject: "node 'w7' PCR 7 (sha256)".to_owned(),
            expected: "3f".to_owned(),
            found: value.to_owned(),
        }]
    }

    #[test]
    fn looks_every_interval_and_never_without_one() {
        let now = Instant::now();
        let mut watch = DriftWatch::new(Duration::from_secs(3), now);
        assert!(watch.is_due(now));
        watch.looked(now);
        assert_eq!(watch.wait(now), Some(Duration::from_secs(3)));
        assert!(!watch.is_due(now + Duration::from_secs(2)));
        assert!(watch.is_due(now + Duration::from_secs(3)));
        let off = DriftWatch::new(Duration::ZERO, now);
        assert_eq!(off.wait(now), None);
        assert!(!off.is_due(now + Duration::from_secs(9)));
    }

    #[test]
    fn a_log_is_held_against_the_one_beside_the_verdict() {
        let mut watch = DriftWatch::new(Duration::from_secs(1), Instant::now());
        assert!(!watch.is_other_log(1, None));
        watch.attested(1, Some([1; 32]));
        assert!(!watch.is_other_log(1, Some([1; 32])));
        assert!(watch.is_other_log(1, Some([2; 32])));
        assert!(watch.is_other_log(1, None));
        watch.attested(1, Some([2; 32]));
        assert!(
            watch.is_other_log(1, Some([2; 32])),
            "the same verdict once more"
        );
        watch.attested(2, None);
        assert!(!watch.is_other_log(2, None));
        assert!(watch.is_other_log(2, Some([1; 32])));
    }

    #[test]
    fn a_tag_that_the_attestation_refused_is_known() {
        let of = |code: &str| Finding {
            code: code.to_owned(),
            ..found("9c").remove(0)
        };
        let name = format!("000b{}", "5a".repeat(32));
        let pin = TagPin {
            nv_index: 0x01c1_0110,
            nv_name: TpmName::parse(&name).unwrap(),
            digest: [7; 48],
            counter: 2,
        };
        for code in ["asset-tag-expired", "asset-tag-tampered"] {
            assert!(is_tag_refused(None, &[of("pcr-drift"), of(code)]), "{code}");
            assert!(!is_tag_refused(Some(&pin), &[of(code)]), "{code}");
        }
        // Nobody said a word about one that is there: it came after the attestation.
        assert!(!is_tag_refused(None, &[]));
        assert!(!is_tag_refused(None, &[of("vector-warning")]));
    }

    #[test]
    fn the_same_drift_is_news_once_until_it_was_gone() {
        let mut watch = DriftWatch::new(Duration::from_secs(1), Instant::now());
        assert!(!watch.is_news(&[]));
        assert!(watch.is_news(&found("9c")));
        assert!(!watch.is_news(&found("9c")));
        assert!(watch.is_news(&found("9d")));
        assert!(!watch.is_news(&[]));
        assert!(watch.is_news(&found("9d")));
    }
}
