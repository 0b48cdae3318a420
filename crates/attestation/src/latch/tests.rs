use super::*;
use crate::appraisal::{AppraisalPolicy, appraise};
use crate::fakes::{FakeKey, FakeTpm};
use crate::jwk::KeyUse;
use crate::nonce::Nonce;
use crate::pcr::PcrIndex;
use crate::reference::{BootState, Endorsement, Reference, ReferenceValues};
use crate::trust::TrustTier;

const NOW_S: u64 = 5000;
const NONCE: Nonce = Nonce::new([5; 32]);

/// A TPM whose PCR 7 holds something else.
fn drifted(byte: u8) -> FakeTpm {
    let mut tpm = FakeTpm::new(1);
    let mut pcrs = crate::pcr::PcrValues::new(tpm.pcrs.bank());
    for (index, value) in tpm.pcrs.iter() {
        let value = if index.get() == 7 {
            vec![byte; 32]
        } else {
            value.to_vec()
        };
        pcrs.insert(index, value).expect("same length");
    }
    assert!(pcrs.value(PcrIndex::new(7).expect("7")).is_some());
    tpm.pcrs = pcrs;
    tpm
}

/// The appraisal of `tpm` where the states of `approved` are.
fn appraisal(tpm: &FakeTpm, approved: &[&FakeTpm]) -> Appraisal {
    let states = approved
        .iter()
        .map(|tpm| BootState::exact("approved".to_owned(), vec![tpm.pcrs.clone()]));
    let reference = Reference {
        id: "urn:sha256:00".to_owned(),
        signer: "operator".to_owned(),
        claims_digest: [0; 32],
        approvals: Vec::new(),
        values: ReferenceValues {
            issuer: "https://operator.example".to_owned(),
            issued_at_s: 0,
            not_before_s: 0,
            expires_s: NOW_S + 1,
            sequence: 1,
            minimum_sequence: None,
            boot_states: states.collect(),
            tpms: vec![Endorsement {
                ueid: tpm.ueid.clone(),
                ak_name: tpm.ak().name().clone(),
            }],
        },
    };
    let keys = FakeKey::new(8).pinned(KeyUse::Tag);
    let references = match approved {
        [] => Vec::new(),
        _ => vec![reference],
    };
    let policy = AppraisalPolicy {
        references: &references,
        refused_references: &[],
        keys: &keys,
    };
    appraise(&tpm.evidence(NONCE), &NONCE, &policy, NOW_S)
}

fn latch() -> Latch {
    let failed = appraisal(&drifted(9), &[&FakeTpm::new(1)]);
    Latch::of(&failed, NOW_S).expect("a failure")
}

/// Whether the latch of a PCR 7 that holds nines stands for a host that passes now.
fn stands(latch: &Latch, rule: LatchRule, now: &FakeTpm) -> bool {
    let passes = appraisal(now, &[now]);
    assert!(passes.status.is_affirming());
    assert_eq!(Latch::of(&passes, NOW_S), None);
    latch.holds(rule, passes.state.as_ref().expect("a state"))
}

#[test]
fn a_wrong_pcr_latches_and_names_it() {
    let latch = latch();
    assert_eq!(latch.since_s, NOW_S);
    assert_eq!(latch.failure.code, "pcr-mismatch");
    assert!(latch.failure.subject.contains("PCR 7"), "{latch:?}");
}

#[test]
fn what_is_missing_or_not_set_up_does_not_latch() {
    // A node before its first reference values: neither state nor AK is known to anybody.
    let before = appraisal(&FakeTpm::new(1), &[]);
    assert!(!before.status.is_affirming());
    assert_eq!(Latch::of(&before, NOW_S), None);
}

