//! The instant by which an answer must be there.

use std::time::{Duration, Instant};

/// A point in time on the monotonic clock, and how long the wait was meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    at: Instant,
    patience: Duration,
}

// === impl Deadline ===

impl Deadline {
    /// A deadline `patience` from now.
    #[must_use]
    pub fn within(patience: Duration) -> Self {
        Self {
            at: Instant::now() + patience,
            patience,
        }
    }

    /// The time that is left; `None` once the deadline has passed.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.at
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
    }

    /// How long the wait was meant to be, in milliseconds.
    #[must_use]
    pub fn patience_ms(&self) -> u64 {
        u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_of_nothing_has_passed() {
        assert_eq!(Deadline::within(Duration::ZERO).remaining(), None);
        assert!(
            Deadline::within(Duration::from_secs(60))
                .remaining()
                .is_some()
        );
    }
}
