//! Making the asset tag's two NV indices, counting, and writing under the tag authority's
//! signature.
//!
//! Defining and removing an index takes the owner's authorization, which is empty here. Writing
//! does not: the slot's policy asks for the tag authority, and the counter for its empty password.

use portcullis_attestation::jwk::PublicKey;
use portcullis_attestation::tag::authorization::{WriteAuthorization, command_hash};
use portcullis_attestation::tag::slot::{
    self, COUNTER_ATTRIBUTES, COUNTER_BYTES, COUNTER_INDEX, SLOT_ATTRIBUTES,
};
use portcullis_attestation::tag::{DIGEST_BYTES, NV_INDEX};
use portcullis_attestation::ueid::Ueid;
use tss_esapi::attributes::{NvIndexAttributes, SessionAttributesBuilder};
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, SessionHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::{Hierarchy, NvAuth, Provision};
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    Digest, EccParameter, EccSignature, MaxNvBuffer, Nonce, NvPublicBuilder, Public, Signature,
    SymmetricDefinition,
};
use tss_esapi::traits::UnMarshall;

use crate::error::TpmError;
use crate::library::{Library, failed};

const DEFINE: &str = "NV_DefineSpace";
const LOAD: &str = "LoadExternal";
const POLICY: &str = "PolicySigned";
const SESSION: &str = "StartAuthSession";
const WRITE: &str = "NV_Write";

/// A digest to be written, and who says so.
#[derive(Debug, Clone, Copy)]
pub struct TagWrite<'a> {
    /// The tag authority whose signature the slot's policy asks for.
    pub authority: &'a PublicKey,
    /// The TPM, as tag and policy name it.
    pub subject: &'a Ueid,
    /// SHA-384 of the tag document.
    pub digest: &'a [u8; DIGEST_BYTES],
    /// The authority's signatures.
    pub authorization: &'a WriteAuthorization,
}

/// Removes NV index `index` with the owner's authorization.
pub(crate) fn undefine(library: &mut Library, index: u32) -> Result<(), TpmError> {
    let object = open(library, index)?;
    library
        .context()
        .nv_undefine_space(Provision::Owner, object)
        .map_err(|error| failed("NV_UndefineSpace", error))
}

/// Defines the slot for tags of `authority` about `subject`.
pub(crate) fn define_slot(
    library: &mut Library,
    authority: &PublicKey,
    subject: &Ueid,
) -> Result<(), TpmError> {
    let policy = slot::auth_policy(authority, subject);
    define(library, NV_INDEX, SLOT_ATTRIBUTES, &policy, DIGEST_BYTES)
}

/// Defines the tag counter. It has no value before the first [`count`].
pub(crate) fn define_counter(library: &mut Library) -> Result<(), TpmError> {
    define(
        library,
        COUNTER_INDEX,
        COUNTER_ATTRIBUTES,
        &[],
        COUNTER_BYTES,
    )
}

/// Counts one on.
pub(crate) fn count(library: &mut Library) -> Result<(), TpmError> {
    let counter = open(library, COUNTER_INDEX)?;
    library
        .context()
        .nv_increment(NvAuth::NvIndex(counter), counter)
        .map_err(|error| failed("NV_Increment", error))
}

/// Writes a digest into the slot, which was written before or not.
pub(crate) fn write(
    library: &mut Library,
    tag: &TagWrite<'_>,
    written: bool,
) -> Result<(), TpmError> {
    with_session(library, SessionType::Policy, |library, session| {
        satisfy(library, tag, session, written)?;
        let object = open(library, NV_INDEX)?;
        let data =
            MaxNvBuffer::try_from(tag.digest.as_slice()).map_err(|error| failed(WRITE, error))?;
        library
            .context()
            .execute_with_session(Some(session), |context| {
                context.nv_write(NvAuth::NvIndex(object), object, data, 0)
            })
            .map_err(|error| failed(WRITE, error))
    })
}

