use super::*;
use crate::fakes::{FakeKey, FakeTpm};
use crate::jwk::KeyUse;

fn values() -> ReferenceValues {
    let tpm = FakeTpm::new(1);
    ReferenceValues {
        issuer: "https://operator.example".to_owned(),
        issued_at_s: 1000,
        not_before_s: 1000,
        expires_s: 2000,
        sequence: 7,
        minimum_sequence: None,
        boot_states: vec![BootState::exact(
            "debian-12".to_owned(),
            vec![tpm.pcrs.clone()],
        )],
        tpms: vec![Endorsement {
            ueid: tpm.ueid.clone(),
            ak_name: tpm.ak().name().clone(),
        }],
    }
}

fn with(claim: &str, value: Value) -> Result<ReferenceValues, ClaimError> {
    let mut claims = values().to_claims();
    let members = claims.as_object_mut().expect("object");
    if value.is_null() {
        members.remove(claim);
    } else {
        members.insert(claim.to_owned(), value);
    }
    ReferenceValues::from_claims(&claims)
}

#[test]
fn a_document_reads_back_and_is_named_by_its_hash() {
    let mut key = FakeKey::new(1);
    let document = values().sign(&mut key).expect("signs");
    let reference = verify(&document, &key.pinned(KeyUse::Reference)).expect("verifies");
    assert_eq!(reference.values, values());
    let hash = hex::encode(&Sha256::digest(document.as_bytes()));
    assert_eq!(reference.id, format!("urn:sha256:{hash}"));
}

#[test]
fn only_a_pinned_reference_key_counts() {
    let mut key = FakeKey::new(1);
    let document = values().sign(&mut key).expect("signs");
    for keys in [
        key.pinned(KeyUse::Tag),
        FakeKey::new(2).pinned(KeyUse::Reference),
    ] {
        let refused = verify(&document, &keys).expect_err("not pinned for reference values");
        assert_eq!(
            refused.finding("a.jws").code,
            "reference-values-signature-invalid"
        );
    }
    let refused = verify("", &key.pinned(KeyUse::Reference)).expect_err("no token");
    let finding = refused.finding("a\nb.jws");
    assert_eq!(finding.code, "reference-values-malformed");
    assert_eq!(finding.subject, r"reference values 'a\nb.jws'");
}

#[test]
fn each_claim_is_required_but_tpms() {
    for claim in ["iss", "iat", "nbf", "exp", "seq", "boot_states"] {
        let missing = ClaimError::Missing {
            claim: format!("/{claim}"),
        };
        assert_eq!(with(claim, Value::Null), Err(missing));
    }
    assert_eq!(with("tpms", Value::Null).expect("optional").tpms, []);
}

#[test]
fn a_boot_state_that_any_host_matches_is_refused() {
    for pcrs in [json!({}), json!({"sha256": {}}), json!([]), json!(null)] {
        with("boot_states", json!([{"name": "any", "pcrs": pcrs}])).expect_err("no value");
    }
}

#[test]
fn a_boot_state_of_the_wrong_form_is_refused() {
    let value = "ab".repeat(32);
    let state =
        |name: Value, pcrs: Value| with("boot_states", json!([{"name": name, "pcrs": pcrs}]));
    state(json!("x"), json!({"sha256": {"7": value}})).expect("valid");
    for name in [
        json!(""),
        json!("a\nb"),
        json!("ä"),
        json!(5),
        json!("n".repeat(129)),
    ] {
        state(name, json!({"sha256": {"7": value}})).expect_err("name");
    }
    state(json!("n".repeat(128)), json!({"sha256": {"7": value}})).expect("longest name");
    for pcrs in [
        json!({"sha256": {"24": value}}),
        json!({"sha256": {"07": value}}),
        json!({"sha256": {"7": value.to_uppercase()}}),
        json!({"sha256": {"7": "ab"}}),
        json!({"md5": {"7": value}}),
        json!({"sha384": {"7": value}}),
        json!({"sha256": {"7": value}, "SHA256": {"7": value}}),
    ] {
        state(json!("x"), pcrs).expect_err("PCR values");
    }
}

