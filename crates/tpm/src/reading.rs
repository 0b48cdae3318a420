//! What a launch needs to know of the TPM: clock, PCRs and tag, read without sessions.

use portcullis_attestation::clock::ClockInfo;
use portcullis_attestation::pcr::{HashAlg, PcrIndex, PcrSelection, PcrValues};
use tpm2_protocol::basic::TpmHandle;
use tpm2_protocol::data::{
    TpmAlgId, TpmlDigestValues, TpmlPcrSelection, TpmsPcrSelect, TpmsPcrSelection, TpmtHa, TpmuHa,
};
use tpm2_protocol::frame::{
    TpmPcrEventCommand, TpmPcrEventResponse, TpmPcrExtendCommand, TpmPcrExtendResponse,
    TpmPcrReadCommand, TpmPcrReadResponse, TpmReadClockCommand, TpmReadClockResponse,
};

use crate::deadline::Deadline;
use crate::error::TpmError;
use crate::nv::{self, NvSlot};
use crate::tpm::boot_fuse;
use crate::wire::{Command, Repeat, Wire};

/// How often reading more than eight PCRs starts again because one was extended meanwhile.
const PCR_ATTEMPTS: u32 = 8;

/// The state of the TPM at one moment, as far as a launch asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Clock and boot counters.
    pub clock: ClockInfo,
    /// The selected PCRs, all of one moment.
    pub pcrs: PcrValues,
    /// The tag's index; `None` if it is not defined.
    pub tag: Option<NvSlot>,
    /// What the boot fuse holds: nothing if it was not written since the TPM started. `None` if it
    /// is not defined.
    pub boot_fuse: Option<Vec<u8>>,
}

/// Reads clock, PCRs, the NV index of the tag and the boot fuse.
pub(crate) fn read(
    wire: &mut Wire,
    selection: PcrSelection,
    index: u32,
    deadline: &Deadline,
) -> Result<Reading, TpmError> {
    // PCRs first and the clock last: a reset in between then shows as another reset count, never
    // as good values with the counters of the boot before.
    let pcrs = pcrs(wire, selection, deadline)?;
    let tag = nv::read(wire, index, deadline)?;
    let boot_fuse = boot_fuse::read(wire, deadline)?;
    let clock = clock(wire, deadline)?;
    Ok(Reading {
        clock,
        pcrs,
        tag,
        boot_fuse,
    })
}

/// Reads clock and boot counters.
pub(crate) fn clock(wire: &mut Wire, deadline: &Deadline) -> Result<ClockInfo, TpmError> {
    let command = Command::new(
        "ReadClock",
        &TpmReadClockCommand::default(),
        0,
        Repeat::Harmless,
    )?;
    let answer: TpmReadClockResponse = wire.run(&command, deadline)?;
    let info = answer.current_time.clock_info;
    Ok(ClockInfo {
        clock_ms: info.clock.value(),
        reset_count: info.reset_count.value(),
        restart_count: info.restart_count.value(),
        safe: info.safe.into(),
    })
}

/// Reads `selection`, all registers of one moment.
///
/// One answer holds at most eight values, so several may be needed; the TPM counts every change
/// of a PCR, which shows whether two answers belong together.
pub(crate) fn pcrs(
    wire: &mut Wire,
    selection: PcrSelection,
    deadline: &Deadline,
) -> Result<PcrValues, TpmError> {
    for _ in 0..PCR_ATTEMPTS {
        if let Some(values) = pcrs_unless_changed(wire, selection, deadline)? {
            return Ok(values);
        }
    }
    Err(TpmError::ReadPcrsAtOnce {
        count: selection.count(),
        attempts: PCR_ATTEMPTS,
    })
}

/// `None` if a PCR was extended between two answers.
fn pcrs_unless_changed(
    wire: &mut Wire,
    selection: PcrSelection,
    deadline: &Deadline,
) -> Result<Option<PcrValues>, TpmError> {
    let mut values = PcrValues::new(selection.bank());
    let mut counter = None;
    loop {
        let missing = PcrSelection::new(
            selection.bank(),
            selection.iter().filter(|pcr| values.value(*pcr).is_none()),
        );
        let Some(first) = missing.iter().next() else {
            return Ok(Some(values));
        };
        let (update_counter, read) = pcrs_of_one_answer(wire, missing, deadline)?;
        if counter
            .replace(update_counter)
            .is_some_and(|before| before != update_counter)
        {
            return Ok(None);
        }
        // A TPM leaves out registers of a bank that is not active.
        if read.is_empty() {
            return Err(TpmError::ReadPcr {
                pcr: first,
                bank: selection.bank(),
            });
        }
        for (pcr, value) in read.iter() {
            values
                .insert(pcr, value.to_vec())
                .map_err(|error| decode(&error))?;
        }
    }
}

