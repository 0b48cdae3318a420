//! The identity of one TPM.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::base64url;

/// Type byte of a random UEID: the value is 256 bits without inner structure.
const TYPE: u8 = 0x01;

/// Universal entity id of a TPM: base64url of `0x01 ‖ SHA-256(EK public key)`.
///
/// The EK is burnt into the TPM, so the value follows the chip and not, like the SMBIOS UUID,
/// whatever the firmware says.
///
/// # Source
///
/// RFC 9711, "ueid".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ueid(String);

// === impl Ueid ===

impl Ueid {
    /// The identity of the TPM whose EK has this `SubjectPublicKeyInfo` (DER).
    #[must_use]
    pub fn of_endorsement_key(spki_der: &[u8]) -> Self {
        let mut bytes = vec![TYPE];
        bytes.extend_from_slice(&Sha256::digest(spki_der));
        Self(base64url::encode(&bytes))
    }

    /// Reads the claim; `None` unless it is base64url of a type byte 1 and 32 bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let [kind, ..] = base64url::decode_array::<33>(text)?;
        (kind == TYPE).then(|| Self(text.to_owned()))
    }

    /// The 44 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ueid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back() {
        let ueid = Ueid::of_endorsement_key(b"key");
        assert_eq!(ueid.as_str().len(), 44);
        assert_eq!(Ueid::parse(ueid.as_str()), Some(ueid));
    }

    #[test]
    fn refuses_another_type_or_length() {
        assert_eq!(Ueid::parse(&base64url::encode(&[2; 33])), None);
        assert_eq!(Ueid::parse(&base64url::encode(&[1; 32])), None);
        assert_eq!(Ueid::parse(&base64url::encode(&[1; 34])), None);
        assert_eq!(Ueid::parse(""), None);
    }
}
