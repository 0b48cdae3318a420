//! The kernel's identifier of one boot.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::base64url;

/// Length of a UUID in its text form.
const LENGTH: usize = 36;

/// `/proc/sys/kernel/random/boot_id`: a UUID the kernel draws anew at every boot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BootId(String);

// === impl BootId ===

impl BootId {
    /// Reads the UUID, lower case, with or without the file's line end.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let well_formed = text.len() == LENGTH
            && text
                .bytes()
                .enumerate()
                .all(|(position, byte)| match position {
                    8 | 13 | 18 | 23 => byte == b'-',
                    _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
                });
        well_formed.then(|| Self(text.to_owned()))
    }

    /// The 36 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The claim `bootseed`: base64url of SHA-256 over the 36 characters.
    ///
    /// # Source
    ///
    /// RFC 9711, "bootseed". The hash keeps the identifier itself, by which programs on the host
    /// recognise the boot, out of tokens that leave it.
    #[must_use]
    pub fn seed(&self) -> String {
        base64url::encode(&Sha256::digest(self.0.as_bytes()))
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "9b0b3ffa-6b1c-4f3e-9d52-0d1f2a3b4c5d";

    #[test]
    fn the_line_end_of_the_file_does_not_count() {
        assert_eq!(BootId::parse(TEXT), BootId::parse(&format!("{TEXT}\n")));
    }

    #[test]
    fn refuses_every_other_spelling() {
        for text in [
            "",
            &TEXT.to_uppercase(),
            &TEXT.replace('-', ""),
            &format!(" {TEXT}"),
            &format!("{TEXT}\n\n"),
            &TEXT.replace("9b0b3ffa-", "9b0b3ff-a"),
        ] {
            assert_eq!(BootId::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_seed_is_the_hash_of_the_text() {
        // printf %s 9b0b3ffa-… | openssl dgst -sha256 -binary | basenc --base64url
        let boot_id = BootId::parse(TEXT).expect("a boot id");
        assert_eq!(
            boot_id.seed(),
            "HguuCChmeHUZ_X6PHfhMDtJ0uGfA351bVHXTUFF0dKM"
        );
    }
}
