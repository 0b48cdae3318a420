//! The example in `docs/reference-values.md` is what the parser reads, and its limits are true.
#![expect(clippy::expect_used, reason = "a test without its page has failed")]

use portcullis_attestation::pcr::{HashAlg, PcrIndex};
use portcullis_attestation::reference::{ReferenceValues, UnknownFile};
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../../docs/reference-values.md");

/// The example with the claims that signing adds.
fn claims() -> Value {
    let (_, rest) = PAGE.split_once("```json\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let mut claims: Value = serde_json::from_str(example).expect("JSON");
    let members = claims.as_object_mut().expect("an object");
    members.insert("iss".to_owned(), json!("operator"));
    for (name, value) in [("iat", 1), ("nbf", 1), ("exp", 2), ("seq", 1)] {
        members.insert(name.to_owned(), json!(value));
    }
    claims
}

#[test]
fn the_example_says_what_the_page_says_of_it() {
    let values = ReferenceValues::from_claims(&claims()).expect("reads");
    assert_eq!(values.to_claims(), claims());
    let state = &values.boot_states[0];
    let rules = state.event_rules(HashAlg::Sha256).expect("rules");
    let of = |index| &rules.pcrs[&PcrIndex::new(index).expect("0 to 23")].any_of;
    assert_eq!(of(4)[0].len(), 6);
    assert!(of(4)[0][2].optional && !of(4)[0][0].optional);
    assert_eq!(of(9).len(), 2);
    assert_eq!(*of(11), [Vec::new()]);
    assert!(
        rules
            .secure_boot
            .as_ref()
            .is_some_and(|one| one.kek.is_empty())
    );
    assert_eq!(
        state.ima.as_ref().map(|rules| rules.unknown),
        Some(UnknownFile::Warn)
    );
}

#[test]
fn a_member_beside_those_of_the_table_is_refused() {
    for pointer in [
        "/boot_states/0",
        "/boot_states/0/events/sha256",
        "/boot_states/0/events/sha256/secure_boot",
        "/boot_states/0/events/sha256/pcrs/4/0",
        "/boot_states/0/events/sha256/pcrs/9",
        "/boot_states/0/ima",
    ] {
        let mut claims = claims();
        let members = claims.pointer_mut(pointer).and_then(Value::as_object_mut);
        members
            .expect(pointer)
            .insert("another".to_owned(), json!(true));
        ReferenceValues::from_claims(&claims).expect_err(pointer);
    }
}
