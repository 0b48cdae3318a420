//! The identity of this boot.

use std::fs::File;
use std::io::Read;

use crate::error::HostError;

/// The kernel makes a new one at each start and never changes it.
const BOOT_ID_PATH: &str = "/proc/sys/kernel/random/boot_id";
/// A UUID in text and a newline; one more byte shows that there is more.
const BOOT_ID_LIMIT_BYTES: u64 = 64;

/// The boot id of the running kernel: 36 characters, a UUID in lower case.
///
/// # Errors
///
/// [`HostError::Open`] or [`HostError::Read`] if `/proc` cannot be read,
/// [`HostError::Untrusted`] if it does not hold a UUID.
pub fn boot_id() -> Result<String, HostError> {
    let open = |cause| HostError::Open {
        path: BOOT_ID_PATH.into(),
        cause,
    };
    let read = |cause| HostError::Read {
        path: BOOT_ID_PATH.into(),
        cause,
    };
    let mut text = String::new();
    let file = File::open(BOOT_ID_PATH).map_err(open)?;
    file.take(BOOT_ID_LIMIT_BYTES)
        .read_to_string(&mut text)
        .map_err(read)?;
    let id = text.trim_end();
    if !is_uuid(id) {
        return Err(HostError::Untrusted {
            path: BOOT_ID_PATH.into(),
            expected: "a UUID in lower case",
            found: format!("{} characters", id.len()),
        });
    }
    Ok(id.to_owned())
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_id_is_a_uuid_and_stays_the_same() {
        let first = boot_id().unwrap();
        assert_eq!(first.len(), 36);
        assert_eq!(first, boot_id().unwrap());
    }

    #[test]
    fn a_uuid_has_its_hyphens_in_place() {
        assert!(is_uuid("0f5e1c9a-7d30-4b7e-9a4c-0123456789ab"));
        assert!(!is_uuid("0f5e1c9a-7d30-4b7e-9a4c-0123456789a"));
        assert!(!is_uuid("0f5e1c9a-7d30-4b7e-9a4c-0123456789aB"));
        assert!(!is_uuid("0f5e1c9a07d30-4b7e-9a4c-0123456789ab"));
    }
}
