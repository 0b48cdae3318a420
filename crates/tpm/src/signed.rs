//! What the attestation key signs.

/// An attestation structure as the TPM made it, and the AK's signature over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// TPMS_ATTEST, byte for byte as signed.
    pub attest: Vec<u8>,
    /// ECDSA with SHA-256: r and s, 32 bytes each, big-endian.
    pub signature: [u8; 64],
}

/// Joins the halves of an ECDSA signature.
pub(crate) fn joined(r: [u8; 32], s: [u8; 32]) -> [u8; 64] {
    let mut signature = [0; 64];
    for (to, from) in signature.iter_mut().zip(r.iter().chain(&s)) {
        *to = *from;
    }
    signature
}
