//! The boot the kernel is in, and the time it is.

use std::io::{self, ErrorKind};
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_attestation::boot_id::BootId;

/// Drawn by the kernel at every boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Reads the kernel's boot id.
///
/// # Errors
///
/// If the file cannot be read or does not hold a UUID.
pub(crate) fn id() -> io::Result<BootId> {
    let text = std::fs::read_to_string(BOOT_ID)?;
    BootId::parse(&text).ok_or_else(|| io::Error::from(ErrorKind::InvalidData))
}

/// Seconds since 1970-01-01T00:00:00Z; zero on a clock before that.
pub(crate) fn unix_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
