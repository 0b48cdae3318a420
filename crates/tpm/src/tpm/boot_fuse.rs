//! The boot fuse: an NV index that every start of the TPM empties.
//!
//! It holds the hash of the verdict that was issued last. `TPMA_NV_CLEAR_STCLEAR` makes the TPM
//! forget it at a reset or restart (not at a resume), whatever clocks and files say.
//! `TPMA_NV_ORDERLY` keeps it in the TPM's RAM, so that a write every few minutes for years wears
//! no flash: the TPM writes it down at an orderly shutdown only.
//!
//! The owner may write, with the empty password like all that the agent does: root can write what
//! it likes. The fuse is no proof against root, and the index needs no policy that root could go
//! round by defining it anew; it is a second witness of resets, and of which verdict is the last.
//!
//! # Source
//!
//! TPM 2.0 Library, part 2, "TPMA_NV (NV Index Attributes)"; part 1, "Hybrid Indexes".

use tpm2_protocol::basic::TpmHandle;
use tpm2_protocol::data::TpmaNv;
use tpm2_protocol::frame::{
    TpmNvReadCommand, TpmNvReadResponse, TpmNvWriteCommand, TpmNvWriteResponse,
};

use super::Tpm;
use super::anchor::owner;
use crate::deadline::Deadline;
use crate::error::TpmError;
use crate::nv;
use crate::wire::{Command, Repeat, Wire};

/// Handle of the index.
const BOOT_FUSE_INDEX: u32 = 0x018d_0c01;
/// One SHA-256 digest.
const BYTES: u16 = 32;
const ATTRIBUTES: u32 = TpmaNv::OWNERWRITE.bits()
    | TpmaNv::OWNERREAD.bits()
    | TpmaNv::AUTHREAD.bits()
    | TpmaNv::NO_DA.bits()
    | TpmaNv::ORDERLY.bits()
    | TpmaNv::CLEAR_STCLEAR.bits();

const NV_READ: &str = "NV_Read";
const NV_WRITE: &str = "NV_Write";

/// Reads the index with one command; `None` if it is not defined, empty if nothing was written
/// since the TPM started.
pub(crate) fn read(wire: &mut Wire, deadline: &Deadline) -> Result<Option<Vec<u8>>, TpmError> {
    let command = TpmNvReadCommand {
        handles: [BOOT_FUSE_INDEX, BOOT_FUSE_INDEX].map(TpmHandle::new),
        size: BYTES.into(),
        offset: 0.into(),
    };
    let command = Command::new(NV_READ, &command, 1, Repeat::Harmless)?;
    match wire.run::<TpmNvReadResponse>(&command, deadline) {
        Ok(read) => Ok(Some(read.data.to_vec())),
        Err(TpmError::Run { code, .. }) if code.is_unknown_handle() => Ok(None),
        Err(TpmError::Run { code, .. }) if code.is_nv_unreadable() || code.is_nv_range() => {
            Ok(Some(Vec::new()))
        }
        Err(error) => Err(error),
    }
}

// === impl Tpm ===

impl Tpm {
    /// Defines the fuse, if it is not.
    ///
    /// # Errors
    ///
    /// [`TpmError::ForeignIndex`] if the index belongs to somebody else, [`TpmError::Run`] if the
    /// TPM has no room for it or the owner hierarchy has a password; and the failures of the way
    /// to the TPM.
    pub fn define_boot_fuse(&mut self, deadline: &Deadline) -> Result<(), TpmError> {
        match nv::read(&mut self.wire, BOOT_FUSE_INDEX, deadline)? {
            None => self.define(BOOT_FUSE_INDEX, ATTRIBUTES, BYTES, deadline),
            Some(slot) => {
                let (attributes, size_bytes) = (slot.public.attributes, slot.public.size_bytes);
                let is_ours =
                    attributes & !TpmaNv::WRITTEN.bits() == ATTRIBUTES && size_bytes == BYTES;
                if is_ours {
                    return Ok(());
                }
                Err(TpmError::ForeignIndex {
                    index: BOOT_FUSE_INDEX,
                    attributes,
                    size_bytes,
                })
            }
        }
    }

    /// Sets the fuse, which is defined, to `digest`, unless it is.
    ///
    /// # Errors
    ///
    /// If the TPM refuses or cannot be reached.
    pub fn set_boot_fuse(
        &mut self,
        digest: &[u8; 32],
        deadline: &Deadline,
    ) -> Result<(), TpmError> {
        if read(&mut self.wire, deadline)?.as_deref() == Some(digest) {
            return Ok(());
        }
        let encode = |error: tpm2_protocol::TpmError| TpmError::Encode {
            command: NV_WRITE,
            reason: error.to_string(),
        };
        let command = TpmNvWriteCommand {
            handles: [owner(), TpmHandle::new(BOOT_FUSE_INDEX)],
            data: digest.as_slice().try_into().map_err(encode)?,
            offset: 0.into(),
        };
        // Written twice, it holds the same.
        let command = Command::new(NV_WRITE, &command, 1, Repeat::Harmless)?;
        self.wire
            .run::<TpmNvWriteResponse>(&command, deadline)
            .map(drop)
    }
}
