//! The data of an event, as far as its own digest proves it.

use super::{Event, Variable, variable};
use crate::hashing;
use crate::hex;
use crate::pcr::HashAlg;

/// What grub writes before the text that it measures. The label itself is not measured.
const LABELS: [&str; 2] = ["grub_cmd: ", "kernel_cmdline: "];

/// Bytes that hash to the digest of their event, so that a replay proves them too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked<'a> {
    covered: &'a [u8],
}

// === impl Event ===

impl<'a> Event<'a> {
    /// The part of the data that the digest of `bank` covers; `None` if no part is known to be.
    ///
    /// Which part that is differs by who measured: all of it (variables, separators, actions,
    /// partition tables, version), a boot variable's value without its name, or the text after a
    /// label of grub without its NUL. It is found by hashing and never by the event's type, which
    /// nothing covers. Hashes of files and images stand beside names that nothing covers.
    #[must_use]
    pub fn checked(&self, bank: HashAlg) -> Option<Checked<'a>> {
        let digest = self.digest(bank)?;
        let parts = [
            Some(self.data),
            Variable::parse(self.data).map(|variable| variable.value),
            labelled(self.data),
        ];
        let covered = parts.into_iter().flatten().find(|part| {
            hashing::digest(bank, &[part]).is_some_and(|computed| computed == digest)
        })?;
        Some(Checked { covered })
    }

    /// What the data says, for people, whether or not it is proven: see [`Event::checked`].
    /// One line without control characters; `None` if it is not text.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        if let Some(variable) = Variable::parse(self.data) {
            return Some(variable.describe());
        }
        text(self.data)
    }
}

fn labelled(data: &[u8]) -> Option<&[u8]> {
    let text = LABELS
        .iter()
        .find_map(|label| data.strip_prefix(label.as_bytes()))?;
    Some(text.strip_suffix(b"\0").unwrap_or(text))
}

// === impl Checked ===

impl<'a> Checked<'a> {
    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.covered
    }

    /// What they are, for people: one line without control characters.
    #[must_use]
    pub fn describe(&self) -> String {
        match self.covered {
            [0, 0, 0, 0] | [0xff, 0xff, 0xff, 0xff] => {
                return format!("separator {}", hex::encode(self.covered));
            }
            [1, 0, 0, 0] => return "separator 01000000 (firmware error)".to_owned(),
            _ => {}
        }
        if let Some(variable) = Variable::parse(self.covered) {
            return variable.describe();
        }
        if let Some(text) = text(self.covered) {
            return text;
        }
        if self.covered.starts_with(b"EFI PART") {
            return "GUID partition table".to_owned();
        }
        match self.covered.len() {
            length @ 0..=8 => format!("{length} bytes {}", hex::encode(self.covered)),
            length => format!("{length} bytes"),
        }
    }
}

/// Printable text in UTF-8 or UTF-16, without a NUL at its end.
fn text(bytes: &[u8]) -> Option<String> {
    let trimmed = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    match str::from_utf8(trimmed) {
        Ok(text) if !text.is_empty() && text.chars().all(is_printable) => Some(text.to_owned()),
        _ => variable::utf16(bytes),
    }
}

/// Nothing that moves a cursor, turns the direction of writing, or cannot be seen.
fn is_printable(one: char) -> bool {
    matches!(one, ' '..='~') || one.escape_debug().eq([one])
}
