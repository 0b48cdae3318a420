//! Which boot state a quote is of.

use super::*;

#[test]
fn a_changed_pcr_is_named_and_speaks_against_the_host() {
    let mut tpm = FakeTpm::new(1);
    tpm.pcrs.insert(pcr(7), vec![0xee; 32]).expect("32 bytes");
    let appraisal = appraised(&tpm.evidence(NONCE));
    assert_eq!(codes(&appraisal), ["pcr-mismatch"]);
    let finding = &appraisal.findings[0];
    assert_eq!(finding.subject, "PCR 7 (sha256)");
    assert_eq!(
        finding.expected,
        format!("{} of boot state 'debian-12'", "07".repeat(32))
    );
    assert_eq!(finding.found, "ee".repeat(32));
    assert_eq!(appraisal.status, TrustTier::Contraindicated);
    assert_eq!(
        appraisal.vector.value(Claim::Executables),
        Some(ClaimValue::UNSUPPORTABLE)
    );
    assert_eq!(appraisal.boot_state, None);
    assert!(appraisal.state.is_some(), "the evidence is genuine");
}

#[test]
fn any_one_of_several_boot_states_is_enough_and_the_nearest_is_reported() {
    let tpm = FakeTpm::new(1);
    let mut near = tpm.pcrs.clone();
    near.insert(pcr(1), vec![0xaa; 32]).expect("32 bytes");
    let mut far = near.clone();
    far.insert(pcr(2), vec![0xbb; 32]).expect("32 bytes");

    let mut approved = reference(&tpm);
    approved.values.boot_states = vec![
        boot_state("far", far.clone()),
        boot_state("near", near.clone()),
    ];
    let appraisal = appraise_at(&tpm.evidence(NONCE), &[approved.clone()], NOW_S);
    assert_eq!(codes(&appraisal), ["pcr-mismatch"]);
    assert!(appraisal.findings[0].expected.ends_with("'near'"));

    approved
        .values
        .boot_states
        .push(boot_state("exact", tpm.pcrs.clone()));
    let appraisal = appraise_at(&tpm.evidence(NONCE), &[approved], NOW_S);
    assert_eq!(appraisal.boot_state.as_deref(), Some("exact"));
}

#[test]
fn a_boot_state_does_not_match_across_documents() {
    let tpm = FakeTpm::new(1);
    let half = |keep: u8| {
        let mut values = PcrValues::new(HashAlg::Sha256);
        for (index, value) in tpm.pcrs.iter() {
            let value = if index.get() % 2 == keep {
                value.to_vec()
            } else {
                vec![0xcc; 32]
            };
            values.insert(index, value).expect("32 bytes");
        }
        let mut reference = reference(&tpm);
        reference.values.boot_states = vec![boot_state("half", values)];
        reference
    };
    let appraisal = appraise_at(&tpm.evidence(NONCE), &[half(0), half(1)], NOW_S);
    assert_eq!(codes(&appraisal), ["pcr-mismatch"; 4]);
}

#[test]
fn a_quote_that_covers_too_little_is_refused() {
    let tpm = FakeTpm::new(1);
    let mut approved = reference(&tpm);
    let mut pcrs = tpm.pcrs.clone();
    pcrs.insert(pcr(14), vec![14; 32]).expect("32 bytes");
    approved.values.boot_states = vec![boot_state("with 14", pcrs)];
    let appraisal = appraise_at(&tpm.evidence(NONCE), &[approved], NOW_S);
    assert_eq!(codes(&appraisal), ["quote-selection-short"]);
    assert_eq!(
        appraisal.findings[0].expected,
        "also PCR 14 of boot state 'with 14'"
    );
    assert_eq!(appraisal.status, TrustTier::Contraindicated);
}

#[test]
fn a_quote_that_covers_more_than_the_boot_state_is_accepted() {
    let tpm = FakeTpm::new(1);
    let mut approved = reference(&tpm);
    let mut pcrs = PcrValues::new(HashAlg::Sha256);
    pcrs.insert(pcr(7), vec![7; 32]).expect("32 bytes");
    approved.values.boot_states = vec![boot_state("only 7", pcrs)];
    let appraisal = appraise_at(&tpm.evidence(NONCE), &[approved], NOW_S);
    assert_eq!(appraisal.boot_state.as_deref(), Some("only 7"));
}

#[test]
fn a_boot_state_of_another_bank_does_not_match() {
    let tpm = FakeTpm::new(1);
    let mut approved = reference(&tpm);
    let mut pcrs = PcrValues::new(HashAlg::Sha384);
    pcrs.insert(pcr(7), vec![7; 48]).expect("48 bytes");
    approved.values.boot_states = vec![boot_state("sha384", pcrs)];
    let appraisal = appraise_at(&tpm.evidence(NONCE), &[approved], NOW_S);
    assert_eq!(codes(&appraisal), ["pcr-bank-missing"]);
}
