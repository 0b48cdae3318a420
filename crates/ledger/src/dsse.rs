//! Dead Simple Signing Envelopes: how statements about the ledger are signed for others.

use base64ct::{Base64, Encoding as _};
use portcullis_attestation::jws::Signer;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::error::Error;

/// Payload type of in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// The key does not sign.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign envelope")]
pub struct SealError(#[source] Box<dyn Error + Send + Sync + 'static>);

/// The bytes that are signed.
///
/// # Source
///
/// DSSE v1.0.2, protocol.md, "Signature Definition": PAE.
#[must_use]
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

/// Signs `payload`: the envelope as JSON.
///
/// The signature is ECDSA on P-256 with SHA-256 in DER, as in-toto and sigstore read it, and
/// `keyid` is the key's RFC 7638 thumbprint.
///
/// # Errors
///
/// [`SealError`].
pub fn seal(
    payload_type: &str,
    payload: &[u8],
    signer: &mut dyn Signer,
) -> Result<Value, SealError> {
    let message = pre_authentication_encoding(payload_type, payload);
    let signature = signer
        .sign_digest(&Sha256::digest(&message).into())
        .map_err(SealError)?;
    Ok(json!({
        "payloadType": payload_type,
        "payload": Base64::encode_string(payload),
        "signatures": [{
            "keyid": signer.public_key().kid().as_str(),
            "sig": Base64::encode_string(&der(&signature)),
        }],
    }))
}

/// `SEQUENCE { r INTEGER, s INTEGER }` (RFC 3279, "Ecdsa-Sig-Value").
fn der(signature: &[u8; 64]) -> Vec<u8> {
    let (r, s) = signature.split_at(32);
    let body = [integer(r), integer(s)].concat();
    // At most 2 × 35 bytes, so one byte of length is enough.
    let length = u8::try_from(body.len()).unwrap_or(u8::MAX);
    [&[0x30, length][..], &body].concat()
}

fn integer(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = number.get(zeros..).unwrap_or_default();
    let sign: &[u8] = match digits.first() {
        None | Some(0x80..) => &[0],
        Some(_) => &[],
    };
    let length = u8::try_from(sign.len().saturating_add(digits.len())).unwrap_or(u8::MAX);
    [&[0x02, length][..], sign, digits].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_attestation::hex;
    use portcullis_attestation::software_key::SoftwareKey;
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    #[test]
    fn encodes_as_the_specification_shows() {
        // DSSE protocol.md, "Test Vectors".
        assert_eq!(
            pre_authentication_encoding("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        // Lengths are of bytes, not of characters, and an empty part has one, too.
        assert_eq!(
            pre_authentication_encoding("ü", "ö".as_bytes()),
            "DSSEv1 2 ü 2 ö".as_bytes()
        );
        assert_eq!(pre_authentication_encoding("", b""), b"DSSEv1 0  0 ");
    }

    #[test]
    fn signs_as_the_specification_shows() {
        // The same page: the key, and the signature (RFC 6979) over the text above, as r ‖ s.
        const D: &str = "d73ec437fd6346e3619c5ebfdfff0f6916804955ad32ac9ac492b0ede1f6ffb7";
        const SIGNATURE: &str = "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==";
        let scalar = hex::decode_array(D).expect("32 bytes");
        let mut key = SoftwareKey::from_random(&Zeroizing::new(scalar)).expect("a key");
        let envelope =
            seal("http://example.com/HelloWorld", b"hello world", &mut key).expect("signs");
        assert_eq!(envelope["payload"], "aGVsbG8gd29ybGQ=");
        assert_eq!(envelope["payloadType"], "http://example.com/HelloWorld");
        let raw = Base64::decode_vec(SIGNATURE).expect("base64");
        let expected = der(&raw.try_into().expect("64 bytes"));
        let [signature] = envelope["signatures"]
            .as_array()
            .expect("a list")
            .as_slice()
        else {
            panic!("one signature")
        };
        assert_eq!(signature["sig"], Base64::encode_string(&expected));
        assert_eq!(signature["keyid"], key.public_key().kid().as_str());
    }

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        let mut signature = [0; 64];
        signature[31] = 1;
        signature[32] = 0x80;
        let mut expected = vec![0x30, 38, 2, 1, 1, 2, 33, 0, 0x80];
        expected.extend([0; 31]);
        assert_eq!(der(&signature), expected);
        assert_eq!(der(&[0; 64]), [0x30, 6, 2, 1, 0, 2, 1, 0]);
    }

    proptest! {
        #[test]
        fn every_signature_is_strict_der(r: [u8; 32], s: [u8; 32]) {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&r);
            signature[32..].copy_from_slice(&s);
            let bytes = der(&signature);
            // A second opinion: the reader of the crate that verifies.
            if let Ok(expected) = p256::ecdsa::Signature::from_slice(&signature) {
                let read = p256::ecdsa::Signature::from_der(&bytes);
                prop_assert_eq!(read.ok(), Some(expected));
            }
            prop_assert_eq!(usize::from(bytes[1]) + 2, bytes.len());
        }
    }
}
