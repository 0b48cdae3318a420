use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::base64url;
use crate::fakes::FakeKey;
use crate::jwk::KeyUse;

const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";

fn token() -> BreakGlass {
    BreakGlass {
        issuer: "night shift".to_owned(),
        id: TokenId::new([0xa5; 16]),
        issued_at_s: 1000,
        not_before_s: 1000,
        expires_s: 1000 + 4 * 3600,
        node: "w7".to_owned(),
        ueid: Some(Ueid::of_endorsement_key(b"a key")),
        namespace: "payments".to_owned(),
        pod: Some("web-1".to_owned()),
        container: Some("app".to_owned()),
        image: Some(DIGEST.to_owned()),
        grant: Grant::Rules(vec!["non-root".to_owned(), "capabilities".to_owned()]),
        reason: "database does not come up".to_owned(),
        ticket: "INC-7".to_owned(),
    }
}

/// A token with this header and payload, as they are, and a true signature over them.
fn raw(key: &FakeKey, header: &str, payload: &str) -> String {
    let [header, payload] = [header, payload].map(|part| base64url::encode(part.as_bytes()));
    let input = format!("{header}.{payload}");
    let signature = key.sign(input.as_bytes());
    format!("{input}.{}", base64url::encode(&signature))
}

#[test]
fn reads_back_what_was_signed() {
    let mut key = FakeKey::new(1);
    let pinned = key.pinned(KeyUse::Policy);
    let mut other = token();
    other.grant = Grant::HostTrust;
    (other.ueid, other.image, other.container) = (None, None, None);
    for token in [token(), other] {
        let signed = token.sign(&mut key).expect("signs");
        assert_eq!(verify(&signed, &pinned), Ok(token));
    }
    let id = token().id;
    assert_eq!(id.short(), "a5a5a5a5");
    assert_eq!(TokenId::parse(id.as_str()), Some(id));
}

#[test]
fn no_other_document_is_a_token_and_a_token_is_no_other_document() {
    let mut key = FakeKey::new(1);
    let pinned = key.pinned(KeyUse::Policy);
    let claims = token().to_claims();
    for typ in [Typ::Policy, Typ::Reference, Typ::Tag, Typ::Verdict] {
        let signed = jws::sign(typ, &claims, &mut key).expect("signs");
        let refused = verify(&signed, &pinned).expect_err("another type");
        let by_type = matches!(refused, BreakGlassError::Signature(JwsError::Type { .. }));
        assert!(by_type, "{refused:?}");
    }
    let signed = token().sign(&mut key).expect("signs");
    crate::policy_bundle::verify(&signed, &pinned).expect_err("no bundle");
    crate::reference::verify(&signed, &key.pinned(KeyUse::Reference)).expect_err("no values");
    for key_use in [KeyUse::Verdict, KeyUse::Reference, KeyUse::Tag] {
        let refused = verify(&signed, &key.pinned(key_use)).expect_err("another use");
        let by_use = matches!(refused, BreakGlassError::Signature(JwsError::KeyUse { .. }));
        assert!(by_use, "{refused:?}");
    }
}

