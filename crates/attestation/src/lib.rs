//! Evidence, reference values, appraisal, verdict and asset tag of one host.
//!
//! The words are those of RATS (RFC 9334). An *attester* collects [`evidence`]; a *verifier* holds
//! it against signed [`mod@reference`] values, which is an [`appraisal`], and issues a signed
//! [`verdict`]; a *relying party* verifies the verdict with keys pinned on the host ([`jwk`]) and
//! decides. An asset [`tag`] is a signed statement about one TPM.
//!
//! What is trusted: pinned public keys, and what they signed. What is not: everything else, also
//! what a TPM's driver returns, and every size, name and number in a token before its signature
//! verified. No function here reads a clock, a file or random bytes; time and nonce are arguments.
//!
//! Nothing here decides a launch: an appraisal has [`finding`]s, and a relying party turns them
//! into refusals. Layer 0.
//!
//! ```
//! use portcullis_attestation::jwk::TrustedKeys;
//! use portcullis_attestation::verdict::{self, VerdictDefect};
//!
//! let pinned = TrustedKeys::new();
//! let refused = verdict::verify("e30.e30.AA", &pinned).unwrap_err();
//! assert_eq!(refused.defect(), VerdictDefect::Malformed);
//! ```
//!
//! With the feature `software-key` the crate also reads and writes private keys (PKCS#8, PEM), for
//! the operator's command; the shim and the hook are built without it.
#![forbid(unsafe_code)]

pub mod ak;
pub mod anchor;
pub mod appraisal;
pub mod approval;
pub mod attest;
pub mod base64url;
pub mod boot_id;
pub mod break_glass;
mod claims;
pub mod clock;
pub mod event_log;
pub mod evidence;
pub mod finding;
mod hashing;
pub mod hex;
pub mod ima;
pub mod jwk;
pub mod jws;
pub mod key_policy;
pub mod latch;
mod little_endian;
pub mod nonce;
pub mod nv;
pub mod pcr;
pub mod policy_bundle;
pub mod policy_digest;
pub mod quarantine;
pub mod reference;
#[cfg(feature = "software-key")]
pub mod software_key;
pub mod tag;
pub mod tpm_name;
pub mod trust;
pub mod ueid;
mod validity;
pub mod verdict;

#[cfg(test)]
mod fakes;
mod wire;

pub use claims::ClaimError;
pub use wire::StructureError;
