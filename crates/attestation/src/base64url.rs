//! Base64url without padding, as JOSE writes it; one spelling for each value.

use base64ct::{Base64UrlUnpadded, Encoding};

/// Writes `bytes` in base64url without padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// Reads base64url; `None` if the text has padding, another alphabet, white space or loose bits.
///
/// Loose bits are those of the last character that carry no data: were they allowed, one token
/// could be spelled in several ways.
///
/// # Source
///
/// RFC 4648, "Canonical Encoding"; RFC 7515, "Terminology".
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(text).ok()
}

/// Reads base64url of exactly `N` bytes.
#[must_use]
pub fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_every_other_spelling_of_one_byte() {
        assert_eq!(decode("AA"), Some(vec![0]));
        for text in ["AB", "A", "AA=", "AA==", "A A", "AA\n", "+/", "AAA\u{e9}"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_array_has_its_exact_length() {
        assert_eq!(decode_array::<1>("AA"), Some([0]));
        assert_eq!(decode_array::<2>("AA"), None);
    }

    proptest! {
        #[test]
        fn each_value_has_one_spelling(text in "[A-Za-z0-9_-]{0,24}") {
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }

        #[test]
        fn what_was_written_reads_back(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
    }
}
