//! Lines of a ledger: read, appended to, and audited as a file of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_ledger::audit::Audit;
use portcullis_ledger::entry::Entry;
use portcullis_ledger::link::{Link, Stamp};
use portcullis_ledger::statement::statement;

fuzz_target!(|data: &[u8]| {
    let mut audit = Audit::new(None);
    audit.begin_file("ledger.jsonl");
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        let (line, is_whole) = match line.strip_suffix(b"\n") {
            Some(line) => (line, true),
            None => (line, false),
        };
        audit.take(line, is_whole);
        if let Ok(entry) = Entry::parse(line) {
            follows(line, &entry);
        }
    }
    let _outcome = audit.finish();
});

/// What is appended after a line that was read names that line.
fn follows(line: &[u8], entry: &Entry) {
    let _statement = statement(entry);
    assert_eq!(Link::of_line(line).ok(), Some(entry.link()));
    let stamp = Stamp {
        at: "2026-11-21T20:58:04Z".to_owned(),
        boot: None,
    };
    let Ok((next, link)) = entry.link().next_line(&entry.record, &stamp) else {
        return; // too large
    };
    let next = Entry::parse(&next).expect("what is written can be read");
    assert_eq!(next.link(), link);
    assert_eq!(next.before, entry.digest);
}
