//! Hashing with the algorithm of a bank, to replay what a TPM did.

use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::pcr::HashAlg;

/// The digest of `parts`, one after the other; `None` for SHA-1 where the crate is built without
/// it. A verifier needs no SHA-1, a tool that shows old logs does.
pub(crate) fn digest(algorithm: HashAlg, parts: &[&[u8]]) -> Option<Vec<u8>> {
    match algorithm {
        #[cfg(feature = "sha1")]
        HashAlg::Sha1 => Some(of::<sha1::Sha1>(parts)),
        #[cfg(not(feature = "sha1"))]
        HashAlg::Sha1 => None,
        HashAlg::Sha256 => Some(of::<Sha256>(parts)),
        HashAlg::Sha384 => Some(of::<Sha384>(parts)),
        HashAlg::Sha512 => Some(of::<Sha512>(parts)),
    }
}

fn of<H: Digest>(parts: &[&[u8]]) -> Vec<u8> {
    let mut hash = H::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().to_vec()
}
