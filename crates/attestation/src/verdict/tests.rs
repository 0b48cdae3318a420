use super::*;
use crate::appraisal::{self, AppraisalPolicy};
use crate::boot_id::BootId;
use crate::fakes::{BOOT_ID, FakeKey, FakeTpm};
use crate::jwk::KeyUse;
use crate::jws::Signer as _;
use crate::nonce::Nonce;
use crate::reference::{BootState, Endorsement, Reference, ReferenceValues};
use crate::tag::{self, AssetTag};
use crate::{base64url, hex};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::Digest as _;
use std::sync::LazyLock;

mod statuses;

const NOW_S: u64 = 1_795_290_484;

fn terms() -> Terms {
    Terms {
        issuer: "https://verifier.example".to_owned(),
        verifier_developer: "https://example.org".to_owned(),
        verifier_build: "portcullis-agent 0.1.0".to_owned(),
        issued_at_s: NOW_S,
        lifetime_s: 600,
        node_name: Some("worker-7".to_owned()),
        sequence: 412,
        max_age_s: Some(600),
        latched: None,
    }
}

/// Payload of a verdict on a host that is approved and tagged.
fn payload() -> Value {
    static PAYLOAD: LazyLock<Value> = LazyLock::new(issued);
    PAYLOAD.clone()
}

fn issued() -> Value {
    let tpm = FakeTpm::new(1);
    let mut authority = FakeKey::new(8);
    let document = AssetTag {
        issuer: "https://tags.example".to_owned(),
        subject: tpm.ueid.clone(),
        issued_at_s: NOW_S,
        not_before_s: NOW_S,
        expires_s: NOW_S + 1,
        counter: FakeTpm::TAG_COUNTER,
        tags: [("country".to_owned(), "DE".to_owned())].into(),
        location: None,
    }
    .sign(&mut authority)
    .expect("signs");
    let reference = Reference {
        id: "urn:sha256:00".to_owned(),
        signer: "operator".to_owned(),
        claims_digest: [0; 32],
        values: ReferenceValues {
            issuer: "https://operator.example".to_owned(),
            issued_at_s: NOW_S,
            not_before_s: NOW_S,
            expires_s: NOW_S + 1,
            sequence: 1,
            minimum_sequence: None,
            boot_states: vec![BootState::exact(
                "debian-12".to_owned(),
                vec![tpm.pcrs.clone()],
            )],
            tpms: vec![Endorsement {
                ueid: tpm.ueid.clone(),
                ak_name: tpm.ak().name().clone(),
            }],
        },
        approvals: Vec::new(),
    };
    let nonce = Nonce::new([5; 32]);
    let policy = AppraisalPolicy {
        references: &[reference],
        refused_references: &[],
        keys: &authority.pinned(KeyUse::Tag),
    };
    let evidence = tpm.evidence_with_tag(nonce, &document);
    let appraisal = appraisal::appraise(&evidence, &nonce, &policy, NOW_S);
    assert_eq!(appraisal.findings, []);
    claims(&terms(), &appraisal).expect("genuine evidence")
}

/// The same in the older spelling.
fn dotted(payload: &Value) -> Value {
    let names = [
        (
            "tag:ietf.org,2026:rats/ear#04",
            "tag:github.com,2023:veraison/ear",
        ),
        ("ear_verifier_id", "ear.verifier-id"),
        ("ear_trustworthiness_vector", "ear.trustworthiness-vector"),
        ("ear_attester_claims", "ear.veraison.annotated-evidence"),
        ("ear_verifier_claims", "ear.veraison.policy-claims"),
        ("ear_status", "ear.status"),
        (
            r#""ear_appraisal_policy_ids":["urn:sha256:00"]"#,
            r#""ear.appraisal-policy-id":"urn:sha256:00""#,
        ),
    ];
    let mut text = payload.to_string();
    for (draft, old) in names {
        assert!(text.contains(draft), "{draft}");
        text = text.replace(draft, old);
    }
    serde_json::from_str(&text).expect("still JSON")
}

fn signed_and_read(payload: &Value) -> Result<Verdict, VerdictError> {
    let mut key = FakeKey::new(2);
    let token = jws::sign(Typ::Verdict, payload, &mut key).expect("signs");
    verify(&token, &key.pinned(KeyUse::Verdict))
}

