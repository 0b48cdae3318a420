//! The library path: an ESYS context of the TPM software stack, open for one piece of work.
//!
//! All hierarchies and keys are used with the empty password (TPM_RS_PW), so no session is ever
//! opened and none can leak. The context flushes every object it loaded when it is dropped.

use std::str::FromStr;

use portcullis_attestation::attest::SignedAttest;
use portcullis_attestation::jwk::PublicKey;
use portcullis_attestation::pcr::PcrSelection;
use portcullis_attestation::tpm_name::TpmName;
use portcullis_attestation::ueid::Ueid;
use tss_esapi::Context;
use tss_esapi::abstraction::AsymmetricAlgorithmSelection;
use tss_esapi::abstraction::ek::create_ek_public_from_default_template_2;
use tss_esapi::constants::response_code::Tss2ResponseCode;
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Data, PcrSelectionList, PcrSlot, Public, SignatureScheme};
use tss_esapi::tcti_ldr::TctiNameConf;
use tss_esapi::traits::Marshall;
use tss_esapi::utils::TpmsContext;

use crate::attestation_key;
use crate::error::TpmError;
use crate::number::padded;
use crate::response_code::ResponseCode;
use crate::tcti::Tcti;

pub(crate) const CREATE_PRIMARY: &str = "CreatePrimary";
const QUOTE: &str = "Quote";

/// Who this TPM is: its endorsement key and its attestation key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The EK (P-256, low-range template of the TCG EK credential profile).
    pub ek: PublicKey,
    /// The identity of the TPM, which is made from the EK.
    pub ueid: Ueid,
    /// TPM name of the AK.
    pub ak_name: TpmName,
    /// The AK's public area (TPM2B_PUBLIC).
    pub ak_public: Vec<u8>,
}

/// An open ESYS context.
pub(crate) struct Library {
    context: Context,
}

// === impl Library ===

impl Library {
    /// Opens a context. The TPM should have answered on the wire a moment ago, because nothing
    /// here has a deadline.
    pub(crate) fn open(tcti: &Tcti) -> Result<Self, TpmError> {
        let name = TctiNameConf::from_str(&tcti.to_string())
            .map_err(|error| failed("opening the TCTI", error))?;
        let mut context = Context::new(name).map_err(|error| failed("opening the TCTI", error))?;
        context.set_sessions((Some(AuthSession::Password), None, None));
        Ok(Self { context })
    }

    /// Makes EK and AK and reads their public parts.
    pub(crate) fn identity(&mut self) -> Result<Identity, TpmError> {
        let ek_template = create_ek_public_from_default_template_2(
            AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256),
            None,
        )
        .map_err(|error| failed(CREATE_PRIMARY, error))?;
        let (key, public) = self.create_primary(Hierarchy::Endorsement, ek_template)?;
        self.flush(key)?;
        let ek = public_key(&public)?;

        let (key, public) = self.create_attestation_key()?;
        let ak_name = self.name(key)?;
        self.flush(key)?;
        let area = public
            .marshall()
            .map_err(|error| failed(CREATE_PRIMARY, error))?;
        let size = u16::try_from(area.len()).map_err(|_larger| too_large(&area))?;
        Ok(Identity {
            ueid: Ueid::of_endorsement_key(&ek.to_spki_der()),
            ek,
            ak_name,
            ak_public: [size.to_be_bytes().as_slice(), &area].concat(),
        })
    }

    /// Has the AK sign the values of `selection` and `qualifying_data`.
    ///
    /// `saved` holds the AK's context between calls.
    pub(crate) fn quote(
        &mut self,
        saved: &mut Option<TpmsContext>,
        selection: PcrSelection,
        qualifying_data: &[u8],
    ) -> Result<SignedAttest, TpmError> {
        let quoting = |error| failed(QUOTE, error);
        let data = Data::try_from(qualifying_data).map_err(quoting)?;
        let pcrs = selection_list(selection).map_err(quoting)?;
        let key = self.reload(saved, |library| {
            library.create_attestation_key().map(|(key, _)| key)
        })?;
        let (attest, signature) = self
            .context
            .quote(key, data, SignatureScheme::Null, pcrs)
            .map_err(quoting)?;
        self.flush(key)?;
        Ok(SignedAttest {
            message: attest.marshall().map_err(quoting)?,
            signature: signature.marshall().map_err(quoting)?,
        })
    }

    /// The context itself, for [`crate::signing_key`] and [`crate::tag_slot`].
    pub(crate) fn context(&mut self) -> &mut Context {
        &mut self.context
    }

    pub(crate) fn create_primary(
        &mut self,
        hierarchy: Hierarchy,
        template: Public,
    ) -> Result<(KeyHandle, Public), TpmError> {
        self.context
            .create_primary(hierarchy, template, None, None, None, None)
            .map(|made| (made.key_handle, made.out_public))
            .map_err(|error| failed(CREATE_PRIMARY, error))
    }

    /// Loads the key whose context is in `saved`; makes it with `create` if that is not possible,
    /// and saves its context.
    pub(crate) fn reload(
        &mut self,
        saved: &mut Option<TpmsContext>,
        create: impl FnOnce(&mut Self) -> Result<KeyHandle, TpmError>,
    ) -> Result<KeyHandle, TpmError> {
        if let Some(context) = saved.take() {
            let loaded = self
                .context
                .execute_without_session(|esys| esys.context_load(context.clone()));
            // On a failure the key can still be made again.
            if let Ok(object) = loaded {
                *saved = Some(context);
                return Ok(object.into());
            }
        }
        let key = create(self)?;
        let context = self
            .context
            .execute_without_session(|esys| esys.context_save(key.into()));
        // Saving only saves time next time.
        *saved = context.ok();
        Ok(key)
    }

    pub(crate) fn flush(&mut self, key: KeyHandle) -> Result<(), TpmError> {
        self.context
            .execute_without_session(|context| context.flush_context(key.into()))
            .map_err(|error| failed("FlushContext", error))
    }

    fn create_attestation_key(&mut self) -> Result<(KeyHandle, Public), TpmError> {
        let template =
            attestation_key::template().map_err(|error| failed(CREATE_PRIMARY, error))?;
        self.create_primary(Hierarchy::Endorsement, template)
    }

    fn name(&mut self, key: KeyHandle) -> Result<TpmName, TpmError> {
        let (_public, name, _qualified) = self
            .context
            .execute_without_session(|context| context.read_public(key))
            .map_err(|error| failed("ReadPublic", error))?;
        TpmName::from_bytes(name.value()).ok_or_else(|| TpmError::Decode {
            command: "ReadPublic",
            reason: "a name that is no digest".to_owned(),
        })
    }
}

