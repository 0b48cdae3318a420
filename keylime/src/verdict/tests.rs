use std::collections::BTreeMap;

use portcullis_attestation::appraisal::AttestedState;
use portcullis_attestation::boot_id::BootId;
use portcullis_attestation::clock::ClockInfo;
use portcullis_attestation::nonce::Nonce;
use portcullis_attestation::pcr::{HashAlg, PcrIndex, PcrValues};
use portcullis_attestation::tpm_name::TpmName;
use portcullis_attestation::trust::{TrustTier, TrustVector};
use portcullis_attestation::ueid::Ueid;

use super::*;

const NOW_S: u64 = 1_795_292_125;
const MAX_AGE: Duration = Duration::from_secs(600);

fn appraisal(boot_state: Option<&str>) -> Appraisal {
    let mut pcrs = PcrValues::new(HashAlg::Sha256);
    pcrs.insert(PcrIndex::new(7).unwrap(), vec![7; 32]).unwrap();
    let mut vector = TrustVector::default();
    vector.set(Claim::InstanceIdentity, ClaimValue::APPROVED);
    vector.set(Claim::Hardware, ClaimValue::APPROVED);
    vector.set(
        Claim::Executables,
        match boot_state {
            Some(_) => ClaimValue::BOOT_APPROVED,
            None => ClaimValue::UNSUPPORTABLE,
        },
    );
    Appraisal {
        status: vector.worst(),
        vector,
        findings: Vec::new(),
        boot_state: boot_state.map(str::to_owned),
        policy_ids: Vec::new(),
        tags: BTreeMap::new(),
        state: Some(AttestedState {
            nonce: Nonce::new([1; 32]),
            ueid: Ueid::of_endorsement_key(&[1]),
            boot_id: BootId::parse("9b0b3ffa-6b1c-4f3e-9d52-0d1f2a3b4c5d").unwrap(),
            clock: ClockInfo {
                clock_ms: 1,
                reset_count: 1,
                restart_count: 0,
                safe: true,
            },
            ak_name: TpmName::parse(&format!("000b{}", "00".repeat(32))).unwrap(),
            pcrs,
            tag: None,
        }),
    }
}

fn vouches(boot: bool, runtime: bool) -> Opinion {
    Opinion::Vouches {
        at_s: NOW_S - 5,
        patience: Duration::from_secs(10),
        scope: Scope { boot, runtime },
    }
}

fn issued(opinion: &Opinion, boot_state: Option<&str>, knows: bool) -> (TrustTier, i8, u64) {
    match weigh(opinion, appraisal(boot_state), knows, MAX_AGE, NOW_S) {
        Outcome::Issue {
            appraisal,
            lifetime_s,
        } => {
            let executables = appraisal.vector.value(Claim::Executables).unwrap().get();
            (appraisal.status, executables, lifetime_s)
        }
        Outcome::Nothing { reason } => panic!("{reason}"),
    }
}

#[test]
fn a_pass_affirms_what_was_looked_at() {
    use TrustTier::{Affirming, Contraindicated};
    for (boot, runtime, boot_state, knows, status, executables) in [
        (true, true, None, false, Affirming, 2),
        (true, false, None, false, Affirming, 3),
        (false, true, None, false, TrustTier::None, 0),
        (false, false, None, false, TrustTier::None, 0),
        (false, true, Some("approved"), true, Affirming, 2),
        (false, false, Some("approved"), true, Affirming, 3),
        // Our own reference values know the boot better.
        (true, true, None, true, Contraindicated, 96),
    ] {
        assert_eq!(
            issued(&vouches(boot, runtime), boot_state, knows),
            (status, executables, 5),
            "{boot} {runtime} {boot_state:?} {knows}"
        );
    }
}

#[test]
fn a_failure_speaks_against_the_node_whatever_it_booted() {
    let failed = Opinion::Speaks {
        event: "ima.pcr_mismatch".to_owned(),
    };
    assert_eq!(
        issued(&failed, Some("approved"), true),
        (TrustTier::Contraindicated, 96, 600)
    );
    let weighed = weigh(&failed, appraisal(Some("approved")), true, MAX_AGE, NOW_S);
    let Outcome::Issue { appraisal, .. } = weighed else {
        panic!("{weighed:?}");
    };
    assert_eq!(appraisal.findings[0].code, "keylime-failed");
    assert_eq!(appraisal.findings[0].found, "ima.pcr_mismatch");
}

#[test]
fn a_verdict_lives_no_longer_than_the_settings_let_it() {
    let opinion = Opinion::Vouches {
        at_s: NOW_S - 5,
        patience: Duration::from_secs(3600),
        scope: Scope {
            boot: true,
            runtime: true,
        },
    };
    assert_eq!(issued(&opinion, None, false).2, 600);
}

#[test]
fn silence_and_age_make_no_verdict() {
    let mut unproven = appraisal(Some("approved"));
    unproven.state = None;
    let at = |at_s| Opinion::Vouches {
        at_s,
        patience: Duration::from_secs(10),
        scope: Scope {
            boot: true,
            runtime: true,
        },
    };
    let silent = Opinion::Silent {
        word: "pending".to_owned(),
    };
    for (opinion, appraisal) in [
        (silent, appraisal(Some("approved"))),
        (at(NOW_S - 10), appraisal(Some("approved"))),
        (at(NOW_S + 31), appraisal(Some("approved"))),
        (vouches(true, true), unproven),
    ] {
        let outcome = weigh(&opinion, appraisal, true, MAX_AGE, NOW_S);
        assert!(matches!(outcome, Outcome::Nothing { .. }), "{outcome:?}");
    }
}