/// The verdict with the claim at a JSON pointer replaced; removed if `value` is null.
fn with(pointer: &str, value: Value) -> Result<Verdict, VerdictError> {
    signed_and_read(&replaced(payload(), pointer, value))
}

fn replaced(mut payload: Value, pointer: &str, value: Value) -> Value {
    let (object, claim) = pointer.rsplit_once('/').expect("a pointer");
    let members = payload
        .pointer_mut(object)
        .and_then(Value::as_object_mut)
        .expect("an object");
    if value.is_null() {
        members.remove(claim).expect("was there");
    } else {
        members.insert(claim.to_owned(), value);
    }
    payload
}

const ATTESTER: &str = "/submods/host/ear_attester_claims";
const VERIFIER: &str = "/submods/host/ear_verifier_claims";

#[test]
fn an_issued_verdict_reads_back() {
    let tpm = FakeTpm::new(1);
    let verdict = signed_and_read(&payload()).expect("own output");
    assert_eq!(verdict.dialect, Dialect::Draft04);
    assert_eq!(verdict.issuer, "https://verifier.example");
    assert_eq!(
        (verdict.issued_at_s, verdict.expires_s),
        (NOW_S, NOW_S + 600)
    );
    assert_eq!(verdict.nonce, [5; 32]);
    assert!(verdict.status.is_affirming());

    let host = verdict.host;
    assert_eq!(host.ueid, tpm.ueid);
    assert_eq!(
        (host.reset_count, host.restart_count, host.clock_ms),
        (3, 1, Some(5000))
    );
    assert_eq!(
        host.boot_seed,
        BootId::parse(BOOT_ID).expect("a boot id").seed()
    );
    assert_eq!(host.ak_name, *tpm.ak().name());
    assert_eq!(host.pcrs.selection, tpm.pcrs.selection());
    assert_eq!(host.pcrs.digest, tpm.pcrs.digest());
    assert_eq!(host.pcrs.values, Some(tpm.pcrs));
    let pin = host.tag.expect("a tag");
    assert_eq!(pin.nv_index, tag::NV_INDEX);
    assert_eq!(host.tags, [("country".to_owned(), "DE".to_owned())].into());
    assert_eq!((host.sequence, host.max_age_s), (412, Some(600)));
    assert_eq!(host.node_name.as_deref(), Some("worker-7"));
    assert_eq!(host.boot_state.as_deref(), Some("debian-12"));
    assert_eq!(host.policy_ids, ["urn:sha256:00"]);
}

#[test]
fn claim_names_are_those_of_the_draft() {
    let payload = payload();
    assert_eq!(payload["eat_profile"], "tag:ietf.org,2026:rats/ear#04");
    assert_eq!(
        payload["ear_verifier_id"]["build"],
        "portcullis-agent 0.1.0"
    );
    let host = &payload["submods"]["host"];
    assert_eq!(
        host["ear_trustworthiness_vector"],
        json!({"instance-identity": 2, "executables": 3, "hardware": 2})
    );
    let attester = &host["ear_attester_claims"];
    assert_eq!(attester["pcr_bank"], "sha256");
    assert_eq!(attester["pcr_selection"], json!([0, 1, 2, 3, 4, 5, 6, 7]));
    assert_eq!(attester["pcrs"]["7"], hex::encode(&[7; 32]));
    assert_eq!(attester["tag_nv_index"], "0x01c10110");
}

#[test]
fn both_dialects_say_the_same() {
    let draft = signed_and_read(&payload()).expect("draft-04");
    let old = signed_and_read(&dotted(&payload())).expect("dotted");
    assert_eq!(old.dialect, Dialect::Dotted);
    assert_eq!(
        Verdict {
            dialect: Dialect::Draft04,
            ..old
        },
        draft
    );
}

#[test]
fn an_old_verdict_without_overall_status_has_the_worst_of_its_parts() {
    let old = replaced(dotted(&payload()), "/ear.status", Value::Null);
    assert_eq!(
        signed_and_read(&old).expect("valid").status,
        TrustTier::Affirming
    );
    let worse = replaced(old, "/submods/host/ear.status", json!("warning"));
    assert_eq!(
        signed_and_read(&worse).expect("valid").status,
        TrustTier::Warning
    );
}

