use serde_json::{Value, json};

use super::*;

const PASS: &str = include_str!("../../tests/data/verdict-pass.json");
const FAIL_IMA: &str = include_str!("../../tests/data/verdict-fail-ima.json");
const FAIL_BOOT: &str = include_str!("../../tests/data/verdict-fail-measured-boot.json");

fn changed(pointer: &str, value: Value) -> Result<Opinion, OpinionError> {
    let mut answer: Value = serde_json::from_str(PASS).unwrap();
    *answer.pointer_mut(pointer).unwrap() = value;
    Opinion::read(answer.to_string().as_bytes())
}

#[test]
fn a_recorded_pass_vouches_for_what_its_policies_asked() {
    assert_eq!(
        Opinion::read(PASS.as_bytes()).unwrap(),
        Opinion::Vouches {
            at_s: 1_795_292_120,
            patience: Duration::from_secs(10),
            scope: Scope {
                boot: false,
                runtime: true
            },
        }
    );
}

#[test]
fn recorded_failures_speak_against_the_node() {
    for (recorded, event) in [
        (FAIL_IMA, "ima.pcr_mismatch"),
        (FAIL_BOOT, "measured_boot.policy_example"),
    ] {
        assert_eq!(
            Opinion::read(recorded.as_bytes()).unwrap(),
            Opinion::Speaks {
                event: event.to_owned()
            }
        );
    }
}

#[test]
fn an_agent_that_cannot_be_reached_is_no_failure() {
    let mut answer: Value = serde_json::from_str(FAIL_IMA).unwrap();
    answer["results"]["operational_state"] = json!(7);
    let opinion = Opinion::read(answer.to_string().as_bytes()).unwrap();
    assert!(matches!(opinion, Opinion::Silent { .. }), "{opinion:?}");
}

#[test]
fn an_agent_that_pushes_has_no_state() {
    let mut answer: Value = serde_json::from_str(FAIL_IMA).unwrap();
    answer["results"]["operational_state"] = Value::Null;
    let opinion = Opinion::read(answer.to_string().as_bytes()).unwrap();
    assert!(matches!(opinion, Opinion::Speaks { .. }), "{opinion:?}");
}

#[test]
fn what_is_not_known_is_silence() {
    for word in ["PENDING", "TIMEOUT"] {
        let opinion = changed("/results/attestation_status", json!(word)).unwrap();
        assert!(matches!(opinion, Opinion::Silent { .. }), "{opinion:?}");
    }
    let never = changed("/results/last_successful_attestation", json!(0)).unwrap();
    assert!(matches!(never, Opinion::Silent { .. }), "{never:?}");
}

#[test]
fn an_answer_of_another_form_says_nothing() {
    for (pointer, value) in [
        ("/code", json!(404)),
        ("/results/attestation_status", json!("pass")),
        ("/results/attestation_status", json!(1)),
        ("/results/last_successful_attestation", Value::Null),
        ("/results/last_successful_attestation", json!(-1)),
        ("/results/maximum_attestation_interval", json!("soon")),
        ("/results/has_runtime_policy", json!("1")),
    ] {
        let error = changed(pointer, value).unwrap_err();
        assert!(error.to_string().contains(pointer), "{error}");
    }
    for body in [
        &b""[..],
        b"{}",
        b"[]",
        b"{\"code\":200,\"code\":200}",
        b"\xff",
    ] {
        Opinion::read(body).unwrap_err();
    }
}
