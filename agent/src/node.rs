//! What the threads of the agent share.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_attestation::jwk::{KeyUse, TrustedKey, TrustedKeys};
use portcullis_attestation::verdict::{self, HostVerdict, Verdict};
use portcullis_client::AgentError;
use portcullis_client::method::{
    ConfinementSummary, Finding, LaunchCounts, LedgerAnchor, NodeStatus, QuarantineSummary,
    RecordRelease, VerdictSummary,
};
use portcullis_config::{Config, paths};
use portcullis_gate::record::{LaunchRecord, Outcome};
use portcullis_gate::snapshot::{Reason, TAG_DOCUMENT_LIMIT_BYTES};
use serde_json::{Map, Value, json};

use crate::boot_fuse::BootFuse;
use crate::break_glass_use::BreakGlassUse;
use crate::confinement::Confinement;
use crate::enrollment::Enrollment;
use crate::latch::{self, Standing};
use crate::ledger::{self, Ledger, LedgerError};
use crate::metrics::Metrics;
use crate::notifier::Notifier;
use crate::reason::is_reason;
use crate::settings::{Exceptions, Settings};
use crate::tally::Tally;
use crate::tpm_queue::TpmQueue;
use crate::{anchoring, atomic_file, boot, log};

/// The version in status and introspection.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Longest reason for clearing a failure or giving up a level.
const REASON_LIMIT_BYTES: usize = 1024;

/// The node.
#[derive(Debug)]
pub(crate) struct Node {
    /// The settings.
    pub(crate) config: Config,
    /// What waits for the TPM.
    pub(crate) queue: TpmQueue,
    /// Who runs the operator's command; none if there is no command.
    pub(crate) notifier: Option<Notifier>,
    confinement: Confinement,
    published: Mutex<Published>,
    ledger: Mutex<Result<Ledger, String>>,
}

/// What clients get to see.
#[derive(Debug)]
pub(crate) struct Published {
    /// The keys; `None` until the node is enrolled.
    pub(crate) enrollment: Option<Enrollment>,
    /// The freshest verdict.
    pub(crate) verdict: Option<IssuedVerdict>,
    /// The tag document.
    pub(crate) tag_document: Option<String>,
    /// What the last appraisal found.
    pub(crate) findings: Vec<Finding>,
    /// What kept the last attestation from a verdict without speaking against the one before.
    pub(crate) unrenewed: Vec<Finding>,
    /// The boot fuse.
    pub(crate) boot_fuse: BootFuse,
    /// The quarantine that is in force.
    pub(crate) quarantine: Option<QuarantineSummary>,
    /// When the last attestation ended with a verdict, in seconds since 1970.
    pub(crate) last_attestation_at: Option<u64>,
    /// When the next one is planned.
    pub(crate) next_attestation_at: Option<u64>,
    /// A failure that stands, if one does.
    pub(crate) standing: Standing,
    /// Why the last attempt failed, if it did.
    pub(crate) last_failure: Option<String>,
    /// How the ledger is anchored; `None` before it was tried.
    pub(crate) ledger_anchor: Option<LedgerAnchor>,
    /// How often the host was found to be other than its verdict said, since the agent started.
    pub(crate) drift_events: u64,
    /// How many attestations ended without a verdict, since the agent started.
    pub(crate) attestation_failures: u64,
    launches: LaunchCounts,
    tally: Tally,
    break_glass: BreakGlassUse,
}

/// A verdict and what the agent itself reads in it.
#[derive(Debug, Clone)]
pub(crate) struct IssuedVerdict {
    /// The token.
    pub(crate) token: String,
    /// What it says.
    pub(crate) summary: VerdictSummary,
    /// What it says about the host.
    pub(crate) host: Arc<HostVerdict>,
}

// === impl IssuedVerdict ===

impl IssuedVerdict {
    /// Reads a token that was signed with the enrolled key.
    pub(crate) fn read(token: String, enrollment: &Enrollment) -> Option<Self> {
        let mut keys = TrustedKeys::new();
        let key = TrustedKey::new(enrollment.public_key.clone(), KeyUse::Verdict);
        keys.insert(key).ok()?;
        let verdict = verdict::verify(&token, &keys).ok()?;
        Some(Self::of(token, &verdict))
    }

