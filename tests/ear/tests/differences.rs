//! Where we read otherwise than `ear`, on purpose: both sides of each.

use ear::{Algorithm, Ear, TrustTier as EarTier};
use portcullis_attestation::jws::{JwsError, Signer as _};
use portcullis_attestation::trust::TrustTier;
use portcullis_attestation::verdict::{Dialect, VerdictDefect, VerdictError};
use serde_json::{Value, json};

use crate::sample::{
    filled_in, header, key, payload, read_by_ear, read_by_us, signed, signed_by_ear, signed_text,
    with,
};

/// Read by `ear`, refused here; gives both.
fn only_ear(payload: &Value) -> (Ear, VerdictError) {
    let token = signed(payload);
    let theirs = read_by_ear(&token).expect("ear reads it");
    (theirs, read_by_us(&token).expect_err("we refuse it"))
}

#[test]
fn both_spellings_in_one_token() {
    let (theirs, ours) = only_ear(&with("/submods/host/ear.status", json!("contraindicated")));
    assert_eq!(
        theirs.submods["host"].status,
        EarTier::Affirming,
        "the other is not seen"
    );
    assert!(
        matches!(
            ours,
            VerdictError::Mixed {
                claim: "ear.status"
            }
        ),
        "{ours}"
    );

    // A part that warns in the older spelling alone says nothing to ear, and the whole affirms.
    let gpu = json!({"ear.status": "contraindicated"});
    let (theirs, ours) = only_ear(&with("/submods/gpu", gpu));
    assert_eq!(theirs.submods["gpu"].status, EarTier::None);
    assert_eq!(theirs.status, Some(EarTier::Affirming));
    assert!(matches!(ours, VerdictError::Mixed { .. }), "{ours}");
}

#[test]
fn none_is_no_order() {
    assert!(EarTier::None < EarTier::Affirming);
    assert!(!TrustTier::None.is_better_than(TrustTier::Affirming));
    assert_eq!(TrustTier::None.worse(TrustTier::Affirming), TrustTier::None);

    let gpu = json!({"ear_status": "none", "ear_trustworthiness_vector": {"hardware": 0}});
    let (theirs, ours) = only_ear(&with("/submods/gpu", gpu));
    assert_eq!(theirs.status, Some(EarTier::Affirming));
    assert!(matches!(ours, VerdictError::Contradiction { .. }), "{ours}");

    // A verifier that lets ear derive the status vouches for what could not be said.
    let mut derived = filled_in(EarTier::None, &[("executables", 0), ("hardware", 2)]);
    derived.update_status_from_trust_vector();
    assert_eq!(derived.status, Some(EarTier::Affirming));
    let ours = read_by_us(&signed_by_ear(&derived)).expect_err("we refuse it");
    assert!(matches!(ours, VerdictError::Contradiction { .. }), "{ours}");
}

#[test]
fn a_part_better_than_its_vector() {
    let vector = "/submods/host/ear_trustworthiness_vector";
    for worse in [
        json!({"executables": 96}),
        json!({"executables": 3, "hardware": 32}),
    ] {
        let (theirs, ours) = only_ear(&with(vector, worse));
        assert_eq!(theirs.submods["host"].status, EarTier::Affirming);
        assert!(matches!(ours, VerdictError::Contradiction { .. }), "{ours}");
    }
    // Of the whole both say the same.
    let token = signed(&with("/submods/host/ear_status", json!("warning")));
    read_by_ear(&token).expect_err("whole better than part");
    read_by_us(&token).expect_err("whole better than part");
}

#[test]
fn a_part_without_a_vector() {
    let (_, ours) = only_ear(&with(
        "/submods/host/ear_trustworthiness_vector",
        Value::Null,
    ));
    assert_eq!(ours.defect(), VerdictDefect::Malformed);
}

#[test]
fn a_header_without_a_key_id_or_with_another() {
    let ear = filled_in(EarTier::Affirming, &[("executables", 3)]);
    let pem = key().to_pem().expect("a PEM");
    let token = ear
        .sign_jwt_pem(Algorithm::ES256, pem.as_bytes())
        .expect("signs");
    read_by_ear(&token).expect("ear reads it");
    let ours = read_by_us(&token).expect_err("no kid");
    assert!(
        matches!(ours, VerdictError::Token(JwsError::Header)),
        "{ours}"
    );

    let token = signed_text(
        r#"{"alg":"ES256","typ":"JWT","kid":"other"}"#,
        &payload().to_string(),
    );
    read_by_ear(&token).expect("ear reads it");
    let ours = read_by_us(&token).expect_err("not pinned");
    let unknown = matches!(ours, VerdictError::Signature(JwsError::KeyUnknown { .. }));
    assert!(unknown, "{ours}");
}