#[test]
fn a_verdict_that_mixes_dialects_is_refused() {
    let old = dotted(&payload());
    for (base, pointer, value) in [
        (payload(), "/ear.status", json!("affirming")),
        (payload(), "/submods/host/ear.status", json!("affirming")),
        (
            payload(),
            "/submods/host/ear.trustworthiness-vector",
            json!({"executables": 3}),
        ),
        (payload(), "/ear.something-new", json!(1)),
        (
            payload(),
            "/eat_profile",
            json!("tag:github.com,2023:veraison/ear"),
        ),
        (old.clone(), "/ear_status", json!("affirming")),
        (
            old.clone(),
            "/submods/host/ear_trustworthiness_vector",
            json!({"executables": 3}),
        ),
        (old.clone(), "/ear_anything", json!(1)),
        (old, "/eat_profile", json!("tag:ietf.org,2026:rats/ear#04")),
    ] {
        let refused = signed_and_read(&replaced(base, pointer, value)).expect_err("mixed");
        assert!(
            matches!(refused, VerdictError::Mixed { .. }),
            "{pointer}: {refused}"
        );
        assert_eq!(refused.defect(), VerdictDefect::Mixed);
    }
}

#[test]
fn an_unknown_profile_is_told_apart() {
    for (pointer, profile) in [
        (
            "/eat_profile",
            "tag:github.com,2024:confidential-containers/Trustee",
        ),
        ("/eat_profile", "tag:ietf.org,2026:rats/ear#05"),
        ("/eat_profile", "a\nb"),
        (
            "/submods/host/eat_profile",
            "tag:portcullis.dev,2026:tpm2#2",
        ),
    ] {
        let refused = with(pointer, json!(profile)).expect_err("unknown");
        assert_eq!(refused.defect(), VerdictDefect::Profile);
        assert!(!refused.to_string().contains('\n'));
    }
    let missing = with("/eat_profile", Value::Null).expect_err("missing");
    assert_eq!(missing.defect(), VerdictDefect::Malformed);
}

#[test]
fn only_a_pinned_verdict_key_counts() {
    let mut key = FakeKey::new(2);
    let token = jws::sign(Typ::Verdict, &payload(), &mut key).expect("signs");
    for keys in [
        key.pinned(KeyUse::Tag),
        FakeKey::new(3).pinned(KeyUse::Verdict),
    ] {
        let refused = verify(&token, &keys).expect_err("not pinned for verdicts");
        assert_eq!(refused.defect(), VerdictDefect::Signature);
    }
    let refused = verify("garbage", &key.pinned(KeyUse::Verdict)).expect_err("no token");
    assert_eq!(refused.defect(), VerdictDefect::Malformed);
    assert_eq!(
        read_unverified(&token),
        verify(&token, &key.pinned(KeyUse::Verdict))
    );
}

