//! One attestation from challenge to verdict.

use std::io;
use std::path::Path;

use portcullis_attestation::appraisal::{Appraisal, appraise};
use portcullis_attestation::finding::Finding;
use portcullis_attestation::jws::SignError;
use portcullis_attestation::latch::{self, Latch};
use portcullis_attestation::trust::TrustTier;
use portcullis_attestation::verdict::{Latched, Verdict};
use portcullis_client::AgentError;
use portcullis_config::{Config, Faults, RemoteConfig, paths};
use portcullis_gate::snapshot::VERDICT_LIMIT_BYTES;
use portcullis_tpm::{Failure, Identity, Tpm, TpmError};

use crate::atomic_file::{self, FileError};
use crate::attester::{self, Challenge};
use crate::challenge::{ChallengeError, Challenges};
use crate::enrollment::{Enrollment, EnrollmentError};
use crate::floors::FloorsError;
use crate::quarantine::{self, Quarantine};
use crate::remote::{self, RemoteError};
use crate::sequence::{Sequence, SequenceError};
use crate::verifier::{self, Approved, ApprovedError};
use crate::{boot, kernel_log, log};

/// Number of the last verdict, in the state directory.
pub(crate) const SEQUENCE: &str = "sequence";

/// A verdict that was issued.
#[derive(Debug)]
pub(crate) struct Issued {
    /// The token.
    pub(crate) token: String,
    /// Its number.
    pub(crate) sequence: u64,
    /// What it rests on.
    pub(crate) appraisal: Appraisal,
    /// SHA-256 of the firmware's log beside it, if there was one.
    pub(crate) firmware_log: Option<[u8; 32]>,
    /// What it says, if another verifier issued it.
    pub(crate) adopted: Option<Verdict>,
}

