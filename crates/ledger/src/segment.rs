//! The files of a ledger: one that grows, and those that were full.
//!
//! ```text
//! /var/lib/portcullis/ledger-00000000000000081920.jsonl    lines up to 81920
//! /var/lib/portcullis/ledger-00000000000000163355.jsonl    lines 81921 to 163355
//! /var/lib/portcullis/ledger.jsonl                         lines from 163356 on
//! ```
//!
//! The chain goes on from file to file. Full ones are never written again; they may be taken away
//! to another place, oldest first.

/// Name of the file that grows.
pub const CURRENT: &str = "ledger.jsonl";

/// A file that would grow beyond this is full.
pub const LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// Name of a full file whose last entry is `last`. Names sort as the entries do.
#[must_use]
pub fn name(last: u64) -> String {
    format!("ledger-{last:020}.jsonl")
}

/// Number of the last entry in the full file of this name; `None` for any other name.
#[must_use]
pub fn last_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_prefix("ledger-")?.strip_suffix(".jsonl")?;
    let last = digits.parse().ok()?;
    (name(last) == file_name).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_sort() {
        for last in [1, 9, 10, 81_920, u64::MAX] {
            assert_eq!(last_of(&name(last)), Some(last));
        }
        assert!(name(9) < name(10) && name(99) < name(u64::MAX));
        for other in [
            CURRENT,
            "ledger-1.jsonl",
            "ledger-+0000000000000000001.jsonl",
            "ledger-99999999999999999999.jsonl",
            "ledger-00000000000000000001.jsonl.torn-5",
            "",
        ] {
            assert_eq!(last_of(other), None, "{other}");
        }
    }
}
