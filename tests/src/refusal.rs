//! Reading the one line of a refusal out of what a client prints.

use std::fmt;

use crate::failure::{Failure, Outcome};

/// Longest line, in bytes.
const MAX_BYTES: usize = 256;
/// How every line begins.
const PREFIX: &str = "portcullis: ";

/// A refusal as it reached the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `refused`, `undecided` or `fault`.
    pub kind: String,
    /// The code between the brackets.
    pub code: String,
    /// Key of the record in the ledger.
    pub reference: String,
    /// The whole line.
    pub line: String,
    /// What the client printed after it on that line: containerd's word for the status code.
    pub status: String,
}

// === impl Refusal ===

impl Refusal {
    /// Finds the line in `text`, which other programs put their own words around.
    ///
    /// Sample: `ctr: portcullis: refused [pcr-drift] node 'w7' PCR 7 (sha256): expected 3f2a,
    /// found 9c01; re-attest; ref=8d21c0aa: failed precondition: unknown`, on one line.
    ///
    /// # Errors
    ///
    /// When there is none, more than one, or it breaks the rules of the line.
    pub fn find(text: &str) -> Outcome<Self> {
        let wrong = |what: &str| Failure::new(format!("{what} in: {}", text.trim()));
        let start = text.find(PREFIX).ok_or_else(|| wrong("no refusal"))?;
        let rest = &text[start..];
        let end = rest
            .find("; ref=")
            .ok_or_else(|| wrong("a refusal without reference"))?;
        let end = end + "; ref=".len() + 8;
        let line = rest.get(..end).ok_or_else(|| wrong("a cut reference"))?;
        let reference = &line[end - 8..];
        if !reference
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(wrong("a reference that is not eight hex digits"));
        }
        if line.len() > MAX_BYTES {
            return Err(wrong(&format!("a refusal of {} bytes", line.len())));
        }
        if line.chars().any(char::is_control) {
            return Err(wrong("a control character in a refusal"));
        }
        if rest[PREFIX.len()..].contains(PREFIX) {
            return Err(wrong("two refusals"));
        }
        let words = &line[PREFIX.len()..];
        let parts = words.split_once(" [").and_then(|(kind, rest)| {
            let (code, _) = rest.split_once(']')?;
            Some((kind, code))
        });
        let (kind, code) = parts.ok_or_else(|| wrong("a refusal without code"))?;
        Ok(Self {
            kind: kind.to_owned(),
            code: code.to_owned(),
            reference: reference.to_owned(),
            line: line.to_owned(),
            status: rest[end..]
                .lines()
                .next()
                .unwrap_or_default()
                .trim_matches([':', ' '])
                .to_owned(),
        })
    }

    /// Kind and code, as the line begins: `refused [pcr-drift]`.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{} [{}]", self.kind, self.code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;

    const LINE: &str = "portcullis: refused [pcr-drift] node 'w7' PCR 7 (sha256): expected 3f2a, \
                        found 9c01; run 'portcullis attest'; ref=8d21c0aa";

    #[test]
    fn finds_the_line_among_the_words_of_others() {
        let text = format!("ctr: {LINE}: failed precondition\n");
        let refusal = Refusal::find(&text).unwrap();
        assert_eq!(refusal.status, "failed precondition");
        assert_eq!(refusal.line, LINE);
        assert_eq!(refusal.short(), "refused [pcr-drift]");
        assert_eq!(refusal.reference, "8d21c0aa");
    }

    #[test]
    fn refuses_what_is_not_one_clean_line() {
        for (text, reason) in [
            ("ctr: boom".to_owned(), "no refusal"),
            (format!("{LINE} {LINE}"), "two refusals"),
            (LINE.replace("found", "\n"), "a control character"),
            (LINE.replace("w7", &"x".repeat(256)), "a refusal of"),
            (LINE.replace("8d21c0aa", "8d21c0"), "a cut reference"),
            (LINE.replace("8d21c0aa", "8d21c0ag"), "a reference that"),
            (
                LINE.replace("[pcr-drift]", "pcr-drift"),
                "a refusal without code",
            ),
        ] {
            let failure = Refusal::find(&text).unwrap_err().to_string();
            assert!(failure.starts_with(reason), "{failure}");
        }
    }
}
