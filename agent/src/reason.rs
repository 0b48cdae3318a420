//! Why an operator does something: words for people, which the journal, the ledger and refusals show.

/// Whether `text` is one line of 1 to `limit_bytes` bytes that says something.
pub(crate) fn is_reason(text: &str, limit_bytes: usize) -> bool {
    !text.trim().is_empty() && text.len() <= limit_bytes && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::is_reason;

    #[test]
    fn a_reason_is_one_line_that_says_something() {
        assert!(is_reason("CHG-118: drained", 16));
        for (text, limit) in [
            ("", 9),
            ("  ", 9),
            ("a\nb", 9),
            ("a\u{1b}[31m", 9),
            ("abc", 2),
        ] {
            assert!(!is_reason(text, limit), "{text:?}");
        }
    }
}
