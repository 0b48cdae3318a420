//! A verdict of a verifier that is not the agent.
//!
//! The agent carries it, as it carries its own: relying parties verify it themselves. What is looked
//! at here only keeps a verdict that no relying party would accept from taking the place of one.

use std::path::Path;

use portcullis_attestation::appraisal::Appraisal;
use portcullis_attestation::jwk::TrustedKeys;
use portcullis_attestation::verdict::{self, Verdict, VerdictError};
use portcullis_config::RemoteConfig;
use portcullis_gate::snapshot::VERDICT_LIMIT_BYTES;
use portcullis_tpm::Identity;

use crate::atomic_file::{self, FileError};

/// A verdict that was taken over.
#[derive(Debug)]
pub(crate) struct Adopted {
    /// The token.
    pub(crate) token: String,
    /// What it says.
    pub(crate) verdict: Verdict,
}

/// Why there is no verdict to carry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    /// The verifier has put none there yet.
    #[error("cannot find a remote verdict at '{path}'")]
    Missing {
        /// The file.
        path: String,
    },
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is no text.
    #[error("cannot read remote verdict '{path}': it is not ASCII")]
    Text {
        /// The file.
        path: String,
    },
    /// No pinned verifier signed it, or it is no verdict.
    #[error("cannot carry remote verdict")]
    Verdict(#[from] VerdictError),
    /// It is about another TPM.
    #[error("cannot carry remote verdict about TPM {found}: this node has TPM {expected}")]
    OtherTpm {
        /// This node's.
        expected: String,
        /// The verdict's.
        found: String,
    },
}

/// Reads the verdict that `remote` names and sees that a pinned verifier made it about this TPM.
///
/// Says nothing about its age, its boot or its status; relying parties do.
///
/// # Errors
///
/// [`RemoteError`].
pub(crate) fn adopt(
    remote: &RemoteConfig,
    keys: &TrustedKeys,
    identity: &Identity,
) -> Result<Adopted, RemoteError> {
    let path = || remote.verdict.clone();
    let limit = u64::try_from(VERDICT_LIMIT_BYTES).unwrap_or(u64::MAX);
    let bytes = atomic_file::read(Path::new(&remote.verdict), limit)?
        .ok_or_else(|| RemoteError::Missing { path: path() })?;
    let text = String::from_utf8(bytes)
        .ok()
        .filter(|text| text.is_ascii())
        .ok_or_else(|| RemoteError::Text { path: path() })?;
    let token = text.trim();
    let verdict = verdict::verify(token, keys)?;
    if verdict.host.ueid != identity.ueid || verdict.host.ak_name != identity.ak_name {
        return Err(RemoteError::OtherTpm {
            expected: identity.ueid.to_string(),
            found: verdict.host.ueid.to_string(),
        });
    }
    Ok(Adopted {
        token: token.to_owned(),
        verdict,
    })
}

// === impl Adopted ===

impl Adopted {
    /// What the remote verifier found, in the form of an appraisal of our own. It has no findings:
    /// an EAR carries none.
    pub(crate) fn appraisal(&self) -> Appraisal {
        Appraisal {
            status: self.verdict.status,
            vector: self.verdict.host.vector.clone(),
            findings: Vec::new(),
            boot_state: self.verdict.host.boot_state.clone(),
            policy_ids: self.verdict.host.policy_ids.clone(),
            tags: self.verdict.host.tags.clone(),
            state: None,
        }
    }
}
