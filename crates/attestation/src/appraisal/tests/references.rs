//! Which reference values count.

use super::*;

#[test]
fn without_reference_values_nothing_is_approved() {
    let appraisal = appraise_at(&evidence(), &[], NOW_S);
    assert_eq!(
        codes(&appraisal),
        ["reference-values-missing", "ak-unknown"]
    );
    assert_eq!(appraisal.status, TrustTier::Contraindicated);
}

#[test]
fn reference_values_count_from_nbf_until_exp() {
    let approved = [reference(&FakeTpm::new(1))];
    for (now_s, accepted) in [(NOW_S - 1, false), (NOW_S, true), (NOW_S + 1, false)] {
        let appraisal = appraise_at(&evidence(), &approved, now_s);
        assert_eq!(appraisal.status.is_affirming(), accepted, "{now_s}");
        if !accepted {
            assert_eq!(
                codes(&appraisal),
                ["reference-values-expired", "ak-unknown"]
            );
            assert!(appraisal.policy_ids.is_empty());
        }
    }
}

#[test]
fn a_refused_document_is_reported_beside_one_that_counts() {
    let refused = [Finding::new(
        "reference-values-signature-invalid",
        "file",
        "a",
        "b",
    )];
    let policy = AppraisalPolicy {
        references: &[reference(&FakeTpm::new(1))],
        refused_references: &refused,
        keys: &TrustedKeys::new(),
    };
    let appraisal = appraise(&evidence(), &NONCE, &policy, NOW_S);
    assert_eq!(codes(&appraisal), ["reference-values-signature-invalid"]);
    assert_eq!(appraisal.status, TrustTier::Affirming);
}

#[test]
fn an_ak_that_nobody_endorsed_is_unrecognized() {
    let approved = reference(&FakeTpm::new(1));
    for change in [
        |one: &mut Endorsement| one.ueid = FakeTpm::new(2).ueid,
        |one: &mut Endorsement| one.ak_name = FakeTpm::new(2).ak().name().clone(),
    ] {
        let mut approved = approved.clone();
        change(&mut approved.values.tpms[0]);
        let appraisal = appraise_at(&evidence(), &[approved], NOW_S);
        assert_eq!(codes(&appraisal), ["ak-unknown"]);
        assert_eq!(appraisal.status, TrustTier::Contraindicated);
        let vector = &appraisal.vector;
        assert_eq!(
            vector.value(Claim::InstanceIdentity),
            Some(ClaimValue::UNRECOGNIZED)
        );
        assert_eq!(vector.value(Claim::Hardware), None);
        assert_eq!(
            vector.value(Claim::Executables),
            Some(ClaimValue::BOOT_APPROVED)
        );
    }
}
