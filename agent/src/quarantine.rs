//! Quarantine: the operator's word that nothing starts on this host before its next reboot.
//!
//! What counts is the PCR that is extended, which gate and verifier recognise by themselves. The
//! note beside it tells people since when and why, and is worth nothing in another boot.

use std::path::Path;

use portcullis_attestation::boot_id::BootId;
use portcullis_attestation::finding::Finding;
use portcullis_attestation::quarantine;
use portcullis_client::AgentError;
use portcullis_client::method::{QuarantineReply, QuarantineSummary};
use portcullis_config::paths;
use portcullis_json::Limits;
use portcullis_tpm::Deadline;
use serde_json::{Value, json};

use crate::attester::PATIENCE;
use crate::cycle::tpm_answer;
use crate::reason::is_reason;
use crate::tpm_thread::TpmThread;
use crate::{atomic_file, boot, log};

/// The code of the finding.
const CODE: &str = "host-quarantined";
/// Longest reason, in bytes.
const REASON_LIMIT_BYTES: usize = 512;
/// A note is the reason and about 100 bytes; escapes may take six bytes for one.
const LIMITS: Limits = Limits {
    max_bytes: 4096,
    max_depth: 2,
};

/// A note of a quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quarantine {
    boot_id: String,
    reset_count: u32,
    since_s: u64,
    reason: Option<String>,
}

/// The findings about a host that is in quarantine, the one that says so last; `None` if it is
/// not. `found` is what the appraisal found.
pub(crate) fn findings(found: &[Finding], note: Option<&Quarantine>) -> Option<Vec<Finding>> {
    let (mut marks, mut findings): (Vec<Finding>, Vec<Finding>) = found
        .iter()
        .cloned()
        .partition(|finding| finding.code == CODE);
    let mut mark = match (marks.pop(), note) {
        (None, None) => return None,
        (Some(mark), _) => mark,
        // The verifier cannot see it, without reference values for instance.
        (None, Some(_)) => Finding {
            code: CODE,
            subject: "this host".to_owned(),
            expected: "no quarantine".to_owned(),
            found: String::new(),
        },
    };
    if let Some(note) = note {
        mark.found = note.words();
    }
    findings.push(mark);
    Some(findings)
}

// === impl Quarantine ===

impl Quarantine {
    /// The note of this boot, if there is one.
    pub(crate) fn in_force(boot_id: &BootId, reset_count: u32) -> Option<Self> {
        Self::load()
            .filter(|note| note.boot_id == boot_id.as_str() && note.reset_count == reset_count)
    }

    /// The quarantine that is noted for this boot, for the status.
    pub(crate) fn of_this_boot(reset_count: Option<u32>) -> Option<QuarantineSummary> {
        Self::in_force(&boot::id().ok()?, reset_count?).map(|note| note.summary())
    }

    /// The quarantine that the verifier has seen, for the status.
    pub(crate) fn seen(findings: &[Finding]) -> Option<QuarantineSummary> {
        findings.iter().find(|finding| finding.code == CODE)?;
        let boot_id = boot::id().ok();
        let note =
            Self::load().filter(|note| boot_id.is_some_and(|id| note.boot_id == id.as_str()));
        Some(note.map_or(
            QuarantineSummary {
                since: None,
                reason: None,
            },
            |note| note.summary(),
        ))
    }

    /// For the status.
    pub(crate) fn summary(&self) -> QuarantineSummary {
        QuarantineSummary {
            since: Some(self.since_s),
            reason: self.reason.clone(),
        }
    }

    fn words(&self) -> String {
        match &self.reason {
            Some(reason) => format!("quarantine: {reason}"),
            None => "quarantine".to_owned(),
        }
    }

    /// A note that cannot be read is none: the PCR counts.
    fn load() -> Option<Self> {
        let limit = LIMITS.max_bytes as u64;
        let bytes = match atomic_file::read(Path::new(paths::QUARANTINE), limit) {
            Ok(bytes) => bytes?,
            Err(error) => {
                log::warn("file ignored", &[("cause", &log::chain(&error))]);
                return None;
            }
        };
        let value = portcullis_json::parse(&bytes, LIMITS).ok()?;
        let text = |name| value.get(name).and_then(Value::as_str);
        Some(Self {
            boot_id: text("boot_id")?.to_owned(),
            reset_count: u32::try_from(value.get("reset_count")?.as_u64()?).ok()?,
            since_s: value.get("since")?.as_u64()?,
            reason: text("reason").map(str::to_owned),
        })
    }

    fn store(&self) {
        let note = json!({
            "boot_id": self.boot_id,
            "reset_count": self.reset_count,
            "since": self.since_s,
            "reason": self.reason,
        });
        let text = format!("{note}\n");
        if let Err(error) = atomic_file::write(Path::new(paths::QUARANTINE), text.as_bytes()) {
            log::warn("quarantine not noted", &[("cause", &log::chain(&error))]);
        }
    }
}

// === impl TpmThread ===

impl TpmThread {
    /// Marks the host, withdraws its verdict, and notes since when and why.
    pub(crate) fn quarantine(
        &mut self,
        reason: Option<String>,
    ) -> Result<QuarantineReply, AgentError> {
        let failed = |reason: String| AgentError::QuarantineFailed { reason };
        let is_one = |reason: &String| is_reason(reason, REASON_LIMIT_BYTES);
        if reason.as_ref().is_some_and(|reason| !is_one(reason)) {
            let parameter = "reason: expected one line of at most 512 bytes".to_owned();
            return Err(AgentError::InvalidParameter { parameter });
        }
        let selection = self.node.config.agent.pcrs;
        let register = quarantine::register(selection).ok_or_else(|| {
            failed(format!(
                "'agent.pcrs=' ({selection}) holds none of PCR 0 to 9 and 11 to 15, which alone \
                 cannot be reset"
            ))
        })?;
        let deadline = Deadline::within(PATIENCE);
        let clock = self
            .tpm
            .clock(&deadline)
            .map_err(|error| tpm_answer(&error))?;
        let boot_id = boot::id().map_err(|error| failed(error.to_string()))?;
        let before = Quarantine::in_force(&boot_id, clock.reset_count);
        // Also if there is a note: it may be wrong, the register is not, and once more does no
        // harm.
        self.tpm
            .measure(register, quarantine::EVENT, &deadline)
            .map_err(|error| tpm_answer(&error))?;
        let was_quarantined = before.is_some();
        let note = before.unwrap_or_else(|| Quarantine {
            boot_id: boot_id.as_str().to_owned(),
            reset_count: clock.reset_count,
            since_s: boot::unix_s(),
            reason,
        });
        note.store();
        let summary = note.summary();
        self.node.published().quarantine = Some(summary.clone());
        log::warn("host in quarantine", &[("pcr", &register.to_string())]);
        self.attest_after("quarantined");
        Ok(QuarantineReply {
            pcr: u32::from(register.get()),
            was_quarantined,
            quarantine: summary,
        })
    }
}
