use super::*;
use crate::fakes::FakeKey;
use proptest::prelude::*;
use serde_json::json;

const TYPES: [Typ; 5] = [
    Typ::Verdict,
    Typ::Tag,
    Typ::Reference,
    Typ::Policy,
    Typ::BreakGlass,
];

fn token(key: &FakeKey, payload: &Value) -> String {
    sign(Typ::Tag, payload, &mut key.clone()).expect("signs")
}

/// A token with this header and payload, as they are, and a true signature over them.
fn raw_token(key: &FakeKey, header: &str, payload: &[u8]) -> String {
    let input = format!(
        "{}.{}",
        base64url::encode(header.as_bytes()),
        base64url::encode(payload)
    );
    let signature = key.sign(input.as_bytes());
    format!("{input}.{}", base64url::encode(&signature))
}

fn verify_tag(key: &FakeKey, token: &str) -> Result<Value, JwsError> {
    verify(token, Typ::Tag, &key.pinned(KeyUse::Tag))
}

#[test]
fn a_token_of_each_type_reads_back() {
    let mut key = FakeKey::new(1);
    for typ in TYPES {
        let payload = json!({"typ": typ.as_str()});
        let token = sign(typ, &payload, &mut key).expect("signs");
        assert_eq!(verify(&token, typ, &key.pinned(typ.key_use())), Ok(payload));
    }
}

#[test]
fn a_token_of_one_type_is_none_of_another() {
    let mut key = FakeKey::new(1);
    for typ in TYPES {
        let token = sign(typ, &json!({}), &mut key).expect("signs");
        for other in TYPES.into_iter().filter(|other| *other != typ) {
            let refused = verify(&token, other, &key.pinned(other.key_use()));
            assert!(matches!(refused, Err(JwsError::Type { .. })));
        }
    }
}

#[test]
fn a_key_pinned_for_another_use_does_not_count() {
    let key = FakeKey::new(1);
    let token = token(&key, &json!({}));
    for key_use in [KeyUse::Verdict, KeyUse::Reference, KeyUse::Policy] {
        let refused = verify(&token, Typ::Tag, &key.pinned(key_use)).expect_err("another use");
        assert!(matches!(refused, JwsError::KeyUse { pinned, .. } if pinned == key_use));
        assert!(!refused.is_malformed());
    }
}

#[test]
fn an_unknown_key_does_not_count() {
    let token = token(&FakeKey::new(1), &json!({}));
    let refused = verify_tag(&FakeKey::new(2), &token);
    assert!(matches!(refused, Err(JwsError::KeyUnknown { .. })));
    let refused = verify(&token, Typ::Tag, &TrustedKeys::new());
    assert!(matches!(refused, Err(JwsError::KeyUnknown { .. })));
}

