//! The verdict: a verifier's signed statement about one host in one boot, as an EAR.
//!
//! Two spellings are read, never mixed: the claim names of draft-ietf-rats-ear-04 (underscores)
//! and the older dotted ones. A verdict without the bindings to a TPM, a boot and PCR values is
//! refused whatever it says about trust, because it would be true of any host.

mod dialect;
mod issue;
mod read;

use std::collections::BTreeMap;

use crate::claims::ClaimError;
use crate::jwk::TrustedKeys;
use crate::jws::{self, JwsError, Typ};
use crate::pcr::{PcrSelection, PcrValues};
use crate::tpm_name::TpmName;
use crate::trust::{TrustTier, TrustVector};
use crate::ueid::Ueid;

pub use dialect::Dialect;
pub use issue::{Terms, claims};

/// Profile of the host's part: what its attester claims mean.
pub const HOST_PROFILE: &str = "tag:portcullis.dev,2026:tpm2#1";
/// Name of the one part every verdict must have.
pub const HOST: &str = "host";

/// A verified verdict. Nothing in it was compared with a clock or with a host yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which spelling the token had.
    pub dialect: Dialect,
    /// Id of the key that signed it.
    pub kid: String,
    /// The verifier's name.
    pub issuer: String,
    /// When it was issued, in seconds since 1970.
    pub issued_at_s: u64,
    /// First second after validity; later than `issued_at_s`.
    pub expires_s: u64,
    /// The nonce of the attestation, 8 to 64 bytes.
    pub nonce: Vec<u8>,
    /// Who built the verifier.
    pub verifier_developer: String,
    /// Which build of it.
    pub verifier_build: String,
    /// The overall status. Only [`TrustTier::is_affirming`] is trust.
    pub status: TrustTier,
    /// What it says about the host.
    pub host: HostVerdict,
}

/// What a verdict says about the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostVerdict {
    /// Status of this part; never better than its vector.
    pub status: TrustTier,
    /// The trust vector as issued; see [`TrustVector::pruned`].
    pub vector: TrustVector,
    /// Policies that were applied, such as `urn:sha256:…`.
    pub policy_ids: Vec<String>,
    /// The TPM.
    pub ueid: Ueid,
    /// The TPM's reset count.
    pub reset_count: u32,
    /// The TPM's restart count.
    pub restart_count: u32,
    /// The TPM's clock in milliseconds, if given.
    pub clock_ms: Option<u64>,
    /// Claim `bootseed`: compare with [`crate::boot_id::BootId::seed`].
    pub boot_seed: String,
    /// The AK that signed the quote.
    pub ak_name: TpmName,
    /// The PCRs the verdict is about.
    pub pcrs: PcrClaim,
    /// The asset tag's slot, if one was provisioned.
    pub tag: Option<TagPin>,
    /// The node's name, if the verifier knows it.
    pub node_name: Option<String>,
    /// Count of verdicts of this verifier; grows with each.
    pub sequence: u64,
    /// Tags the verifier saw. For display: the tag document decides.
    pub tags: BTreeMap<String, String>,
    /// Age in seconds beyond which the verifier asks not to use it.
    pub max_age_s: Option<u64>,
    /// Name of the boot state that matched, if one did.
    pub boot_state: Option<String>,
    /// An earlier failure that still stands, whatever the host looks like now.
    pub latched: Option<Latched>,
}

/// An earlier failure, as a verdict tells of it; see [`crate::latch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latched {
    /// When it was found, in seconds since 1970.
    pub since_s: u64,
    /// Code of the finding.
    pub code: String,
    /// What it was about.
    pub subject: String,
}

/// The PCRs a verdict is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrClaim {
    /// Which PCRs of which bank; at least one.
    pub selection: PcrSelection,
    /// SHA-256 over the concatenated values in ascending order, see [`PcrValues::digest`].
    pub digest: [u8; 32],
    /// The values, if given; they give `digest`.
    pub values: Option<PcrValues>,
}

/// The NV index that holds the asset tag's digest, as it was when the verdict was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPin {
    /// The index, usually [`crate::tag::NV_INDEX`].
    pub nv_index: u32,
    /// Its name, which covers its attributes and access rules.
    pub nv_name: TpmName,
    /// Its contents: SHA-384 of the tag document.
    pub digest: [u8; crate::tag::DIGEST_BYTES],
    /// Where the tag counter stood; a document with another number is not the latest.
    pub counter: u64,
}