pub(crate) fn selection_list(selection: PcrSelection) -> tss_esapi::Result<PcrSelectionList> {
    let slots = selection
        .iter()
        .map(|pcr| PcrSlot::try_from(1_u32 << pcr.get()))
        .collect::<tss_esapi::Result<Vec<_>>>()?;
    let bank = HashingAlgorithm::try_from(selection.bank().tpm_id())?;
    PcrSelectionList::builder()
        .with_selection(bank, &slots)
        .build()
}

fn too_large(area: &[u8]) -> TpmError {
    let reason = format!("a public area of {} bytes", area.len());
    TpmError::Decode {
        command: CREATE_PRIMARY,
        reason,
    }
}

/// The public key of an ECC object.
pub(crate) fn public_key(public: &Public) -> Result<PublicKey, TpmError> {
    let decode = |reason: &str| TpmError::Decode {
        command: CREATE_PRIMARY,
        reason: reason.to_owned(),
    };
    let Public::Ecc { unique, .. } = public else {
        return Err(decode("a key that is not ECC"));
    };
    let x = padded(unique.x().value(), CREATE_PRIMARY)?;
    let y = padded(unique.y().value(), CREATE_PRIMARY)?;
    PublicKey::from_coordinates(x, y).ok_or_else(|| decode("a point off the curve"))
}

/// Turns an error of the software stack into ours: with the code if there is one.
pub(crate) fn failed(command: &'static str, error: tss_esapi::Error) -> TpmError {
    let tss_esapi::Error::Tss2Error(code) = error else {
        return TpmError::Stack {
            command,
            source: error,
        };
    };
    match number(code) {
        Some(code) => TpmError::Run { command, code },
        None => TpmError::Stack {
            command,
            source: error,
        },
    }
}

/// The number of a code, which tss-esapi 7.7 shows only in its text, `… value: 0x18b`.
fn number(code: Tss2ResponseCode) -> Option<ResponseCode> {
    let text = match code {
        Tss2ResponseCode::Success => return Some(ResponseCode::SUCCESS),
        Tss2ResponseCode::FormatZero(code) => code.to_string(),
        Tss2ResponseCode::FormatOne(code) => code.to_string(),
    };
    let (_, digits) = text.rsplit_once("0x")?;
    u32::from_str_radix(digits, 16).map(ResponseCode::new).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;

    #[test]
    fn the_number_of_a_code_survives_the_library() {
        for code in [0x18b, 0x922, 0x101, 0x000a_000a, 0x0007_0001, 0x000b_0143] {
            assert_eq!(
                number(Tss2ResponseCode::from(code)),
                Some(ResponseCode::new(code))
            );
        }
    }

    #[test]
    fn a_broken_transport_below_the_library_is_unreachable() {
        let error = tss_esapi::Error::Tss2Error(Tss2ResponseCode::from(0x000a_000a));
        assert_eq!(failed("Quote", error).failure(), Failure::Unreachable);
        let error = tss_esapi::Error::Tss2Error(Tss2ResponseCode::from(0x1df));
        assert_eq!(failed("Load", error).failure(), Failure::Failed);
    }
}
