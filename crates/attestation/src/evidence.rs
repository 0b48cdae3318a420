//! What the attester collects for one appraisal. Nothing in it is believed before that.

mod json;

use sha2::{Digest as _, Sha256};

use crate::attest::SignedAttest;
use crate::boot_id::BootId;
use crate::nonce::Nonce;
use crate::pcr::PcrValues;
use crate::ueid::Ueid;

pub use json::EvidenceError;

/// Sets our qualifying data apart from any other use of the AK.
const LABEL: &[u8] = b"portcullis-quote-v1";

/// Evidence of one host, collected in answer to one nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The verifier's challenge.
    pub nonce: Nonce,
    /// The kernel's boot id.
    pub boot_id: BootId,
    /// SHA-256 of the gate's own binaries; zeros as long as they are not measured.
    pub gate_digest: [u8; 32],
    /// Identity of the TPM, from its EK.
    pub ueid: Ueid,
    /// TPM2B_PUBLIC of the AK.
    pub ak_public: Vec<u8>,
    /// The quote.
    pub quote: SignedAttest,
    /// The values behind the quote's digest, same bank and selection.
    pub pcrs: PcrValues,
    /// The firmware's event log, if the kernel has one; read after the quote.
    pub event_log: Option<Vec<u8>>,
    /// The kernel's IMA list, if it has one and PCR 10 was quoted; read after the quote.
    pub ima_list: Option<Vec<u8>>,
    /// The asset tag's NV index, if it is defined.
    pub tag_slot: Option<TagSlot>,
    /// The tag counter's NV index, if it counts.
    pub tag_counter: Option<TagSlot>,
    /// The tag document, if there is one.
    pub tag_document: Option<String>,
}

/// An NV index of the asset tag, read and certified by the TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagSlot {
    /// TPM2B_NV_PUBLIC.
    pub public: Vec<u8>,
    /// What was read.
    pub contents: Vec<u8>,
    /// TPM2_NV_Certify over the whole contents, with the quote's AK and qualifying data.
    pub certificate: SignedAttest,
}

/// The qualifying data of the quote and of the NV certificate.
///
/// SHA-256 over a label, the nonce, the 36 characters of the boot id, and the gate's digest: so
/// the TPM's signature ties them to the PCR values and to the TPM's clock.
#[must_use]
pub fn qualifying_data(nonce: &Nonce, boot_id: &BootId, gate_digest: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(LABEL);
    hash.update(nonce.as_bytes());
    hash.update(boot_id.as_str().as_bytes());
    hash.update(gate_digest);
    hash.finalize().into()
}
