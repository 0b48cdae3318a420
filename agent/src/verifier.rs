//! The embedded verifier: what it holds evidence against, and the verdict it signs.

use std::error::Error;
use std::path::Path;

use portcullis_attestation::appraisal::{Appraisal, AppraisalPolicy};
use portcullis_attestation::approval::Approval;
use portcullis_attestation::finding::Finding;
use portcullis_attestation::jwk::{PublicKey, TrustedKeys};
use portcullis_attestation::jws::{self, SignError, Signer, Typ};
use portcullis_attestation::key_policy::KeyPolicy;
use portcullis_attestation::pcr::PcrValues;
use portcullis_attestation::reference::{self, Reference, ReferenceError};
use portcullis_attestation::verdict::{self, Latched, Terms};
use portcullis_config::{Config, Faults, SignedFile, paths};
use portcullis_tpm::{Deadline, Tpm};

use crate::attester::PATIENCE;
use crate::enrollment::Enrollment;
use crate::floors::{FloorsError, FloorsFile};
use crate::log;

/// The verifier names itself with these in verdicts.
const DEVELOPER: &str = "https://portcullis.dev";
/// See [`DEVELOPER`].
const BUILD: &str = concat!("portcullis-agent ", env!("CARGO_PKG_VERSION"));

/// What is remembered of withdrawn documents, in the state directory.
const FLOORS: &str = "reference-floors.json";

/// Pinned keys and reference values of this host, as they are now.
#[derive(Debug)]
pub(crate) struct Approved {
    keys: TrustedKeys,
    references: Vec<Reference>,
    refused: Vec<Finding>,
}

/// Why it is not known what is approved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApprovedError {
    /// Pinned keys or reference values cannot be read.
    #[error("cannot read what is approved: {0}")]
    Files(Faults),
    /// It is not known which of them were withdrawn.
    #[error(transparent)]
    Floors(#[from] FloorsError),
}

// === impl Approved ===

impl Approved {
    /// Reads them anew, so that a change by the operator needs no restart.
    ///
    /// Documents that were withdrawn stay so: what a newer one asked for is remembered.
    pub(crate) fn load(config: &Config, now_s: u64) -> Result<Self, ApprovedError> {
        let keys = portcullis_config::trusted_keys().map_err(ApprovedError::Files)?;
        let mut documents = Vec::new();
        let mut refused = Vec::new();
        for file in portcullis_config::reference_values().map_err(ApprovedError::Files)? {
            match reference::verify(&file.token, &keys) {
                Ok(reference) => documents.push((file.path, reference)),
                Err(error) => refused.push(finding(&file, &error)),
            }
        }
        let mut remembered = FloorsFile::open(Path::new(paths::STATE).join(FLOORS))?;
        let needed = config.agent.reference_signatures;
        let standing = reference::standing(documents, remembered.floors(), needed, now_s);
        remembered.keep(standing.floors)?;
        refused.extend(standing.refused);
        Ok(Self {
            keys,
            references: standing.accepted,
            refused,
        })
    }

    /// The policy for an appraisal.
    pub(crate) fn policy(&self) -> AppraisalPolicy<'_> {
        AppraisalPolicy {
            references: &self.references,
            refused_references: &self.refused,
            keys: &self.keys,
        }
    }

    /// The approval with which the TPM of a node in the state `pcrs` signs with a key bound by
    /// `policy`.
    ///
    /// Documents out of date count: the TPM knows no time, and only with them does it sign the
    /// verdict that says they are.
    ///
    /// # Errors
    ///
    /// The finding that there is none.
    pub(crate) fn approval(
        &self,
        policy: &KeyPolicy,
        pcrs: &PcrValues,
        appraisal: &Appraisal,
    ) -> Result<&Approval, Finding> {
        let holding = || {
            self.references
                .iter()
                .flat_map(|reference| &reference.approvals)
                .filter(|approval| approval.holds_for(pcrs))
        };
        if let Some(approval) = holding().find(|approval| policy.admits(approval)) {
            return Ok(approval);
        }
        let found = match (
            holding().next(),
            &appraisal.boot_state,
            appraisal.findings.first(),
        ) {
            (Some(other), _, _) => format!(
                "boot state '{}', approved by key {}, to which the verdict key is not bound",
                other.boot_state(),
                other.signer().kid()
            ),
            (None, Some(state), _) => format!(
                "boot state '{state}', whose reference values hold no signature for the TPM"
            ),
            (None, None, Some(first)) => format!("{} {}", first.code, first.subject),
            (None, None, None) => "none".to_owned(),
        };
        Err(Finding {
            code: "verdict-withheld",
            subject: "verdict key in the TPM".to_owned(),
            expected: "an approved boot state".to_owned(),
            found,
        })
    }

    /// Whether relying parties on this host accept verdicts signed with `key`.
    pub(crate) fn pins(&self, key: &PublicKey) -> bool {
        self.keys.find(key.kid().as_str()).is_some()
    }
}

fn finding(file: &SignedFile, error: &ReferenceError) -> Finding {
    let code = match error {
        ReferenceError::Signature(_) => "reference-values-signature-invalid",
        _ => "reference-values-malformed",
    };
    Finding {
        code,
        subject: format!("reference values '{}'", file.path.escape_debug()),
        expected: "values signed by a pinned key".to_owned(),
        found: log::chain(error),
    }
}

/// Signs a verdict about an appraisal; `None` if the evidence proved nothing to speak about.
pub(crate) fn issue(
    tpm: &mut Tpm,
    enrollment: &Enrollment,
    config: &Config,
    (appraisal, approval): (&Appraisal, Option<&Approval>),
    (sequence, now_s, latched): (u64, u64, Option<Latched>),
) -> Result<Option<String>, SignError> {
    let terms = Terms {
        issuer: config.agent.issuer.clone(),
        verifier_developer: DEVELOPER.to_owned(),
        verifier_build: BUILD.to_owned(),
        issued_at_s: now_s,
        lifetime_s: config.agent.verdict_lifetime.as_secs().max(1),
        node_name: Some(config.node_name.clone()),
        sequence,
        max_age_s: None,
        latched,
    };
    let Some(claims) = verdict::claims(&terms, appraisal) else {
        return Ok(None);
    };
    let mut signer = TpmSigner {
        tpm,
        enrollment,
        approval: enrollment.policy.as_ref().zip(approval),
    };
    jws::sign(Typ::Verdict, &claims, &mut signer).map(Some)
}

/// The verdict key, which the TPM holds.
struct TpmSigner<'a> {
    tpm: &'a mut Tpm,
    enrollment: &'a Enrollment,
    approval: Option<(&'a KeyPolicy, &'a Approval)>,
}

// === impl TpmSigner ===

impl Signer for TpmSigner<'_> {
    fn public_key(&self) -> &PublicKey {
        &self.enrollment.public_key
    }

    fn sign_digest(
        &mut self,
        digest: &[u8; 32],
    ) -> Result<[u8; 64], Box<dyn Error + Send + Sync + 'static>> {
        let deadline = Deadline::within(PATIENCE);
        let key = &self.enrollment.key;
        Ok(self.tpm.sign(key, *digest, self.approval, &deadline)?)
    }
}