#[test]
fn another_algorithm_and_a_name_given_twice_are_told_apart() {
    let mut key = FakeKey::new(2);
    let keys = key.pinned(KeyUse::Verdict);
    let kid = key.public_key().kid().to_string();
    let mut defect = |header: String, payload: &str| {
        let encode = |text: &str| base64url::encode(text.as_bytes());
        let head = format!("{}.{}", encode(&header), encode(payload));
        let digest = sha2::Sha256::digest(head.as_bytes()).into();
        let signature = key.sign_digest(&digest).expect("signs");
        let token = format!("{head}.{}", base64url::encode(&signature));
        verify(&token, &keys).map_err(|error| error.defect())
    };
    let header = |alg| format!(r#"{{"alg":"{alg}","typ":"JWT","kid":"{kid}"}}"#);
    let payload = payload().to_string();
    defect(header("ES256"), &payload).expect("nothing is wrong");
    for alg in ["none", "None", "", "HS256", "ES384"] {
        let found = defect(header(alg), &payload);
        assert_eq!(found, Err(VerdictDefect::Algorithm), "{alg}");
    }
    let twice = payload.replacen("\"iat\":", "\"iat\":1,\"iat\":", 1);
    let found = defect(header("ES256"), &twice);
    assert_eq!(found, Err(VerdictDefect::Duplicate));
    let twice = header("ES256").replacen('{', r#"{"alg":"ES256","#, 1);
    assert_eq!(defect(twice, &payload), Err(VerdictDefect::Duplicate));
}

#[test]
fn a_tag_document_is_no_verdict_even_under_one_key() {
    let mut key = FakeKey::new(2);
    let token = jws::sign(Typ::Tag, &payload(), &mut key).expect("signs");
    let refused = verify(&token, &key.pinned(KeyUse::Verdict)).expect_err("another type");
    assert_eq!(refused.defect(), VerdictDefect::Signature);
}

#[test]
fn each_binding_is_required() {
    for claim in [
        "ueid",
        "bootcount",
        "bootseed",
        "tpm_restart_count",
        "tpm_ak_name",
        "pcr_bank",
        "pcr_selection",
        "pcr_digest",
        "tag_nv_index",
        "tag_nv_name",
        "tag_digest_sha384",
        "tag_counter",
    ] {
        let refused = with(&format!("{ATTESTER}/{claim}"), Value::Null).expect_err("missing");
        let claim = format!("/host/ear_attester_claims/{claim}");
        assert_eq!(
            refused,
            VerdictError::Unbound(ClaimError::Missing { claim })
        );
        assert_eq!(refused.defect(), VerdictDefect::Unbound);
    }
    let refused = with(ATTESTER, Value::Null).expect_err("missing");
    assert_eq!(refused.defect(), VerdictDefect::Unbound);
    for pointer in [
        "/iss",
        "/iat",
        "/exp",
        "/eat_nonce",
        "/ear_verifier_id",
        "/ear_verifier_id/build",
        "/submods",
        "/submods/host",
        "/submods/host/eat_profile",
        "/submods/host/ear_status",
        "/submods/host/ear_trustworthiness_vector",
        VERIFIER,
        "/submods/host/ear_verifier_claims/seq",
    ] {
        let refused = with(pointer, Value::Null).expect_err("missing");
        assert!(
            matches!(refused, VerdictError::Claim(ClaimError::Missing { .. })),
            "{pointer}: {refused}"
        );
    }
}

#[test]
fn what_is_not_a_binding_may_be_absent() {
    for pointer in [
        "/ear_status",
        "/submods/host/ear_appraisal_policy_ids",
        "/submods/host/ear_attester_claims/tpm_clock",
        "/submods/host/ear_attester_claims/pcrs",
        "/submods/host/ear_verifier_claims/node_name",
        "/submods/host/ear_verifier_claims/tags",
        "/submods/host/ear_verifier_claims/max_age",
        "/submods/host/ear_verifier_claims/boot_state",
    ] {
        with(pointer, Value::Null).expect("optional");
    }
    with("/jti", json!("unknown claims are ignored")).expect("ignored");
}

#[test]
fn a_verdict_without_all_four_tag_claims_has_no_tag() {
    let mut payload = payload();
    for claim in [
        "tag_nv_index",
        "tag_nv_name",
        "tag_digest_sha384",
        "tag_counter",
    ] {
        payload = replaced(payload, &format!("{ATTESTER}/{claim}"), Value::Null);
    }
    assert_eq!(signed_and_read(&payload).expect("valid").host.tag, None);
}

#[test]
fn the_nonce_has_8_to_64_bytes() {
    for (length, accepted) in [(7, false), (8, true), (64, true), (65, false), (0, false)] {
        let nonce = base64url::encode(&vec![1; length]);
        assert_eq!(
            with("/eat_nonce", json!(nonce)).is_ok(),
            accepted,
            "{length}"
        );
    }
    with("/eat_nonce", json!([base64url::encode(&[1; 32])])).expect_err("a list");
    with("/eat_nonce", json!(hex::encode(&[0xff; 31]) + "=")).expect_err("padding");
}

#[test]
fn times_are_whole_and_in_order() {
    with("/exp", json!(NOW_S + 1)).expect("one second");
    for (pointer, value) in [
        ("/exp", json!(NOW_S)),
        ("/exp", json!(NOW_S - 1)),
        ("/iat", json!(0)),
        ("/iat", json!(-5)),
        ("/iat", json!(1.5)),
        ("/exp", json!("1795291084")),
    ] {
        with(pointer, value).expect_err("not a time");
    }
}

#[test]
fn claims_of_the_wrong_form_are_refused() {
    let zeros = |bytes: usize| "0".repeat(bytes * 2);
    for (claim, value) in [
        ("ueid", json!("AAAA")),
        ("bootcount", json!(-1)),
        ("bootcount", json!(4_294_967_296_u64)),
        ("bootcount", json!("3")),
        ("tpm_restart_count", json!(4_294_967_296_u64)),
        ("bootseed", json!("AAAA")),
        ("tpm_ak_name", json!("000b")),
        ("tpm_ak_name", json!(zeros(34))),
        ("pcr_bank", json!("SHA256")),
        ("pcr_selection", json!([])),
        ("pcr_selection", json!([0, 24])),
        ("pcr_selection", json!([1, 0, 2, 3, 4, 5, 6, 7])),
        ("pcr_selection", json!([0, 0, 1, 2, 3, 4, 5, 6, 7])),
        ("pcr_selection", json!("0-7")),
        ("pcr_digest", json!(zeros(31))),
        ("pcr_digest", json!(zeros(33))),
        ("tag_nv_index", json!(29_425_936)),
        ("tag_nv_index", json!("01c10110")),
        ("tag_nv_index", json!("0x1c10110")),
        ("tag_nv_index", json!("0x01C10110")),
        ("tag_nv_name", json!("")),
        ("tag_digest_sha384", json!(zeros(32))),
        ("tag_counter", json!("7")),
        ("tag_counter", json!(-1)),
    ] {
        let refused = with(&format!("{ATTESTER}/{claim}"), value.clone()).expect_err("wrong form");
        let line = std::error::Error::source(&refused)
            .expect("names the claim")
            .to_string();
        // A change of the selection also shows in the values that go with it.
        assert!(
            line.contains(claim) || line.contains("pcrs"),
            "{claim} {value}: {line}"
        );
    }
}

#[test]
fn pcr_values_must_be_those_behind_the_digest() {
    let pointer = "/submods/host/ear_attester_claims/pcrs";
    let mut values = FakeTpm::new(1).pcrs;
    with(pointer, values.to_claim().into()).expect("the same");
    let seven = crate::pcr::PcrIndex::new(7).expect("0 to 23");
    values.insert(seven, vec![0xee; 32]).expect("32 bytes");
    with(pointer, values.to_claim().into()).expect_err("another value");
    with(pointer, json!({})).expect_err("no values");
    // The digest is over the values alone, so a value under another index gives the same one.
    let mut moved = FakeTpm::new(1).pcrs.to_claim();
    let value = moved.remove("7").expect("was there");
    moved.insert("8".to_owned(), value);
    with(pointer, moved.into()).expect_err("another selection");
}

#[test]
fn the_name_of_a_part_cannot_write_a_second_line() {
    let refused = with("/submods/a\nportcullis: permitted", json!(5)).expect_err("not an object");
    let line = std::error::Error::source(&refused)
        .expect("names the claim")
        .to_string();
    assert!(!line.contains('\n'), "{line}");
}

proptest! {
    #[test]
    fn a_claim_replaced_by_anything_never_panics_and_never_loses_a_binding(
        index in any::<prop::sample::Index>(),
        value in prop_oneof![
            Just(json!(null)), Just(json!([])), Just(json!({})), Just(json!(true)),
            any::<i64>().prop_map(|n| json!(n)), "\\PC{0,20}".prop_map(|s| json!(s)),
        ],
    ) {
        let mut payload = payload();
        let attester = payload.pointer_mut(ATTESTER).and_then(Value::as_object_mut).expect("object");
        let claims: Vec<String> = attester.keys().cloned().collect();
        let claim = &claims[index.index(claims.len())];
        let original = attester.insert(claim.clone(), value.clone()).expect("was there");
        let count = matches!(claim.as_str(), "bootcount" | "tpm_restart_count" | "tpm_clock" | "tag_counter");
        prop_assume!(original != value && !(count && value.is_u64()));
        prop_assert!(read::verdict("kid".to_owned(), &payload).is_err(), "{claim}: {value}");
    }
}
