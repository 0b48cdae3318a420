//! The attestation key (AK): one template, and its use on the wire path.
//!
//! The AK is a restricted P-256 signing key and a *primary* key of the endorsement hierarchy. As
//! such it is made again from its template whenever it is needed, always the same one, so there
//! is no key file to lose. The endorsement hierarchy matters: elsewhere the TPM obfuscates the
//! boot counters in what the key signs, and they could not be compared with a live reading.

use portcullis_attestation::attest::SignedAttest;
use portcullis_attestation::hex;
use portcullis_attestation::tpm_name::TpmName;
use tpm2_protocol::basic::TpmHandle;
use tpm2_protocol::data::{
    Tpm2bEccParameter, Tpm2bPublic, TpmAlgId, TpmEccCurve, TpmRh, TpmaObject, TpmsContext,
    TpmsEccParms, TpmsEccPoint, TpmsSchemeHash, TpmtEccScheme, TpmtKdfScheme, TpmtPublic,
    TpmtSigScheme, TpmtSymDefObject, TpmuAsymScheme, TpmuPublicId, TpmuPublicParms,
};
use tpm2_protocol::frame::{
    TpmContextLoadCommand, TpmContextLoadResponse, TpmContextSaveCommand, TpmContextSaveResponse,
    TpmCreatePrimaryCommand, TpmCreatePrimaryResponse, TpmFlushContextCommand,
    TpmFlushContextResponse, TpmNvCertifyCommand, TpmNvCertifyResponse, TpmResponse,
};
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::structures::{EccParameter, EccPoint, Public, PublicBuilder};

use crate::deadline::Deadline;
use crate::ecdsa_p256;
use crate::error::TpmError;
use crate::transport::HEADER_BYTES;
use crate::wire::{Command, Repeat, Wire};

/// Goes into the template's unique field, so that no other program's template gives our AK.
const LABEL: &[u8; 32] = b"portcullis attestation key v1\0\0\0";

const NV_CERTIFY: &str = "NV_Certify";
const CREATE_PRIMARY: &str = "CreatePrimary";

/// The AK's template for the TPM software stack.
pub(crate) fn template() -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_sign_encrypt(true)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(ecdsa_p256::parameters(true)?)
        .with_ecc_unique_identifier(EccPoint::new(
            EccParameter::try_from(LABEL.as_slice())?,
            EccParameter::try_from([0; 32].as_slice())?,
        ))
        .build()
}

/// The same template for the wire path.
fn wire_template() -> Result<Tpm2bPublic, tpm2_protocol::TpmError> {
    let attributes = TpmaObject::FIXED_TPM
        | TpmaObject::FIXED_PARENT
        | TpmaObject::SENSITIVE_DATA_ORIGIN
        | TpmaObject::USER_WITH_AUTH
        | TpmaObject::NO_DA
        | TpmaObject::RESTRICTED
        | TpmaObject::SIGN_ENCRYPT;
    let scheme = TpmtEccScheme {
        scheme: TpmAlgId::Ecdsa,
        details: TpmuAsymScheme::Hash(TpmsSchemeHash {
            hash_alg: TpmAlgId::Sha256,
        }),
    };
    Ok(Tpm2bPublic {
        inner: TpmtPublic {
            object_type: TpmAlgId::Ecc,
            name_alg: TpmAlgId::Sha256,
            object_attributes: attributes,
            auth_policy: Default::default(),
            parameters: TpmuPublicParms::Ecc(TpmsEccParms {
                symmetric: TpmtSymDefObject::default(),
                scheme,
                curve_id: TpmEccCurve::NistP256,
                kdf: TpmtKdfScheme::default(),
            }),
            unique: TpmuPublicId::Ecc(TpmsEccPoint {
                x: Tpm2bEccParameter::try_from(LABEL.as_slice())?,
                y: Tpm2bEccParameter::try_from([0; 32].as_slice())?,
            }),
        },
    })
}

/// The AK on the wire path, which certifies NV contents.
///
/// Keeps the loaded key's saved context, because loading that is quicker than making the key
/// again.
#[derive(Debug, Default)]
pub(crate) struct WireKey {
    saved: Option<TpmsContext>,
}

// === impl WireKey ===

impl WireKey {
    /// Has the AK named `ak_name` certify the contents of NV index `index`.
    pub(crate) fn certify(
        &mut self,
        wire: &mut Wire,
        ak_name: &TpmName,
        nv: (u32, u16),
        qualifying_data: &[u8],
        deadline: &Deadline,
    ) -> Result<SignedAttest, TpmError> {
        let key = self.load(wire, ak_name, deadline)?;
        let outcome = certify(wire, key, nv, qualifying_data, deadline);
        flush(wire, key, deadline)?;
        outcome
    }

