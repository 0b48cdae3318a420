use super::*;
use crate::fakes::FakeKey;
use crate::jwk::KeyUse;
use proptest::prelude::*;

fn tag() -> AssetTag {
    AssetTag {
        issuer: "https://tags.example".to_owned(),
        subject: Ueid::of_endorsement_key(b"ek"),
        issued_at_s: 1000,
        not_before_s: 1000,
        expires_s: 2000,
        counter: 7,
        tags: [
            ("country", "DE"),
            ("site", "fra1"),
            ("example.org/pool", ""),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        location: Some(Location {
            latitude: 50.11,
            longitude: -8.68,
        }),
    }
}

/// The claims with one of them replaced, or removed if `value` is null.
fn with(claim: &str, value: Value) -> Result<AssetTag, ClaimError> {
    let mut claims = tag().to_claims();
    let members = claims.as_object_mut().expect("object");
    if value.is_null() {
        members.remove(claim);
    } else {
        members.insert(claim.to_owned(), value);
    }
    AssetTag::from_claims(&claims)
}

#[test]
fn a_document_reads_back() {
    let mut key = FakeKey::new(1);
    let document = tag().sign(&mut key).expect("signs");
    assert_eq!(verify(&document, &key.pinned(KeyUse::Tag)), Ok(tag()));
}

#[test]
fn only_a_pinned_tag_key_counts() {
    let mut key = FakeKey::new(1);
    let document = tag().sign(&mut key).expect("signs");
    for keys in [
        key.pinned(KeyUse::Verdict),
        FakeKey::new(2).pinned(KeyUse::Tag),
    ] {
        let refused = verify(&document, &keys).expect_err("not pinned for tags");
        assert!(matches!(refused, TagError::Signature(_)));
    }
    let refused = verify("a.b", &key.pinned(KeyUse::Tag));
    assert!(matches!(refused, Err(TagError::Token(_))));
}

#[test]
fn each_claim_is_required_but_location() {
    for claim in ["iss", "sub", "iat", "nbf", "exp", "counter", "tags"] {
        let missing = ClaimError::Missing {
            claim: format!("/{claim}"),
        };
        assert_eq!(with(claim, Value::Null), Err(missing));
    }
    assert_eq!(
        with("location", Value::Null).expect("optional").location,
        None
    );
}

#[test]
fn a_claim_of_the_wrong_form_is_refused() {
    for (claim, value) in [
        ("iss", json!(5)),
        ("counter", json!(0)),
        ("counter", json!("7")),
        ("counter", json!(7.5)),
        ("sub", json!("4c4c4544-0033-3610-8051-b2c04f4b4d32")),
        ("sub", json!("")),
        ("iat", json!(-1)),
        ("nbf", json!("1000")),
        ("exp", json!(1000.5)),
        ("tags", json!([])),
        ("tags", json!({"country": 5})),
        ("tags", json!({"country": ["DE"]})),
        ("tags", json!({"": "DE"})),
        ("tags", json!({"country": "D E"})),
        ("tags", json!({"country": "DE\n"})),
        ("tags", json!({"coun try": "DE"})),
        ("location", json!({})),
        ("location", json!({"latitude": 90.5, "longitude": 0})),
        ("location", json!({"latitude": 0, "longitude": -180.5})),
        ("location", json!("DE")),
    ] {
        assert!(
            matches!(
                with(claim, value.clone()),
                Err(ClaimError::Malformed { .. })
            ),
            "{value}"
        );
    }
}

#[test]
fn validity_is_not_empty() {
    with("exp", json!(1001)).expect("one second");
    with("exp", json!(1000)).expect_err("none");
    with("exp", json!(999)).expect_err("negative");
}

#[test]
fn validity_begins_with_nbf_and_ends_before_exp() {
    for (now_s, valid) in [(999, false), (1000, true), (1999, true), (2000, false)] {
        assert_eq!(tag().is_valid_at(now_s), valid, "{now_s}");
    }
}

#[test]
fn sixty_four_tags_are_the_most() {
    let tags = |count: usize| {
        let tags: Map<String, Value> = (0..count).map(|n| (format!("k{n}"), json!("v"))).collect();
        with("tags", tags.into())
    };
    tags(0).expect("none is allowed");
    tags(64).expect("at the limit");
    tags(65).expect_err("beyond");
}

#[test]
fn keys_and_values_have_the_grammar_of_kubernetes_labels() {
    let (longest, too_long) = ("k".repeat(63), "k".repeat(64));
    for key in ["a", "A-b_c.d9", "example.org/pool", "x/y", &longest] {
        assert!(is_key(key), "{key}");
    }
    for key in [
        "", "-a", "a-", "a b", "/a", "a/", "A.org/a", "a..b/c", "a/b/c", "é", "-x/a", &too_long,
    ] {
        assert!(!is_key(key), "{key}");
    }
    for value in ["", "DE", "a.b_c-d", &longest] {
        assert!(is_value(value), "{value}");
    }
    for value in ["-", ".a", "a_", "a/b", "a b", "ß", &too_long] {
        assert!(!is_value(value), "{value}");
    }
}

#[test]
fn the_digest_is_over_the_token_as_it_is() {
    // printf a.b.c | sha384sum
    assert!(crate::hex::encode(&digest("a.b.c")).starts_with("16521b472bc19b4560e087d8"));
    assert_ne!(digest("a.b.c"), digest("a.b.c\n"));
}

proptest! {
    #[test]
    fn any_valid_tags_read_back(tags in prop::collection::btree_map("[a-z]([a-z0-9._-]{0,10}[a-z0-9])?", "([A-Za-z0-9]([A-Za-z0-9._-]{0,10}[A-Za-z0-9])?)?", 0..10)) {
        let tag = AssetTag { tags, ..tag() };
        prop_assert_eq!(AssetTag::from_claims(&tag.to_claims()), Ok(tag));
    }
}
