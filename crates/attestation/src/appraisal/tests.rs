use super::*;
use crate::evidence::TagSlot;
use crate::fakes::{FakeKey, FakeTpm, nv_public};
use crate::finding::CODES;
use crate::jwk::KeyUse;
use crate::pcr::{HashAlg, PcrIndex};
use crate::reference::{BootState, Endorsement, ReferenceValues};
use crate::tag::{self, AssetTag};
use proptest::prelude::*;

const NOW_S: u64 = 5000;
const NONCE: Nonce = Nonce::new([5; 32]);
const AUTHORITY: u8 = 8;

fn pcr(index: u8) -> PcrIndex {
    PcrIndex::new(index).expect("0 to 23")
}

fn boot_state(name: &str, pcrs: PcrValues) -> BootState {
    BootState {
        name: name.to_owned(),
        banks: vec![pcrs],
    }
}

/// Reference values that approve `tpm` as it is.
fn reference(tpm: &FakeTpm) -> Reference {
    Reference {
        id: "urn:sha256:00".to_owned(),
        values: ReferenceValues {
            issuer: "https://operator.example".to_owned(),
            issued_at_s: 0,
            not_before_s: NOW_S,
            expires_s: NOW_S + 1,
            sequence: 1,
            boot_states: vec![boot_state("debian-12", tpm.pcrs.clone())],
            tpms: vec![Endorsement {
                ueid: tpm.ueid.clone(),
                ak_name: tpm.ak().name().clone(),
            }],
        },
    }
}

fn appraise_at(evidence: &Evidence, references: &[Reference], now_s: u64) -> Appraisal {
    let keys = FakeKey::new(AUTHORITY).pinned(KeyUse::Tag);
    let policy = AppraisalPolicy {
        references,
        refused_references: &[],
        keys: &keys,
    };
    let appraisal = appraise(evidence, &NONCE, &policy, now_s);
    for finding in &appraisal.findings {
        assert!(
            CODES.contains(&finding.code),
            "{} is not listed",
            finding.code
        );
        assert!(
            !finding.to_value().to_string().contains("\\n"),
            "{finding:?}"
        );
    }
    appraisal
}

/// Appraises against reference values that approve an untouched TPM 1.
fn appraised(evidence: &Evidence) -> Appraisal {
    appraise_at(evidence, &[reference(&FakeTpm::new(1))], NOW_S)
}

fn codes(appraisal: &Appraisal) -> Vec<&'static str> {
    appraisal
        .findings
        .iter()
        .map(|finding| finding.code)
        .collect()
}

fn evidence() -> Evidence {
    FakeTpm::new(1).evidence(NONCE)
}

fn assert_proves_nothing(appraisal: &Appraisal, code: &str) {
    assert_eq!(codes(appraisal), [code]);
    assert_eq!(appraisal.status, TrustTier::Contraindicated);
    assert_eq!(appraisal.state, None);
    assert_eq!(
        appraisal.vector.value(Claim::Executables),
        Some(ClaimValue::CRYPTO_FAILED)
    );
    assert_eq!(appraisal.vector.value(Claim::Hardware), None);
}

// === the quote ===

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

// === boot states ===

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

// === reference values ===

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

// === the asset tag ===

fn document_with(change: impl FnOnce(&mut AssetTag)) -> String {
    let mut tag = AssetTag {
        issuer: "https://tags.example".to_owned(),
        subject: FakeTpm::new(1).ueid,
        issued_at_s: 0,
        not_before_s: NOW_S,
        expires_s: NOW_S + 1,
        tags: [("country".to_owned(), "DE".to_owned())].into(),
        location: None,
    };
    change(&mut tag);
    tag.sign(&mut FakeKey::new(AUTHORITY)).expect("signs")
}

fn tagged(document: &str) -> Evidence {
    FakeTpm::new(1).evidence_with_tag(NONCE, document)
}

/// The tag failed: named, no tags, and the rest of the appraisal is as it was.
fn assert_untagged(appraisal: &Appraisal, expected: &[&str]) {
    assert_eq!(codes(appraisal), expected);
    assert!(appraisal.tags.is_empty());
    assert_eq!(appraisal.status, TrustTier::Affirming);
}

