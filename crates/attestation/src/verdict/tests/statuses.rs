//! Statuses of the whole, of its parts, and the vectors behind them.

use super::*;

#[test]
fn no_status_is_better_than_its_parts() {
    let vector = "/submods/host/ear_trustworthiness_vector";
    for worse in [
        json!({"executables": 96}),
        json!({"executables": 3, "hardware": 32}),
        json!({"executables": 0}),
        json!({"executables": 3, "runtime-opaque": 96}),
        json!({}),
    ] {
        let refused = with(vector, worse).expect_err("affirming over a worse vector");
        assert!(matches!(&refused, VerdictError::Contradiction { part, .. } if part == "host"));
        assert_eq!(refused.defect(), VerdictDefect::Contradiction);
    }
    let refused = with("/submods/host/ear_status", json!("warning")).expect_err("overall better");
    assert!(matches!(&refused, VerdictError::Contradiction { part, .. } if part == "ear"));
    for tier in ["warning", "contraindicated", "none"] {
        let verdict = with("/ear_status", json!(tier)).expect("more cautious is allowed");
        assert!(!verdict.status.is_affirming());
    }
}

/// By the letter: of the four tiers only *none* has no place in the order, so a status may be
/// equal to, worse than, or silent about what it sums up, and nothing else.
#[test]
fn every_status_over_every_vector_and_every_part() {
    let tiers = [
        ("affirming", 2),
        ("none", 0),
        ("warning", 32),
        ("contraindicated", 96),
    ];
    let allowed = |claimed: usize, worst: usize| claimed >= worst || tiers[claimed].0 == "none";
    for (whole, (whole_status, _)) in tiers.iter().enumerate() {
        for (part, (part_status, _)) in tiers.iter().enumerate() {
            for (other, (other_status, other_value)) in tiers.iter().enumerate() {
                for (claim, (_, value)) in tiers.iter().enumerate() {
                    let mut payload = payload();
                    payload["ear_status"] = json!(whole_status);
                    let host = &mut payload["submods"]["host"];
                    host["ear_status"] = json!(part_status);
                    host["ear_trustworthiness_vector"] =
                        json!({"hardware": 2, "executables": value});
                    payload["submods"]["gpu"] = json!({
                        "ear_status": other_status,
                        "ear_trustworthiness_vector": {"hardware": other_value},
                    });
                    let expected = allowed(part, claim) && allowed(whole, part.max(other));
                    assert_eq!(
                        signed_and_read(&payload).is_ok(),
                        expected,
                        "{whole_status} over host {part_status} of {value} and {other_status}"
                    );
                }
            }
        }
    }
}

#[test]
fn an_issued_verdict_has_no_empty_list() {
    let tpm = FakeTpm::new(1);
    let nonce = Nonce::new([5; 32]);
    let policy = AppraisalPolicy {
        references: &[],
        refused_references: &[],
        keys: &TrustedKeys::new(),
    };
    let appraisal = appraisal::appraise(&tpm.evidence(nonce), &nonce, &policy, NOW_S);
    assert!(appraisal.policy_ids.is_empty());
    let payload = claims(&terms(), &appraisal).expect("genuine evidence");
    let host = payload["submods"]["host"].as_object().expect("object");
    assert!(!host.contains_key("ear_appraisal_policy_ids"), "{payload}");
    let read = signed_and_read(&payload).expect("own output").host;
    assert!(read.policy_ids.is_empty() && !read.status.is_affirming());
}

#[test]
fn a_second_part_counts_for_the_status_of_the_whole() {
    let part = |status: &str, value: i8| json!({"ear_status": status, "ear_trustworthiness_vector": {"hardware": value}});
    with("/submods/gpu", part("affirming", 2)).expect("another part");
    let refused = with("/submods/gpu", part("contraindicated", 97)).expect_err("overall better");
    assert!(matches!(refused, VerdictError::Contradiction { .. }));
    with("/submods/gpu", part("affirming", 97)).expect_err("contradicts itself");
    with("/submods/gpu", json!("affirming")).expect_err("not an object");
}

#[test]
fn a_status_or_vector_that_cannot_be_weighed_is_refused() {
    for status in [
        json!("Affirming"),
        json!(2),
        json!(""),
        json!(["affirming"]),
    ] {
        with("/ear_status", status.clone()).expect_err("status");
        with("/submods/host/ear_status", status).expect_err("status of the host");
    }
    for vector in [
        json!({"executables": 300}),
        json!({"luck": 2}),
        json!([3]),
        json!({"hardware": 2.0}),
    ] {
        with("/submods/host/ear_trustworthiness_vector", vector).expect_err("vector");
    }
}