#[test]
fn hostile_tokens_are_refused_though_their_signature_is_true() {
    let key = FakeKey::new(1);
    let pinned = key.pinned(KeyUse::Policy);
    let kid = key.public().kid();
    let header = format!(r#"{{"alg":"ES256","typ":"portcullis-break-glass+jws","kid":"{kid}"}}"#);
    let payload = token().to_claims().to_string();
    verify(&raw(&key, &header, &payload), &pinned).expect("the plain one is fine");
    for (hostile, payload) in [
        (header.replace("ES256", "none"), payload.clone()),
        (header.replace("ES256", "HS256"), payload.clone()),
        (header.replace('{', r#"{"crit":["b64"],"#), payload.clone()),
        (header.replace('{', r#"{"alg":"none","#), payload.clone()),
        // A claim twice: two readers could read two nodes.
        (header.clone(), payload.replace('{', r#"{"node":"w8","#)),
        (header.clone(), payload.replace("\"node\"", "\"Node\"")),
        (
            header.clone(),
            payload.replace('{', r#"{"host_trust":true,"#),
        ),
        (header.clone(), payload.replace('{', r#"{"uses":9,"#)),
        (header.clone(), payload.replace("1000", "1e3")),
        (header.clone(), "null".to_owned()),
        (header.clone(), format!("{payload} ") + "x"),
    ] {
        let token = raw(&key, &hostile, &payload);
        verify(&token, &pinned).expect_err(&format!("{hostile} {payload}"));
    }
    // Without a signature at all.
    let unsigned = raw(&key, &header, &payload);
    let (input, _) = unsigned.rsplit_once('.').expect("three parts");
    verify(&format!("{input}."), &pinned).expect_err("no signature");
}

#[test]
fn claims_that_are_wrong_or_missing_are_refused() {
    let whole = token().to_claims();
    for (claim, value) in [
        ("iss", json!(1)),
        ("jti", json!("a5")),
        ("jti", json!("A5".repeat(16))),
        ("jti", json!(format!("../{}", "a".repeat(29)))),
        ("exp", json!(1000)),
        ("exp", json!(1001 + 24 * 3600)),
        ("node", json!("")),
        ("node", json!("a\nb")),
        ("ueid", json!("w7")),
        ("namespace", json!(["a"])),
        ("pod", json!(" ")),
        ("container", json!("x".repeat(254))),
        ("image", json!("latest")),
        ("image", json!(DIGEST.to_uppercase())),
        ("rules", json!([])),
        ("rules", json!(["non-root", "non-root"])),
        ("rules", json!(["*"])),
        ("rules", json!("non-root")),
        ("host_trust", json!(true)),
        ("host_trust", json!(false)),
        ("reason", json!("")),
        ("reason", json!("two\nlines")),
        ("ticket", json!("x".repeat(65))),
        ("uses", json!(2)),
    ] {
        let mut payload = whole.clone();
        payload[claim] = value.clone();
        let error = BreakGlass::from_claims(&payload).expect_err(claim);
        assert!(error.to_string().contains(claim), "{value}: {error}");
    }
    let without = |claims: &[&str]| {
        let mut payload = whole.clone();
        let members = payload.as_object_mut().expect("an object");
        for claim in claims {
            members.remove(*claim);
        }
        BreakGlass::from_claims(&payload)
    };
    for claim in [
        "iss",
        "jti",
        "iat",
        "nbf",
        "exp",
        "node",
        "namespace",
        "rules",
        "reason",
        "ticket",
    ] {
        without(&[claim]).expect_err(claim);
    }
    without(&["pod", "container"]).expect_err("for nobody");
    for claim in ["pod", "container", "image", "ueid"] {
        without(&[claim]).expect(claim);
    }
    let mut payload = whole;
    let members = payload.as_object_mut().expect("an object");
    members.remove("rules");
    members.insert("host_trust".to_owned(), json!(true));
    let error = BreakGlass::from_claims(&payload).expect_err("a ueid that nothing proves");
    assert!(error.to_string().contains("ueid"), "{error}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_or_be_believed(text in "\\PC*") {
        prop_assert!(verify(&text, &TrustedKeys::new()).is_err());
    }

    #[test]
    fn a_changed_byte_is_noticed(position in 0..400_usize, to in "[A-Za-z0-9_-]") {
        let mut key = FakeKey::new(1);
        let signed = token().sign(&mut key).expect("signs");
        let position = position % signed.len();
        let mut changed = signed.clone();
        changed.replace_range(position..=position, &to);
        prop_assume!(changed != signed);
        prop_assert!(verify(&changed, &key.pinned(KeyUse::Policy)).is_err());
    }

    #[test]
    fn what_is_read_is_written_the_same(node in "[a-z]{1,9}", pod in proptest::option::of("[a-z]{1,9}"),
        reason in "[a-z ]{0,20}x", rule in "[a-z-]{1,9}", trust: bool) {
        let mut token = token();
        (token.node, token.pod, token.reason) = (node, pod, reason);
        token.grant = Grant::Rules(vec![rule]);
        if trust {
            (token.grant, token.ueid) = (Grant::HostTrust, None);
        }
        prop_assert_eq!(BreakGlass::from_claims(&token.to_claims()), Ok(token));
    }
}
