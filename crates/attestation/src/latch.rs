//! The latch: a failed attestation stands until an operator acts, a stale one heals by itself.
//!
//! A host that fails and then passes again has not shown what happened in between; a boot into the
//! approved state does not undo what ran before it. Two acts of an operator end it: clearing it, and signing
//! reference values that approve the very state that failed, as after an update whose values came
//! late.

use portcullis_json::Limits;
use serde_json::{Value, json};

use crate::appraisal::{Appraisal, AttestedState};
use crate::claims::{ClaimError, Claims};
use crate::finding::Finding;
use crate::trust::{Claim, ClaimValue};
use crate::{base64url, hex};

/// Findings that are failures: the TPM's word against what is approved, or evidence that is not
/// genuine. The others say that something is missing, out of date or not set up yet, which is
/// mended without anything having happened to the host; and an asset tag is compared with the
/// TPM at every launch.
const FAILURES: [&str; 9] = [
    "event-log-mismatch",
    "event-missing",
    "event-unexpected",
    "ima-list-mismatch",
    "nonce-mismatch",
    "pcr-mismatch",
    "quote-signature-invalid",
    "secure-boot-key-unknown",
    "secure-boot-off",
];
/// Failures that an operator's signature can turn into an approved state: what booted was measured
/// truly, and was not among what is approved.
const APPROVABLE: [&str; 5] = [
    "event-missing",
    "event-unexpected",
    "pcr-mismatch",
    "secure-boot-key-unknown",
    "secure-boot-off",
];
/// The finding of an appraisal that fails because an earlier one did.
const CODE: &str = "verdict-latched";
/// A latch is about 500 bytes; the texts in it are bounded by their findings.
const LIMITS: Limits = Limits {
    max_bytes: 16 * 1024,
    max_depth: 4,
};
/// Format of a latch in text.
const VERSION: u64 = 1;
/// Characters of outside text that is kept.
const TEXT_LIMIT: usize = 256;

/// How long a failure stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatchRule {
    /// Until an operator acts.
    UntilCleared,
    /// Until an operator acts or the host is booted anew.
    UntilReboot,
    /// Not at all: each attestation is judged by itself.
    Off,
}

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Code of the finding.
    pub code: String,
    /// What it is about.
    pub subject: String,
    /// What it had to be.
    pub expected: String,
    /// What it was.
    pub found: String,
}

/// A failure that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latch {
    /// When it was found, in seconds since 1970.
    pub since_s: u64,
    /// The first finding that is a failure.
    pub failure: Failure,
    /// The boot in which it was found.
    boot_seed: String,
    /// Digest of the PCR values that failed, if they alone are the failure.
    pcr_digest: Option<[u8; 32]>,
}

