//! The TPM's own name of a key or an NV index.

use std::fmt;

use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::hex;
use crate::pcr::HashAlg;

/// Hash algorithm and digest of an object's public area, as the TPM computes it.
///
/// It identifies the object together with its attributes: a key that can be exported, or an NV
/// index with other access rules, has another name. It is no secret and fit for logs.
///
/// # Source
///
/// TPM 2.0 Library, part 1, "Names".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TpmName(Vec<u8>);

// === impl TpmName ===

impl TpmName {
    /// Takes the bytes of a name: two of algorithm, then as many as its digest has.
    ///
    /// `None` for a handle in place of a name, another length, or SHA-1.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, digest) = bytes.split_first_chunk::<2>()?;
        let algorithm = HashAlg::from_tpm_id(u16::from_be_bytes(*id))?;
        let fits = algorithm != HashAlg::Sha1 && digest.len() == algorithm.digest_bytes();
        fits.then(|| Self(bytes.to_vec()))
    }

    /// Reads the lower-case hexadecimal form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_bytes(&hex::decode(text)?)
    }

    /// Computes the name of a public area. `None` for SHA-1, which names nothing here.
    #[must_use]
    pub fn of_public_area(algorithm: HashAlg, public_area: &[u8]) -> Option<Self> {
        let mut bytes = algorithm.tpm_id().to_be_bytes().to_vec();
        match algorithm {
            HashAlg::Sha1 => return None,
            HashAlg::Sha256 => bytes.extend_from_slice(&Sha256::digest(public_area)),
            HashAlg::Sha384 => bytes.extend_from_slice(&Sha384::digest(public_area)),
            HashAlg::Sha512 => bytes.extend_from_slice(&Sha512::digest(public_area)),
        }
        Some(Self(bytes))
    }

    /// The name of a public area whose name algorithm is SHA-256.
    #[must_use]
    pub(crate) fn of_sha256(public_area: &[u8]) -> Self {
        let mut bytes = HashAlg::Sha256.tpm_id().to_be_bytes().to_vec();
        bytes.extend_from_slice(&Sha256::digest(public_area));
        Self(bytes)
    }

    /// The bytes, algorithm first.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Lower-case hexadecimal, whole.
impl fmt::Display for TpmName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back() {
        let name = TpmName::of_public_area(HashAlg::Sha256, b"area").expect("sha256");
        assert_eq!(name.as_bytes().len(), 34);
        assert_eq!(TpmName::parse(&name.to_string()), Some(name));
    }

    #[test]
    fn refuses_a_handle_a_wrong_length_and_sha_1() {
        assert_eq!(TpmName::from_bytes(&[0x81, 0x01, 0x00, 0x01]), None);
        assert_eq!(TpmName::from_bytes(&[0x00, 0x0b]), None);
        assert_eq!(
            TpmName::from_bytes(&[&[0x00, 0x0b][..], &[0; 33]].concat()),
            None
        );
        assert_eq!(
            TpmName::from_bytes(&[&[0x00, 0x04][..], &[0; 20]].concat()),
            None
        );
        assert_eq!(TpmName::of_public_area(HashAlg::Sha1, b"area"), None);
    }
}