/// The values the TPM puts into one answer, and its counter of PCR changes.
fn pcrs_of_one_answer(
    wire: &mut Wire,
    selection: PcrSelection,
    deadline: &Deadline,
) -> Result<(u32, PcrValues), TpmError> {
    let bank = selection.bank();
    let mut list = TpmlPcrSelection::default();
    list.try_push(TpmsPcrSelection {
        hash: algorithm(bank),
        pcr_select: TpmsPcrSelect::try_from(selection.bitmap().as_slice()).map_err(encode)?,
    })
    .map_err(encode)?;
    let command = TpmPcrReadCommand {
        handles: [],
        pcr_selection_in: list,
    };
    let command = Command::new("PCR_Read", &command, 0, Repeat::Harmless)?;
    let answer: TpmPcrReadResponse = wire.run(&command, deadline)?;

    let mut values = PcrValues::new(bank);
    let mut digests = answer.pcr_values.iter();
    for part in answer.pcr_selection_out.iter() {
        let part_of_bank = PcrSelection::from_bitmap(bank, &part.pcr_select)
            .filter(|read| part.hash == algorithm(bank) && selection.covers(*read))
            .ok_or_else(|| decode(&"registers nobody asked for"))?;
        for pcr in part_of_bank.iter() {
            let digest = digests
                .next()
                .ok_or_else(|| decode(&"fewer values than registers"))?;
            values
                .insert(pcr, digest.to_vec())
                .map_err(|error| decode(&error))?;
        }
    }
    if digests.next().is_some() {
        return Err(decode(&"more values than registers"));
    }
    Ok((answer.pcr_update_counter.value(), values))
}

/// Extends `pcr` of the bank `bank` by `digest`, which must be as long as the bank's digest.
pub(crate) fn extend(
    wire: &mut Wire,
    pcr: PcrIndex,
    bank: HashAlg,
    digest: &[u8],
    deadline: &Deadline,
) -> Result<(), TpmError> {
    let encode = |error: tpm2_protocol::TpmError| TpmError::Encode {
        command: "PCR_Extend",
        reason: error.to_string(),
    };
    let mut digests = TpmlDigestValues::default();
    let digest = TpmuHa::Digest(digest.try_into().map_err(encode)?);
    digests
        .try_push(TpmtHa {
            hash_alg: algorithm(bank),
            digest,
        })
        .map_err(encode)?;
    let command = TpmPcrExtendCommand {
        handles: [TpmHandle::new(u32::from(pcr.get()))],
        digests,
    };
    let command = Command::new("PCR_Extend", &command, 1, Repeat::Never)?;
    wire.run::<TpmPcrExtendResponse>(&command, deadline)
        .map(drop)
}

/// Extends `pcr` by the hash of `data` in every active bank.
pub(crate) fn event(
    wire: &mut Wire,
    pcr: PcrIndex,
    data: &[u8],
    deadline: &Deadline,
) -> Result<(), TpmError> {
    let encode = |error: tpm2_protocol::TpmError| TpmError::Encode {
        command: "PCR_Event",
        reason: error.to_string(),
    };
    let command = TpmPcrEventCommand {
        handles: [TpmHandle::new(u32::from(pcr.get()))],
        event_data: data.try_into().map_err(encode)?,
    };
    let command = Command::new("PCR_Event", &command, 1, Repeat::Never)?;
    wire.run::<TpmPcrEventResponse>(&command, deadline)
        .map(drop)
}

fn algorithm(bank: HashAlg) -> TpmAlgId {
    TpmAlgId::try_from(bank.tpm_id()).unwrap_or(TpmAlgId::Null)
}

fn encode(error: tpm2_protocol::TpmError) -> TpmError {
    TpmError::Encode {
        command: "PCR_Read",
        reason: error.to_string(),
    }
}

fn decode(reason: &dyn std::fmt::Display) -> TpmError {
    TpmError::Decode {
        command: "PCR_Read",
        reason: reason.to_string(),
    }
}
