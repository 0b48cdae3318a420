//! The NV index that holds the digest of the asset tag.

use tpm2_protocol::basic::TpmHandle;
use tpm2_protocol::data::TpmaNv;
use tpm2_protocol::frame::{
    TpmNvReadCommand, TpmNvReadPublicCommand, TpmNvReadPublicResponse, TpmNvReadResponse,
};

use crate::deadline::Deadline;
use crate::error::TpmError;
use crate::wire::{Command, Repeat, Wire};

/// NV index of the asset tag, the slot that Intel SecL uses too.
pub const TAG_INDEX: u32 = 0x01c1_0110;
/// Size of the index: one SHA-384 digest.
pub const TAG_BYTES: u16 = 48;
/// Not more than this is read from an index of another size; it is not ours then anyway.
const READ_LIMIT_BYTES: u16 = 256;

/// An NV index and what stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvSlot {
    /// The index.
    pub index: u32,
    /// The TPM name of the index: covers attributes, policy, size and whether it was written.
    pub name: Vec<u8>,
    /// The attributes (TPMA_NV).
    pub attributes: u32,
    /// The contents; empty if the index was never written.
    pub contents: Vec<u8>,
    /// The size it was defined with, in bytes.
    pub size_bytes: u16,
}

/// Attributes of a tag index that we define: the owner writes, everybody reads with the empty
/// password, and a wrong password never locks the TPM.
pub(crate) const TAG_ATTRIBUTES: u32 = TpmaNv::OWNERWRITE.bits()
    | TpmaNv::OWNERREAD.bits()
    | TpmaNv::AUTHREAD.bits()
    | TpmaNv::NO_DA.bits();
/// Set by the TPM at the first write.
pub(crate) const WRITTEN: u32 = TpmaNv::WRITTEN.bits();

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
    let public: TpmNvReadPublicResponse = match wire.run(&command, deadline) {
        Ok(public) => public,
        Err(TpmError::Run { code, .. }) if code.is_unknown_handle() => return Ok(None),
        Err(error) => return Err(error),
    };
    let size_bytes = public.nv_public.data_size.value();
    let contents = read_contents(wire, index, size_bytes.min(READ_LIMIT_BYTES), deadline)?;
    Ok(Some(NvSlot {
        index,
        name: public.nv_name.to_vec(),
        attributes: public.nv_public.attributes.bits(),
        contents,
        size_bytes,
    }))
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
        Err(TpmError::Run { code, .. }) if code.is_nv_unwritten() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
