//! The boot fuse: the TPM remembers the verdict that was issued last, until it is restarted.

use portcullis_tpm::{Deadline, Failure, Tpm, TpmError};
use sha2::{Digest as _, Sha256};

use crate::attester::PATIENCE;
use crate::log;

/// What is known about the fuse of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum BootFuse {
    /// No verdict was issued since the agent started.
    #[default]
    Unknown,
    /// It was made to hold this hash of the last verdict.
    Set([u8; 32]),
    /// It is there and does not; launches are refused.
    Unset(String),
    /// The TPM has none; launches go without, unless the node's policy asks for one.
    Absent(String),
}

// === impl BootFuse ===

impl BootFuse {
    /// Writes the hash of `token` into the fuse, which is made if the TPM has room.
    pub(crate) fn set(tpm: &mut Tpm, token: &str) -> Self {
        let deadline = Deadline::within(PATIENCE);
        let hash = hash(token);
        let outcome = match tpm.define_boot_fuse(&deadline) {
            Ok(()) => tpm.set_boot_fuse(&hash, &deadline).map_err(Self::unset),
            // The TPM's word that there is none, not a TPM that is away.
            Err(error) if error.failure() == Failure::Failed => {
                Err(Self::Absent(log::chain(&error)))
            }
            Err(error) => Err(Self::unset(error)),
        };
        match outcome {
            Ok(()) => Self::Set(hash),
            Err(defect) => defect,
        }
    }

    /// Whether this run of the agent has set it for `token`. It may have been blown since then.
    pub(crate) fn was_set_for(&self, token: &str) -> bool {
        *self == Self::Set(hash(token))
    }

    #[expect(clippy::needless_pass_by_value, reason = "maps an error")]
    fn unset(error: TpmError) -> Self {
        Self::Unset(log::chain(&error))
    }

    /// Logs a change for the worse.
    pub(crate) fn report(&self, before: &Self) {
        match self {
            Self::Unset(cause) | Self::Absent(cause) if self != before => {
                log::warn("no boot fuse", &[("cause", cause)]);
            }
            _ => {}
        }
    }

    /// For the status.
    pub(crate) fn summary(&self) -> Option<String> {
        match self {
            Self::Unknown => None,
            Self::Set(_) => Some("set".to_owned()),
            Self::Unset(cause) => Some(format!("not set: {cause}")),
            Self::Absent(cause) => Some(format!("none: {cause}")),
        }
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
