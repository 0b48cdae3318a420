//! Evidence, reference values, appraisal, verdict and asset tag.
#![forbid(unsafe_code)]

pub mod ak;
pub mod appraisal;
pub mod attest;
pub mod base64url;
pub mod boot_id;
mod claims;
pub mod clock;
pub mod evidence;
pub mod finding;
pub mod hex;
pub mod jwk;
pub mod jws;
pub mod nonce;
pub mod nv;
pub mod pcr;
pub mod reference;
#[cfg(feature = "software-key")]
pub mod software_key;
pub mod tag;
pub mod tpm_name;
pub mod trust;
pub mod ueid;
pub mod verdict;

#[cfg(test)]
mod fakes;
mod wire;

pub use claims::ClaimError;
pub use wire::StructureError;
