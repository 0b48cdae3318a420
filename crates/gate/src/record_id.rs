//! The reference under which a decision is found again.

/// Four random bytes, drawn by the caller; printed as eight hex digits after `ref=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub [u8; 4]);

impl RecordId {
    /// Reads the eight lower-case hex digits that `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let canonical = text.len() == 8
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !canonical {
            return None;
        }
        u32::from_str_radix(text, 16)
            .ok()
            .map(|number| Self(number.to_be_bytes()))
    }
}

impl std::fmt::Display for RecordId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:08x}", u32::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::RecordId;

    #[test]
    fn an_id_has_eight_digits_and_reads_back() {
        for bytes in [[0, 0, 0, 0], [0, 0x1c, 0xff, 0xee], [0xff; 4]] {
            let id = RecordId(bytes);
            assert_eq!(id.to_string().len(), 8);
            assert_eq!(RecordId::parse(&id.to_string()), Some(id));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "8d21c0a",
            "8d21c0aa0",
            "8D21C0AA",
            "+d21c0aa",
            " 8d21c0a",
            "8d21c0ag",
        ] {
            assert_eq!(RecordId::parse(text), None, "{text}");
        }
    }
}
