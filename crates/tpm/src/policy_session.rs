//! A session in which the TPM has checked that a provider approved the state it is in.

use portcullis_attestation::approval::{self, Approval};
use portcullis_attestation::jwk::PublicKey;
use portcullis_attestation::key_policy::KeyPolicy;
use portcullis_attestation::policy_digest;
use sha2::{Digest as _, Sha256};
use tss_esapi::Context;
use tss_esapi::attributes::{ObjectAttributesBuilder, SessionAttributesBuilder};
use tss_esapi::constants::SessionType;
use tss_esapi::handles::SessionHandle;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    Digest, DigestList, EccParameter, EccPoint, EccSignature, Name, Nonce, Public, PublicBuilder,
    Signature, SymmetricDefinition, VerifiedTicket,
};

use crate::ecdsa_p256;
use crate::error::TpmError;
use crate::library::{Library, failed, selection_list};

const LOAD_EXTERNAL: &str = "LoadExternal";
const VERIFY_SIGNATURE: &str = "VerifySignature";
const START: &str = "StartAuthSession";
const PCR: &str = "PolicyPCR";
const AUTHORIZE: &str = "PolicyAuthorize";
const OR: &str = "PolicyOR";

/// Runs `work` with commands authorised by a session in which `policy` is met through `approval`.
///
/// Whatever the caller says, the TPM decides: the values are those of its PCRs, and it verifies
/// the signature of the approval. The session is gone afterwards, also after a failure.
pub(crate) fn run<T>(
    library: &mut Library,
    policy: &KeyPolicy,
    approval: &Approval,
    work: impl FnOnce(&mut Context) -> Result<T, TpmError>,
) -> Result<T, TpmError> {
    let ticket = ticket(library, approval)?;
    let session = start(library.context())?;
    let outcome = satisfy(library.context(), session, policy, approval, ticket)
        .and_then(|()| library.context().execute_with_session(Some(session), work));
    let ended = library
        .context()
        .execute_without_session(|context| {
            context.flush_context(SessionHandle::from(session).into())
        })
        .map_err(|error| failed("FlushContext", error));
    let value = outcome?;
    ended?;
    Ok(value)
}

/// Has the TPM verify the provider's signature; the ticket says that it did.
fn ticket(library: &mut Library, approval: &Approval) -> Result<VerifiedTicket, TpmError> {
    let loading = |error| failed(LOAD_EXTERNAL, error);
    let verifying = |error| failed(VERIFY_SIGNATURE, error);
    let public = verifying_key(approval.signer()).map_err(loading)?;
    let hash = Sha256::digest(approval::message(approval.policy()));
    let digest = Digest::try_from(hash.as_slice()).map_err(verifying)?;
    let signature = signature(approval.signature()).map_err(verifying)?;
    // In the owner hierarchy, because a ticket of the null hierarchy proves nothing to the TPM.
    let key = library
        .context()
        .execute_without_session(|context| context.load_external_public(public, Hierarchy::Owner))
        .map_err(loading)?;
    let ticket = library
        .context()
        .execute_without_session(|context| context.verify_signature(key, digest, signature))
        .map_err(verifying);
    library.flush(key)?;
    ticket
}

fn start(context: &mut Context) -> Result<AuthSession, TpmError> {
    let starting = |error| failed(START, error);
    let session = context
        .execute_without_session(|context| {
            context.start_auth_session(
                None,
                None,
                None,
                SessionType::Policy,
                SymmetricDefinition::AES_128_CFB,
                HashingAlgorithm::Sha256,
            )
        })
        .map_err(starting)?
        .ok_or_else(|| TpmError::Decode {
            command: START,
            reason: "no session".to_owned(),
        })?;
    // Kept after its use, so that it is ended in one place whatever happens to the use.
    let (attributes, mask) = SessionAttributesBuilder::new()
        .with_continue_session(true)
        .build();
    context
        .tr_sess_set_attributes(session, attributes, mask)
        .map_err(starting)?;
    Ok(session)
}

fn satisfy(
    context: &mut Context,
    session: AuthSession,
    policy: &KeyPolicy,
    approval: &Approval,
    ticket: VerifiedTicket,
) -> Result<(), TpmError> {
    let encode = |command, reason: &str| TpmError::Encode {
        command,
        reason: reason.to_owned(),
    };
    let session = PolicySession::try_from(session).map_err(|error| failed(START, error))?;
    let pcrs = approval.pcrs();
    let selection = selection_list(pcrs.selection()).map_err(|error| failed(PCR, error))?;
    let expected =
        Digest::try_from(pcrs.digest().as_slice()).map_err(|error| failed(PCR, error))?;
    context
        .execute_without_session(|context| context.policy_pcr(session, expected, selection))
        .map_err(|error| failed(PCR, error))?;

    let authorizing = |error| failed(AUTHORIZE, error);
    let approved = Digest::try_from(approval.policy().as_slice()).map_err(authorizing)?;
    let policy_ref = Nonce::try_from(approval::policy_ref().as_slice()).map_err(authorizing)?;
    let signer = policy_digest::verifying_key_name(approval.signer());
    let signer = Name::try_from(signer.as_bytes().to_vec()).map_err(authorizing)?;
    context
        .execute_without_session(|context| {
            context.policy_authorize(session, approved, policy_ref, &signer, ticket)
        })
        .map_err(authorizing)?;

    let branches = policy.branches();
    if branches.len() < 2 {
        return Ok(());
    }
    let mut list = DigestList::new();
    for branch in branches {
        let branch = Digest::try_from(branch.as_slice()).map_err(|error| failed(OR, error))?;
        list.add(branch)
            .map_err(|_full| encode(OR, "more branches than a TPM takes"))?;
    }
    context
        .execute_without_session(|context| context.policy_or(session, list))
        .map_err(|error| failed(OR, error))
}

/// The public area that [`policy_digest::verifying_key_name`] names.
fn verifying_key(key: &PublicKey) -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_user_with_auth(true)
        .with_sign_encrypt(true)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(ecdsa_p256::parameters(false)?)
        .with_ecc_unique_identifier(EccPoint::new(
            EccParameter::try_from(key.x().as_slice())?,
            EccParameter::try_from(key.y().as_slice())?,
        ))
        .build()
}

fn signature(signature: &[u8; 64]) -> tss_esapi::Result<Signature> {
    let (r, s) = signature.split_at(32);
    EccSignature::create(
        HashingAlgorithm::Sha256,
        EccParameter::try_from(r)?,
        EccParameter::try_from(s)?,
    )
    .map(Signature::EcDsa)
}

#[cfg(test)]
mod tests {
    use portcullis_attestation::tpm_name::TpmName;
    use tss_esapi::traits::Marshall as _;

    use super::*;

    /// The P-256 base point: a point of the curve that everybody knows.
    fn base_point() -> PublicKey {
        let coordinate = |text| portcullis_attestation::hex::decode(text).unwrap();
        let x = coordinate("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296");
        let y = coordinate("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5");
        PublicKey::from_coordinates(x.try_into().unwrap(), y.try_into().unwrap()).unwrap()
    }

    #[test]
    fn the_key_that_is_loaded_is_the_one_that_policies_name() {
        let key = base_point();
        let area = verifying_key(&key).unwrap().marshall().unwrap();
        let bank = portcullis_attestation::pcr::HashAlg::Sha256;
        assert_eq!(
            TpmName::of_public_area(bank, &area),
            Some(policy_digest::verifying_key_name(&key))
        );
    }
}
