//! Numbers of P-256: coordinates and the halves of a signature.

use crate::error::TpmError;

/// Bytes of one number.
const NUMBER_BYTES: usize = 32;

/// A number of at most 32 bytes, padded on the left.
///
/// A TPM may strip leading zeros.
pub(crate) fn padded(number: &[u8], command: &'static str) -> Result<[u8; 32], TpmError> {
    let mut bytes = [0; NUMBER_BYTES];
    let start = NUMBER_BYTES
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

/// Joins the halves of an ECDSA signature.
pub(crate) fn joined(r: [u8; 32], s: [u8; 32]) -> [u8; 64] {
    let mut signature = [0; 64];
    for (to, from) in signature.iter_mut().zip(r.iter().chain(&s)) {
        *to = *from;
    }
    signature
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
    fn a_signature_is_r_then_s() {
        let signature = joined([1; 32], [2; 32]);
        assert_eq!(signature[..32], [1; 32]);
        assert_eq!(signature[32..], [2; 32]);
    }
}
