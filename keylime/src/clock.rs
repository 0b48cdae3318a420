//! The time, as verdicts need it.

use std::time::{SystemTime, UNIX_EPOCH};

/// One moment since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// In seconds.
    pub(crate) s: u64,
    /// In milliseconds.
    pub(crate) ms: u64,
}

/// Now. Before 1970 it is 1970, when no verdict is valid.
pub(crate) fn now() -> Now {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        s: since.as_secs(),
        ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
    }
}
