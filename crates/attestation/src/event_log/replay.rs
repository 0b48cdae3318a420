//! Replay: the values that PCRs have after the events of a log.

use super::EventLog;
use crate::hashing;
use crate::pcr::{HashAlg, PcrIndex, PcrValues};

/// Why a log cannot be replayed in a bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The log has no digests of the bank.
    #[error("cannot replay event log in bank {bank}: it has no digests of it")]
    Bank {
        /// The bank.
        bank: HashAlg,
    },
    /// The algorithm is not built in.
    #[error("cannot replay event log in bank {bank}: the algorithm is not supported here")]
    Algorithm {
        /// The bank.
        bank: HashAlg,
    },
}

// === impl EventLog ===

impl EventLog<'_> {
    /// The values of all PCRs into which something was measured, in `bank`.
    ///
    /// What the log does not mention has the value it had when the TPM started. The log is proven,
    /// for one PCR, if the value here is the one that was quoted.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] if the bank cannot be replayed.
    pub fn replay(&self, bank: HashAlg) -> Result<PcrValues, ReplayError> {
        if !self.banks().any(|known| known == bank) {
            return Err(ReplayError::Bank { bank });
        }
        let mut values = PcrValues::new(bank);
        for event in self.events.iter().filter(|event| event.is_extended()) {
            let index = u8::try_from(event.pcr).ok().and_then(PcrIndex::new);
            let (Some(pcr), Some(digest)) = (index, event.digest(bank)) else {
                return Err(ReplayError::Bank { bank });
            };
            let old = values
                .value(pcr)
                .map_or_else(|| self.initial(bank, pcr), <[u8]>::to_vec);
            let new =
                hashing::digest(bank, &[&old, digest]).ok_or(ReplayError::Algorithm { bank })?;
            // A digest of the bank is as long as its values.
            if values.insert(pcr, new).is_err() {
                return Err(ReplayError::Algorithm { bank });
            }
        }
        Ok(values)
    }

    /// The value of a PCR before its first event: zeros, in PCR 0 with the locality at the end.
    ///
    /// # Source
    ///
    /// TPM 2.0 Library, part 3, "TPM2_Startup".
    #[must_use]
    pub fn initial(&self, bank: HashAlg, pcr: PcrIndex) -> Vec<u8> {
        let mut value = vec![0; bank.digest_bytes()];
        if let Some(last) = value.last_mut().filter(|_| pcr.get() == 0) {
            *last = self.startup_locality;
        }
        value
    }
}