/// A latch that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LatchError {
    /// It is not JSON.
    #[error("cannot parse latch")]
    Parse(#[source] portcullis_json::JsonError),
    /// A member is missing or wrong.
    #[error("cannot read latch")]
    Claim(#[from] ClaimError),
}

// === impl Failure ===

impl Failure {
    /// A finding that is a failure; `None` for one that is not.
    #[must_use]
    pub fn of(finding: &Finding) -> Option<Self> {
        FAILURES.contains(&finding.code).then(|| Self {
            code: finding.code.to_owned(),
            subject: cut(&finding.subject),
            expected: cut(&finding.expected),
            found: cut(&finding.found),
        })
    }

    /// The claim of the trust vector that speaks of it.
    fn claim(&self) -> Claim {
        if self.code.starts_with("ak-") {
            Claim::InstanceIdentity
        } else {
            Claim::Executables
        }
    }
}

// === impl Latch ===

impl Latch {
    /// A failure that was found at `now_s`, in the boot with this seed.
    #[must_use]
    pub const fn new(failure: Failure, now_s: u64, boot_seed: String) -> Self {
        Self {
            since_s: now_s,
            failure,
            boot_seed,
            pcr_digest: None,
        }
    }

    /// The failure that `appraisal` found, if it found one.
    #[must_use]
    pub fn of(appraisal: &Appraisal, now_s: u64) -> Option<Self> {
        let mut failures = appraisal.findings.iter().filter_map(Failure::of);
        let failure = failures.next()?;
        let is_approvable = |it: &Failure| APPROVABLE.contains(&&*it.code);
        let approvable = is_approvable(&failure) && failures.all(|it| is_approvable(&it));
        let state = appraisal.state.as_ref();
        Some(Self {
            since_s: now_s,
            failure,
            boot_seed: state.map(|state| state.boot_id.seed()).unwrap_or_default(),
            pcr_digest: state
                .filter(|_| approvable)
                .map(|state| state.pcrs.digest()),
        })
    }

    /// Whether the failure still stands for a host in `state` that has no failure now.
    #[must_use]
    pub fn holds(&self, rule: LatchRule, state: &AttestedState) -> bool {
        let is_approved = self.pcr_digest == Some(state.pcrs.digest());
        let has_rebooted = self.boot_seed != state.boot_id.seed();
        match rule {
            LatchRule::UntilCleared => !is_approved,
            LatchRule::UntilReboot => !is_approved && !has_rebooted,
            LatchRule::Off => false,
        }
    }

    /// Makes `appraisal` speak against the host.
    pub fn apply(&self, appraisal: &mut Appraisal) {
        let Failure { code, subject, .. } = &self.failure;
        let mut findings = appraisal.findings.iter();
        // One that found a failure itself need not be told.
        if findings.all(|finding| Failure::of(finding).is_none()) {
            appraisal.findings.push(Finding::new(
                CODE,
                "attestation of this node",
                format!(
                    "no failure, or one that was cleared, since {}",
                    self.since_s
                ),
                format!("[{code}] {subject}"),
            ));
        }
        appraisal
            .vector
            .set(self.failure.claim(), ClaimValue::UNSUPPORTABLE);
        appraisal.status = appraisal.vector.worst();
    }

    /// Reads what [`Latch::to_text`] wrote.
    ///
    /// # Errors
    ///
    /// [`LatchError`]; what cannot be read counts as a failure that stands.
    pub fn parse(text: &[u8]) -> Result<Self, LatchError> {
        let value = portcullis_json::parse(text, LIMITS).map_err(LatchError::Parse)?;
        let members = Claims::of(&value)?;
        members.required("version", "1", |value| {
            value.as_u64().filter(|version| *version == VERSION)
        })?;
        let failure = members.object("failure")?;
        Ok(Self {
            since_s: members.unsigned("since")?,
            failure: Failure {
                code: failure.text("code")?.to_owned(),
                subject: failure.text("subject")?.to_owned(),
                expected: failure.text("expected")?.to_owned(),
                found: failure.text("found")?.to_owned(),
            },
            boot_seed: members.required("bootseed", "32 bytes in base64url", |value| {
                let text = value.as_str()?;
                base64url::decode_array::<32>(text).map(|_| text.to_owned())
            })?,
            pcr_digest: members.optional("pcr_digest", "32 bytes in hexadecimal", |value| {
                hex::decode_array(value.as_str()?)
            })?,
        })
    }

    /// JSON, one line.
    #[must_use]
    pub fn to_text(&self) -> String {
        let failure = &self.failure;
        let mut value = json!({
            "version": VERSION,
            "since": self.since_s,
            "bootseed": self.boot_seed,
            "failure": {
                "code": failure.code,
                "subject": failure.subject,
                "expected": failure.expected,
                "found": failure.found,
            },
        });
        if let (Some(digest), Some(members)) = (&self.pcr_digest, value.as_object_mut()) {
            members.insert("pcr_digest".to_owned(), Value::from(hex::encode(digest)));
        }
        format!("{value}\n")
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_LIMIT).collect()
}

#[cfg(test)]
mod tests;
