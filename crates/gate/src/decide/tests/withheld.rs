//! What a launch hears that comes while the TPM of its host signs no verdict.

use portcullis_attestation::quarantine;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::snapshot::Reason;

fn reason_of(code: &str, subject: &str) -> Reason {
    Reason {
        code: code.to_owned(),
        subject: subject.to_owned(),
        expected: "3f2a".to_owned(),
        found: "9c01".to_owned(),
    }
}

fn refused(withheld: Vec<Reason>) -> Vec<Refusal> {
    let mut launch = launch();
    launch.snapshot.withheld = withheld;
    reasons(launch.decide_as_is())
}

fn codes(refusals: &[Refusal]) -> Vec<Code> {
    refusals.iter().map(|refusal| refusal.code).collect()
}

#[test]
fn a_withheld_verdict_is_refused_with_what_the_agent_found() {
    let refusals = refused(vec![
        reason_of("pcr-mismatch", "PCR 7 (sha256)"),
        reason_of("verdict-withheld", "verdict key of TPM 'AQ'"),
    ]);
    assert_eq!(codes(&refusals), [Code::VerdictWithheld, Code::PcrMismatch]);
    assert_eq!(refusals[0].subject, "verdict key of TPM 'AQ'");
    assert_eq!(
        refusals[0].line(1, None),
        "portcullis: refused [verdict-withheld] verdict key of TPM 'AQ' (+1 more): expected 3f2a, \
         found 9c01; run 'portcullis status' and boot an approved state"
    );
}

#[test]
fn an_agent_that_only_tells_findings_is_understood() {
    let refusals = refused(vec![reason_of("pcr-mismatch", "PCR 7 (sha256)")]);
    assert_eq!(codes(&refusals), [Code::VerdictWithheld, Code::PcrMismatch]);
    assert_eq!(refusals[0].found, "none: pcr-mismatch PCR 7 (sha256)");
}

#[test]
fn a_verdict_that_drift_has_voided_is_refused_as_drift() {
    for (code, name) in [
        (Code::PcrDrift, "pcr-drift"),
        (Code::HostRebooted, "host-rebooted"),
        (Code::HostResumed, "host-resumed"),
    ] {
        let tag = reason_of("asset-tag-tampered", "TPM NV index 0x01c10110");
        let refusals = refused(vec![tag, reason_of(name, "node 'w7' PCR 7 (sha256)")]);
        assert_eq!(codes(&refusals), [code, Code::AssetTagTampered]);
    }
}

#[test]
fn quarantine_comes_first() {
    let refusals = refused(vec![
        reason_of("pcr-mismatch", "PCR 7 (sha256)"),
        reason_of("verdict-withheld", "verdict key"),
        reason_of("host-quarantined", "PCR 14 (sha256)"),
    ]);
    assert_eq!(refusals[0].code, Code::HostQuarantined);
    assert_eq!(refusals.len(), 3);
}

#[test]
fn quarantine_comes_first_among_registers_that_changed() {
    let mut launch = launch();
    let mark = quarantine::digest(HashAlg::Sha256).expect("a digest");
    let pcrs = &mut launch.snapshot.live.pcrs;
    let marked = [pcrs.value(pcr(7)).expect("PCR 7"), &mark].concat();
    pcrs.insert(pcr(7), Sha256::digest(marked).to_vec())
        .expect("32 bytes");
    pcrs.insert(pcr(0), vec![0x9c; 32]).expect("32 bytes");
    assert_eq!(
        codes(&reasons(launch.decide())),
        [Code::HostQuarantined, Code::PcrDrift]
    );
}

#[test]
fn what_keeps_an_old_verdict_from_being_renewed_comes_first() {
    let sessions = || reason_of("tpm-sessions-exhausted", "verdict key in the TPM");
    let mut launch = launch();
    launch.snapshot.withheld = vec![reason_of("pcr-mismatch", "PCR 7 (sha256)"), sessions()];
    assert!(matches!(launch.decide(), Decision::Permitted(_)));
    launch.moment.unix_s = ISSUED + 601;
    let refusals = reasons(launch.decide());
    assert_eq!(
        codes(&refusals),
        [Code::TpmSessionsExhausted, Code::VerdictExpired]
    );
    // The agent's word explains a verdict that is too old, and no other defect of one.
    let mut launch = super::launch();
    launch.snapshot.withheld = vec![sessions()];
    launch.moment.unix_s = ISSUED - 60;
    assert_eq!(codes(&reasons(launch.decide())), [Code::VerdictPremature]);
    launch.snapshot.verdict = None;
    launch.snapshot.withheld = vec![sessions()];
    assert_eq!(
        codes(&reasons(launch.decide_as_is())),
        [Code::TpmSessionsExhausted]
    );
}

#[test]
fn a_code_of_a_newer_agent_still_refuses() {
    let refusals = refused(vec![reason_of("moon-phase-wrong", "moon")]);
    assert_eq!(codes(&refusals), [Code::VerdictWithheld]);
}

#[test]
fn without_a_word_of_the_agent_the_verdict_is_missing() {
    assert_eq!(codes(&refused(Vec::new())), [Code::VerdictMissing]);
}

/// Findings are the agent's own word; they never speak for or against a verdict that is there.
#[test]
fn a_verdict_that_is_there_is_judged_by_itself() {
    let mut launch = launch();
    launch.snapshot.withheld = vec![reason_of("pcr-mismatch", "PCR 7 (sha256)")];
    assert!(matches!(launch.decide(), Decision::Permitted(_)));
}

#[test]
fn a_fuse_that_holds_the_hash_of_the_verdict_permits() {
    for is_required in [false, true] {
        let mut launch = launch();
        launch.policy.boot_fuse = is_required;
        launch.snapshot.live.boot_fuse = Some(Sha256::digest(launch.token()).to_vec());
        assert!(matches!(launch.decide(), Decision::Permitted(_)));
    }
}
