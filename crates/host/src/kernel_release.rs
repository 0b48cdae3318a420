//! Which kernel runs.

use std::path::Path;

use crate::error::HostError;

/// What `uname -r` prints.
///
/// # Errors
///
/// [`HostError::Read`].
pub fn kernel_release() -> Result<String, HostError> {
    let path = Path::new("/proc/sys/kernel/osrelease");
    let text = std::fs::read_to_string(path).map_err(|cause| HostError::Read {
        path: path.into(),
        cause,
    })?;
    Ok(text.trim_end().to_owned())
}
