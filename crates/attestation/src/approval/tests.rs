use super::*;
use crate::fakes::{FakeKey, FakeTpm};
use crate::jwk::KeyUse;
use crate::jws::{Typ, sign as sign_token};
use crate::pcr::PcrIndex;
use crate::reference::{ReferenceValues, verify};

fn values(banks: Vec<PcrValues>) -> ReferenceValues {
    ReferenceValues {
        issuer: "https://operator.example".to_owned(),
        issued_at_s: 1000,
        not_before_s: 1000,
        expires_s: 2000,
        sequence: 7,
        minimum_sequence: None,
        boot_states: vec![BootState::exact("debian-12".to_owned(), banks)],
        tpms: Vec::new(),
    }
}

fn live() -> PcrValues {
    FakeTpm::new(1).pcrs
}

/// Reads a document whose claim of approvals is `claim`.
fn with(claim: Value) -> Result<Vec<Approval>, crate::reference::ReferenceError> {
    let mut key = FakeKey::new(1);
    let mut claims = values(vec![live()]).to_claims();
    let members = claims.as_object_mut().expect("object");
    members.insert(CLAIM.to_owned(), claim);
    let document = sign_token(Typ::Reference, &claims, &mut key).expect("signs");
    verify(&document, &key.pinned(KeyUse::Reference)).map(|read| read.approvals)
}

fn claim_by(key: &FakeKey, policy: &[u8; 32]) -> Value {
    let signature = base64url::encode(&key.sign(&message(policy)));
    json!({"boot_state": "debian-12", "bank": "sha256", "signature": signature})
}

fn policy() -> [u8; 32] {
    policy_digest::pcr(&live()).expect("a policy")
}

#[test]
fn a_signed_document_approves_its_exact_values() {
    let mut key = FakeKey::new(1);
    let document = values(vec![live()]).sign(&mut key).expect("signs");
    let read = verify(&document, &key.pinned(KeyUse::Reference)).expect("verifies");
    let [approval] = &*read.approvals else {
        panic!("{:?}", read.approvals)
    };
    assert_eq!(approval.boot_state(), "debian-12");
    assert_eq!(approval.signer(), key.public());
    assert_eq!(*approval.policy(), policy());
    assert!(approval.holds_for(&live()));
}

#[test]
fn rules_on_events_are_approved_as_the_values_they_come_to_or_not_at_all() {
    let log =
        include_bytes!("../../../../tests/data/measured-boot/secureboot/binary_bios_measurements");
    let log = crate::event_log::EventLog::parse(log).expect("recorded");
    let mut live = log.replay(HashAlg::Sha256).expect("replays");
    let eleven = PcrIndex::new(11).expect("0 to 23");
    live.insert(eleven, vec![0; 32]).expect("fits");
    let state = BootState::captured("golden".to_owned(), &live, &log).expect("replays");
    let approvals = |state: BootState| {
        let mut key = FakeKey::new(1);
        let mut values = values(Vec::new());
        values.boot_states = vec![state];
        let document = values.sign(&mut key).expect("signs");
        let read = verify(&document, &key.pinned(KeyUse::Reference)).expect("verifies");
        read.approvals
    };
    let [approval] = &*approvals(state.clone()) else {
        panic!("one approval")
    };
    assert_eq!(approval.pcrs(), &live, "all of them, not PCR 11 alone");

    let four = PcrIndex::new(4).expect("0 to 23");
    let changes: [fn(&mut Vec<crate::reference::Step>); 2] = [
        |steps| steps[0].optional = true,
        |steps| steps[0].digests.push(vec![7; 32]),
    ];
    for change in changes {
        let mut state = state.clone();
        let rules = state.events[0].pcrs.get_mut(&four).expect("ruled");
        change(&mut rules.any_of[0]);
        assert_eq!(approvals(state), [], "PCR 11 alone approves nothing");
    }
    let mut state = state;
    let rules = state.events[0].pcrs.get_mut(&four).expect("ruled");
    rules.any_of.push(Vec::new());
    assert_eq!(approvals(state), []);
}

