//! Why the TPM could not do what was asked.

use std::io;

use portcullis_attestation::pcr::{HashAlg, PcrIndex};

use crate::response_code::ResponseCode;

/// The ways in which a TPM fails a caller; relying parties report them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No answer by the deadline. Worth a retry.
    Timeout,
    /// The TPM asked to be asked again until the deadline. Worth a retry.
    Busy,
    /// The TPM cannot be reached at all. Worth a retry once it is back.
    Unreachable,
    /// The TPM, or the software before it, answered with an error.
    Failed,
    /// The TPM answered, and the answer cannot be read.
    Garbled,
}

/// An operation on the TPM that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// The deadline passed first. Worth a retry.
    #[error("cannot get an answer to {command} within {patience_ms} ms")]
    Timeout {
        /// Name of the TPM command.
        command: &'static str,
        /// The whole time that was given, in milliseconds.
        patience_ms: u64,
    },
    /// The TPM did not take the command, and said to send it again, until the deadline had passed.
    /// Worth a retry.
    #[error("cannot run {command} within {patience_ms} ms: the TPM answers {code}")]
    Busy {
        /// Name of the TPM command.
        command: &'static str,
        /// The whole time that was given, in milliseconds.
        patience_ms: u64,
        /// Its last answer.
        code: ResponseCode,
    },
    /// The device or socket cannot be opened, or broke twice. Worth a retry.
    #[error("cannot reach the TPM at '{tcti}'")]
    Reach {
        /// The TPM as the configuration names it.
        tcti: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The TPM, or the resource manager before it, refused the command.
    #[error("cannot run {command}: the TPM answers {code}")]
    Run {
        /// Name of the TPM command.
        command: &'static str,
        /// Its answer.
        code: ResponseCode,
    },
    /// The software stack refused the command before the TPM saw it, or did not understand the
    /// answer.
    #[error("cannot run {command} through the TPM software stack")]
    Stack {
        /// Name of the TPM command.
        command: &'static str,
        /// What the stack said.
        #[source]
        source: tss_esapi::Error,
    },
    /// The answer is not what the command asks for.
    #[error("cannot decode the answer to {command}: {reason}")]
    Decode {
        /// Name of the TPM command.
        command: &'static str,
        /// Where decoding stopped.
        reason: String,
    },
    /// The command does not fit the codec; a fault of this program.
    #[error("cannot encode {command}: {reason}")]
    Encode {
        /// Name of the TPM command.
        command: &'static str,
        /// Where encoding stopped.
        reason: String,
    },
    /// The TPM does not measure into this register of this bank.
    #[error("cannot read PCR {pcr} ({bank}): the bank is not active")]
    ReadPcr {
        /// The register.
        pcr: PcrIndex,
        /// The bank.
        bank: HashAlg,
    },
    /// PCRs were extended between each two reads. Worth a retry.
    #[error("cannot read {count} PCRs of one moment in {attempts} attempts")]
    ReadPcrsAtOnce {
        /// How many registers were asked for.
        count: u32,
        /// How often reading started again.
        attempts: u32,
    },
    /// A part of the software stack is not installed, or not whole.
    #[error("cannot load '{library}': {reason}")]
    Load {
        /// Name of the shared library.
        library: String,
        /// What the dynamic linker said.
        reason: String,
    },
    /// An NV index is defined, and not as ours is.
    #[error(
        "cannot use NV index {index:#010x}: it is somebody else's (attributes {attributes:#010x}, \
         {size_bytes} bytes)"
    )]
    ForeignIndex {
        /// The index.
        index: u32,
        /// Its attributes (TPMA_NV).
        attributes: u32,
        /// Its size.
        size_bytes: u16,
    },
    /// A key made from the same template has another name, so it is another TPM.
    #[error("cannot use the attestation key: expected name {expected}, found {found}")]
    RecogniseAttestationKey {
        /// TPM name as the software stack made the key, in hexadecimal.
        expected: String,
        /// TPM name as the wire path made it.
        found: String,
    },
}

// === impl TpmError ===

impl TpmError {
    /// Which way of failing it is.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Timeout { .. } => Failure::Timeout,
            Self::Busy { .. } => Failure::Busy,
            Self::Reach { .. } => Failure::Unreachable,
            Self::Decode { .. } => Failure::Garbled,
            Self::Run { code, .. } if code.is_transport() => Failure::Unreachable,
            Self::Run { .. }
            | Self::Stack { .. }
            | Self::Encode { .. }
            | Self::ReadPcr { .. }
            | Self::ReadPcrsAtOnce { .. }
            | Self::Load { .. }
            | Self::ForeignIndex { .. }
            | Self::RecogniseAttestationKey { .. } => Failure::Failed,
        }
    }

    /// Whether the TPM refused to use a key in the state that it is in, as opposed to a key it
    /// does not take or a TPM that does not work.
    #[must_use]
    pub fn is_withheld(&self) -> bool {
        match self {
            Self::Run { command, code } => code.is_policy_refusal(command),
            _ => false,
        }
    }

    /// Whether the TPM has no session left: others hold them all.
    #[must_use]
    pub fn is_out_of_sessions(&self) -> bool {
        match self {
            Self::Run { code, .. } => code.is_out_of_sessions(),
            _ => false,
        }
    }

    /// The code that the TPM answered with, if it answered.
    #[must_use]
    pub fn response_code(&self) -> Option<ResponseCode> {
        match self {
            Self::Run { code, .. } | Self::Busy { code, .. } => Some(*code),
            Self::Timeout { .. }
            | Self::Reach { .. }
            | Self::Stack { .. }
            | Self::Decode { .. }
            | Self::Encode { .. }
            | Self::ReadPcr { .. }
            | Self::ReadPcrsAtOnce { .. }
            | Self::Load { .. }
            | Self::ForeignIndex { .. }
            | Self::RecogniseAttestationKey { .. } => None,
        }
    }
}
