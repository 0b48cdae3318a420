//! The quote: what it must be for anything to be believed.

use super::*;

#[test]
fn an_approved_host_is_affirmed() {
    let appraisal = appraised(&evidence());
    assert_eq!(appraisal.findings, []);
    assert_eq!(appraisal.status, TrustTier::Affirming);
    assert_eq!(appraisal.boot_state.as_deref(), Some("debian-12"));
    assert_eq!(appraisal.policy_ids, ["urn:sha256:00"]);
    assert_eq!(
        appraisal.vector.value(Claim::Executables),
        Some(ClaimValue::BOOT_APPROVED)
    );
    assert_eq!(
        appraisal.vector.value(Claim::Hardware),
        Some(ClaimValue::APPROVED)
    );
    assert_eq!(
        appraisal.vector.value(Claim::InstanceIdentity),
        Some(ClaimValue::APPROVED)
    );
    let state = appraisal.state.expect("genuine");
    assert_eq!(state.clock.reset_count, 3);
    assert_eq!((state.nonce, state.tag), (NONCE, None));
}

#[test]
fn evidence_for_another_nonce_proves_nothing() {
    let other = FakeTpm::new(1).evidence(Nonce::new([6; 32]));
    let appraisal = appraised(&other);
    assert_proves_nothing(&appraisal, "nonce-mismatch");
    assert_eq!(appraisal.findings[0].subject, "evidence");

    let relabelled = Evidence {
        nonce: NONCE,
        ..other
    };
    let appraisal = appraised(&relabelled);
    assert_proves_nothing(&appraisal, "nonce-mismatch");
    assert_eq!(appraisal.findings[0].subject, "quote");
}

#[test]
fn a_boot_id_or_gate_digest_that_was_not_quoted_proves_nothing() {
    let boot_id = BootId::parse("00000000-0000-4000-8000-000000000000").expect("a boot id");
    let other_boot = Evidence {
        boot_id,
        ..evidence()
    };
    assert_proves_nothing(&appraised(&other_boot), "nonce-mismatch");
    let other_gate = Evidence {
        gate_digest: [1; 32],
        ..evidence()
    };
    assert_proves_nothing(&appraised(&other_gate), "nonce-mismatch");
}

#[test]
fn a_quote_by_another_key_proves_nothing() {
    let foreign = FakeTpm::new(2).evidence(NONCE);
    let stolen_key = Evidence {
        ak_public: FakeTpm::new(1).ak_public(),
        ..foreign
    };
    assert_proves_nothing(&appraised(&stolen_key), "quote-signature-invalid");

    let mut unsigned = evidence();
    unsigned.quote.signature.clear();
    assert_proves_nothing(&appraised(&unsigned), "quote-signature-invalid");
}

#[test]
fn an_ak_that_can_sign_anything_proves_nothing() {
    let unrestricted = FakeTpm::new(1).ak_public_with(0x0004_0072);
    let appraisal = appraised(&Evidence {
        ak_public: unrestricted,
        ..evidence()
    });
    assert_proves_nothing(&appraisal, "evidence-malformed");
}

#[test]
fn a_certificate_in_place_of_the_quote_proves_nothing() {
    let tpm = FakeTpm::new(1);
    let evidence = tpm.evidence_with_tag(NONCE, "document");
    let certificate = evidence.tag_slot.clone().expect("a slot").certificate;
    let appraisal = appraised(&Evidence {
        quote: certificate,
        ..evidence
    });
    assert_proves_nothing(&appraisal, "evidence-malformed");
}

#[test]
fn pcr_values_that_were_not_quoted_prove_nothing() {
    let mut drifted = FakeTpm::new(1);
    drifted
        .pcrs
        .insert(pcr(7), vec![0xee; 32])
        .expect("32 bytes");
    let lying = Evidence {
        pcrs: FakeTpm::new(1).pcrs,
        ..drifted.evidence(NONCE)
    };
    assert_proves_nothing(&appraised(&lying), "evidence-malformed");

    let mut more = evidence();
    more.pcrs.insert(pcr(8), vec![8; 32]).expect("32 bytes");
    assert_proves_nothing(&appraised(&more), "evidence-malformed");
}

#[test]
fn a_quote_of_no_pcr_proves_nothing() {
    let mut tpm = FakeTpm::new(1);
    tpm.pcrs = PcrValues::new(HashAlg::Sha256);
    assert_proves_nothing(&appraised(&tpm.evidence(NONCE)), "evidence-malformed");
}