#[test]
fn an_approval_holds_for_its_own_values_only() {
    let approval = with(json!([claim_by(&FakeKey::new(1), &policy())]))
        .expect("reads")
        .remove(0);
    let mut more = live();
    let pcr = |index| PcrIndex::new(index).expect("0 to 23");
    more.insert(pcr(14), vec![9; 32]).expect("32 bytes");
    assert!(approval.holds_for(&more), "a PCR it does not speak of");
    let mut drifted = live();
    drifted.insert(pcr(7), vec![9; 32]).expect("32 bytes");
    assert!(!approval.holds_for(&drifted));
    assert!(!approval.holds_for(&PcrValues::new(HashAlg::Sha256)));
    assert!(!approval.holds_for(&PcrValues::new(HashAlg::Sha384)));
}

#[test]
fn a_bank_of_sha_1_gets_no_approval() {
    let mut sha1 = PcrValues::new(HashAlg::Sha1);
    let pcr = PcrIndex::new(0).expect("0 to 23");
    sha1.insert(pcr, vec![0; 20]).expect("20 bytes");
    let mut key = FakeKey::new(1);
    let document = values(vec![sha1]).sign(&mut key).expect("signs");
    let read = verify(&document, &key.pinned(KeyUse::Reference)).expect("verifies");
    assert_eq!(read.approvals, []);
}

#[test]
fn a_document_from_before_there_were_approvals_has_none() {
    let mut key = FakeKey::new(1);
    let claims = values(vec![live()]).to_claims();
    let document = sign_token(Typ::Reference, &claims, &mut key).expect("signs");
    let read = verify(&document, &key.pinned(KeyUse::Reference)).expect("verifies");
    assert_eq!(read.approvals, []);
}

/// A policy that asks for nothing holds on every host; whoever signs it approves them all.
#[test]
fn an_approval_of_an_empty_policy_is_refused() {
    let key = FakeKey::new(1);
    // The policy of a fresh session, and PolicyPCR of no register.
    let no_register = {
        let mut hash = Sha256::new();
        hash.update([0; 32]);
        hash.update(0x0000_017f_u32.to_be_bytes());
        hash.update([0, 0, 0, 1, 0, 0x0b, 3, 0, 0, 0]);
        hash.update(Sha256::digest([]));
        hash.finalize().into()
    };
    for empty in [[0; 32], no_register] {
        with(json!([claim_by(&key, &empty)])).expect_err("an empty policy");
    }
}

#[test]
fn what_is_no_approval_by_the_document_s_own_key_is_refused() {
    let good = claim_by(&FakeKey::new(1), &policy());
    with(json!([good])).expect("valid");
    with(json!([claim_by(&FakeKey::new(2), &policy())])).expect_err("another key");
    for (member, value) in [
        ("boot_state", json!("debian-13")),
        ("boot_state", json!(null)),
        ("bank", json!("sha384")),
        ("bank", json!("sha1")),
        ("bank", json!("md5")),
        ("signature", json!("AAAA")),
        ("signature", json!(base64url::encode(&[0; 64]))),
        ("signature", json!(5)),
    ] {
        let mut claim = good.clone();
        claim[member] = value.clone();
        with(json!([claim])).expect_err(&format!("{member} {value}"));
    }
    for claim in [json!({}), json!("x"), json!([5])] {
        with(claim).expect_err("the wrong form");
    }
}

/// The key of a provider signs both; see the module's comment.
#[test]
fn neither_a_token_nor_an_approval_passes_for_the_other() {
    let mut key = FakeKey::new(1);
    let token = values(vec![live()]).sign(&mut key).expect("signs");
    let signing_input = token.rsplit_once('.').expect("three parts").0;
    let header = signing_input.split_once('.').expect("two parts").0;
    assert!(header.len() > message(&policy()).len());
    assert!(policy_ref().iter().any(|byte| !byte.is_ascii()));

    let signature: [u8; 64] =
        base64url::decode_array(token.rsplit_once('.').expect("parts").1).expect("64 bytes");
    let claim = json!({
        "boot_state": "debian-12",
        "bank": "sha256",
        "signature": base64url::encode(&signature),
    });
    with(json!([claim])).expect_err("the signature of a token");
    let approval = base64url::encode(&key.sign(&message(&policy())));
    let forged = format!("{signing_input}.{approval}");
    verify(&forged, &key.pinned(KeyUse::Reference)).expect_err("the signature of an approval");
}
