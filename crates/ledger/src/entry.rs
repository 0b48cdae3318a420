//! One line of a ledger.

use portcullis_attestation::hex;
use portcullis_json::{JsonError, Limits};
use serde_json::{Map, Value};

use crate::link::{LINE_LIMIT_BYTES, Link, digest};

/// The agent takes records of at most 32 objects inside each other.
const LIMITS: Limits = Limits {
    max_bytes: LINE_LIMIT_BYTES,
    max_depth: 64,
};

/// A line that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its number.
    pub sequence: u64,
    /// SHA-256 of the line before, as this one says.
    pub before: [u8; 32],
    /// SHA-256 of this line.
    pub digest: [u8; 32],
    /// When it was written, RFC 3339 in UTC with whole seconds; such texts sort as the instants do.
    pub at: String,
    /// The kernel's boot id, and milliseconds since that boot; absent in lines of version 0.1.
    pub boot: Option<(String, u64)>,
    /// All of the line.
    pub record: Map<String, Value>,
}

/// Why a line is none of a ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// It is not strict JSON, or too long.
    #[error("cannot parse line")]
    Json(#[from] JsonError),
    /// It is not an object.
    #[error("cannot read line: expected an object")]
    Object,
    /// One of the ledger's own fields is missing or wrong.
    #[error("cannot read field '{field}': expected {expected}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
}

// === impl Entry ===

impl Entry {
    /// Reads a line, without its end.
    ///
    /// # Errors
    ///
    /// [`EntryError`]; also for what two readers would read differently, such as a key given twice.
    pub fn parse(line: &[u8]) -> Result<Self, EntryError> {
        let Value::Object(record) = portcullis_json::parse(line, LIMITS)? else {
            return Err(EntryError::Object);
        };
        let text = |field| record.get(field).and_then(Value::as_str);
        let wrong = |field, expected| EntryError::Field { field, expected };
        let sequence = record
            .get("seq")
            .and_then(Value::as_u64)
            .filter(|sequence| *sequence > 0)
            .ok_or(wrong("seq", "a whole number from 1 on"))?;
        let before = text("prev")
            .and_then(hex::decode_array)
            .ok_or(wrong("prev", "a SHA-256 in lower-case hexadecimal"))?;
        let at = text("at")
            .filter(|at| is_instant(at))
            .ok_or(wrong("at", "a time such as '2026-11-21T20:58:04Z'"))?;
        let boot = match (record.get("boot_id"), record.get("boottime_ms")) {
            (None, None) => None,
            (Some(id), Some(since)) => Some((
                id.as_str()
                    .ok_or(wrong("boot_id", "the kernel's boot id"))?
                    .to_owned(),
                since
                    .as_u64()
                    .ok_or(wrong("boottime_ms", "a whole number"))?,
            )),
            (Some(_), None) => return Err(wrong("boottime_ms", "one beside 'boot_id'")),
            (None, Some(_)) => return Err(wrong("boot_id", "one beside 'boottime_ms'")),
        };
        Ok(Self {
            sequence,
            before,
            digest: digest(line),
            at: at.to_owned(),
            boot,
            record,
        })
    }

    /// The place after this line.
    #[must_use]
    pub const fn link(&self) -> Link {
        Link {
            sequence: self.sequence,
            head: self.digest,
        }
    }

    /// Name of what happened, for lines that are the ledger's own and no decision.
    #[must_use]
    pub fn event(&self) -> Option<&str> {
        self.record.get("event").and_then(Value::as_str)
    }

    /// A text somewhere in the line, by names from the outside in.
    #[must_use]
    pub fn text(&self, names: &[&str]) -> Option<&str> {
        let (first, rest) = names.split_first()?;
        rest.iter()
            .try_fold(self.record.get(*first)?, |value, name| value.get(*name))?
            .as_str()
    }
}

/// Whether `text` is `YYYY-MM-DDThh:mm:ssZ`. Ranges of day and hour are not looked at: such texts
/// are only shown and compared.
fn is_instant(text: &str) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00Z";
    text.len() == SHAPE.len()
        && text.bytes().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            other => byte == *other,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PREV: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

    fn line(fields: &str) -> String {
        format!(r#"{{"seq":41,"prev":"{PREV}","at":"2026-11-21T20:58:04Z"{fields}}}"#)
    }

    #[test]
    fn reads_a_line() {
        let text = line(r#","boot_id":"b","boottime_ms":7,"container":{"id":"web"}"#);
        let entry = Entry::parse(text.as_bytes()).expect("a line");
        assert_eq!((entry.sequence, entry.before), (41, [0x5a; 32]));
        assert_eq!(entry.boot, Some(("b".to_owned(), 7)));
        assert_eq!(entry.digest, digest(text.as_bytes()));
        assert_eq!(entry.text(&["container", "id"]), Some("web"));
        assert_eq!(entry.text(&["container", "image"]), None);
        assert_eq!(entry.event(), None);
    }

    #[test]
    fn refuses_what_is_no_line() {
        for (text, complaint) in [
            ("".to_owned(), "parse"),
            ("[1]".to_owned(), "an object"),
            (line(",\"seq\":41"), "parse"),
            (line("").replace("41", "0"), "'seq'"),
            (line("").replace("41", "-1"), "'seq'"),
            (line("").replace("41", "\"41\""), "'seq'"),
            (line("").replace("5a\"", "5\""), "'prev'"),
            (line("").replace("5a\"", "5A\""), "'prev'"),
            (line("").replace("04Z", "04z"), "'at'"),
            (line("").replace("04Z", "04.5Z"), "'at'"),
            (line("").replace("2026", "\u{661}26"), "'at'"),
            (line(r#","boot_id":"b""#), "'boottime_ms'"),
            (line(r#","boottime_ms":1"#), "'boot_id'"),
            (line(r#","boot_id":"b","boottime_ms":-1"#), "'boottime_ms'"),
        ] {
            let error = Entry::parse(text.as_bytes()).expect_err(&text);
            assert!(error.to_string().contains(complaint), "{text}: {error}");
        }
    }

    #[test]
    fn every_cut_is_refused() {
        let text = line("");
        for length in 0..text.len() {
            Entry::parse(&text.as_bytes()[..length]).expect_err("cut");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(entry) = Entry::parse(&bytes) {
                prop_assert!(entry.sequence > 0);
            }
        }
    }
}
