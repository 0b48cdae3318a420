//! A point on P-256, the public part of every key here.

use crate::error::TpmError;

/// Bytes of one coordinate.
const COORDINATE_BYTES: usize = 32;

/// SubjectPublicKeyInfo of an uncompressed P-256 point, up to the coordinates.
///
/// ```text
/// 30 59                              SEQUENCE
///   30 13                            SEQUENCE
///     06 07 2a 86 48 ce 3d 02 01     id-ecPublicKey
///     06 08 2a 86 48 ce 3d 03 01 07  prime256v1
///   03 42 00 04                      BIT STRING, uncompressed point
/// ```
///
/// # Source
///
/// RFC 5480, "Subject Public Key Information Fields".
const SPKI_PREFIX: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// Affine coordinates of a P-256 public key, big-endian. Not checked to lie on the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The x coordinate.
    pub x: [u8; COORDINATE_BYTES],
    /// The y coordinate.
    pub y: [u8; COORDINATE_BYTES],
}

// === impl Point ===

impl Point {
    /// The DER encoding of the key's SubjectPublicKeyInfo, 91 bytes.
    #[must_use]
    pub fn spki_der(&self) -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), &self.x, &self.y].concat()
    }

    /// The uncompressed SEC 1 encoding, 65 bytes.
    #[must_use]
    pub fn sec1(&self) -> [u8; 65] {
        let mut bytes = [4; 65];
        for (to, from) in bytes.iter_mut().skip(1).zip(self.x.iter().chain(&self.y)) {
            *to = *from;
        }
        bytes
    }
}

/// A number of at most 32 bytes, padded on the left.
///
/// A TPM may strip leading zeros from coordinates and from the halves of a signature.
pub(crate) fn padded(
    number: &[u8],
    command: &'static str,
) -> Result<[u8; COORDINATE_BYTES], TpmError> {
    let mut bytes = [0; COORDINATE_BYTES];
    let start = COORDINATE_BYTES
        .checked_sub(number.len())
        .ok_or_else(|| TpmError::Decode {
            command,
            reason: format!("a P-256 number of {} bytes", number.len()),
        })?;
    for (to, from) in bytes.iter_mut().skip(start).zip(number) {
        *to = *from;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_are_padded_on_the_left() {
        let mut expected = [0; 32];
        expected[30..].copy_from_slice(&[1, 2]);
        assert_eq!(padded(&[1, 2], "Sign").unwrap(), expected);
        assert_eq!(padded(&[], "Sign").unwrap(), [0; 32]);
        assert_eq!(padded(&[9; 32], "Sign").unwrap(), [9; 32]);
        padded(&[9; 33], "Sign").unwrap_err();
    }

    #[test]
    fn the_encodings_hold_both_coordinates() {
        let point = Point {
            x: [1; 32],
            y: [2; 32],
        };
        let der = point.spki_der();
        assert_eq!(der.len(), 91);
        assert_eq!(usize::from(der[1]), der.len() - 2);
        assert_eq!(der[26..], point.sec1());
    }
}
