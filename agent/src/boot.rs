//! The boot the kernel is in, and the time it is.

use std::io::{self, ErrorKind};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use portcullis_attestation::boot_id::BootId;
use portcullis_ledger::link::Stamp;

/// Drawn by the kernel at every boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The kernel's boot id, read at the first call.
///
/// It stays the same as long as this kernel runs, and so longer than this process. The first call
/// comes before the agent gives up the right to open the file: a rule for it would not last,
/// because the kernel makes a new inode for it when memory was short.
///
/// # Errors
///
/// If the file cannot be read or does not hold a UUID.
pub(crate) fn id() -> io::Result<BootId> {
    static READ: OnceLock<BootId> = OnceLock::new();
    if let Some(id) = READ.get() {
        return Ok(id.clone());
    }
    let text = std::fs::read_to_string(BOOT_ID)?;
    let id = BootId::parse(&text).ok_or_else(|| io::Error::from(ErrorKind::InvalidData))?;
    Ok(READ.get_or_init(|| id).clone())
}

/// Seconds since 1970-01-01T00:00:00Z; zero on a clock before that.
pub(crate) fn unix_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Milliseconds since the kernel booted, time asleep included; `None` on a kernel without that
/// clock.
pub(crate) fn boottime_ms() -> Option<u64> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    let seconds = u64::try_from(now.tv_sec()).ok()?;
    let nanoseconds = u64::try_from(now.tv_nsec()).ok()?;
    seconds
        .checked_mul(1000)?
        .checked_add(nanoseconds / 1_000_000)
}

/// Now, as a line of the ledger says it: the wall clock, which can be set, and the time since this
/// boot, which cannot.
pub(crate) fn stamp() -> Stamp {
    let seconds = i64::try_from(unix_s()).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let boot = id().ok().zip(boottime_ms());
    Stamp {
        at: at.to_string(),
        boot: boot.map(|(id, boottime_ms)| (id.as_str().to_owned(), boottime_ms)),
    }
}
