//! The only code that talks to a TPM: keys, quotes, PCRs, the clock and the asset tag's NV index.
//!
//! It trusts the TPM and the kernel's resource manager, not the bytes on the way: every answer is
//! limited in size, its response code is read before anything else, and whatever does not decode
//! is an error. It holds no policy: appraising what it reads is the verifier's business.
//!
//! Two ways lead to the TPM, and [`Tpm`] sees to it that only one is open at a time, because
//! software TPMs serve one client:
//!
//! - the *wire* path, our own transport under the `tpm2-protocol` codec: no sessions, no key
//!   loads, a hard [`Deadline`]. Launches wait for this one ([`Tpm::read`]).
//! - the *library* path, `tss-esapi`: making keys, quoting, signing, writing the tag.
//!
//! Objects that were loaded are flushed on every way out, and leftovers of a crashed predecessor
//! are flushed before the next one is loaded: a TPM has room for three.
//!
//! ```
//! use portcullis_tpm::{Tcti, Tpm};
//!
//! let tcti: Tcti = "swtpm:host=127.0.0.1,port=2321".parse()?;
//! let tpm = Tpm::new(tcti); // touches nothing yet
//! assert!("device:".parse::<Tcti>().is_err(), "a device is always named");
//! # drop(tpm);
//! # Ok::<(), portcullis_tpm::TctiMalformed>(())
//! ```
//!
//! Layer 1: may use `attestation`.

mod attestation_key;
mod deadline;
mod ecdsa_p256;
mod error;
mod library;
mod number;
mod nv;
mod policy_session;
mod reading;
mod response_code;
mod signing_key;
mod sys;
mod tag_slot;
mod tcti;
mod tpm;
mod transport;
mod wire;

pub use deadline::Deadline;
pub use error::{Failure, TpmError};
pub use library::Identity;
pub use nv::NvSlot;
pub use reading::Reading;
pub use response_code::ResponseCode;
pub use signing_key::KeyBlob;
pub use tag_slot::TagWrite;
pub use tcti::{Tcti, TctiMalformed};
pub use tpm::{AnchorState, Tpm};
