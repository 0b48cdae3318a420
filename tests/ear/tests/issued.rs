//! Tokens of ours in `ear`.

use std::collections::BTreeMap;

use portcullis_attestation::trust::{Claim, ClaimValue, TrustTier, TrustVector};
use portcullis_attestation::verdict::{self, HOST, HOST_PROFILE, Latched, Terms};
use proptest::prelude::*;
use serde_json::json;

use crate::sample::{
    EXPIRES_S, ISSUED_S, NONCE, appraisal, read_by_ear, read_by_us, signed, terms, tier, vector,
};

/// Signs what `terms` and the outcome give, reads it with both, and holds the two together.
fn hold_together(terms: &Terms, status: TrustTier, vector: TrustVector) {
    let payload = verdict::claims(terms, &appraisal(status, vector)).expect("a state");
    let token = signed(&payload);
    let ours = read_by_us(&token).expect("own token");
    let theirs = read_by_ear(&token).expect("ear reads it");
    theirs.validate().expect("ear accepts it");

    assert_eq!(theirs.profile, ours.dialect.profile());
    assert_eq!(
        theirs.iat,
        i64::try_from(ours.issued_at_s).expect("before 2262")
    );
    let expires = i64::try_from(ours.expires_s).expect("before 2262");
    assert_eq!(theirs.exp, Some(expires));
    assert_eq!(
        theirs.nonce,
        Some(ours.nonce.as_slice().try_into().expect("a nonce"))
    );
    assert_eq!(theirs.vid.developer, ours.verifier_developer);
    assert_eq!(theirs.vid.build, ours.verifier_build);
    assert_eq!(tier(theirs.status.expect("is there")), ours.status);

    assert_eq!(theirs.submods.keys().collect::<Vec<_>>(), [HOST]);
    let host = &theirs.submods[HOST];
    assert_eq!(host.profile.as_deref(), Some(HOST_PROFILE));
    assert_eq!(tier(host.status), ours.host.status);
    assert_eq!(host.policy_ids, ours.host.policy_ids);
    for claim in Claim::ALL {
        let theirs = host
            .trust_vector
            .by_name(claim.as_str())
            .expect("the same names");
        assert_eq!(
            theirs.value.map(ClaimValue::new),
            ours.host.vector.value(claim)
        );
        assert_eq!(tier(theirs.tier()), ours.host.vector.tier(claim), "{claim}");
    }
    for (pointer, theirs) in [
        ("/submods/host/ear_attester_claims", &host.attester_claims),
        ("/submods/host/ear_verifier_claims", &host.verifier_claims),
    ] {
        let claims = payload.pointer(pointer).expect("is there").to_string();
        let claims: BTreeMap<_, _> = serde_json::from_str(&claims).expect("claims");
        assert_eq!(*theirs, claims, "{pointer}");
    }
}

#[test]
fn verdicts_of_every_tier_mean_the_same() {
    for (status, claims) in [
        (
            TrustTier::Affirming,
            json!({"executables": 3, "hardware": 2, "instance-identity": 2}),
        ),
        (
            TrustTier::Warning,
            json!({"executables": 33, "hardware": 2}),
        ),
        (
            TrustTier::Contraindicated,
            json!({"executables": 96, "instance-identity": 97}),
        ),
        (
            TrustTier::None,
            json!({"executables": 0, "hardware": -1, "configuration": 1}),
        ),
    ] {
        let vector = vector(&claims);
        assert_eq!(vector.worst(), status);
        hold_together(&terms(), status, vector);
    }
}

#[test]
fn every_value_of_every_claim_has_the_same_tier() {
    for value in i8::MIN..=i8::MAX {
        let mut vector = TrustVector::default();
        for claim in Claim::ALL {
            vector.set(claim, ClaimValue::new(value));
        }
        hold_together(&terms(), vector.worst(), vector);
    }
}

#[test]
fn a_verdict_with_nothing_optional_means_the_same() {
    let mut bare = appraisal(
        TrustTier::Contraindicated,
        vector(&json!({"executables": 96})),
    );
    // No reference values were in date: the draft has no empty list of policies.
    bare.policy_ids.clear();
    bare.boot_state = None;
    bare.tags.clear();
    let state = bare.state.as_mut().expect("a state");
    state.tag = None;
    let terms = Terms {
        node_name: None,
        max_age_s: None,
        ..terms()
    };
    let token = signed(&verdict::claims(&terms, &bare).expect("a state"));
    let theirs = read_by_ear(&token).expect("ear reads it");
    assert_eq!(
        theirs.submods[HOST].policy_ids,
        read_by_us(&token).expect("own").host.policy_ids
    );
}

#[test]
fn a_latched_failure_is_a_claim_that_ear_carries() {
    let latched = Latched {
        since_s: ISSUED_S,
        code: "pcr-mismatch".to_owned(),
        subject: "PCR 4 \u{1f512}\n\"quoted\"".to_owned(),
    };
    let terms = Terms {
        latched: Some(latched),
        ..terms()
    };
    hold_together(
        &terms,
        TrustTier::Contraindicated,
        vector(&json!({"executables": 96})),
    );
}

#[test]
fn a_changed_byte_is_refused_by_both() {
    let token = signed(&crate::sample::payload());
    let other = signed(&crate::sample::with("/iat", json!(ISSUED_S + 1)));
    let parts: Vec<&str> = token.split('.').collect();
    let foreign = other.split('.').nth(1).expect("a payload");
    let mixed = [parts[0], foreign, parts[2]].join(".");
    read_by_us(&mixed).expect_err("another payload");
    read_by_ear(&mixed).expect_err("another payload");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn generated_verdicts_mean_the_same(
        values in prop::collection::btree_map(0_usize..8, any::<i8>(), 1..=8),
        stated in 0_usize..4,
        issued_at_s in 1..=ISSUED_S,
        sequence in 0..=i64::MAX.unsigned_abs(),
        max_age_s in prop::option::of(0..=i64::MAX.unsigned_abs()),
        node_name in prop::option::of("\\PC{0,30}"),
    ) {
        let mut vector = TrustVector::default();
        for (index, value) in values {
            vector.set(Claim::ALL[index], ClaimValue::new(value));
        }
        // A status may be more cautious than the vector.
        let status = vector.worst().worse(TrustTier::ALL[stated]);
        let lifetime_s = EXPIRES_S - issued_at_s;
        let terms = Terms { issued_at_s, lifetime_s, sequence, max_age_s, node_name, ..terms() };
        hold_together(&terms, status, vector);
    }
}

#[test]
fn the_nonce_is_the_one_that_was_asked_with() {
    let theirs = read_by_ear(&signed(&crate::sample::payload())).expect("reads");
    assert_eq!(theirs.nonce, Some(NONCE[..].try_into().expect("a nonce")));
    assert_ne!(theirs.nonce, Some([6; 32][..].try_into().expect("a nonce")));
}
