//! The moment of a decision: read from the kernel, not believed from the agent.

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use portcullis_attestation::boot_id::BootId;
use portcullis_gate::{FirstSeen, Moment};

use crate::boot_id;
use crate::error::HostError;
use crate::seen;

/// What the clocks show.
pub type Clocks = FirstSeen;

/// The wall clock and the one that nobody can set. A wall clock before 1970 reads as 0, at which
/// every verdict is premature.
///
/// # Errors
///
/// [`HostError::Clock`].
pub fn clocks() -> Result<Clocks, HostError> {
    let since = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map_err(|errno| HostError::Clock(io::Error::from(errno)))?;
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    let boottime_ms = part(since.tv_sec())
        .saturating_mul(1000)
        .saturating_add(part(since.tv_nsec()) / 1_000_000);
    let unix_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    Ok(Clocks {
        unix_s,
        boottime_ms,
    })
}

/// Now, the boot this is, and what relying parties have seen in it, as kept in `directory`. Whoever decides with it keeps
/// what it has seen then: [`crate::remember`].
///
/// # Errors
///
/// [`HostError`]: nothing can be decided.
pub fn moment(directory: &Path) -> Result<Moment, HostError> {
    let text = boot_id()?;
    let boot_id = BootId::parse(&text).ok_or_else(|| HostError::Untrusted {
        path: "/proc/sys/kernel/random/boot_id".into(),
        expected: "a UUID in lower case",
        found: text,
    })?;
    let seen = seen::read(directory, &boot_id)?;
    let Clocks {
        unix_s,
        boottime_ms,
    } = clocks()?;
    Ok(Moment {
        unix_s,
        boot_id,
        boottime_ms,
        seen,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_nobody_can_set_goes_on() {
        let first = clocks().unwrap();
        assert!(first.boottime_ms > 0 && first.unix_s > 0);
        while clocks().unwrap().boottime_ms <= first.boottime_ms {
            std::thread::yield_now();
        }
    }
}