/// Why a verdict is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerdictError {
    /// The token is not one that a pinned verifier signed.
    #[error("cannot verify verdict")]
    Signature(#[source] JwsError),
    /// The token itself is not well formed.
    #[error("cannot read verdict")]
    Token(#[source] JwsError),
    /// A claim is missing or is not what it must be.
    #[error("cannot read verdict")]
    Claim(#[from] ClaimError),
    /// A claim is missing that binds the verdict to one TPM, boot, PCR state or asset tag.
    #[error("cannot read verdict")]
    Unbound(#[source] ClaimError),
    /// The token holds both spellings, or the spelling of another profile.
    #[error("cannot read verdict that mixes the claim names of two drafts: '{claim}'")]
    Mixed {
        /// A claim of the spelling that does not belong.
        claim: &'static str,
    },
    /// A status promises more than what it is made of.
    #[error("cannot accept status '{status}' of '{part}' in verdict: its parts are '{worst}'")]
    Contradiction {
        /// `ear` for the whole, else the name of the submodule, escaped and cut.
        part: String,
        /// The status claimed.
        status: TrustTier,
        /// The worst of its parts.
        worst: TrustTier,
    },
    /// The profile is not one of those understood here.
    #[error("cannot understand profile '{found}' of verdict")]
    Profile {
        /// The profile, escaped and cut to 64 characters.
        found: String,
    },
}

/// The ways in which a verdict is unfit, by which a relying party names its refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerdictDefect {
    /// Not signed by a pinned verifier.
    Signature,
    /// Its header asks for another signature algorithm, `none` among them.
    Algorithm,
    /// Signed or not, it cannot be read.
    Malformed,
    /// A claim, or a parameter of the header, is there twice.
    Duplicate,
    /// It holds the claim names of two drafts.
    Mixed,
    /// It would be true of any host: a claim that binds it to one is missing.
    Unbound,
    /// A status promises more than what it is made of.
    Contradiction,
    /// Well formed, but of a profile that is not understood.
    Profile,
}

/// Verifies a verdict with the pinned keys of verifiers.
///
/// Does *not* look at the time, the boot, the PCRs, or whether the status is affirming: those are
/// the relying party's questions.
///
/// # Errors
///
/// [`VerdictError`]; [`VerdictError::defect`] sorts it. None is worth a retry.
///
/// # Source
///
/// draft-ietf-rats-ear-04, "EAT Attestation Results".
pub fn verify(token: &str, keys: &TrustedKeys) -> Result<Verdict, VerdictError> {
    let (kid, payload) = jws::verify_naming_key(token, Typ::Verdict, keys)?;
    read::verdict(kid, &payload)
}

/// Reads a verdict without verifying who signed it, for display only.
///
/// # Errors
///
/// [`VerdictError`], any but [`VerdictError::Signature`] for want of a key.
pub fn read_unverified(token: &str) -> Result<Verdict, VerdictError> {
    let token = jws::Unverified::parse(token, Typ::Verdict)?;
    read::verdict(token.kid().to_owned(), &token.payload()?)
}

// === impl VerdictError ===

impl VerdictError {
    /// Which of the ways it is.
    #[must_use]
    pub const fn defect(&self) -> VerdictDefect {
        match self {
            Self::Signature(JwsError::Algorithm { .. }) => VerdictDefect::Algorithm,
            Self::Signature(_) => VerdictDefect::Signature,
            Self::Token(cause) if cause.is_duplicate() => VerdictDefect::Duplicate,
            Self::Token(_) | Self::Claim(_) => VerdictDefect::Malformed,
            Self::Unbound(_) => VerdictDefect::Unbound,
            Self::Mixed { .. } => VerdictDefect::Mixed,
            Self::Contradiction { .. } => VerdictDefect::Contradiction,
            Self::Profile { .. } => VerdictDefect::Profile,
        }
    }
}

impl From<JwsError> for VerdictError {
    fn from(cause: JwsError) -> Self {
        if cause.is_malformed() {
            Self::Token(cause)
        } else {
            Self::Signature(cause)
        }
    }
}

#[cfg(test)]
mod tests;
