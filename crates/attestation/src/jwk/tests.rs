use super::*;
use crate::fakes::FakeKey;
use proptest::prelude::*;

/// Order of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

fn jwk() -> Value {
    TrustedKey::new(FakeKey::new(7).public().clone(), KeyUse::Tag).to_value()
}

fn refusal(change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> JwkError {
    let mut jwk = jwk();
    change(jwk.as_object_mut().expect("object"));
    TrustedKey::parse(jwk.to_string().as_bytes()).expect_err("must be refused")
}

/// ORDER - s, the other spelling of the same signature.
fn negated(s: &[u8]) -> Vec<u8> {
    let mut borrow = 0_i16;
    let mut difference: Vec<u8> = ORDER
        .iter()
        .zip(s)
        .rev()
        .map(|(one, other)| {
            let value = i16::from(*one) - i16::from(*other) - borrow;
            borrow = i16::from(value < 0);
            u8::try_from(value + 256 * borrow).expect("a byte")
        })
        .collect();
    difference.reverse();
    difference
}

#[test]
fn a_public_key_reads_back() {
    let pinned = TrustedKey::parse(jwk().to_string().as_bytes()).expect("own output");
    assert_eq!(pinned.key(), FakeKey::new(7).public());
    assert_eq!(pinned.key_use(), KeyUse::Tag);
}

#[test]
fn the_thumbprint_is_the_one_of_rfc_7638() {
    // Checked with: printf '{"crv":"P-256","kty":"EC","x":"…","y":"…"}' | sha256sum
    // over the coordinates of the P-256 example key of RFC 7517, appendix A.1.
    let x = base64url::decode_array("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4").expect("x");
    let y = base64url::decode_array("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM").expect("y");
    let key = PublicKey::from_coordinates(x, y).expect("on the curve");
    assert_eq!(
        key.kid().as_str(),
        "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"
    );
}

#[test]
fn a_private_key_is_refused_even_if_all_else_is_right() {
    let refused = refusal(|jwk| {
        jwk.insert("d".to_owned(), base64url::encode(&[7; 32]).into());
    });
    assert_eq!(refused, JwkError::Private);
    assert!(!refused.to_string().contains(&base64url::encode(&[7; 32])));
    assert_eq!(
        refusal(|jwk| drop(jwk.insert("d".to_owned(), Value::Null))),
        JwkError::Private
    );
}

#[test]
fn a_point_off_the_curve_is_refused() {
    let refused = refusal(|jwk| drop(jwk.insert("y".to_owned(), jwk["x"].clone())));
    assert_eq!(refused, JwkError::Point);
    assert!(PublicKey::from_coordinates([0; 32], [0; 32]).is_none());
    assert!(PublicKey::from_coordinates([0xff; 32], [0xff; 32]).is_none());
}

#[test]
fn every_member_that_matters_is_read_strictly() {
    for (member, value) in [
        ("kty", "RSA"),
        ("kty", "ec"),
        ("crv", "P-384"),
        ("alg", "none"),
        ("alg", "ES384"),
        ("use", "sig"),
        ("use", "Verdict"),
        ("x", "AAAA"),
        ("x", ""),
        ("y", "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4="),
    ] {
        let refused = refusal(|jwk| drop(jwk.insert(member.to_owned(), value.into())));
        let source = std::error::Error::source(&refused).expect("names the member");
        assert!(
            source.to_string().contains(&format!("'/{member}'")),
            "{source}"
        );
    }
    for member in ["kty", "crv", "use", "x", "y"] {
        let refused = refusal(|jwk| drop(jwk.remove(member)));
        let missing = ClaimError::Missing {
            claim: format!("/{member}"),
        };
        assert_eq!(refused, JwkError::Member(missing));
    }
}

#[test]
fn a_key_id_that_is_not_the_thumbprint_is_refused() {
    let refused = refusal(|jwk| drop(jwk.insert("kid".to_owned(), "node\n7".into())));
    assert!(refused.to_string().contains(r"'node\n7'"), "{refused}");
}

#[test]
fn alg_and_kid_may_be_absent_and_other_members_are_ignored() {
    let mut jwk = jwk();
    let members = jwk.as_object_mut().expect("object");
    members.remove("alg");
    members.remove("kid");
    members.insert("key_ops".to_owned(), serde_json::json!(["verify"]));
    TrustedKey::parse(jwk.to_string().as_bytes()).expect("valid");
}

#[test]
fn a_member_given_twice_is_refused() {
    let text = jwk()
        .to_string()
        .replace("\"use\":\"tag\"", "\"use\":\"tag\",\"use\":\"verdict\"");
    let refused = TrustedKey::parse(text.as_bytes()).expect_err("twice");
    assert!(matches!(
        refused,
        JwkError::Json(JsonError::DuplicateKey { .. })
    ));
}

#[test]
fn a_file_beyond_4_kib_is_refused() {
    let jwk = jwk().to_string();
    let padded = |size: usize| format!("{jwk}{}", " ".repeat(size - jwk.len()));
    TrustedKey::parse(padded(4096).as_bytes()).expect("at the limit");
    TrustedKey::parse(padded(4097).as_bytes()).expect_err("beyond");
}

#[test]
fn one_key_has_one_use() {
    let key = FakeKey::new(1);
    let mut keys = key.pinned(KeyUse::Verdict);
    keys.insert(TrustedKey::new(key.public().clone(), KeyUse::Verdict))
        .expect("the same again");
    assert_eq!(keys.iter().count(), 1);
    let refused = keys.insert(TrustedKey::new(key.public().clone(), KeyUse::Tag));
    assert!(matches!(refused, Err(JwkError::Shared { .. })));
    assert!(keys.lacks(KeyUse::Tag) && !keys.lacks(KeyUse::Verdict));
}

#[test]
fn both_halves_of_the_range_of_s_verify() {
    let key = FakeKey::new(3);
    let signature = key.sign(b"message");
    let mut other = signature;
    other[32..].copy_from_slice(&negated(&signature[32..]));
    assert_ne!(signature, other);
    key.public()
        .verify(b"message", &signature)
        .expect("one spelling");
    key.public().verify(b"message", &other).expect("the other");
}

#[test]
fn zero_and_the_order_are_no_signature() {
    let key = FakeKey::new(3);
    let good = key.sign(b"message");
    for half in [0..32, 32..64] {
        for value in [[0; 32], ORDER, [0xff; 32]] {
            let mut bad = good;
            bad[half.clone()].copy_from_slice(&value);
            assert_eq!(key.public().verify(b"message", &bad), Err(SignatureInvalid));
        }
    }
}

proptest! {
    #[test]
    fn a_changed_bit_of_message_or_signature_does_not_verify(bit in 0_usize..512, message in prop::collection::vec(any::<u8>(), 1..40)) {
        let key = FakeKey::new(9);
        let mut signature = key.sign(&message);
        prop_assert_eq!(key.public().verify(&message, &signature), Ok(()));
        signature[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(key.public().verify(&message, &signature), Err(SignatureInvalid));
        signature[bit / 8] ^= 1 << (bit % 8);
        let mut changed = message;
        let place = (bit / 8) % changed.len();
        changed[place] ^= 1 << (bit % 8);
        prop_assert_eq!(key.public().verify(&changed, &signature), Err(SignatureInvalid));
    }

    #[test]
    fn no_bytes_make_parsing_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
        prop_assert!(TrustedKey::parse(&bytes).is_err());
    }
}
