//! The chain: each line names the SHA-256 of the line before.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::entry::{Entry, EntryError};
use portcullis_attestation::hex;

/// Longest line, its end included. A launch with hundreds of changes stays below.
pub const LINE_LIMIT_BYTES: usize = 64 * 1024;

/// The ledger's own fields. A record cannot set them.
pub const OWN_FIELDS: [&str; 5] = ["seq", "prev", "at", "boot_id", "boottime_ms"];

/// A place in the chain: after a line, or at the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Number of the line; 0 at the beginning.
    pub sequence: u64,
    /// SHA-256 of the line without its end; zeros at the beginning.
    pub head: [u8; 32],
}

/// When a line is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Wall clock, RFC 3339 in UTC with whole seconds.
    pub at: String,
    /// The kernel's boot id, and milliseconds since that boot, time asleep included.
    pub boot: Option<(String, u64)>,
}

/// A record does not fit into a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot append record of {size_bytes} bytes, more than {LINE_LIMIT_BYTES}")]
pub struct RecordTooLarge {
    /// Its size as a line.
    pub size_bytes: usize,
}

// === impl Link ===

impl Link {
    /// Before the first line.
    pub const GENESIS: Self = Self {
        sequence: 0,
        head: [0; 32],
    };

    /// The place after `line`, which is taken as it is: what it says of the line before is not
    /// looked at.
    ///
    /// # Errors
    ///
    /// [`EntryError`] if the line is not one of a ledger.
    pub fn of_line(line: &[u8]) -> Result<Self, EntryError> {
        Entry::parse(line).map(|entry| entry.link())
    }

    /// The next line, without its end, and the place after it.
    ///
    /// What is hashed later is exactly these bytes, so no canonical form of JSON is needed.
    ///
    /// # Errors
    ///
    /// [`RecordTooLarge`].
    pub fn next_line(
        &self,
        record: &Map<String, Value>,
        stamp: &Stamp,
    ) -> Result<(Vec<u8>, Self), RecordTooLarge> {
        let sequence = self.sequence.saturating_add(1);
        let mut record = record.clone();
        for field in OWN_FIELDS {
            record.remove(field);
        }
        record.insert("seq".to_owned(), sequence.into());
        record.insert("prev".to_owned(), hex::encode(&self.head).into());
        record.insert("at".to_owned(), stamp.at.clone().into());
        if let Some((boot_id, boottime_ms)) = &stamp.boot {
            record.insert("boot_id".to_owned(), boot_id.clone().into());
            record.insert("boottime_ms".to_owned(), (*boottime_ms).into());
        }
        let line = Value::Object(record).to_string().into_bytes();
        let size_bytes = line.len().saturating_add(1);
        if size_bytes > LINE_LIMIT_BYTES {
            return Err(RecordTooLarge { size_bytes });
        }
        let head = digest(&line);
        Ok((line, Self { sequence, head }))
    }
}

/// SHA-256 of a line without its end.
#[must_use]
pub fn digest(line: &[u8]) -> [u8; 32] {
    Sha256::digest(line).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stamp() -> Stamp {
        Stamp {
            at: "2026-11-21T20:58:04Z".to_owned(),
            boot: Some(("9b0b3ffa-6b1c-4f3e-9d52-0d1f2a3b4c5d".to_owned(), 812)),
        }
    }

    fn record(fields: &Value) -> Map<String, Value> {
        fields.as_object().expect("an object").clone()
    }

    #[test]
    fn a_line_is_what_the_format_says() {
        let (line, link) = Link::GENESIS
            .next_line(&record(&json!({"ref": "8d21c0aa"})), &stamp())
            .expect("small");
        let zeros = "0".repeat(64);
        let expected = format!(
            "{{\"at\":\"2026-11-21T20:58:04Z\",\
             \"boot_id\":\"9b0b3ffa-6b1c-4f3e-9d52-0d1f2a3b4c5d\",\"boottime_ms\":812,\
             \"prev\":\"{zeros}\",\"ref\":\"8d21c0aa\",\"seq\":1}}"
        );
        assert_eq!(String::from_utf8(line).expect("text"), expected);
        assert_eq!(link.head, digest(expected.as_bytes()));
    }

    #[test]
    fn the_ledgers_own_fields_cannot_be_given() {
        let forged = json!({"seq": 99, "prev": "x", "at": "y", "boot_id": "z", "boottime_ms": 1});
        let plain = Stamp {
            boot: None,
            ..stamp()
        };
        let (line, link) = Link::GENESIS
            .next_line(&record(&forged), &plain)
            .expect("small");
        let entry = Entry::parse(&line).expect("a line");
        assert_eq!((link.sequence, entry.boot), (1, None));
        assert_eq!(entry.at, "2026-11-21T20:58:04Z");
    }

    #[test]
    fn a_record_may_fill_the_limit_and_not_more() {
        let with = |filler: usize| record(&json!({ "filler": "x".repeat(filler) }));
        let (line, _) = Link::GENESIS.next_line(&with(0), &stamp()).expect("small");
        let fits = LINE_LIMIT_BYTES - line.len() - 1;
        let (line, _) = Link::GENESIS
            .next_line(&with(fits), &stamp())
            .expect("fits");
        assert_eq!(line.len() + 1, LINE_LIMIT_BYTES);
        let refused = Link::GENESIS.next_line(&with(fits + 1), &stamp());
        let size_bytes = LINE_LIMIT_BYTES + 1;
        assert_eq!(
            refused.expect_err("too large"),
            RecordTooLarge { size_bytes }
        );
    }
}
