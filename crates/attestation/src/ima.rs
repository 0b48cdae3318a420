//! The kernel's IMA list: which files were run or read since the boot, and what was in them.
//!
//! The kernel shows it as `binary_runtime_measurements` and extends PCR 10 with the hash of each
//! entry's template data, so unlike the firmware's log the list proves all that it says, once it
//! replays. It grows for as long as the host runs: a list that was read after a quote *begins*
//! with what was quoted, and what comes later is not proven.
//!
//! # Source
//!
//! Linux, `security/integrity/ima/ima_fs.c` and `ima_template_lib.c`; numbers are little-endian on
//! the machines that Portcullis runs on.
#![warn(clippy::arithmetic_side_effects)]

mod template;

pub use template::MeasuredFile;

use crate::hashing;
use crate::little_endian::{Cursor, TooShort};
use crate::pcr::HashAlg;

/// Largest list that is read, in bytes. One of `ima_policy=tcb` has about 130 bytes an entry.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;
/// The register that IMA extends.
pub const PCR: u8 = 10;
/// Bytes of a template's name. The longest of the kernel's own has 9.
const NAME_BYTES: usize = 64;
/// Size of the SHA-1 digest in each entry, in bytes.
const DIGEST_BYTES: usize = 20;

/// A list that was taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImaList<'a> {
    entries: Vec<ImaEntry<'a>>,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImaEntry<'a> {
    /// Place in the list, from 1 on.
    pub number: usize,
    /// Whether the file was changed while it was measured, or measured while it was changed.
    pub is_violation: bool,
    /// What was measured; `None` if the template is not known here.
    pub file: Option<MeasuredFile<'a>>,
    /// What is hashed, piece by piece.
    hashed: [&'a [u8]; 3],
}

/// A list that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImaListError {
    /// The list is too large.
    #[error("cannot read IMA list of {size_bytes} bytes, more than {MAX_BYTES}")]
    Size {
        /// Its size in bytes.
        size_bytes: usize,
    },
    /// An entry ends after the list.
    #[error("cannot read entry {number} of IMA list: {field} at byte {offset} ends after the list")]
    Truncated {
        /// The entry.
        number: usize,
        /// The kernel's name of the field.
        field: &'static str,
        /// Where the field begins in the list.
        offset: usize,
    },
    /// A field is not what it must be.
    #[error("cannot read entry {number} of IMA list: {field} at byte {offset} is not {expected}")]
    Unexpected {
        /// The entry.
        number: usize,
        /// The kernel's name of the field.
        field: &'static str,
        /// Where the field begins in the list.
        offset: usize,
        /// What it has to be.
        expected: &'static str,
    },
}

// === impl ImaList ===

impl<'a> ImaList<'a> {
    /// Takes a list apart.
    ///
    /// # Errors
    ///
    /// [`ImaListError`], which names entry and byte. An empty list is one without entries.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImaListError> {
        if bytes.len() > MAX_BYTES {
            return Err(ImaListError::Size {
                size_bytes: bytes.len(),
            });
        }
        let mut cursor = Cursor::new(bytes);
        let mut entries = Vec::new();
        while !cursor.is_at_end() {
            let number = entries.len().saturating_add(1);
            entries.push(ImaEntry::read(&mut cursor, number)?);
        }
        Ok(Self { entries })
    }

    /// The entries in their order.
    #[must_use]
    pub fn entries(&self) -> &[ImaEntry<'a>] {
        &self.entries
    }

    /// The entries that a quote proves: those after which PCR 10 of `bank` has the value `quoted`.
    /// `None` if it never has.
    #[must_use]
    pub fn proven(&self, bank: HashAlg, quoted: &[u8]) -> Option<&[ImaEntry<'a>]> {
        let mut value = vec![0; bank.digest_bytes()];
        if value == quoted {
            return Some(&[]);
        }
        for (index, entry) in self.entries.iter().enumerate() {
            let digest = entry.digest(bank)?;
            value = hashing::digest(bank, &[&value, &digest])?;
            if value == quoted {
                return self.entries.get(..=index);
            }
        }
        None
    }
}

// === impl ImaEntry ===

impl<'a> ImaEntry<'a> {
    fn read(cursor: &mut Cursor<'a>, number: usize) -> Result<Self, ImaListError> {
        let short = |TooShort { offset, field }| ImaListError::Truncated {
            number,
            field,
            offset,
        };
        let unexpected = |field, offset, expected| ImaListError::Unexpected {
            number,
            field,
            offset,
            expected,
        };
        let offset = cursor.offset();
        if cursor.u32("pcr").map_err(short)? != u32::from(PCR) {
            return Err(unexpected("pcr", offset, "10"));
        }
        let digest: [u8; DIGEST_BYTES] = cursor.array("template digest").map_err(short)?;
        let offset = cursor.offset();
        let name = cursor.sized("template name").map_err(short)?;
        if name.is_empty() || name.len() > NAME_BYTES {
            return Err(unexpected("template name", offset, "1 to 64 bytes"));
        }
        let offset = cursor.offset();
        let (file, hashed) = if name == template::OLDEST {
            let file = template::oldest(cursor).map_err(short)?;
            let padded = template::padding(file.path)
                .ok_or_else(|| unexpected("file name", offset, "at most 255 bytes"))?;
            (Some(file), [file.digest, file.path, padded])
        } else {
            let data = cursor.sized("template data").map_err(short)?;
            (template::file(name, data), [data, &[], &[]])
        };
        Ok(Self {
            number,
            is_violation: digest == [0; DIGEST_BYTES],
            file,
            hashed,
        })
    }

    /// What the kernel extended PCR 10 of `bank` with; all ones for a violation.
    #[must_use]
    pub fn digest(&self, bank: HashAlg) -> Option<Vec<u8>> {
        if self.is_violation {
            return Some(vec![0xff; bank.digest_bytes()]);
        }
        hashing::digest(bank, &self.hashed)
    }
}

#[cfg(test)]
mod tests;
