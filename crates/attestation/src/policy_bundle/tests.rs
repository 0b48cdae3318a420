use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fakes::FakeKey;
use crate::jwk::KeyUse;

fn bundle() -> PolicyBundle {
    PolicyBundle {
        issuer: "policy.example".to_owned(),
        name: "fleet".to_owned(),
        sequence: 7,
        issued_at_s: 1000,
        not_before_s: 1000,
        expires_s: 2000,
        settings: "mode = \"enforce\"\n".to_owned(),
        profiles: vec![BundledProfile {
            name: "own".to_owned(),
            text: "name = \"own\"\n".to_owned(),
            seccomp: Some("{}".to_owned()),
        }],
    }
}

#[test]
fn reads_back_what_was_signed_and_two_signers_have_one_digest() {
    let mut digests = Vec::new();
    for seed in [1, 2] {
        let mut key = FakeKey::new(seed);
        let token = bundle().sign(&mut key).expect("signs");
        let signed = verify(&token, &key.pinned(KeyUse::Policy)).expect("verifies");
        assert_eq!(signed.bundle, bundle());
        assert_eq!(signed.signer, key.public().kid().to_string());
        digests.push(signed.sha256);
    }
    assert_eq!(digests.first(), digests.last());
    assert_eq!(bundle().profile("own"), bundle().profiles.first());
    assert_eq!(bundle().profile("other"), None);
}

#[test]
fn a_bundle_of_another_key_or_kind_is_none() {
    let mut key = FakeKey::new(1);
    let token = bundle().sign(&mut key).expect("signs");
    for key_use in [KeyUse::Verdict, KeyUse::Reference, KeyUse::Tag] {
        let refused = verify(&token, &key.pinned(key_use));
        assert!(matches!(refused, Err(PolicyError::Signature(_))));
    }
    let other = FakeKey::new(2);
    let refused = verify(&token, &other.pinned(KeyUse::Policy));
    assert!(matches!(refused, Err(PolicyError::Signature(_))));
    let pinned = key.pinned(KeyUse::Policy);
    let as_glass = jws::sign(Typ::BreakGlass, &bundle().to_claims(), &mut key).expect("signs");
    let refused = verify(&as_glass, &pinned);
    let type_of = |error| matches!(error, PolicyError::Signature(JwsError::Type { .. }));
    assert!(refused.is_err_and(type_of));
    let reference = jws::sign(Typ::Reference, &bundle().to_claims(), &mut key).expect("signs");
    assert!(verify(&reference, &pinned).is_err_and(type_of));
    let cut = verify(token.get(1..).expect("ASCII"), &pinned);
    assert!(matches!(cut, Err(PolicyError::Token(_))));
}

#[test]
fn claims_that_are_wrong_missing_or_unknown_are_refused() {
    let whole = bundle().to_claims();
    for (claim, value) in [
        ("iss", json!(1)),
        ("name", json!("")),
        ("name", json!("a b")),
        ("name", json!("x".repeat(65))),
        ("seq", json!(0)),
        ("seq", json!("7")),
        ("exp", json!(1000)),
        ("settings", json!({})),
        ("profiles", json!([])),
        ("profiles", json!({"own": "text"})),
        ("profiles", json!({"own": {"seccomp": "{}"}})),
        ("profiles", json!({"own": {"text": "", "seccomp": null}})),
        ("profiles", json!({"own": {"text": "", "more": ""}})),
        ("profiles", json!({"../own": {"text": ""}})),
        ("min_seq", json!(1)),
    ] {
        let mut payload = whole.clone();
        payload[claim] = value;
        let error = PolicyBundle::from_claims(&payload).expect_err(claim);
        assert!(error.to_string().contains(claim), "{error}");
    }
    for claim in ["iss", "name", "seq", "iat", "nbf", "exp", "settings"] {
        let mut payload = whole.clone();
        payload.as_object_mut().expect("an object").remove(claim);
        assert!(PolicyBundle::from_claims(&payload).is_err(), "{claim}");
    }
    let mut without = whole;
    without
        .as_object_mut()
        .expect("an object")
        .remove("profiles");
    let read = PolicyBundle::from_claims(&without).expect("profiles may be absent");
    assert_eq!(read.profiles, []);
}

#[test]
fn counts_from_its_first_second_to_the_last_one_of_the_grace() {
    for (now_s, grace_s, term) in [
        (999, 60, Term::Premature),
        (1000, 60, Term::Valid),
        (1999, 0, Term::Valid),
        (2000, 0, Term::Expired),
        (2000, 60, Term::Grace),
        (2059, 60, Term::Grace),
        (2060, 60, Term::Expired),
        (u64::MAX - 1, u64::MAX, Term::Grace),
    ] {
        assert_eq!(bundle().term(now_s, grace_s), term, "{now_s} {grace_s}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_or_be_believed(token in "\\PC*") {
        prop_assert!(verify(&token, &TrustedKeys::new()).is_err());
    }

    #[test]
    fn what_is_read_is_written_the_same(name in "[a-z.]{1,8}", seq in 1..u64::MAX,
        settings in "\\PC*", profile in "[a-z-]{1,8}", list in proptest::option::of("\\PC*")) {
        let mut bundle = bundle();
        bundle.name = name;
        bundle.sequence = seq;
        bundle.settings = settings;
        bundle.profiles = vec![BundledProfile { name: profile, text: String::new(), seccomp: list }];
        prop_assert_eq!(PolicyBundle::from_claims(&bundle.to_claims()), Ok(bundle));
    }
}
