//! A host, its key, and verdicts about it from both sides.

use std::collections::BTreeMap;

use ear::{Algorithm, Appraisal as EarAppraisal, Ear, RawValue, RawValueKind, VerifierID};
use portcullis_attestation::appraisal::{Appraisal, AttestedState};
use portcullis_attestation::boot_id::BootId;
use portcullis_attestation::clock::ClockInfo;
use portcullis_attestation::jwk::{KeyUse, TrustedKey, TrustedKeys};
use portcullis_attestation::jws::{self, Signer as _, Typ};
use portcullis_attestation::nonce::Nonce;
use portcullis_attestation::pcr::{HashAlg, PcrIndex, PcrValues};
use portcullis_attestation::software_key::SoftwareKey;
use portcullis_attestation::tag;
use portcullis_attestation::tpm_name::TpmName;
use portcullis_attestation::trust::{TrustTier, TrustVector};
use portcullis_attestation::ueid::Ueid;
use portcullis_attestation::verdict::{
    self, HOST, HOST_PROFILE, TagPin, Terms, Verdict, VerdictError,
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// `ear` looks at the clock itself, so what it accepts has to end in another century.
pub const ISSUED_S: u64 = 1_795_290_484;
/// See [`ISSUED_S`].
pub const EXPIRES_S: u64 = 4_102_444_800;
/// The nonce of every verdict here.
pub const NONCE: [u8; 32] = [5; 32];

/// The verifier's key.
pub fn key() -> SoftwareKey {
    SoftwareKey::from_random(&Zeroizing::new([7; 32])).expect("below the curve's order")
}

/// Its public half, as pinned; `ear` gets the same JWK.
pub fn pinned() -> TrustedKey {
    TrustedKey::new(key().public_key().clone(), KeyUse::Verdict)
}

/// What `ear` makes of a token, with the JWK that we pin.
pub fn read_by_ear(token: &str) -> Result<Ear, ear::Error> {
    let jwk = pinned().to_value().to_string();
    Ear::from_jwt_jwk(token, Algorithm::ES256, jwk.as_bytes())
}

/// What we make of a token.
pub fn read_by_us(token: &str) -> Result<Verdict, VerdictError> {
    let mut keys = TrustedKeys::new();
    keys.insert(pinned()).expect("the only key");
    verdict::verify(token, &keys)
}

/// A token with this payload, signed by us.
pub fn signed(payload: &Value) -> String {
    jws::sign(Typ::Verdict, payload, &mut key()).expect("signs")
}

/// A token with this payload as it stands, signed by our key: also what no writer would write.
pub fn signed_text(header: &str, payload: &str) -> String {
    use portcullis_attestation::base64url::encode;
    use sha2::{Digest as _, Sha256};
    let input = format!(
        "{}.{}",
        encode(header.as_bytes()),
        encode(payload.as_bytes())
    );
    let digest = Sha256::digest(input.as_bytes()).into();
    let signature = key().sign_digest(&digest).expect("signs");
    format!("{input}.{}", encode(&signature))
}

/// The header of our tokens.
pub fn header() -> String {
    let kid = key().public_key().kid();
    format!(r#"{{"alg":"ES256","typ":"JWT","kid":"{kid}"}}"#)
}

pub fn terms() -> Terms {
    Terms {
        issuer: "https://verifier.example".to_owned(),
        verifier_developer: "https://example.org".to_owned(),
        verifier_build: "portcullis-agent 0.1.0".to_owned(),
        issued_at_s: ISSUED_S,
        lifetime_s: EXPIRES_S - ISSUED_S,
        node_name: Some("worker-7".to_owned()),
        sequence: 412,
        max_age_s: Some(600),
        latched: None,
    }
}

fn name(fill: u8) -> TpmName {
    let bytes = [&[0x00, 0x0b][..], &[fill; 32]].concat();
    TpmName::from_bytes(&bytes).expect("SHA-256 and 32 bytes")
}

/// An appraisal with this outcome, of a host whose evidence was genuine.
pub fn appraisal(status: TrustTier, vector: TrustVector) -> Appraisal {
    let mut pcrs = PcrValues::new(HashAlg::Sha256);
    for index in 0..8 {
        let pcr = PcrIndex::new(index).expect("0 to 23");
        pcrs.insert(pcr, vec![index; 32]).expect("32 bytes");
    }
    Appraisal {
        status,
        vector,
        findings: Vec::new(),
        boot_state: Some("debian-12".to_owned()),
        policy_ids: vec!["urn:sha256:00".to_owned(), "urn:sha256:01".to_owned()],
        tags: BTreeMap::from([("country".to_owned(), "DE".to_owned())]),
        state: Some(AttestedState {
            nonce: Nonce::new(NONCE),
            ueid: Ueid::of_endorsement_key(b"an endorsement key"),
            boot_id: BootId::parse("5ee7a2ab-9c5f-4d5e-8a8f-2f1b1d3c4b5a").expect("a boot id"),
            clock: ClockInfo {
                clock_ms: 5000,
                reset_count: 3,
                restart_count: 1,
                safe: true,
            },
            ak_name: name(0xaa),
            pcrs,
            tag: Some(TagPin {
                nv_index: tag::NV_INDEX,
                nv_name: name(0xbb),
                digest: [0xcc; tag::DIGEST_BYTES],
                counter: 7,
            }),
        }),
    }
}

/// A vector from `{"executables": 3, …}`.
pub fn vector(claims: &Value) -> TrustVector {
    TrustVector::from_claim(claims.as_object().expect("an object")).expect("AR4SI")
}

/// The payload of our verdict on a host with nothing against it.
pub fn payload() -> Value {
    let vector = vector(&json!({"executables": 3, "hardware": 2, "instance-identity": 2}));
    verdict::claims(&terms(), &appraisal(TrustTier::Affirming, vector)).expect("a state")
}

/// [`payload`] with the claim at a JSON pointer replaced; removed if `value` is null.
pub fn with(pointer: &str, value: Value) -> Value {
    let mut payload = payload();
    let (object, claim) = pointer.rsplit_once('/').expect("a pointer");
    let members = payload.pointer_mut(object).expect("an object");
    let members = members.as_object_mut().expect("an object");
    if value.is_null() {
        members.remove(claim).expect("was there");
    } else {
        members.insert(claim.to_owned(), value);
    }
    payload
}

/// The verdict as a verifier built on `ear` would fill it in, through its own interface.
pub fn filled_in(status: ear::TrustTier, claims: &[(&str, i8)]) -> Ear {
    let payload = payload();
    let raw = |pointer: &str| -> BTreeMap<String, RawValue> {
        let claims = payload.pointer(pointer).expect("is there").clone();
        serde_json::from_str(&claims.to_string()).expect("claims")
    };
    let mut host = EarAppraisal::new();
    host.profile = Some(HOST_PROFILE.to_owned());
    host.status = status;
    for (claim, value) in claims {
        let claim = host.trust_vector.mut_by_name(claim).expect("AR4SI");
        claim.set(*value);
    }
    host.policy_ids = vec!["urn:sha256:00".to_owned()];
    host.attester_claims = raw("/submods/host/ear_attester_claims");
    host.verifier_claims = raw("/submods/host/ear_verifier_claims");

    let mut ear = Ear::new();
    ear.profile = ear::EAR_PROFILE.to_owned();
    ear.iat = ISSUED_S.try_into().expect("before 2262");
    ear.exp = Some(EXPIRES_S.try_into().expect("before 2262"));
    ear.vid = VerifierID {
        build: "vts 1.0".to_owned(),
        developer: "https://veraison-project.org".to_owned(),
    };
    ear.nonce = Some(NONCE[..].try_into().expect("8 to 64 bytes"));
    ear.status = Some(status);
    ear.submods.insert(HOST.to_owned(), host);
    // Claim 1 of a CWT; `ear` has no field for it.
    let issuer = RawValue::String("https://verifier.example".to_owned());
    ear.extensions
        .register("iss", 1, RawValueKind::String)
        .expect("not taken");
    ear.extensions.set_by_name("iss", issuer).expect("a string");
    ear
}

/// `ear`'s own token, with our key and its id.
pub fn signed_by_ear(ear: &Ear) -> String {
    let mut header = ear::new_jwt_header(&Algorithm::ES256).expect("ES256");
    header.kid = Some(key().public_key().kid().to_string());
    let pem = key().to_pem().expect("a PEM");
    ear.sign_jwt_pem_with_header(&header, pem.as_bytes())
        .expect("signs")
}

/// Our tier by `ear`'s name.
pub fn tier(tier: ear::TrustTier) -> TrustTier {
    TrustTier::parse(tier.as_str()).expect("the same names")
}
