//! Name patterns of namespaces: `*` stands for any text, `?` for one character.

use std::fmt;

/// Longest pattern, in bytes: namespaces have at most 76.
const LIMIT_BYTES: usize = 128;

/// A pattern such as `payments-*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

// === impl Pattern ===

impl Pattern {
    /// Reads a pattern of letters, digits, `-`, `_`, `.`, `*` and `?`; `None` if it is empty, too
    /// long or holds anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.*?".contains(&byte);
        let fits = (1..=LIMIT_BYTES).contains(&text.len()) && text.bytes().all(is_known);
        fits.then(|| Self(text.to_owned()))
    }

    /// Whether the whole of `name` is covered.
    pub fn matches(&self, name: &str) -> bool {
        let (mut pattern, mut name) = (self.0.as_bytes(), name.as_bytes());
        // Where to go on if the last `*` has to cover one byte more.
        let mut retry: Option<(&[u8], &[u8])> = None;
        loop {
            match (pattern.split_first(), name.split_first()) {
                (None, None) => return true,
                (Some((b'*', rest)), _) => {
                    pattern = rest;
                    retry = Some((rest, name));
                }
                (Some((wanted, pattern_rest)), Some((found, name_rest)))
                    if wanted == found || *wanted == b'?' =>
                {
                    pattern = pattern_rest;
                    name = name_rest;
                }
                _ => {
                    let Some((after, covered)) = retry else {
                        return false;
                    };
                    let Some((_, rest)) = covered.split_first() else {
                        return false;
                    };
                    retry = Some((after, rest));
                    pattern = after;
                    name = rest;
                }
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn stars_and_question_marks_cover_what_they_should() {
        for (pattern, name, expected) in [
            ("payments", "payments", true),
            ("payments", "payments-eu", false),
            ("payments-*", "payments-eu", true),
            ("payments-*", "payments-", true),
            ("payments-*", "payments", false),
            ("payments-*", "my-payments-eu", false),
            ("*", "", true),
            ("*", "anything", true),
            ("*-prod", "a-b-prod", true),
            ("*-prod", "a-prod-b", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("team-?", "team-a", true),
            ("team-?", "team-", false),
            ("team-?", "team-ab", false),
            ("**a", "bca", true),
        ] {
            let parsed = Pattern::parse(pattern).expect(pattern);
            assert_eq!(parsed.matches(name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn other_characters_and_lengths_are_refused() {
        for text in ["", "a b", "a/b", "[a]", "größe", "a\n"] {
            assert_eq!(Pattern::parse(text), None, "{text:?}");
        }
        assert!(Pattern::parse(&"a".repeat(128)).is_some());
        assert!(Pattern::parse(&"a".repeat(129)).is_none());
    }
}
