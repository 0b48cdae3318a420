//! Appraisals of evidence that a software TPM of these tests made, and of evidence that it did not.

use super::*;
use crate::evidence::TagSlot;
use crate::fakes::{FakeKey, FakeTpm, nv_public, sized};
use crate::finding::CODES;
use crate::jwk::KeyUse;
use crate::pcr::{HashAlg, PcrIndex};
use crate::reference::{BootState, Endorsement, ReferenceValues};
use crate::tag::{self, AssetTag};
use proptest::prelude::*;

mod asset_tag;
mod boot_states;
mod events;
mod ima;
mod quote;
mod references;

const NOW_S: u64 = 5000;
const NONCE: Nonce = Nonce::new([5; 32]);
const AUTHORITY: u8 = FakeTpm::TAG_AUTHORITY;

fn pcr(index: u8) -> PcrIndex {
    PcrIndex::new(index).expect("0 to 23")
}

fn boot_state(name: &str, pcrs: PcrValues) -> BootState {
    BootState::exact(name.to_owned(), vec![pcrs])
}

/// Reference values that approve `tpm` as it is.
fn reference(tpm: &FakeTpm) -> Reference {
    Reference {
        id: "urn:sha256:00".to_owned(),
        signer: "operator".to_owned(),
        claims_digest: [0; 32],
        values: ReferenceValues {
            issuer: "https://operator.example".to_owned(),
            issued_at_s: 0,
            not_before_s: NOW_S,
            expires_s: NOW_S + 1,
            sequence: 1,
            minimum_sequence: None,
            boot_states: vec![boot_state("debian-12", tpm.pcrs.clone())],
            tpms: vec![Endorsement {
                ueid: tpm.ueid.clone(),
                ak_name: tpm.ak().name().clone(),
            }],
        },
        approvals: Vec::new(),
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

fn document_with(change: impl FnOnce(&mut AssetTag)) -> String {
    let mut tag = AssetTag {
        issuer: "https://tags.example".to_owned(),
        subject: FakeTpm::new(1).ueid,
        issued_at_s: 0,
        not_before_s: NOW_S,
        expires_s: NOW_S + 1,
        counter: FakeTpm::TAG_COUNTER,
        tags: [("country".to_owned(), "DE".to_owned())].into(),
        location: None,
    };
    change(&mut tag);
    tag.sign(&mut FakeKey::new(AUTHORITY)).expect("signs")
}

fn tagged(document: &str) -> Evidence {
    FakeTpm::new(1).evidence_with_tag(NONCE, document)
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
        part in 0_usize..9,
        place in any::<prop::sample::Index>(),
        bit in 0_u8..7,
    ) {
        let mut changed = tagged(&document_with(|_| {}));
        let mut document = changed.tag_document.take().expect("a document").into_bytes();
        let slot = if part < 4 { &mut changed.tag_slot } else { &mut changed.tag_counter };
        let slot = slot.as_mut().expect("certified");
        let bytes = match part {
            0 | 4 => &mut slot.public,
            1 | 5 => &mut slot.contents,
            2 | 6 => &mut slot.certificate.message,
            3 | 7 => &mut slot.certificate.signature,
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
