//! Claims of a verdict that is about to be signed.

use serde_json::{Value, json};

use super::dialect::Dialect;
use super::{HOST, HOST_PROFILE, Latched};
use crate::appraisal::{Appraisal, AttestedState};
use crate::{base64url, hex};

/// What the verifier adds to an appraisal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The verifier's name, a URI.
    pub issuer: String,
    /// Who built the verifier, a URI.
    pub verifier_developer: String,
    /// Which build, such as `portcullis-agent 0.1.0`.
    pub verifier_build: String,
    /// Now, in seconds since 1970.
    pub issued_at_s: u64,
    /// Seconds until the verdict expires; at least 1.
    pub lifetime_s: u64,
    /// The node's name, if it has one.
    pub node_name: Option<String>,
    /// One more than in the verdict before.
    pub sequence: u64,
    /// Age in seconds beyond which relying parties are asked not to use it.
    pub max_age_s: Option<u64>,
    /// An earlier failure that still stands; the appraisal speaks against the host then.
    pub latched: Option<Latched>,
}

/// The payload of a verdict; sign it with [`crate::jws::sign`] and `Typ::Verdict`.
///
/// `None` if the appraisal holds no attested state: a verdict binds to a TPM, a boot and PCRs,
/// and evidence that did not verify gives none to bind to.
#[must_use]
pub fn claims(terms: &Terms, appraisal: &Appraisal) -> Option<Value> {
    let state = appraisal.state.as_ref()?;
    let names = Dialect::Draft04.names();
    let status = appraisal.status.as_str();
    let mut host = json!({
        "eat_profile": HOST_PROFILE,
        names.status: status,
        names.vector: appraisal.vector.to_claim(),
        names.attester_claims: attester_claims(state),
        names.verifier_claims: verifier_claims(terms, appraisal),
    });
    // Without reference values in date no policy was applied, and the draft has no empty list.
    if let (false, Some(members)) = (appraisal.policy_ids.is_empty(), host.as_object_mut()) {
        let policies = appraisal.policy_ids.as_slice().into();
        members.insert(names.policy.to_owned(), policies);
    }
    Some(json!({
        "eat_profile": names.profile,
        "iss": terms.issuer,
        "iat": terms.issued_at_s,
        "exp": terms.issued_at_s.saturating_add(terms.lifetime_s),
        "eat_nonce": base64url::encode(state.nonce.as_bytes()),
        names.verifier_id: {
            "developer": terms.verifier_developer,
            "build": terms.verifier_build,
        },
        names.status: status,
        "submods": { HOST: host },
    }))
}

fn attester_claims(state: &AttestedState) -> Value {
    let selection = state.pcrs.selection();
    let mut claims = json!({
        "ueid": state.ueid.as_str(),
        "bootcount": state.clock.reset_count,
        "bootseed": state.boot_id.seed(),
        "tpm_restart_count": state.clock.restart_count,
        "tpm_clock": state.clock.clock_ms,
        "tpm_ak_name": state.ak_name.to_string(),
        "pcr_bank": selection.bank().as_str(),
        "pcr_selection": selection.iter().map(|pcr| pcr.get()).collect::<Vec<_>>(),
        "pcr_digest": hex::encode(&state.pcrs.digest()),
        "pcrs": state.pcrs.to_claim(),
    });
    if let (Some(pin), Some(members)) = (&state.tag, claims.as_object_mut()) {
        members.insert(
            "tag_nv_index".to_owned(),
            format!("{:#010x}", pin.nv_index).into(),
        );
        members.insert("tag_nv_name".to_owned(), pin.nv_name.to_string().into());
        members.insert(
            "tag_digest_sha384".to_owned(),
            hex::encode(&pin.digest).into(),
        );
        members.insert("tag_counter".to_owned(), pin.counter.into());
    }
    claims
}

fn verifier_claims(terms: &Terms, appraisal: &Appraisal) -> Value {
    let mut claims = json!({ "seq": terms.sequence, "tags": appraisal.tags });
    if let Some(members) = claims.as_object_mut() {
        let optional = [
            ("node_name", terms.node_name.clone().map(Value::from)),
            ("max_age", terms.max_age_s.map(Value::from)),
            ("boot_state", appraisal.boot_state.clone().map(Value::from)),
            ("latched", terms.latched.as_ref().map(latched_claim)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                members.insert(name.to_owned(), value);
            }
        }
    }
    claims
}

fn latched_claim(latched: &Latched) -> Value {
    json!({
        "since": latched.since_s,
        "code": latched.code,
        "subject": latched.subject,
    })
}