    fn load(
        &mut self,
        wire: &mut Wire,
        ak_name: &TpmName,
        deadline: &Deadline,
    ) -> Result<TpmHandle, TpmError> {
        if let Some(context) = self.saved.take() {
            let command = TpmContextLoadCommand {
                handles: [],
                context: context.clone(),
            };
            let command = Command::new("ContextLoad", &command, 0, Repeat::Never)?;
            match wire.run::<TpmContextLoadResponse>(&command, deadline) {
                Ok(loaded) => {
                    self.saved = Some(context);
                    let [key] = loaded.handles;
                    return Ok(key);
                }
                // The TPM does not take it back; the key can be made again.
                Err(TpmError::Run { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let key = create(wire, ak_name, deadline)?;
        let command = TpmContextSaveCommand { handles: [key] };
        let command = Command::new("ContextSave", &command, 0, Repeat::Harmless)?;
        match wire.run::<TpmContextSaveResponse>(&command, deadline) {
            Ok(saved) => {
                self.saved = Some(saved.context);
                Ok(key)
            }
            // Saving only saves time.
            Err(TpmError::Run { .. }) => Ok(key),
            Err(error) => Err(error),
        }
    }
}

/// Makes the AK and checks that it is the one named `ak_name`.
fn create(wire: &mut Wire, ak_name: &TpmName, deadline: &Deadline) -> Result<TpmHandle, TpmError> {
    let encode = |error: tpm2_protocol::TpmError| TpmError::Encode {
        command: CREATE_PRIMARY,
        reason: error.to_string(),
    };
    let command = TpmCreatePrimaryCommand {
        handles: [TpmHandle::new(TpmRh::Endorsement.value())],
        in_sensitive: Default::default(),
        in_public: wire_template().map_err(encode)?,
        outside_info: Default::default(),
        creation_pcr: Default::default(),
    };
    let command = Command::new(CREATE_PRIMARY, &command, 1, Repeat::Never)?;
    let created: TpmCreatePrimaryResponse = wire.run(&command, deadline)?;
    let [key] = created.handles;
    if *created.name == *ak_name.as_bytes() {
        return Ok(key);
    }
    flush(wire, key, deadline)?;
    Err(TpmError::RecogniseAttestationKey {
        expected: ak_name.to_string(),
        found: hex::encode(&created.name),
    })
}

fn certify(
    wire: &mut Wire,
    key: TpmHandle,
    (index, size_bytes): (u32, u16),
    qualifying_data: &[u8],
    deadline: &Deadline,
) -> Result<SignedAttest, TpmError> {
    let encode = |error: tpm2_protocol::TpmError| TpmError::Encode {
        command: NV_CERTIFY,
        reason: error.to_string(),
    };
    let decode = |reason: &dyn std::fmt::Display| TpmError::Decode {
        command: NV_CERTIFY,
        reason: reason.to_string(),
    };
    let command = TpmNvCertifyCommand {
        handles: [key, TpmHandle::new(index), TpmHandle::new(index)],
        qualifying_data: qualifying_data.try_into().map_err(encode)?,
        in_scheme: TpmtSigScheme::default(),
        size: size_bytes.into(),
        offset: 0.into(),
    };
    let command = Command::new(NV_CERTIFY, &command, 2, Repeat::Harmless)?;
    let frame = wire.run_raw(&command, deadline)?;
    // Decoded to see that it is whole; handed on as it came, because that is what was signed.
    TpmResponse::cast(frame)
        .and_then(TpmResponse::unmarshal::<TpmNvCertifyResponse>)
        .map_err(|error| decode(&error))?;
    certify_info_and_signature(frame).ok_or_else(|| decode(&"short answer"))
}

/// The parameters of an answer with sessions: header, size of the parameters, then TPM2B_ATTEST
/// and TPMT_SIGNATURE.
///
/// ```text
/// 80 02 | 00 00 01 1f | 00 00 00 00 | 00 00 01 0a | 00 b9 ff 54 43 47 … | 00 18 00 0b …
/// ```
fn certify_info_and_signature(frame: &[u8]) -> Option<SignedAttest> {
    let (size, rest) = frame.get(HEADER_BYTES..)?.split_first_chunk::<4>()?;
    let parameters = rest.get(..usize::try_from(u32::from_be_bytes(*size)).ok()?)?;
    let (size, rest) = parameters.split_first_chunk::<2>()?;
    let (message, signature) = rest.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
    Some(SignedAttest {
        message: message.to_vec(),
        signature: signature.to_vec(),
    })
}

/// Removes a loaded object.
pub(crate) fn flush(
    wire: &mut Wire,
    object: TpmHandle,
    deadline: &Deadline,
) -> Result<(), TpmError> {
    let command = TpmFlushContextCommand {
        handles: [],
        flush_handle: object,
    };
    let command = Command::new("FlushContext", &command, 0, Repeat::Never)?;
    wire.run::<TpmFlushContextResponse>(&command, deadline)
        .map(drop)
}