#[test]
fn a_certified_slot_and_its_document_give_tags() {
    let document = document_with(|_| {});
    let appraisal = appraised(&tagged(&document));
    assert_eq!(appraisal.findings, []);
    assert_eq!(
        appraisal.tags,
        [("country".to_owned(), "DE".to_owned())].into()
    );
    let pin = appraisal.state.and_then(|state| state.tag).expect("pinned");
    assert_eq!(pin.digest, tag::digest(&document));
    assert_eq!(pin.nv_index, tag::NV_INDEX);
}

#[test]
fn half_a_tag_is_missing_the_other_half() {
    let document = document_with(|_| {});
    let no_slot = Evidence {
        tag_slot: None,
        ..tagged(&document)
    };
    let appraisal = appraised(&no_slot);
    assert_untagged(&appraisal, &["asset-tag-missing"]);
    assert_eq!(appraisal.findings[0].found, "index not defined");

    let no_document = Evidence {
        tag_document: None,
        ..tagged(&document)
    };
    let appraisal = appraised(&no_document);
    assert_untagged(&appraisal, &["asset-tag-missing"]);
    assert!(
        appraisal.state.is_some_and(|state| state.tag.is_some()),
        "still pinned"
    );
}

#[test]
fn a_document_that_is_not_the_one_in_the_tpm_is_tampering() {
    let mut evidence = tagged(&document_with(|_| {}));
    evidence.tag_document = Some(document_with(|document| {
        document.issuer = "https://other".to_owned();
    }));
    assert_untagged(&appraised(&evidence), &["asset-tag-tampered"]);
}

#[test]
fn a_document_about_another_tpm_does_not_count() {
    let document = document_with(|document| document.subject = FakeTpm::new(2).ueid);
    assert_untagged(&appraised(&tagged(&document)), &["asset-tag-mismatch"]);
}

#[test]
fn a_document_by_an_unpinned_key_does_not_count() {
    let document = {
        let good = document_with(|_| {});
        let tag = tag::verify(&good, &FakeKey::new(AUTHORITY).pinned(KeyUse::Tag));
        tag.expect("genuine")
            .sign(&mut FakeKey::new(9))
            .expect("signs")
    };
    assert_untagged(
        &appraised(&tagged(&document)),
        &["asset-tag-signature-invalid"],
    );
    assert_untagged(&appraised(&tagged("x.y.z")), &["asset-tag-malformed"]);
}

#[test]
fn a_document_counts_from_nbf_until_exp() {
    let mut approved = reference(&FakeTpm::new(1));
    approved.values.not_before_s = 0;
    approved.values.expires_s = u64::MAX;
    let evidence = tagged(&document_with(|_| {}));
    for (now_s, accepted) in [(NOW_S - 1, false), (NOW_S, true), (NOW_S + 1, false)] {
        let appraisal = appraise_at(&evidence, &[approved.clone()], now_s);
        assert_eq!(appraisal.tags.is_empty(), !accepted, "{now_s}");
        let expected: &[&str] = if accepted {
            &[]
        } else {
            &["asset-tag-expired"]
        };
        assert_eq!(codes(&appraisal), expected);
    }
}

/// Evidence whose slot was changed after everything was collected.
fn with_slot(change: impl FnOnce(&FakeTpm, &mut TagSlot)) -> Appraisal {
    let tpm = FakeTpm::new(1);
    let mut evidence = tagged(&document_with(|_| {}));
    change(&tpm, evidence.tag_slot.as_mut().expect("a slot"));
    let appraisal = appraised(&evidence);
    assert!(
        appraisal
            .state
            .as_ref()
            .is_some_and(|state| state.tag.is_none()),
        "must not pin"
    );
    appraisal
}

fn extra_data() -> [u8; 32] {
    let evidence = evidence();
    qualifying_data(&NONCE, &evidence.boot_id, &[0; 32])
}

#[test]
fn a_certificate_that_does_not_belong_to_the_quote_is_tampering() {
    let digest = tag::digest(&document_with(|_| {}));
    let other_signer = |tpm: &FakeTpm, slot: &mut TagSlot| {
        let mut message = slot.certificate.message.clone();
        message[20] ^= 1; // inside qualifiedSigner
        slot.certificate = tpm.signed(message);
    };
    let restarted = |tpm: &FakeTpm, slot: &mut TagSlot| {
        let mut later = tpm.clone();
        later.clock.restart_count += 1;
        slot.certificate = later.tag_slot(&digest, &extra_data()).certificate;
    };
    for appraisal in [
        with_slot(|_, slot| {
            slot.certificate = FakeTpm::new(2).tag_slot(&digest, &extra_data()).certificate;
        }),
        with_slot(|tpm, slot| slot.certificate = tpm.tag_slot(&digest, &[0; 32]).certificate),
        with_slot(other_signer),
        with_slot(restarted),
        with_slot(|_, slot| slot.certificate.signature.clear()),
    ] {
        assert_untagged(&appraisal, &["asset-tag-tampered"]);
    }
}

