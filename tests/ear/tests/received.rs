//! Tokens of `ear` here.

use ear::TrustTier as EarTier;
use portcullis_attestation::hex;
use portcullis_attestation::trust::{Claim, TrustTier};
use portcullis_attestation::verdict::Dialect;
use proptest::prelude::*;

use crate::sample::{
    EXPIRES_S, ISSUED_S, NONCE, filled_in, payload, read_by_ear, read_by_us, signed, signed_by_ear,
    tier,
};

#[test]
fn a_verdict_of_ear_is_read_with_all_its_bindings() {
    let claims = [
        ("executables", 3),
        ("hardware", 2),
        ("instance-identity", 2),
    ];
    let token = signed_by_ear(&filled_in(EarTier::Affirming, &claims));
    read_by_ear(&token).expect("ear reads its own");
    let theirs = read_by_us(&token).expect("we read it");
    let ours = read_by_us(&signed(&payload())).expect("own token");

    assert_eq!(theirs.dialect, Dialect::Draft04);
    assert_eq!(
        (theirs.issued_at_s, theirs.expires_s),
        (ISSUED_S, EXPIRES_S)
    );
    assert_eq!(theirs.nonce, NONCE);
    assert_eq!(theirs.issuer, "https://verifier.example");
    assert_eq!(theirs.verifier_developer, "https://veraison-project.org");
    assert_eq!(theirs.verifier_build, "vts 1.0");
    assert!(theirs.status.is_affirming());
    assert_eq!(theirs.host.policy_ids, ["urn:sha256:00"]);
    // The same host, said by the other writer: all else is equal.
    let mut host = theirs.host;
    host.policy_ids = ours.host.policy_ids.clone();
    assert_eq!(host, ours.host);
    assert_eq!(hex::encode(&host.pcrs.digest).len(), 64);
    assert!(host.tag.is_some() && host.pcrs.values.is_some());
}

#[test]
fn ears_own_statuses_are_read_as_such() {
    for (status, value) in [
        (EarTier::Affirming, 2),
        (EarTier::Warning, 32),
        (EarTier::Contraindicated, 96),
        (EarTier::None, 0),
    ] {
        let verdict = read_by_us(&signed_by_ear(&filled_in(
            status,
            &[("executables", value)],
        )));
        let verdict = verdict.expect("we read it");
        assert_eq!(
            (verdict.status, verdict.host.status),
            (tier(status), tier(status))
        );
        assert_eq!(verdict.status.is_affirming(), status == EarTier::Affirming);
    }
}

#[test]
fn a_whole_without_a_status_is_as_good_as_its_worst_part() {
    let mut ear = filled_in(EarTier::Warning, &[("executables", 33)]);
    ear.status = None;
    let verdict = read_by_us(&signed_by_ear(&ear)).expect("we read it");
    assert_eq!(verdict.status, TrustTier::Warning);
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
    ) {
        let named: Vec<(&str, i8)> = values
            .iter()
            .map(|(index, value)| (Claim::ALL[*index].as_str(), *value))
            .collect();
        let mut ear = filled_in(EarTier::Contraindicated, &named);
        let tiers: Vec<EarTier> = ear.submods["host"].trust_vector.into_iter()
            .filter(|claim| claim.is_set())
            .map(|claim| claim.tier())
            .collect();
        // The worst, with *none* where the draft gives it no rank: ours, above affirming.
        let worst = [EarTier::Contraindicated, EarTier::Warning, EarTier::None]
            .into_iter()
            .find(|worst| tiers.contains(worst))
            .unwrap_or(EarTier::Affirming);
        ear.submods.get_mut("host").expect("is there").status = worst;
        ear.status = Some(worst);
        let verdict = read_by_us(&signed_by_ear(&ear)).expect("we read it");
        prop_assert_eq!(verdict.status, tier(worst));
        prop_assert_eq!(verdict.host.vector.worst(), tier(worst));
        let host = &ear.submods["host"];
        for claim in Claim::ALL {
            let theirs = host.trust_vector.by_name(claim.as_str()).expect("the same names");
            let ours = verdict.host.vector.value(claim);
            prop_assert_eq!(ours.map(|value| value.get()), theirs.value);
            prop_assert_eq!(verdict.host.vector.tier(claim), tier(theirs.tier()));
        }
    }
}
