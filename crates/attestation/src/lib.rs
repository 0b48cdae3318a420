//! Evidence, reference values, appraisal, verdict and asset tag.
#![forbid(unsafe_code)]

pub mod base64url;
pub mod boot_id;
mod claims;
pub mod clock;
pub mod hex;
pub mod jwk;
pub mod jws;
pub mod nonce;
pub mod pcr;
#[cfg(feature = "software-key")]
pub mod software_key;
pub mod tpm_name;
pub mod trust;
pub mod ueid;

pub use claims::ClaimError;