#[test]
fn a_slot_that_is_not_the_certified_one_is_tampering() {
    let digest = tag::digest(&document_with(|_| {}));
    for appraisal in [
        with_slot(|_, slot| slot.public = nv_public(0x01c1_0111, 0x2206_0008, 48)),
        with_slot(|_, slot| slot.public = nv_public(tag::NV_INDEX, 0x2206_000c, 48)),
        with_slot(|_, slot| slot.public = nv_public(tag::NV_INDEX, 0x0206_0008, 48)),
        with_slot(|_, slot| slot.public = nv_public(tag::NV_INDEX, 0x2206_0008, 96)),
        with_slot(|_, slot| slot.contents[0] ^= 1),
        with_slot(|tpm, slot| *slot = tpm.tag_slot(&digest[..47], &extra_data())),
        with_slot(|tpm, slot| *slot = tpm.tag_slot(&[&digest[..], &[0]].concat(), &extra_data())),
    ] {
        assert_untagged(&appraisal, &["asset-tag-tampered"]);
    }
}

#[test]
fn a_true_certificate_over_an_index_that_is_no_tag_slot_does_not_count() {
    let digest = tag::digest(&document_with(|_| {}));
    for (index, attributes, found) in [
        (0x01c1_0111, 0x2206_0008, "0x01c10111"),
        (tag::NV_INDEX, 0x0206_0008, "none written"),
    ] {
        let public = nv_public(index, attributes, 48);
        let appraisal = with_slot(|tpm, slot| *slot = tpm.nv_slot(public, &digest, &extra_data()));
        assert_untagged(&appraisal, &["asset-tag-tampered"]);
        assert_eq!(appraisal.findings[0].found, found);
    }
}

#[test]
fn a_slot_that_cannot_be_read_is_malformed_evidence() {
    let appraisal = with_slot(|_, slot| slot.public.clear());
    assert_untagged(&appraisal, &["evidence-malformed"]);
    let appraisal = with_slot(|tpm, slot| slot.certificate = tpm.signed(b"junk".to_vec()));
    assert_untagged(&appraisal, &["evidence-malformed"]);
    let quote = evidence().quote;
    let appraisal = with_slot(|_, slot| slot.certificate = quote);
    assert_untagged(&appraisal, &["evidence-malformed"]);
}

#[test]
fn codes_are_listed_in_order_and_once() {
    assert!(CODES.is_sorted_by(|one, next| one < next));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_bit_anywhere_in_the_evidence_is_never_affirmed(
        part in 0_usize..3,
        place in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let mut changed = evidence();
        let bytes = match part {
            0 => &mut changed.ak_public,
            1 => &mut changed.quote.message,
            _ => &mut changed.quote.signature,
        };
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        let appraisal = appraised(&changed);
        prop_assert!(!appraisal.status.is_affirming());
        prop_assert!(!appraisal.findings.is_empty());
    }

    #[test]
    fn a_changed_bit_anywhere_in_the_tag_gives_no_tags(
        part in 0_usize..5,
        place in any::<prop::sample::Index>(),
        bit in 0_u8..7,
    ) {
        let mut changed = tagged(&document_with(|_| {}));
        let mut document = changed.tag_document.take().expect("a document").into_bytes();
        let slot = changed.tag_slot.as_mut().expect("a slot");
        let bytes = match part {
            0 => &mut slot.public,
            1 => &mut slot.contents,
            2 => &mut slot.certificate.message,
            3 => &mut slot.certificate.signature,
            _ => &mut document,
        };
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        changed.tag_document = Some(String::from_utf8(document).expect("seven bits"));
        let appraisal = appraised(&changed);
        prop_assert!(appraisal.tags.is_empty());
        prop_assert!(!appraisal.findings.is_empty());
    }
}
