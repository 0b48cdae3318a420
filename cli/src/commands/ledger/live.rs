//! What the TPM of this node holds now, signed for this very question.

use portcullis_attestation::ak::AkPublic;
use portcullis_attestation::anchor::{AnchorError, Certificates, Certified, Purpose};
use portcullis_attestation::tpm_name::TpmName;
use portcullis_attestation::{StructureError, base64url};
use portcullis_client::method::CertifyLedger;
use portcullis_ledger::anchor::signed_from;
use serde_json::Value;

use crate::agent;
use crate::failure::Failure;

#[derive(Debug, thiserror::Error)]
enum LiveError {
    #[error("cannot draw a nonce")]
    Nonce(#[source] getrandom::Error),
    #[error("cannot read the agent's answer: expected {expected}")]
    Answer { expected: &'static str },
    #[error("cannot read the AK in the agent's answer")]
    Ak(#[source] StructureError),
    #[error("cannot believe the agent's answer: AK {name} is not trusted")]
    Stranger { name: TpmName },
    #[error("cannot believe the agent's answer")]
    Certificate(#[source] AnchorError),
}

/// Asks the agent. Only what an AK among `trusted` signed over a nonce drawn here counts.
pub(super) fn ask(trusted: &[TpmName]) -> Result<(Certified, TpmName), Failure> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce)
        .map_err(LiveError::Nonce)
        .map_err(Failure::internal)?;
    let question = CertifyLedger {
        nonce: base64url::encode(&nonce),
    };
    let reply = agent::call(&question, agent::SLOW)?;
    let malformed = |expected| Failure::undecided(LiveError::Answer { expected });
    let certificate = |members| {
        signed_from(Some(&Value::Object(members))).ok_or_else(|| malformed("two certificates"))
    };
    let certificates = Certificates {
        counter: certificate(reply.counter_certificate)?,
        extend: certificate(reply.extend_certificate)?,
    };
    let area = base64url::decode(&reply.ak_public).ok_or_else(|| malformed("an AK"))?;
    let ak = AkPublic::parse(&area)
        .map_err(LiveError::Ak)
        .map_err(Failure::undecided)?;
    if !trusted.contains(ak.name()) {
        let name = ak.name().clone();
        return Err(Failure::undecided(LiveError::Stranger { name }));
    }
    let certified = certificates
        .verify(&ak, &Purpose::Challenge { nonce: &nonce })
        .map_err(LiveError::Certificate)
        .map_err(Failure::refused)?;
    Ok((certified, ak.name().clone()))
}