/// Why there is no new verdict.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CycleError {
    /// There are no keys yet.
    #[error("cannot attest node that is not enrolled; run 'portcullis enroll'")]
    Enrolled,
    /// What was enrolled cannot be read.
    #[error(transparent)]
    Enrollment(#[from] EnrollmentError),
    /// The TPM is another one than at enrollment.
    #[error("cannot attest with TPM {found}: enrolled is TPM {expected}; run 'portcullis enroll'")]
    OtherTpm {
        /// The ueid at enrollment.
        expected: String,
        /// The ueid now.
        found: String,
    },
    /// The TPM failed.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The kernel does not tell its boot id.
    #[error("cannot read the kernel's boot id")]
    BootId(#[source] io::Error),
    /// There is no challenge.
    #[error(transparent)]
    Challenge(#[from] ChallengeError),
    /// Pinned keys or reference values cannot be read.
    #[error("cannot read what is approved: {0}")]
    Approved(Faults),
    /// It is not known which reference values were withdrawn.
    #[error(transparent)]
    Floors(FloorsError),
    /// The evidence is not genuine; no verdict can be about it.
    #[error(
        "cannot believe evidence [{}] {}: expected {}, found {}",
        .0.code, .0.subject, .0.expected, .0.found
    )]
    Evidence(Finding),
    /// There is no verdict of the remote verifier.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The evidence is genuine, and the host is not in a state that is vouched for: it is in
    /// quarantine, or the TPM keeps the verdict key. One finding at least.
    #[error("cannot have a verdict signed: {}", summary(.0))]
    Withheld(Vec<Finding>),
    /// The TPM has no session in which it could sign; a verdict that is there is not affected.
    #[error("cannot sign verdict: {}", .0.found)]
    Sessions(Finding),
    /// The verdict cannot be numbered.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The verdict cannot be signed.
    #[error("cannot sign verdict")]
    Sign(#[source] SignError),
    /// The verdict cannot be stored.
    #[error("cannot store verdict")]
    Store(#[source] FileError),
}

/// Collects evidence, appraises it, signs the verdict and writes it to its file.
///
/// `judge` holds the appraisal against an earlier failure and returns the one that stands. A verdict
/// that speaks against the node is a success: the gate then says what is wrong.
pub(crate) fn run(
    tpm: &mut Tpm,
    config: &Config,
    (enrollment, identity): (&Enrollment, &Identity),
    (challenges, tag_document): (&mut Challenges, Option<String>),
    judge: &mut dyn FnMut(&mut Appraisal, u64) -> Option<Latch>,
    between: &mut dyn FnMut(&mut Tpm),
) -> Result<Issued, CycleError> {
    if !enrollment.is_of(identity) {
        return Err(CycleError::OtherTpm {
            expected: enrollment.ueid.to_string(),
            found: identity.ueid.to_string(),
        });
    }
    if let Some(remote) = &config.agent.remote {
        return carry(remote, identity);
    }
    let approved = Approved::load(config, boot::unix_s())?;
    if !approved.pins(&enrollment.public_key) {
        let kid = enrollment.public_key.kid().to_string();
        log::warn("verdict key is not pinned on this host", &[("kid", &kid)]);
    }
    let nonce = challenges.draw()?;
    let challenge = Challenge {
        identity,
        selection: config.agent.pcrs,
        nonce,
        boot_id: boot::id().map_err(CycleError::BootId)?,
        tag_document,
    };
    let evidence = attester::collect(tpm, challenge, between)?;

    let now_s = boot::unix_s();
    let mut appraisal = appraise(&evidence, &nonce, &approved.policy(), now_s);
    let latched = judge(&mut appraisal, now_s).map(|latch| Latched {
        since_s: latch.since_s,
        code: latch.failure.code,
        subject: latch.failure.subject,
    });
    let Some(state) = &appraisal.state else {
        return Err(unproven(&appraisal));
    };
    let note = Quarantine::in_force(&state.boot_id, state.clock.reset_count);
    if let Some(findings) = quarantine::findings(&appraisal.findings, note.as_ref()) {
        return Err(CycleError::Withheld(findings));
    }
    let approval = match &enrollment.policy {
        None => None,
        Some(policy) => match approved.approval(policy, &state.pcrs, &appraisal) {
            Ok(approval) => Some(approval),
            Err(finding) => {
                let mut findings = appraisal.findings;
                findings.push(finding);
                return Err(CycleError::Withheld(findings));
            }
        },
    };
    let sequence = Sequence::open(Path::new(paths::STATE).join(SEQUENCE))?.next()?;
    let about = (&appraisal, approval);
    let token = verifier::issue(tpm, enrollment, config, about, (sequence, now_s, latched))
        .map_err(|error| unsigned(error, &appraisal))?
        .ok_or_else(|| unproven(&appraisal))?;
    atomic_file::write(Path::new(paths::VERDICT), token.as_bytes()).map_err(CycleError::Store)?;
    Ok(Issued {
        token,
        sequence,
        appraisal,
        firmware_log: evidence.event_log.as_deref().map(kernel_log::digest),
        adopted: None,
    })
}

/// Carries the verdict of a remote verifier. It is looked at often, and written when it is another.
fn carry(remote: &RemoteConfig, identity: &Identity) -> Result<Issued, CycleError> {
    let keys = portcullis_config::trusted_keys().map_err(CycleError::Approved)?;
    let adopted = remote::adopt(remote, &keys, identity)?;
    let (path, token) = (Path::new(paths::VERDICT), adopted.token.as_bytes());
    let limit = u64::try_from(VERDICT_LIMIT_BYTES).unwrap_or(u64::MAX);
    let there = atomic_file::read(path, limit).map_err(CycleError::Store)?;
    if there.as_deref() != Some(token) {
        atomic_file::write(path, token).map_err(CycleError::Store)?;
    }
    Ok(Issued {
        sequence: adopted.verdict.host.sequence,
        appraisal: adopted.appraisal(),
        token: adopted.token,
        firmware_log: kernel_log::firmware_digest(),
        adopted: Some(adopted.verdict),
    })
}

fn unproven(appraisal: &Appraisal) -> CycleError {
    CycleError::Evidence(appraisal.findings.first().cloned().unwrap_or(Finding {
        code: "evidence-malformed",
        subject: "evidence".to_owned(),
        expected: "a state the TPM signed for".to_owned(),
        found: "none".to_owned(),
    }))
}

/// A failure to sign; tells a TPM that refuses to, although the state looked approved a moment
/// ago, and one whose sessions others hold, from one that fails.
fn unsigned(error: SignError, appraisal: &Appraisal) -> CycleError {
    let cause = match &error {
        SignError::Sign { cause, .. } => cause.downcast_ref::<TpmError>(),
        _ => None,
    };
    if let Some(taken) = cause.filter(|error| error.is_out_of_sessions()) {
        return CycleError::Sessions(Finding {
            code: "tpm-sessions-exhausted",
            subject: "verdict key in the TPM".to_owned(),
            expected: "a session in which it signs".to_owned(),
            found: log::chain(taken),
        });
    }
    let Some(refused) = cause.filter(|error| error.is_withheld()) else {
        return CycleError::Sign(error);
    };
    let mut findings = appraisal.findings.clone();
    findings.push(Finding {
        code: "verdict-withheld",
        subject: "verdict key in the TPM".to_owned(),
        expected: "an approved boot state".to_owned(),
        found: log::chain(refused),
    });
    CycleError::Withheld(findings)
}

/// The finding that tells most, on one line: the last one says why nothing was signed.
fn summary(findings: &[Finding]) -> String {
    findings.last().map_or_else(String::new, |finding| {
        let Finding {
            code,
            subject,
            expected,
            found,
        } = finding;
        format!("[{code}] {subject}: expected {expected}, found {found}")
    })
}

/// What a TPM's failure is on the agent's socket.
pub(crate) fn tpm_answer(error: &TpmError) -> AgentError {
    let reason = log::chain(error);
    match (error.failure(), error) {
        (Failure::Timeout, TpmError::Timeout { patience_ms, .. }) => AgentError::TpmTimeout {
            deadline_ms: *patience_ms,
        },
        (Failure::Busy, TpmError::Busy { patience_ms, .. }) => AgentError::TpmBusy {
            deadline_ms: *patience_ms,
            reason,
        },
        (Failure::Garbled, _) => AgentError::TpmAnswerMalformed { reason },
        (Failure::Timeout | Failure::Busy | Failure::Failed, _) => AgentError::TpmFailed { reason },
        (Failure::Unreachable, _) => AgentError::TpmUnreachable { reason },
    }
}

impl From<ApprovedError> for CycleError {
    fn from(error: ApprovedError) -> Self {
        match error {
            ApprovedError::Files(faults) => Self::Approved(faults),
            ApprovedError::Floors(error) => Self::Floors(error),
        }
    }
}

// === impl CycleError ===

impl CycleError {
    /// Whether the verdict that was issued before must not be handed out any longer: the TPM that
    /// answers now is not known to be the one it is about.
    pub(crate) fn withdraws_verdict(&self) -> bool {
        matches!(
            self,
            Self::Evidence(_) | Self::OtherTpm { .. } | Self::Withheld(_)
        )
    }

    /// What the verifier has against the host or its TPM, if that is why there is no verdict.
    pub(crate) fn findings(&self) -> &[Finding] {
        match self {
            Self::Evidence(finding) | Self::Sessions(finding) => std::slice::from_ref(finding),
            Self::Withheld(findings) => findings,
            _ => &[],
        }
    }

    /// The failure that it amounts to, if it is one that stands.
    pub(crate) fn failure(&self) -> Option<latch::Failure> {
        match self {
            Self::Evidence(finding) => latch::Failure::of(finding),
            Self::OtherTpm { expected, found } => Some(latch::Failure {
                code: "ak-unknown".to_owned(),
                subject: "TPM of this node".to_owned(),
                expected: format!("TPM {expected}, as enrolled"),
                found: format!("TPM {found}"),
            }),
            _ => None,
        }
    }

    /// What it is to a client who asked for an attestation: an error if the TPM or the enrollment
    /// is in the way, else a status and findings.
    pub(crate) fn answer(
        &self,
    ) -> Result<(TrustTier, Vec<portcullis_client::method::Finding>), AgentError> {
        match self {
            Self::Enrolled => Err(AgentError::NotEnrolled {}),
            Self::Tpm(error) => Err(tpm_answer(error)),
            Self::Evidence(_) | Self::Withheld(_) => Ok((
                TrustTier::Contraindicated,
                self.findings().iter().map(shown).collect(),
            )),
            Self::Sessions(finding) => Ok((TrustTier::None, vec![shown(finding)])),
            Self::Approved(faults) => {
                let findings = faults
                    .iter()
                    .map(|fault| portcullis_client::method::Finding {
                        code: fault.code.to_string(),
                        subject: fault.subject.clone(),
                        expected: fault.expected.clone(),
                        found: fault.found.clone(),
                    });
                Ok((TrustTier::None, findings.collect()))
            }
            other => {
                let finding = portcullis_client::method::Finding {
                    code: "attestation-failed".to_owned(),
                    subject: "attestation of this node".to_owned(),
                    expected: "a verdict".to_owned(),
                    found: log::chain(other),
                };
                Ok((TrustTier::None, vec![finding]))
            }
        }
    }
}

/// A finding as it travels over the socket.
pub(crate) fn shown(finding: &Finding) -> portcullis_client::method::Finding {
    portcullis_client::method::Finding {
        code: finding.code.to_owned(),
        subject: finding.subject.clone(),
        expected: finding.expected.clone(),
        found: finding.found.clone(),
    }
}