    /// A token and what it says.
    pub(crate) fn of(token: String, verdict: &Verdict) -> Self {
        Self {
            token,
            summary: VerdictSummary {
                status: verdict.status.to_string(),
                issued_at: verdict.issued_at_s,
                expires_at: verdict.expires_s,
                sequence: verdict.host.sequence,
                boot_state: verdict.host.boot_state.clone(),
            },
            host: Arc::new(verdict.host.clone()),
        }
    }
}

// === impl Node ===

impl Node {
    /// Reads what an earlier run left. Nothing that is wrong with it keeps the agent from
    /// starting: launches are undecided then, and the status says why.
    pub(crate) fn open(
        config: Config,
        confinement: Confinement,
        notifier: Option<Notifier>,
    ) -> Self {
        let latch = Path::new(paths::STATE).join(latch::FILE);
        let mut published = Published::new(Standing::open(&latch, boot::unix_s()));
        match Enrollment::load(Path::new(paths::STATE)) {
            Ok(enrollment) => published.enrollment = enrollment,
            Err(error) => published.note_failure(&error),
        }
        published.tag_document = text(paths::TAG_DOCUMENT, TAG_DOCUMENT_LIMIT_BYTES);
        // One of an earlier run is not handed out: what the node went through since then nobody
        // watched, and this run attests before it does anything else.
        if let Err(error) = atomic_file::remove(Path::new(paths::VERDICT)) {
            log::warn(
                "earlier verdict not removed",
                &[("cause", &error.to_string())],
            );
        }
        Self {
            config,
            queue: TpmQueue::default(),
            notifier,
            confinement,
            published: Mutex::new(published),
            ledger: Mutex::new(open_ledger()),
        }
    }

    /// What clients get to see.
    pub(crate) fn published(&self) -> MutexGuard<'_, Published> {
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Describes the node.
    pub(crate) fn status(&self) -> NodeStatus {
        let ledger_sequence = self.ledger().as_ref().map_or(0, Ledger::sequence);
        let published = self.published();
        let enrollment = published.enrollment.as_ref();
        NodeStatus {
            version: VERSION.to_owned(),
            node_name: self.config.node_name.clone(),
            enrolled: enrollment.is_some(),
            ueid: enrollment.map(|enrollment| enrollment.ueid.to_string()),
            ak_name: enrollment.map(|enrollment| enrollment.ak_name.to_string()),
            verdict: published
                .verdict
                .as_ref()
                .map(|verdict| verdict.summary.clone()),
            findings: published.findings.clone(),
            last_attestation_at: published.last_attestation_at,
            next_attestation_at: published.next_attestation_at,
            last_failure: published.last_failure.clone(),
            tag_present: published.tag_document.is_some(),
            tag_document: published.tag_document.clone(),
            verdict_token: (published.verdict.as_ref()).map(|verdict| verdict.token.clone()),
            launches: published.launches,
            ledger_sequence,
            ledger_anchor: Some(
                published
                    .ledger_anchor
                    .clone()
                    .unwrap_or_else(|| anchoring::not_yet(self)),
            ),
            confinement: Some(ConfinementSummary {
                level: self.confinement.level().to_owned(),
                missing: self.confinement.missing.clone(),
            }),
            verdict_key: enrollment.map(|enrollment| enrollment.key_summary(&self.config)),
            boot_fuse: published.boot_fuse.summary(),
            quarantine: published.quarantine.clone(),
            latch: published.standing.summary(),
        }
    }

    /// The figures of the metrics file.
    pub(crate) fn metrics(&self, exceptions: Exceptions, settings: &Settings) -> Metrics {
        let ledger_sequence = self.ledger().as_ref().map_or(0, Ledger::sequence);
        let published = self.published();
        Metrics {
            break_glass_launches: published.break_glass.launches(),
            break_glass_tokens: published
                .break_glass
                .states(settings.tokens(), settings.config()),
            policy_sequence: settings
                .config()
                .bundle
                .as_ref()
                .map(|it| it.bundle.sequence),
            launches: published.launches,
            verdict: (published.verdict.as_ref()).map(|verdict| verdict.summary.clone()),
            drift_events: published.drift_events,
            attestation_failures: published.attestation_failures,
            ledger_sequence,
            is_quarantined: published.quarantine.is_some(),
            has_latched: published.standing.summary().is_some(),
            exceptions,
            tally: published.tally.clone(),
        }
    }