#[test]
fn evidence_that_is_not_genuine_latches() {
    let keys = FakeKey::new(8).pinned(KeyUse::Tag);
    let policy = AppraisalPolicy {
        references: &[],
        refused_references: &[],
        keys: &keys,
    };
    let mut evidence = FakeTpm::new(1).evidence(NONCE);
    let last = evidence.quote.signature.len() - 1;
    evidence.quote.signature[last] ^= 1;
    let failed = appraise(&evidence, &NONCE, &policy, NOW_S);
    let finding = failed.findings.first().expect("a finding");
    assert_eq!(
        Failure::of(finding).expect("a failure").code,
        "quote-signature-invalid"
    );
    let other = appraise(
        &FakeTpm::new(1).evidence(NONCE),
        &Nonce::new([6; 32]),
        &policy,
        NOW_S,
    );
    let finding = other.findings.first().expect("a finding");
    assert_eq!(
        Failure::of(finding).expect("a failure").code,
        "nonce-mismatch"
    );
}

#[test]
fn a_boot_into_the_approved_state_does_not_end_it_unless_the_rule_says_so() {
    let healed = FakeTpm::new(1);
    assert!(stands(&latch(), LatchRule::UntilCleared, &healed));
    assert!(stands(&latch(), LatchRule::UntilReboot, &healed));
    assert!(!stands(&latch(), LatchRule::Off, &healed));
    let mut earlier = latch();
    earlier.boot_seed = "another boot".to_owned();
    assert!(stands(&earlier, LatchRule::UntilCleared, &healed));
    assert!(!stands(&earlier, LatchRule::UntilReboot, &healed));
}

#[test]
fn a_signature_under_the_state_that_failed_ends_it_and_one_under_another_does_not() {
    assert!(!stands(&latch(), LatchRule::UntilCleared, &drifted(9)));
    assert!(stands(&latch(), LatchRule::UntilCleared, &drifted(8)));
    // Nobody can approve a quote that was not genuine.
    let mut forged = latch();
    forged.pcr_digest = None;
    assert!(stands(&forged, LatchRule::UntilCleared, &drifted(9)));
}

#[test]
fn a_latched_appraisal_speaks_against_the_host_and_says_why() {
    for (code, claim) in [
        ("pcr-mismatch", Claim::Executables),
        ("ak-unknown", Claim::InstanceIdentity),
    ] {
        let mut passes = appraisal(&FakeTpm::new(1), &[&FakeTpm::new(1)]);
        let mut latch = latch();
        latch.failure.code = code.to_owned();
        latch.apply(&mut passes);
        assert_eq!(passes.status, TrustTier::Contraindicated);
        assert_eq!(passes.vector.tier(claim), TrustTier::Contraindicated);
        let finding = passes.findings.last().expect("a finding");
        assert_eq!(finding.code, "verdict-latched");
        assert!(finding.found.contains(code), "{finding:?}");
    }
}

#[test]
fn a_latch_reads_back_and_a_damaged_one_does_not() {
    let latch = latch();
    let text = latch.to_text();
    assert_eq!(Latch::parse(text.as_bytes()), Ok(latch.clone()));
    let unapprovable = Latch {
        pcr_digest: None,
        ..latch
    };
    let other = unapprovable.to_text();
    assert_eq!(Latch::parse(other.as_bytes()), Ok(unapprovable));
    let whole = text.trim_end();
    for end in 0..whole.len() {
        let cut = whole.as_bytes().get(..end).expect("within");
        assert!(Latch::parse(cut).is_err(), "{end}");
    }
    for (from, to) in [
        ("\"version\":1", "\"version\":2"),
        ("\"since\":5000", "\"since\":\"5000\""),
        ("\"since\":5000", "\"since\":5000,\"since\":1"),
        ("\"code\"", "\"kode\""),
        ("bootseed\":\"", "bootseed\":\"!"),
        ("pcr_digest\":\"", "pcr_digest\":\"0"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        assert!(Latch::parse(changed.as_bytes()).is_err(), "{from} -> {to}");
    }
    let long = Latch::parse(&vec![b' '; 20_000]).unwrap_err();
    assert!(matches!(long, LatchError::Parse(_)));
}

#[test]
fn failures_are_findings_that_there_are() {
    for code in FAILURES.iter().chain(&APPROVABLE) {
        assert!(crate::finding::CODES.contains(code), "{code}");
    }
    assert!(APPROVABLE.iter().all(|code| FAILURES.contains(code)));
    // Whoever can replace the log makes this pass again, and no operator has acted.
    assert!(!APPROVABLE.contains(&"event-log-mismatch"));
}
