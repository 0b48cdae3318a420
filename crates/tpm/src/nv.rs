//! Reading an NV index without a session.

use portcullis_attestation::nv::NvPublic;
use tpm2_protocol::basic::TpmHandle;
use tpm2_protocol::frame::{
    TpmNvReadCommand, TpmNvReadPublicCommand, TpmNvReadPublicResponse, TpmNvReadResponse,
    TpmResponse,
};

use crate::deadline::Deadline;
use crate::error::TpmError;
use crate::transport::HEADER_BYTES;
use crate::wire::{Command, Repeat, Wire};

/// Not more than this is read from an index of another size; it is not ours then anyway.
const READ_LIMIT_BYTES: u16 = 256;

/// An NV index and what stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvSlot {
    /// The index.
    pub index: u32,
    /// Its public area, decoded: attributes, size, and its name, which covers both.
    pub public: NvPublic,
    /// Its public area as the TPM gave it (TPM2B_NV_PUBLIC).
    pub public_area: Vec<u8>,
    /// The contents; empty if the index was never written, or if it does not let everybody read.
    pub contents: Vec<u8>,
}

/// Reads name and contents of `index`; `None` if it is not defined.
pub(crate) fn read(
    wire: &mut Wire,
    index: u32,
    deadline: &Deadline,
) -> Result<Option<NvSlot>, TpmError> {
    let command = TpmNvReadPublicCommand {
        handles: [TpmHandle::new(index)],
    };
    let command = Command::new("NV_ReadPublic", &command, 0, Repeat::Harmless)?;
    let frame = match wire.run_raw(&command, deadline) {
        Ok(frame) => frame,
        Err(TpmError::Run { code, .. }) if code.is_unknown_handle() => return Ok(None),
        Err(error) => return Err(error),
    };
    let decode = |reason: String| TpmError::Decode {
        command: "NV_ReadPublic",
        reason,
    };
    // Decoded to see that it is whole; the public area is kept as it came, because its name is
    // a digest over these bytes.
    TpmResponse::cast(frame)
        .and_then(TpmResponse::unmarshal::<TpmNvReadPublicResponse>)
        .map_err(|error| decode(error.to_string()))?;
    let public_area = public_area(frame)
        .ok_or_else(|| decode("short answer".to_owned()))?
        .to_vec();
    let public = NvPublic::parse(&public_area).map_err(|error| decode(error.to_string()))?;
    let size_bytes = public.size_bytes.min(READ_LIMIT_BYTES);
    let contents = read_contents(wire, index, size_bytes, deadline)?;
    Ok(Some(NvSlot {
        index,
        public,
        public_area,
        contents,
    }))
}

/// The first parameter of an answer without sessions, with its length.
///
/// ```text
/// 80 01 | 00 00 00 3e | 00 00 00 00 | 00 0e 01 c1 01 10 00 0b 22 06 00 02 00 00 00 30 | 00 22 …
/// ```
fn public_area(frame: &[u8]) -> Option<&[u8]> {
    let parameters = frame.get(HEADER_BYTES..)?;
    let size = usize::from(u16::from_be_bytes(*parameters.first_chunk::<2>()?));
    parameters.get(..size.checked_add(2)?)
}

fn read_contents(
    wire: &mut Wire,
    index: u32,
    size_bytes: u16,
    deadline: &Deadline,
) -> Result<Vec<u8>, TpmError> {
    // The index authorises its own reading (authread) with its empty password.
    let command = TpmNvReadCommand {
        handles: [TpmHandle::new(index), TpmHandle::new(index)],
        size: size_bytes.into(),
        offset: 0.into(),
    };
    let command = Command::new("NV_Read", &command, 1, Repeat::Harmless)?;
    match wire.run::<TpmNvReadResponse>(&command, deadline) {
        Ok(read) => Ok(read.data.to_vec()),
        Err(TpmError::Run { code, .. }) if code.is_nv_unreadable() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