#[test]
fn a_boot_state_may_rule_events_in_place_of_values() {
    let digest = "ab".repeat(32);
    let step = json!({"digests": [digest]});
    let state = |pcrs: Value, events: Value| {
        with(
            "boot_states",
            json!([{"name": "x", "pcrs": pcrs, "events": events}]),
        )
    };
    let both = state(
        json!({"sha256": {"7": digest}}),
        json!({"sha256": {"pcrs": {"4": [step]}}}),
    );
    let read = both.expect("values and rules");
    assert_eq!(
        ReferenceValues::from_claims(&read.to_claims()).as_ref(),
        Ok(&read)
    );
    let covered = |pcr| {
        let pcr = PcrIndex::new(pcr).expect("a PCR");
        read.boot_states[0].covers(HashAlg::Sha256, pcr)
    };
    assert!(covered(7) && covered(4) && !covered(5));

    let alone = json!([{"name": "x", "events": {"sha256": {"pcrs": {"4": [step]}}}}]);
    with("boot_states", alone).expect("rules only");
    for (pcrs, events) in [
        // A PCR with two demands.
        (
            json!({"sha256": {"4": digest}}),
            json!({"sha256": {"pcrs": {"4": [step]}}}),
        ),
        // Secure Boot alone leaves every PCR open.
        (json!({}), json!({"sha256": {"secure_boot": {}}})),
        (
            json!({"sha384": {"4": "ab".repeat(48)}}),
            json!({"sha256": {"secure_boot": {}}}),
        ),
        (json!({"sha256": {"7": digest}}), json!({"sha256": {}})),
        (
            json!({"sha256": {"7": digest}}),
            json!({"md5": {"pcrs": {"4": []}}}),
        ),
        (json!({}), json!({})),
    ] {
        state(pcrs, events.clone()).expect_err(&events.to_string());
    }
}

#[test]
fn a_demand_that_is_not_known_is_not_passed_over() {
    let state = json!({"name": "x", "pcrs": {"sha256": {"7": "ab".repeat(32)}}, "firmware": "9"});
    with("boot_states", json!([state])).expect_err("a demand of a later version");
}

#[test]
fn two_boot_states_of_one_name_are_refused() {
    let state = json!({"name": "x", "pcrs": {"sha256": {"7": "ab".repeat(32)}}});
    with("boot_states", json!([state])).expect("one");
    with("boot_states", json!([state, state])).expect_err("two");
}

#[test]
fn the_number_of_boot_states_is_limited() {
    let states = |count: usize| {
        let state =
            |n| json!({"name": format!("s{n}"), "pcrs": {"sha256": {"7": "ab".repeat(32)}}});
        with(
            "boot_states",
            (0..count).map(state).collect::<Vec<_>>().into(),
        )
    };
    states(0).expect("a document may hold endorsements only");
    states(256).expect("at the limit");
    states(257).expect_err("beyond");
}

#[test]
fn a_document_may_be_as_long_as_a_file_of_reference_values() {
    let mut key = FakeKey::new(1);
    let mut values = values();
    values.boot_states[0].ima = Some(ImaRules {
        files: (0..1400)
            .map(|number| {
                let digest = format!("sha256:{}", "07".repeat(32));
                (format!("/usr/bin/{number:016}"), [digest].into())
            })
            .collect(),
        excluded: Vec::new(),
        unknown: UnknownFile::Refuse,
    });
    let document = values.sign(&mut key).expect("signs");
    assert!(document.len() > 2 * jws::MAX_BYTES);
    let read = verify(&document, &key.pinned(KeyUse::Reference)).expect("verifies");
    assert_eq!(read.values, values);
    values.issuer = "x".repeat(jws::MAX_REFERENCE_BYTES);
    values.sign(&mut key).expect_err("too long");
}

#[test]
fn an_endorsement_of_the_wrong_form_is_refused() {
    let tpm = FakeTpm::new(1);
    let (ueid, ak_name) = (tpm.ueid.to_string(), tpm.ak().name().to_string());
    with("tpms", json!([{"ueid": ueid, "ak_name": ak_name}])).expect("valid");
    for tpms in [
        json!({}),
        json!([{"ueid": ueid}]),
        json!([{"ak_name": ak_name}]),
        json!([{"ueid": ak_name, "ak_name": ueid}]),
        json!([{"ueid": ueid, "ak_name": ak_name.to_uppercase()}]),
        json!([ueid]),
    ] {
        with("tpms", tpms).expect_err("not an endorsement");
    }
}

#[test]
fn validity_begins_with_nbf_and_ends_before_exp() {
    let values = values();
    for (now_s, valid) in [(999, false), (1000, true), (1999, true), (2000, false)] {
        assert_eq!(values.is_valid_at(now_s), valid, "{now_s}");
    }
    with("exp", json!(1000)).expect_err("no second of validity");
}
