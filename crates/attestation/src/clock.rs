//! The TPM's clock block, which stands in every quote and reveals a reboot.

/// Time and boot counters of a TPM.
///
/// # Source
///
/// TPM 2.0 Library, part 2, "TPMS_CLOCK_INFO".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockInfo {
    /// Milliseconds the TPM was powered, over its whole life.
    pub clock_ms: u64,
    /// Number of TPM Resets (reboots). Does not count a TPM Restart.
    pub reset_count: u32,
    /// Number of TPM Restarts and Resumes since the last reset; a reset sets it to zero.
    pub restart_count: u32,
    /// Whether `clock_ms` is known never to have run backwards. False after an unclean stop, so
    /// it is a reason for a warning and not for a refusal.
    pub safe: bool,
}

// === impl ClockInfo ===

impl ClockInfo {
    /// Whether both were read between the same two power events.
    ///
    /// Both counters are needed: a TPM Restart clears PCRs but leaves the reset count alone.
    #[must_use]
    pub const fn is_same_boot(&self, other: &Self) -> bool {
        self.reset_count == other.reset_count && self.restart_count == other.restart_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: ClockInfo = ClockInfo {
        clock_ms: 9,
        reset_count: 3,
        restart_count: 1,
        safe: true,
    };

    #[test]
    fn time_alone_does_not_end_a_boot() {
        assert!(CLOCK.is_same_boot(&ClockInfo {
            clock_ms: 10,
            safe: false,
            ..CLOCK
        }));
    }

    #[test]
    fn a_reset_or_a_restart_ends_a_boot() {
        assert!(!CLOCK.is_same_boot(&ClockInfo {
            reset_count: 4,
            ..CLOCK
        }));
        assert!(!CLOCK.is_same_boot(&ClockInfo {
            restart_count: 2,
            ..CLOCK
        }));
    }
}
