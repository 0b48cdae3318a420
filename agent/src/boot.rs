//! The boot the kernel is in, and the time it is.

use std::io::{self, ErrorKind};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_attestation::boot_id::BootId;

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
