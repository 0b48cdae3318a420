//! The verdict key: an unrestricted P-256 signing key that never leaves the TPM.
//!
//! It is a child of a storage key of the owner hierarchy, made by the TPM's random generator. What
//! is kept on disk is its public part and its private part, which only this TPM can unwrap.
//!
//! A key that is bound to a [`KeyPolicy`] has no password that works: the TPM signs with it only
//! in a session in which the PCRs have values that a provider of the policy approved.

use portcullis_attestation::approval::Approval;
use portcullis_attestation::jwk::PublicKey;
use portcullis_attestation::key_policy::KeyPolicy;
use tss_esapi::Context;
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK};
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::structures::{
    Digest, EccPoint, EccScheme, HashcheckTicket, KeyDerivationFunctionScheme, Private, Public,
    PublicBuilder, PublicEccParametersBuilder, Signature, SignatureScheme,
    SymmetricDefinitionObject,
};
use tss_esapi::traits::{Marshall, UnMarshall};
use tss_esapi::tss2_esys::TPMT_TK_HASHCHECK;
use tss_esapi::utils::TpmsContext;

use crate::ecdsa_p256;
use crate::error::TpmError;
use crate::library::{self, Library, failed, public_key};
use crate::number::{joined, padded};
use crate::policy_session;

const CREATE: &str = "Create";
const LOAD: &str = "Load";
const SIGN: &str = "Sign";

/// A key that only the TPM which made it can use.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyBlob {
    /// Its public area (TPMT_PUBLIC).
    pub public: Vec<u8>,
    /// Its private area as wrapped by the TPM (contents of TPM2B_PRIVATE).
    pub private: Vec<u8>,
}

/// Hides the private area, although it is wrapped.
impl std::fmt::Debug for KeyBlob {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("KeyBlob")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

// === impl KeyBlob ===

impl KeyBlob {
    /// The public key.
    ///
    /// # Errors
    ///
    /// [`TpmError::Stack`] or [`TpmError::Decode`] if `public` is not the public area of a P-256
    /// key.
    pub fn public_key(&self) -> Result<PublicKey, TpmError> {
        public_key(&self.area()?)
    }

    /// The policy without which the TPM does nothing with the key; `None` if it does everything
    /// with the empty password.
    ///
    /// # Errors
    ///
    /// As [`KeyBlob::public_key`].
    pub fn policy(&self) -> Result<Option<[u8; 32]>, TpmError> {
        let area = self.area()?;
        let attributes = area.object_attributes();
        if attributes.user_with_auth() || !attributes.admin_with_policy() {
            return Ok(None);
        }
        Ok(area.auth_policy().value().try_into().ok())
    }

    fn area(&self) -> Result<Public, TpmError> {
        Public::unmarshall(&self.public).map_err(|error| failed(LOAD, error))
    }
}

/// Makes a new key, bound to `policy` if there is one.
pub(crate) fn create(
    library: &mut Library,
    policy: Option<&KeyPolicy>,
) -> Result<KeyBlob, TpmError> {
    let creating = |error| failed(CREATE, error);
    let parent = storage_key(library)?;
    let made = library
        .context()
        .create(
            parent,
            template(policy).map_err(creating)?,
            None,
            None,
            None,
            None,
        )
        .map_err(creating)?;
    library.flush(parent)?;
    Ok(KeyBlob {
        public: made.out_public.marshall().map_err(creating)?,
        private: made.out_private.value().to_vec(),
    })
}

/// Loads `key`, to see whether the TPM takes it.
pub(crate) fn probe(library: &mut Library, key: &KeyBlob) -> Result<(), TpmError> {
    let handle = load(library, key)?;
    library.flush(handle)
}

/// Signs a SHA-256 `digest` with `key`, whose context is kept in `saved` between calls. A key that
/// is bound needs the policy it is bound to and an approval.
pub(crate) fn sign(
    library: &mut Library,
    saved: &mut Option<TpmsContext>,
    key: &KeyBlob,
    digest: [u8; 32],
    approval: Option<(&KeyPolicy, &Approval)>,
) -> Result<[u8; 64], TpmError> {
    let signing = |error| failed(SIGN, error);
    let handle = library.reload(saved, |library| load(library, key))?;
    // The TPM asks for a ticket only from restricted keys.
    let no_ticket = HashcheckTicket::try_from(TPMT_TK_HASHCHECK {
        tag: TPM2_ST_HASHCHECK,
        hierarchy: TPM2_RH_NULL,
        digest: Default::default(),
    })
    .map_err(signing)?;
    let digest = Digest::try_from(digest.as_slice()).map_err(signing)?;
    let sign = |context: &mut Context| {
        context
            .sign(
                handle,
                digest.clone(),
                SignatureScheme::Null,
                no_ticket.clone(),
            )
            .map_err(signing)
    };
    let signature = match approval {
        None => sign(library.context()),
        Some((policy, approval)) => policy_session::run(library, policy, approval, sign),
    };
    library.flush(handle)?;
    let signature = signature?;
    let Signature::EcDsa(signature) = signature else {
        let reason = "a signature other than ECDSA".to_owned();
        return Err(TpmError::Decode {
            command: SIGN,
            reason,
        });
    };
    let r = padded(signature.signature_r().value(), SIGN)?;
    let s = padded(signature.signature_s().value(), SIGN)?;
    Ok(joined(r, s))
}

fn load(library: &mut Library, key: &KeyBlob) -> Result<KeyHandle, TpmError> {
    let loading = |error| failed(LOAD, error);
    let private = Private::try_from(key.private.as_slice()).map_err(loading)?;
    let public = Public::unmarshall(&key.public).map_err(loading)?;
    let parent = storage_key(library)?;
    let loaded = library
        .context()
        .load(parent, private, public)
        .map_err(loading)?;
    library.flush(parent)?;
    Ok(loaded)
}

/// The parent: made from its template each time, always the same until the TPM is cleared.
fn storage_key(library: &mut Library) -> Result<KeyHandle, TpmError> {
    let template = storage_template().map_err(|error| failed(library::CREATE_PRIMARY, error))?;
    library
        .create_primary(Hierarchy::Owner, template)
        .map(|(key, _public)| key)
}

fn storage_template() -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_decrypt(true)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(
            PublicEccParametersBuilder::new()
                .with_symmetric(SymmetricDefinitionObject::AES_128_CFB)
                .with_ecc_scheme(EccScheme::Null)
                .with_curve(EccCurve::NistP256)
                .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
                .with_is_decryption_key(true)
                .with_restricted(true)
                .build()?,
        )
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}

fn template(policy: Option<&KeyPolicy>) -> tss_esapi::Result<Public> {
    // Bound: neither to sign nor to certify or change the key is a password enough.
    let is_bound = policy.is_some();
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(!is_bound)
        .with_admin_with_policy(is_bound)
        .with_no_da(true)
        .with_sign_encrypt(true)
        .build()?;
    let auth_policy = match policy {
        Some(policy) => Digest::try_from(policy.digest().as_slice())?,
        None => Digest::default(),
    };
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(auth_policy)
        .with_ecc_parameters(ecdsa_p256::parameters(false)?)
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}
