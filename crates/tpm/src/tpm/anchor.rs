//! The two NV indices in which a ledger is anchored.
//!
//! Everything here goes over the wire path, step by step, so that launches can be served in between;
//! none of it belongs on the path of a launch.

use portcullis_attestation::anchor::{
    COUNTER_ATTRIBUTES, COUNTER_BYTES, COUNTER_INDEX, Certificates, EXTEND_ATTRIBUTES,
    EXTEND_BYTES, EXTEND_INDEX, Purpose, is_ours,
};
use portcullis_attestation::tpm_name::TpmName;
use tpm2_protocol::basic::TpmHandle;
use tpm2_protocol::data::{Tpm2bAuth, Tpm2bNvPublic, TpmAlgId, TpmRh, TpmaNv, TpmsNvPublic};
use tpm2_protocol::frame::{
    TpmNvDefineSpaceCommand, TpmNvDefineSpaceResponse, TpmNvExtendCommand, TpmNvExtendResponse,
    TpmNvIncrementCommand, TpmNvIncrementResponse,
};

use super::Tpm;
use crate::deadline::Deadline;
use crate::error::TpmError;
use crate::nv;
use crate::wire::{Command, Repeat};

const NV_READ: &str = "NV_Read";
const NV_DEFINE: &str = "NV_DefineSpace";
const NV_EXTEND: &str = "NV_Extend";
const NV_INCREMENT: &str = "NV_Increment";

/// What the two indices hold now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnchorState {
    /// The counter; `None` if it is not defined, or was never incremented.
    pub counter: Option<u64>,
    /// The extend index; `None` if it is not defined, or was never extended.
    pub extend: Option<[u8; 32]>,
}

// === impl Tpm ===

impl Tpm {
    /// Reads the counter and the extend index.
    ///
    /// # Errors
    ///
    /// [`TpmError::ForeignIndex`] if one of them is defined with other rights or another size, and
    /// so belongs to somebody else; and the failures of the way to the TPM.
    pub fn anchor_state(&mut self, deadline: &Deadline) -> Result<AnchorState, TpmError> {
        Ok(AnchorState {
            counter: self
                .read_anchor(COUNTER_INDEX, deadline)?
                .contents
                .map(u64::from_be_bytes),
            extend: self.read_anchor(EXTEND_INDEX, deadline)?.contents,
        })
    }

    /// Defines the indices that are not defined.
    ///
    /// # Errors
    ///
    /// [`TpmError::Run`] if the owner hierarchy has a password, or no NV space or counter is left;
    /// and those of [`Tpm::anchor_state`].
    pub fn define_anchor(&mut self, deadline: &Deadline) -> Result<(), TpmError> {
        if !self.read_anchor::<8>(COUNTER_INDEX, deadline)?.is_defined {
            self.define(COUNTER_INDEX, COUNTER_ATTRIBUTES, COUNTER_BYTES, deadline)?;
        }
        if !self.read_anchor::<32>(EXTEND_INDEX, deadline)?.is_defined {
            self.define(EXTEND_INDEX, EXTEND_ATTRIBUTES, EXTEND_BYTES, deadline)?;
        }
        Ok(())
    }

    /// Extends the extend index by `head`. Not repeated if the connection breaks under it: whether
    /// it was done is seen in [`Tpm::anchor_state`].
    ///
    /// # Errors
    ///
    /// If the TPM refuses or cannot be reached.
    pub fn extend_anchor(&mut self, head: &[u8; 32], deadline: &Deadline) -> Result<(), TpmError> {
        let encode = |error: tpm2_protocol::TpmError| TpmError::Encode {
            command: NV_EXTEND,
            reason: error.to_string(),
        };
        let command = TpmNvExtendCommand {
            handles: [owner(), TpmHandle::new(EXTEND_INDEX)],
            data: head.as_slice().try_into().map_err(encode)?,
        };
        let command = Command::new(NV_EXTEND, &command, 1, Repeat::Never)?;
        self.wire
            .run::<TpmNvExtendResponse>(&command, deadline)
            .map(drop)
    }

    /// Increments the counter; like [`Tpm::extend_anchor`] otherwise.
    ///
    /// # Errors
    ///
    /// If the TPM refuses or cannot be reached.
    pub fn count_anchor(&mut self, deadline: &Deadline) -> Result<(), TpmError> {
        let command = TpmNvIncrementCommand {
            handles: [owner(), TpmHandle::new(COUNTER_INDEX)],
        };
        let command = Command::new(NV_INCREMENT, &command, 1, Repeat::Never)?;
        self.wire
            .run::<TpmNvIncrementResponse>(&command, deadline)
            .map(drop)
    }

    /// Has the AK named `ak_name` sign both indices for `purpose`.
    ///
    /// # Errors
    ///
    /// As [`Tpm::certify_tag`].
    pub fn certify_anchor(
        &mut self,
        ak_name: &TpmName,
        purpose: &Purpose<'_>,
        deadline: &Deadline,
    ) -> Result<Certificates, TpmError> {
        self.prepare(deadline)?;
        let data = purpose.qualifying_data();
        let mut certify = |nv| {
            self.wire_key
                .certify(&mut self.wire, ak_name, nv, &data, deadline)
        };
        Ok(Certificates {
            counter: certify((COUNTER_INDEX, COUNTER_BYTES))?,
            extend: certify((EXTEND_INDEX, EXTEND_BYTES))?,
        })
    }

    fn read_anchor<const N: usize>(
        &mut self,
        index: u32,
        deadline: &Deadline,
    ) -> Result<Read<N>, TpmError> {
        let Some(slot) = nv::read(&mut self.wire, index, deadline)? else {
            return Ok(Read {
                is_defined: false,
                contents: None,
            });
        };
        if !is_ours(&slot.public) {
            return Err(TpmError::ForeignIndex {
                index,
                attributes: slot.public.attributes,
                size_bytes: slot.public.size_bytes,
            });
        }
        let contents = match slot.contents.as_slice() {
            [] if !slot.public.is_written() => None,
            contents => Some(<[u8; N]>::try_from(contents).or(Err(TpmError::Decode {
                command: NV_READ,
                reason: format!("{} bytes where there are {N}", contents.len()),
            }))?),
        };
        Ok(Read {
            is_defined: true,
            contents,
        })
    }

    pub(super) fn define(
        &mut self,
        index: u32,
        attributes: u32,
        size_bytes: u16,
        deadline: &Deadline,
    ) -> Result<(), TpmError> {
        let public = TpmsNvPublic {
            nv_index: TpmHandle::new(index),
            name_alg: TpmAlgId::Sha256,
            attributes: TpmaNv::from_bits_truncate(attributes),
            auth_policy: Default::default(),
            data_size: size_bytes.into(),
        };
        let command = TpmNvDefineSpaceCommand {
            handles: [owner()],
            auth: Tpm2bAuth::default(),
            public_info: Tpm2bNvPublic { inner: public },
        };
        let command = Command::new(NV_DEFINE, &command, 1, Repeat::Never)?;
        self.wire
            .run::<TpmNvDefineSpaceResponse>(&command, deadline)
            .map(drop)
    }
}

/// An index and what stands in it.
struct Read<const N: usize> {
    is_defined: bool,
    contents: Option<[u8; N]>,
}

pub(super) const fn owner() -> TpmHandle {
    TpmHandle::new(TpmRh::Owner.value())
}
