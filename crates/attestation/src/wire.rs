//! Bounded reading of the TPM's own structures: big-endian, sizes before contents.
#![warn(clippy::arithmetic_side_effects)]

/// A structure of the TPM that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StructureError {
    /// The bytes end inside a field.
    #[error("cannot read {field} of {structure}: the bytes end too early")]
    Truncated {
        /// The TPM's name of the structure.
        structure: &'static str,
        /// The TPM's name of the field.
        field: &'static str,
    },
    /// Bytes follow the structure.
    #[error("cannot accept {found_bytes} bytes after {structure}")]
    Trailing {
        /// The TPM's name of the structure.
        structure: &'static str,
        /// How many bytes follow.
        found_bytes: usize,
    },
    /// A field is not what it must be.
    #[error("cannot accept {field} of {structure}: expected {expected}, found {found}")]
    Unexpected {
        /// The TPM's name of the structure.
        structure: &'static str,
        /// The TPM's name of the field.
        field: &'static str,
        /// What it has to be.
        expected: &'static str,
        /// What it is, as a number.
        found: String,
    },
}

/// Reads one structure from its first byte to its last.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    structure: &'static str,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(crate) const fn new(structure: &'static str, bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            structure,
        }
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], StructureError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(self.truncated(field))?;
        self.rest = rest;
        Ok(*array)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, StructureError> {
        self.array(field).map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, StructureError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, StructureError> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, StructureError> {
        self.array(field).map(u64::from_be_bytes)
    }

    pub(crate) fn bytes(
        &mut self,
        field: &'static str,
        length: usize,
    ) -> Result<&'a [u8], StructureError> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(self.truncated(field))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A `TPM2B`: two bytes of size, then as many bytes, at most `limit`.
    pub(crate) fn sized(
        &mut self,
        field: &'static str,
        limit: usize,
    ) -> Result<&'a [u8], StructureError> {
        let length = usize::from(self.u16(field)?);
        if length > limit {
            return Err(self.unexpected(field, "a smaller size", format!("{length} bytes")));
        }
        self.bytes(field, length)
    }

    /// Reads a field of 16 bits that may have one value only.
    pub(crate) fn constant(
        &mut self,
        field: &'static str,
        value: u16,
        expected: &'static str,
    ) -> Result<(), StructureError> {
        match self.u16(field)? {
            found if found == value => Ok(()),
            found => Err(self.unexpected(field, expected, format!("{found:#06x}"))),
        }
    }

    /// Asserts that nothing follows.
    pub(crate) fn end(self) -> Result<(), StructureError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(StructureError::Trailing {
            structure: self.structure,
            found_bytes: self.rest.len(),
        })
    }

    pub(crate) const fn unexpected(
        &self,
        field: &'static str,
        expected: &'static str,
        found: String,
    ) -> StructureError {
        StructureError::Unexpected {
            structure: self.structure,
            field,
            expected,
            found,
        }
    }

    const fn truncated(&self, field: &'static str) -> StructureError {
        StructureError::Truncated {
            structure: self.structure,
            field,
        }
    }
}

/// A number of up to 32 bytes with zeros in front, since some TPMs leave leading zeros out.
pub(crate) fn padded(number: &[u8]) -> Option<[u8; 32]> {
    let mut padded = [0; 32];
    let start = padded.len().checked_sub(number.len())?;
    padded.get_mut(start..)?.copy_from_slice(number);
    Some(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_in_order_to_the_end() {
        let mut reader = Reader::new("TPMT_TEST", &[1, 0, 2, 0, 2, 8, 9]);
        assert_eq!(reader.u8("a"), Ok(1));
        assert_eq!(reader.u16("b"), Ok(2));
        assert_eq!(reader.sized("c", 2), Ok(&[8, 9][..]));
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn names_structure_and_field_of_what_is_wrong() {
        let refusal =
            |result: Result<&[u8], StructureError>| result.expect_err("wrong").to_string();
        assert_eq!(
            refusal(Reader::new("TPMT_TEST", &[0, 2, 8]).sized("buffer", 2)),
            "cannot read buffer of TPMT_TEST: the bytes end too early"
        );
        assert_eq!(
            refusal(Reader::new("TPMT_TEST", &[0, 3, 8, 8, 8]).sized("buffer", 2)),
            "cannot accept buffer of TPMT_TEST: expected a smaller size, found 3 bytes"
        );
        assert_eq!(
            Reader::new("TPMT_TEST", &[7])
                .end()
                .expect_err("wrong")
                .to_string(),
            "cannot accept 1 bytes after TPMT_TEST"
        );
    }

    #[test]
    fn a_short_number_is_padded_in_front_and_a_long_one_refused() {
        assert_eq!(padded(&[5]).map(|number| number[31]), Some(5));
        assert_eq!(padded(&[]), Some([0; 32]));
        assert_eq!(padded(&[0; 33]), None);
    }
}