    /// Appends a launch decision to the ledger.
    ///
    /// # Errors
    ///
    /// [`AgentError::RecordMalformed`] or [`AgentError::LedgerFailed`].
    pub(crate) fn record(&self, fields: &Map<String, Value>) -> Result<u64, AgentError> {
        let malformed = |reason: String| AgentError::RecordMalformed { reason };
        let record: LaunchRecord = portcullis_client::record::read(fields)
            .map_err(|error| malformed(log::chain(&error)))?;
        if !is_reference(&record.reference) {
            return Err(malformed(
                "'ref' is not eight hexadecimal digits".to_owned(),
            ));
        }
        // Lines of the ledger itself have this field; a decision that looks like one is none.
        if fields.contains_key("event") {
            return Err(malformed("a decision has no field 'event'".to_owned()));
        }
        let sequence = match self.ledger().as_mut() {
            Err(reason) => Err(AgentError::LedgerFailed {
                reason: reason.clone(),
            }),
            Ok(ledger) => ledger
                .append(fields, &boot::stamp())
                .map_err(|error| match error {
                    LedgerError::Size(_) => malformed(error.to_string()),
                    other => AgentError::LedgerFailed {
                        reason: log::chain(&other),
                    },
                }),
        }?;
        let mut published = self.published();
        published.count(&record);
        published.break_glass.note(&record);
        Ok(sequence)
    }

    /// Clears the failure that stands, once the ledger has the reason. Nothing is to be done if
    /// none stands.
    ///
    /// # Errors
    ///
    /// [`AgentError::RecordMalformed`] or [`AgentError::LedgerFailed`]; it stands on then.
    pub(crate) fn clear_failure(&self, reason: &str) -> Result<(), AgentError> {
        if !is_reason(reason, REASON_LIMIT_BYTES) {
            return Err(AgentError::RecordMalformed {
                reason: format!(
                    "'clear_failure' is not one line of 1 to {REASON_LIMIT_BYTES} bytes"
                ),
            });
        }
        let failed = |reason| AgentError::LedgerFailed { reason };
        let Some(stood) = self.published().standing.summary() else {
            return Ok(());
        };
        self.record_event(&json!({
            "event": "failure-cleared",
            "node": self.config.node_name,
            "reason": reason,
            "since": stood.since,
            "failure": stood.failure,
        }))
        .map_err(failed)?;
        let cleared = self.published().standing.clear();
        cleared.map_err(|error| failed(log::chain(&error)))?;
        log::warn("failure cleared", &[("reason", reason)]);
        Ok(())
    }

    /// Notes that the host gives up its level of sensitivity, which is the relying parties' own.
    ///
    /// # Errors
    ///
    /// [`AgentError::RecordMalformed`] or [`AgentError::LedgerFailed`]; it keeps its level then.
    pub(crate) fn record_release(&self, call: &RecordRelease) -> Result<u64, AgentError> {
        let reason = call.reason.as_str();
        if !is_reason(reason, REASON_LIMIT_BYTES) {
            return Err(AgentError::RecordMalformed {
                reason: format!("'reason' is not one line of 1 to {REASON_LIMIT_BYTES} bytes"),
            });
        }
        let event = json!({
            "event": "sensitivity-released",
            "node": self.config.node_name,
            "level": call.level,
            "since": call.since,
            "reason": reason,
        });
        let fields = event.as_object().cloned().unwrap_or_default();
        let sequence = self
            .append_event(&fields)
            .map_err(|reason| AgentError::LedgerFailed { reason })?;
        log::warn("sensitivity released", &[("reason", reason)]);
        Ok(sequence)
    }

    /// Appends what happened, a JSON object.
    ///
    /// # Errors
    ///
    /// Why the ledger does not take it.
    pub(crate) fn record_event(&self, event: &Value) -> Result<(), String> {
        let fields = event.as_object().ok_or("an event is an object")?;
        self.append_event(fields).map(drop)
    }

    /// Appends what the ledger notes about itself; an error says why not.
    pub(crate) fn append_event(&self, record: &Map<String, Value>) -> Result<u64, String> {
        match self.ledger().as_mut() {
            Err(reason) => Err(reason.clone()),
            Ok(ledger) => ledger
                .append(record, &boot::stamp())
                .map_err(|error| log::chain(&error)),
        }
    }

    /// The place after the ledger's last line; `None` if it is not usable.
    pub(crate) fn ledger_end(&self) -> Option<portcullis_ledger::link::Link> {
        self.ledger().as_ref().ok().map(Ledger::end)
    }

