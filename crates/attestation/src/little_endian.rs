//! Bounded reading of records that firmware and kernel wrote: little-endian, sizes before contents.
#![warn(clippy::arithmetic_side_effects)]

/// Bytes that are read from the first to the last, and how far that has come.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    offset: usize,
}

/// The bytes end inside a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooShort {
    /// Where the field begins.
    pub(crate) offset: usize,
    /// Its name.
    pub(crate) field: &'static str,
}

// === impl Cursor ===

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            offset: 0,
        }
    }

    /// Where the next field begins.
    pub(crate) const fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn bytes(
        &mut self,
        field: &'static str,
        length: usize,
    ) -> Result<&'a [u8], TooShort> {
        let offset = self.offset;
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(TooShort { offset, field })?;
        self.rest = rest;
        self.offset = offset.saturating_add(length);
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], TooShort> {
        let offset = self.offset;
        let array = self.bytes(field, N)?.first_chunk().copied();
        array.ok_or(TooShort { offset, field })
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, TooShort> {
        self.array(field).map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, TooShort> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, TooShort> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// Four bytes of size, then as many bytes. A size beyond the end is never allocated for.
    pub(crate) fn sized(&mut self, field: &'static str) -> Result<&'a [u8], TooShort> {
        let offset = self.offset;
        let length = self.u32(field)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.bytes(field, length)
            .map_err(|_too_short| TooShort { offset, field })
    }
}