/// Shows the authority's signature to the policy session.
fn satisfy(
    library: &mut Library,
    tag: &TagWrite<'_>,
    session: AuthSession,
    written: bool,
) -> Result<(), TpmError> {
    let failing = |error| failed(POLICY, error);
    let policy = PolicySession::try_from(session).map_err(failing)?;
    let public = Public::unmarshall(&slot::authority_public(tag.authority))
        .map_err(|error| failed(LOAD, error))?;
    let command = command_hash(tag.digest, tag.authority, tag.subject, written);
    let command = Digest::try_from(command.as_slice()).map_err(failing)?;
    let reference = Nonce::try_from(slot::policy_ref(tag.subject).as_slice()).map_err(failing)?;
    let signature = signature(tag.authorization.signature(written)).map_err(failing)?;

    let key = library
        .context()
        .execute_without_session(|context| context.load_external_public(public, Hierarchy::Null))
        .map_err(|error| failed(LOAD, error))?;
    // The TPM asks for no session here, but the library insists on one: an audit session, which
    // authorizes nothing.
    let shown = with_session(library, SessionType::Hmac, |library, audit| {
        library
            .context()
            .execute_with_session(Some(audit), |context| {
                let (key, none) = (key.into(), Nonce::default());
                context.policy_signed(policy, key, none, command, reference, None, signature)
            })
            .map(drop)
            .map_err(failing)
    });
    let flushed = library.flush(key);
    shown.and(flushed)
}

/// Opens a session for `work`, and flushes it whatever comes of that.
fn with_session(
    library: &mut Library,
    kind: SessionType,
    work: impl FnOnce(&mut Library, AuthSession) -> Result<(), TpmError>,
) -> Result<(), TpmError> {
    let opening = |error| failed(SESSION, error);
    let started = library.context().execute_without_session(|context| {
        let hash = HashingAlgorithm::Sha256;
        context.start_auth_session(None, None, None, kind, SymmetricDefinition::Null, hash)
    });
    let session = started.map_err(opening)?.ok_or_else(|| TpmError::Decode {
        command: SESSION,
        reason: "no session".to_owned(),
    })?;
    // The TPM would flush it with the command that uses it; then a failure before that command
    // would leave it, and a success would have it flushed twice.
    let (attributes, mask) = SessionAttributesBuilder::new()
        .with_continue_session(true)
        .with_audit(kind == SessionType::Hmac)
        .build();
    let outcome = library
        .context()
        .tr_sess_set_attributes(session, attributes, mask)
        .map_err(opening)
        .and_then(|()| work(library, session));
    let flushed = library
        .context()
        .execute_without_session(|context| {
            context.flush_context(SessionHandle::from(session).into())
        })
        .map_err(|error| failed("FlushContext", error));
    outcome.and(flushed)
}

fn signature(bytes: &[u8; 64]) -> tss_esapi::Result<Signature> {
    let (r, s) = bytes.split_at(32);
    let signature = EccSignature::create(
        HashingAlgorithm::Sha256,
        EccParameter::try_from(r)?,
        EccParameter::try_from(s)?,
    )?;
    Ok(Signature::EcDsa(signature))
}

fn open(library: &mut Library, index: u32) -> Result<NvIndexHandle, TpmError> {
    let failing = |error| failed("NV_ReadPublic", error);
    let handle = NvIndexTpmHandle::new(index).map_err(failing)?;
    library
        .context()
        .execute_without_session(|context| context.tr_from_tpm_public(TpmHandle::NvIndex(handle)))
        .map(NvIndexHandle::from)
        .map_err(failing)
}

fn define(
    library: &mut Library,
    index: u32,
    attributes: u32,
    policy: &[u8],
    size_bytes: usize,
) -> Result<(), TpmError> {
    let defining = |error| failed(DEFINE, error);
    let public = NvPublicBuilder::new()
        .with_nv_index(NvIndexTpmHandle::new(index).map_err(defining)?)
        .with_index_name_algorithm(HashingAlgorithm::Sha256)
        .with_index_attributes(NvIndexAttributes(attributes))
        .with_index_auth_policy(Digest::try_from(policy).map_err(defining)?)
        .with_data_area_size(size_bytes)
        .build()
        .map_err(defining)?;
    library
        .context()
        .nv_define_space(Provision::Owner, None, public)
        .map(drop)
        .map_err(defining)
}