    /// Finds a launch decision.
    ///
    /// # Errors
    ///
    /// [`AgentError::RecordUnknown`] or [`AgentError::LedgerFailed`].
    pub(crate) fn explain(&self, reference: String) -> Result<Map<String, Value>, AgentError> {
        if !is_reference(&reference) {
            return Err(AgentError::RecordUnknown { reference });
        }
        match ledger::find(Path::new(paths::LEDGER), &reference) {
            Ok(Some(record)) => Ok(record),
            Ok(None) => Err(AgentError::RecordUnknown { reference }),
            Err(error) => Err(AgentError::LedgerFailed {
                reason: log::chain(&error),
            }),
        }
    }

    /// Writes the ledger through to the disk; says whether it is still usable.
    ///
    /// After a failure the kernel may have dropped what it could not write, and a later success
    /// would hide that: the ledger takes no more records, so that nothing more starts.
    pub(crate) fn sync_ledger(&self) -> bool {
        let mut ledger = self.ledger();
        let Ok(open) = ledger.as_ref() else {
            return false;
        };
        let Err(error) = open.sync() else { return true };
        let reason = log::chain(&error);
        log::error(
            "ledger not synced, launches stay undecided",
            &[("cause", &reason)],
        );
        *ledger = Err(reason);
        false
    }

    fn ledger(&self) -> MutexGuard<'_, Result<Ledger, String>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_ledger() -> Result<Ledger, String> {
    match Ledger::open(Path::new(paths::LEDGER), &boot::stamp()) {
        Ok((ledger, torn)) => {
            if let Some(torn) = torn {
                let fields = [
                    ("file", &*torn.path.display().to_string()),
                    ("bytes", &*torn.bytes.to_string()),
                ];
                log::warn("torn end of ledger moved aside", &fields);
            }
            Ok(ledger)
        }
        Err(error) => {
            let reason = log::chain(&error);
            log::error(
                "ledger unusable, launches stay undecided",
                &[("cause", &reason)],
            );
            Err(reason)
        }
    }
}

/// A file of ours that holds text, if it is there and as it should be.
fn text(path: &str, limit_bytes: usize) -> Option<String> {
    let bytes = match atomic_file::read(Path::new(path), limit_bytes as u64) {
        Ok(bytes) => bytes?,
        Err(error) => {
            log::warn("file ignored", &[("cause", &log::chain(&error))]);
            return None;
        }
    };
    String::from_utf8(bytes)
        .ok()
        .map(|text| text.trim_end().to_owned())
}

fn is_reference(text: &str) -> bool {
    text.len() == 8
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

// === impl Published ===

impl Published {
    fn new(standing: Standing) -> Self {
        Self {
            enrollment: None,
            verdict: None,
            tag_document: None,
            findings: Vec::new(),
            unrenewed: Vec::new(),
            last_attestation_at: None,
            next_attestation_at: None,
            standing,
            last_failure: None,
            ledger_anchor: None,
            quarantine: None,
            boot_fuse: BootFuse::default(),
            drift_events: 0,
            attestation_failures: 0,
            launches: LaunchCounts::default(),
            tally: Tally::default(),
            break_glass: BreakGlassUse::default(),
        }
    }

    /// Notes a failure, and logs it.
    pub(crate) fn note_failure(&mut self, error: &dyn std::error::Error) {
        let cause = log::chain(error);
        log::warn("cannot attest", &[("cause", &cause)]);
        self.last_failure = Some(cause);
    }

    /// Why there is no verdict, or none that is newer, if the verifier knows.
    pub(crate) fn withheld(&self) -> Vec<Reason> {
        let findings = match &self.verdict {
            Some(_) => [].iter(),
            None => self.findings.iter(),
        };
        self.unrenewed
            .iter()
            .chain(findings)
            .map(|finding| Reason {
                code: finding.code.clone(),
                subject: finding.subject.clone(),
                expected: finding.expected.clone(),
                found: finding.found.clone(),
            })
            .collect()
    }

    fn count(&mut self, record: &LaunchRecord) {
        self.tally.count(record);
        let counts = &mut self.launches;
        let count = match record.decision {
            Outcome::Permitted | Outcome::BreakGlass => &mut counts.permitted,
            Outcome::Refused | Outcome::WouldRefuse => &mut counts.refused,
            Outcome::Undecided | Outcome::Fault => &mut counts.undecided,
        };
        *count = count.saturating_add(1);
    }
}