#[test]
fn issuer_expiry_nonce_and_bindings_are_required() {
    for claim in [
        "/iss",
        "/exp",
        "/eat_nonce",
        "/submods/host/eat_profile",
        "/submods/host/ear_attester_claims",
        "/submods/host/ear_attester_claims/ueid",
        "/submods/host/ear_attester_claims/bootcount",
        "/submods/host/ear_attester_claims/bootseed",
        "/submods/host/ear_attester_claims/tpm_restart_count",
        "/submods/host/ear_attester_claims/tpm_ak_name",
        "/submods/host/ear_attester_claims/pcr_bank",
        "/submods/host/ear_attester_claims/pcr_selection",
        "/submods/host/ear_attester_claims/pcr_digest",
        "/submods/host/ear_verifier_claims",
        "/submods/host/ear_verifier_claims/seq",
    ] {
        let (_, ours) = only_ear(&with(claim, Value::Null));
        let binds = claim.contains("ear_attester_claims");
        let defect = if binds {
            VerdictDefect::Unbound
        } else {
            VerdictDefect::Malformed
        };
        assert_eq!(ours.defect(), defect, "{claim}: {ours}");
    }
}

#[test]
fn several_nonces() {
    let nonce = payload()["eat_nonce"].clone();
    only_ear(&with("/eat_nonce", json!([nonce, nonce])));
}

#[test]
fn a_json_key_twice() {
    let payload = payload().to_string();
    let twice = payload.replacen('{', r#"{"ear_status":"contraindicated","#, 1);
    let token = signed_text(&header(), &twice);
    let theirs = read_by_ear(&token).expect("ear reads it");
    assert_eq!(theirs.status, Some(EarTier::Affirming), "the last one");
    let ours = read_by_us(&token).expect_err("twice");
    assert!(
        matches!(ours, VerdictError::Token(JwsError::Json { .. })),
        "{ours}"
    );
    // Not for the header or the way it was signed:
    read_by_us(&signed_text(&header(), &payload)).expect("once");
}

#[test]
fn a_status_by_number_or_in_capitals() {
    for status in [json!(2), json!("Affirming"), json!("AFFIRMING")] {
        let (theirs, ours) = only_ear(&with("/ear_status", status));
        assert_eq!(theirs.status, Some(EarTier::Affirming));
        assert!(matches!(ours, VerdictError::Claim(_)), "{ours}");
    }
}

#[test]
fn a_header_with_more_in_it() {
    let more = header().replace('}', r#","jku":"https://keys.example/jwks"}"#);
    let token = signed_text(&more, &payload().to_string());
    read_by_ear(&token).expect("ear reads it");
    let ours = read_by_us(&token).expect_err("four members");
    assert!(
        matches!(ours, VerdictError::Token(JwsError::Header)),
        "{ours}"
    );
}

#[test]
fn another_algorithm() {
    // The key of RFC 8037, appendix A, as PKCS#8 and JWK: everybody has it.
    let pem = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
        -----END PRIVATE KEY-----\n";
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let ear = filled_in(EarTier::Affirming, &[("executables", 3)]);
    let mut header = ear::new_jwt_header(&Algorithm::EdDSA).expect("EdDSA");
    header.kid = Some(key().public_key().kid().to_string());
    let token = ear
        .sign_jwt_pem_with_header(&header, pem.as_bytes())
        .expect("signs");
    Ear::from_jwt_jwk(&token, Algorithm::EdDSA, jwk.as_bytes()).expect("ear reads it");
    let ours = read_by_us(&token).expect_err("EdDSA");
    let refused = matches!(&ours, VerdictError::Signature(JwsError::Algorithm { .. }));
    assert!(refused, "{ours}");

    // A header cannot choose: neither side takes 'none' or a foreign one over an ES256 signature.
    for algorithm in ["none", "HS256", "ES384", "EdDSA"] {
        let header = crate::sample::header().replace("ES256", algorithm);
        let token = signed_text(&header, &payload().to_string());
        read_by_ear(&token).expect_err(algorithm);
        read_by_us(&token).expect_err(algorithm);
    }
}

#[test]
fn an_expired_verdict_is_the_gates_to_refuse() {
    let token = signed(&with("/exp", json!(crate::sample::ISSUED_S - 1)));
    read_by_us(&token).expect_err("ends before it begins");

    let mut past = with("/iat", json!(1_000_000_000));
    past["exp"] = json!(1_000_000_600);
    let token = signed(&past);
    read_by_ear(&token).expect_err("expired");
    let ours = read_by_us(&token).expect("says until when");
    assert_eq!(ours.expires_s, 1_000_000_600);
}

#[test]
fn an_empty_list_of_policies() {
    let token = signed(&with("/submods/host/ear_appraisal_policy_ids", json!([])));
    read_by_ear(&token).expect_err("the draft wants one or no list");
    let ours = read_by_us(&token).expect("we read it");
    assert!(ours.host.policy_ids.is_empty());
}

#[test]
fn the_older_spelling() {
    let mut text = payload().to_string();
    for (draft, old) in [
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
            r#""ear_appraisal_policy_ids":["urn:sha256:00","urn:sha256:01"]"#,
            r#""ear.appraisal-policy-id":"urn:sha256:00""#,
        ),
    ] {
        assert!(text.contains(draft), "{draft}");
        text = text.replace(draft, old);
    }
    let token = signed(&serde_json::from_str(&text).expect("still JSON"));
    read_by_ear(&token).expect_err("0.6 has no verifier id in it");
    let ours = read_by_us(&token).expect("we read it");
    assert_eq!(ours.dialect, Dialect::Dotted);
    assert!(ours.status.is_affirming() && ours.host.status.is_affirming());
}
