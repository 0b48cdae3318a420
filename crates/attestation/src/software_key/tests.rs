use super::*;
use crate::jwk::{KeyUse, TrustedKey, TrustedKeys};
use crate::jws::{self, Typ};
use p256::pkcs8::EncodePublicKey as _;
use serde_json::json;

fn key(seed: u8) -> SoftwareKey {
    SoftwareKey::from_random(&Zeroizing::new([seed; 32])).expect("in range")
}

#[test]
fn a_key_reads_back_and_signs_for_its_public_half() {
    let original = key(5);
    let pem = original.to_pem().expect("writes");
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let mut read = SoftwareKey::from_pem(&pem).expect("own output");
    let token = jws::sign(Typ::Tag, &json!({"a": 1}), &mut read).expect("signs");

    let mut keys = TrustedKeys::new();
    keys.insert(TrustedKey::new(original.public_key().clone(), KeyUse::Tag))
        .expect("only one");
    jws::verify(&token, Typ::Tag, &keys).expect("verifies");
}

#[test]
fn the_public_key_is_written_as_another_encoder_writes_it() {
    let der = key(5).public_key().to_spki_der();
    let expected = key(5)
        .key
        .verifying_key()
        .to_public_key_der()
        .expect("encodes");
    assert_eq!(der, expected.as_bytes());
}

#[test]
fn random_bytes_out_of_range_give_no_key() {
    assert!(SoftwareKey::from_random(&Zeroizing::new([0; 32])).is_none());
    assert!(SoftwareKey::from_random(&Zeroizing::new([0xff; 32])).is_none());
}

#[test]
fn neither_debug_nor_an_error_shows_the_key() {
    let shown = format!("{:?}", key(5));
    assert!(
        !shown.contains("05, 5") && !shown.contains("0505"),
        "{shown}"
    );
    let refused = SoftwareKey::from_pem("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n").err();
    assert_eq!(refused, Some(SoftwareKeyError::Read));
    assert!(!SoftwareKeyError::Read.to_string().contains("c2VjcmV0"));
}

#[test]
fn other_pem_is_refused() {
    for text in [
        "",
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        "{}",
    ] {
        assert_eq!(
            SoftwareKey::from_pem(text).err(),
            Some(SoftwareKeyError::Read)
        );
    }
    let pem = key(5).to_pem().expect("writes");
    for length in (0..pem.len().saturating_sub(1)).step_by(7) {
        SoftwareKey::from_pem(pem.get(..length).expect("ASCII")).expect_err("cut");
    }
}