#[test]
fn a_foreign_signature_under_a_pinned_key_id_does_not_verify() {
    let (pinned, foreign) = (FakeKey::new(1), FakeKey::new(2));
    let kid = pinned.public().kid();
    let header = format!(r#"{{"alg":"ES256","typ":"portcullis-tag+jws","kid":"{kid}"}}"#);
    let refused = verify_tag(&pinned, &raw_token(&foreign, &header, b"{}"));
    assert_eq!(
        refused,
        Err(JwsError::Signature {
            kid: kid.to_string()
        })
    );
}

#[test]
fn hostile_headers_are_refused() {
    let key = FakeKey::new(1);
    let kid = key.public().kid();
    let typ = "portcullis-tag+jws";
    let jwk = json!({"kty": "EC"});
    let accepted = format!(r#"{{"alg":"ES256","typ":"{typ}","kid":"{kid}"}}"#);
    verify_tag(&key, &raw_token(&key, &accepted, b"{}")).expect("the header as it must be");

    for algorithm in ["none", "None", "HS256", "ES384", "es256", "RS256", ""] {
        let header = format!(r#"{{"alg":"{algorithm}","typ":"{typ}","kid":"{kid}"}}"#);
        let refused = verify_tag(&key, &raw_token(&key, &header, b"{}")).expect_err("algorithm");
        assert_eq!(
            refused,
            JwsError::Algorithm {
                found: algorithm.to_owned()
            }
        );
    }
    for header in [
        format!(r#"{{"alg":"ES256","typ":"{typ}"}}"#),
        format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"{typ}","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"ES256","typ":"{typ}","kid":"{kid}","crit":["exp"]}}"#),
        format!(r#"{{"alg":"ES256","typ":"{typ}","kid":"{kid}","jwk":{jwk}}}"#),
        format!(r#"{{"alg":"ES256","typ":"{typ}","kid":"{kid}","jku":"https://x"}}"#),
        format!(r#"{{"alg":"ES256","typ":"{typ}","kid":["{kid}"]}}"#),
        format!(r#"{{"alg":"ES256","typ":"{typ}","kid":null}}"#),
        format!(r#"{{"alg":["ES256"],"typ":"{typ}","kid":"{kid}"}}"#),
        format!(r#"{{"Alg":"ES256","typ":"{typ}","kid":"{kid}"}}"#),
        "[]".to_owned(),
        "null".to_owned(),
        "\"ES256\"".to_owned(),
    ] {
        let refused = verify_tag(&key, &raw_token(&key, &header, b"{}")).expect_err("header");
        assert!(refused.is_malformed(), "{header}: {refused}");
    }
    let twice = format!(r#"{{"alg":"none","alg":"ES256","typ":"{typ}","kid":"{kid}"}}"#);
    let refused = verify_tag(&key, &raw_token(&key, &twice, b"{}"));
    assert!(matches!(
        refused,
        Err(JwsError::Json { part: "header", .. })
    ));
}

#[test]
fn header_text_in_an_error_is_escaped_and_cut() {
    let key = FakeKey::new(1);
    let kid = format!(r"a\n\u001b[2J{}", "k".repeat(200));
    let header = format!(r#"{{"alg":"ES256","typ":"portcullis-tag+jws","kid":"{kid}"}}"#);
    let line = verify_tag(&key, &raw_token(&key, &header, b"{}"))
        .expect_err("kid")
        .to_string();
    assert!(
        line.contains(r"a\n\u{1b}[2Jk") && line.len() < 160,
        "{line}"
    );
}

#[test]
fn a_payload_is_strict_json_too() {
    let key = FakeKey::new(1);
    let header = format!(
        r#"{{"alg":"ES256","typ":"portcullis-tag+jws","kid":"{}"}}"#,
        key.public().kid()
    );
    for payload in [
        &b"{\"a\":1,\"a\":1}"[..],
        b"{} ",
        b"",
        b"{\"a\":1e999}",
        b"\xff",
        b"{}{}",
    ] {
        let result = verify_tag(&key, &raw_token(&key, &header, payload));
        if payload == b"{} " {
            result.expect("white space is no second document");
        } else {
            assert!(
                matches!(
                    result,
                    Err(JwsError::Json {
                        part: "payload",
                        ..
                    })
                ),
                "{payload:?}"
            );
        }
    }
}

#[test]
fn the_payload_is_not_read_before_the_signature_verified() {
    let (pinned, foreign) = (FakeKey::new(1), FakeKey::new(2));
    let kid = pinned.public().kid();
    let header = format!(r#"{{"alg":"ES256","typ":"portcullis-tag+jws","kid":"{kid}"}}"#);
    let refused = verify_tag(&pinned, &raw_token(&foreign, &header, b"{\"a\":1,\"a\":1}"));
    assert!(matches!(refused, Err(JwsError::Signature { .. })));
}

#[test]
fn exactly_three_parts_in_canonical_base64url() {
    let key = FakeKey::new(1);
    let good = token(&key, &json!({"a": 1}));
    verify_tag(&key, &good).expect("valid");
    let parts: Vec<&str> = good.split('.').collect();
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        parts[..2].join("."),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{}", parts[2]),
        format!("{good}="),
        format!("{good}=="),
        format!("{good}\n"),
        format!(" {good}"),
        format!("{}.{}=.{}", parts[0], parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}..{}", parts[0], parts[2]),
        format!("{}.{}.{}A", parts[0], parts[1], parts[2]),
    ] {
        verify_tag(&key, &bad).expect_err("not a token");
    }
    let four = format!("{good}.{}", parts[2]);
    assert_eq!(verify_tag(&key, &four), Err(JwsError::Parts));
}

#[test]
fn loose_bits_at_the_end_of_the_signature_are_refused() {
    let key = FakeKey::new(1);
    let good = token(&key, &json!({"a": 1}));
    // 64 bytes leave four loose bits in the last character.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = good.chars().last().expect("not empty");
    let index = alphabet.find(last).expect("base64url");
    assert_eq!(index % 16, 0);
    for loose in 1..16 {
        let other = alphabet.as_bytes()[index + loose] as char;
        let bad = format!("{}{other}", good.strip_suffix(last).expect("the last"));
        let refused = verify_tag(&key, &bad);
        assert_eq!(refused, Err(JwsError::Encoding { part: "signature" }));
    }
}

#[test]
fn every_truncation_is_refused() {
    let key = FakeKey::new(1);
    let good = token(&key, &json!({"a": 1}));
    for length in 0..good.len() {
        verify_tag(&key, good.get(..length).expect("ASCII")).expect_err("truncated");
    }
}

#[test]
fn the_limit_is_64_kib() {
    let key = FakeKey::new(1);
    let of_size = |size: usize| {
        // Three bytes of payload are four characters of token.
        let empty = token(&key, &json!({"pad": ""})).len();
        let pad = "x".repeat((size - empty) / 4 * 3 + (size - empty) % 4);
        sign(Typ::Tag, &json!({"pad": pad}), &mut key.clone())
    };
    let largest = (0..8)
        .find_map(|less| of_size(MAX_BYTES - less).ok())
        .expect("fits");
    assert!(largest.len() > MAX_BYTES - 8, "{}", largest.len());
    verify_tag(&key, &largest).expect("within the limit");

    let refused = of_size(MAX_BYTES + 4).expect_err("beyond");
    assert!(matches!(refused, SignError::Size { .. }));
    let beyond = "a".repeat(MAX_BYTES + 1);
    assert!(matches!(
        verify_tag(&key, &beyond),
        Err(JwsError::Size { .. })
    ));
    let largest = "a".repeat(MAX_BYTES);
    assert!(matches!(verify_tag(&key, &largest), Err(JwsError::Parts)));
}

#[test]
fn a_signer_that_holds_another_key_makes_no_token() {
    #[derive(Debug)]
    struct Impostor(FakeKey, FakeKey);
    impl Signer for Impostor {
        fn public_key(&self) -> &PublicKey {
            self.0.public()
        }
        fn sign_digest(
            &mut self,
            digest: &[u8; 32],
        ) -> Result<[u8; 64], Box<dyn Error + Send + Sync + 'static>> {
            self.1.sign_digest(digest)
        }
    }
    let refused = sign(
        Typ::Tag,
        &json!({}),
        &mut Impostor(FakeKey::new(1), FakeKey::new(2)),
    );
    assert!(matches!(refused, Err(SignError::Foreign { .. })));
}

proptest! {
    #[test]
    fn a_changed_character_never_verifies(place in any::<prop::sample::Index>(), character in "[A-Za-z0-9_.=-]") {
        let key = FakeKey::new(1);
        let good = token(&key, &json!({"seq": 412, "text": "ä"}));
        let mut bad = good.clone();
        let place = place.index(good.len());
        bad.replace_range(place..=place, &character);
        prop_assume!(bad != good);
        prop_assert!(verify_tag(&key, &bad).is_err());
    }

    #[test]
    fn no_text_makes_it_panic(text in "[A-Za-z0-9_.\\PC]{0,200}") {
        prop_assert!(verify_tag(&FakeKey::new(1), &text).is_err());
    }
}
