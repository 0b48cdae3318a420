use super::*;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

fn stamp() -> Stamp {
    Stamp {
        at: "2026-11-21T20:58:04Z".to_owned(),
        boot: None,
    }
}

fn record(reference: &str) -> Map<String, Value> {
    json!({ "ref": reference, "decision": "permitted" })
        .as_object()
        .unwrap()
        .clone()
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.jsonl");
    (directory, path)
}

fn open(path: &Path) -> (Ledger, Option<Torn>) {
    Ledger::open(path, &stamp()).unwrap()
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Follows the chain from the first line and returns how many lines it holds.
fn chained(path: &Path) -> usize {
    let mut before = "0".repeat(64);
    let lines = lines(path);
    for (index, line) in lines.iter().enumerate() {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["prev"], before, "line {index}");
        assert_eq!(value["seq"], index + 1);
        before = hex::encode(&digest(line.as_bytes()));
    }
    lines.len()
}

#[test]
fn every_line_names_the_one_before() {
    let (_directory, path) = scratch();
    let (mut ledger, _) = open(&path);
    for number in 1..=3 {
        assert_eq!(
            ledger.append(&record("00000001"), &stamp()).unwrap(),
            number
        );
    }
    assert_eq!(chained(&path), 3);
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o600
    );
}

#[test]
fn the_chain_goes_on_after_a_restart() {
    let (_directory, path) = scratch();
    open(&path).0.append(&record("00000001"), &stamp()).unwrap();
    let (mut ledger, torn) = open(&path);
    assert_eq!((ledger.sequence(), torn), (1, None));
    assert_eq!(ledger.append(&record("00000002"), &stamp()).unwrap(), 2);
    assert_eq!(chained(&path), 2);
}

#[test]
fn a_torn_last_line_is_moved_aside_and_noted() {
    let (_directory, path) = scratch();
    open(&path).0.append(&record("00000001"), &stamp()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [whole.as_slice(), b"{\"half\":"].concat()).unwrap();

    let (mut ledger, torn) = open(&path);
    let torn = torn.unwrap();
    assert_eq!(torn.bytes, 8);
    assert_eq!(std::fs::read(&torn.path).unwrap(), b"{\"half\":");
    ledger.append(&record("00000003"), &stamp()).unwrap();
    assert_eq!(chained(&path), 3);
    let note: Value = serde_json::from_str(&lines(&path)[1]).unwrap();
    assert_eq!(note["event"], "torn-line-moved");
    assert_eq!(note["sha256"], hex::encode(&digest(b"{\"half\":")));
    assert_eq!(open(&path).1, None);
}

#[test]
fn a_torn_first_line_is_moved_aside_too() {
    let (_directory, path) = scratch();
    std::fs::write(&path, "{").unwrap();
    let (ledger, torn) = open(&path);
    assert_eq!((ledger.sequence(), torn.unwrap().bytes), (1, 1));
    assert_eq!(chained(&path), 1);
}

#[test]
fn every_place_where_a_line_can_tear_is_survived() {
    let (directory, path) = scratch();
    let (mut ledger, _) = open(&path);
    ledger.append(&record("00000001"), &stamp()).unwrap();
    ledger.append(&record("00000002"), &stamp()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for length in first..=whole.len() {
        let path = directory.path().join(format!("ledger-{length}"));
        std::fs::write(&path, &whole[..length]).unwrap();
        let (mut ledger, torn) = open(&path);
        assert_eq!(
            torn.map_or(0, |torn| torn.bytes),
            if length == whole.len() {
                0
            } else {
                length - first
            }
        );
        ledger.append(&record("00000003"), &stamp()).unwrap();
        assert!(chained(&path) >= 2);
    }
}

#[test]
fn a_last_line_that_is_no_record_is_not_built_upon() {
    let (_directory, path) = scratch();
    for damaged in [
        "\n",
        "garbage\n",
        "{}\n",
        "[1]\n",
        "{\"seq\":1}\n\n",
        "{\"seq\":-1}\n",
    ] {
        std::fs::write(&path, damaged).unwrap();
        let refused = Ledger::open(&path, &stamp()).unwrap_err();
        assert!(
            matches!(refused, LedgerError::Continue { .. }),
            "{damaged:?}: {refused}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);
    }
}

#[test]
fn an_endless_last_line_is_refused() {
    let (_directory, path) = scratch();
    std::fs::write(&path, vec![b'x'; 3 * LINE_LIMIT_BYTES]).unwrap();
    assert!(matches!(
        Ledger::open(&path, &stamp()),
        Err(LedgerError::Continue { .. })
    ));
}

#[test]
fn a_record_may_fill_the_limit_and_not_more() {
    let (_directory, path) = scratch();
    let (mut ledger, _) = open(&path);
    let with = |filler: usize| {
        let mut record = record("00000001");
        record.insert("filler".to_owned(), "x".repeat(filler).into());
        record
    };
    ledger.append(&with(0), &stamp()).unwrap();
    let overhead = std::fs::read(&path).unwrap().len();
    let fits = LINE_LIMIT_BYTES - overhead;
    ledger.append(&with(fits), &stamp()).unwrap();
    let refused = ledger.append(&with(fits + 1), &stamp()).unwrap_err();
    assert!(
        matches!(refused, LedgerError::Size(RecordTooLarge { size_bytes }) if size_bytes == LINE_LIMIT_BYTES + 1)
    );
    ledger.append(&with(1), &stamp()).unwrap();
    assert_eq!(chained(&path), 3);
    assert_eq!(open(&path).0.sequence(), 3);
}

#[test]
fn the_ledgers_own_fields_cannot_be_given() {
    let (_directory, path) = scratch();
    let (mut ledger, _) = open(&path);
    let mut forged = record("00000001");
    forged.insert("seq".to_owned(), 99.into());
    forged.insert("prev".to_owned(), "x".into());
    forged.insert("at".to_owned(), "yesterday".into());
    assert_eq!(ledger.append(&forged, &stamp()).unwrap(), 1);
    assert_eq!(chained(&path), 1);
    assert!(lines(&path)[0].contains("2026-11-21T20:58:04Z"));
}

#[test]
fn a_record_is_found_by_its_reference() {
    let (_directory, path) = scratch();
    let (mut ledger, _) = open(&path);
    for reference in ["0000000a", "0000000b", "0000000a"] {
        ledger.append(&record(reference), &stamp()).unwrap();
    }
    // The text of another record's field is not a reference.
    let mut decoy = record("0000000c");
    decoy.insert("note".to_owned(), r#""ref":"0000000d""#.into());
    ledger.append(&decoy, &stamp()).unwrap();

    assert_eq!(find(&path, "0000000a").unwrap().unwrap()["seq"], 3);
    assert_eq!(find(&path, "0000000b").unwrap().unwrap()["seq"], 2);
    assert_eq!(find(&path, "0000000d").unwrap(), None);
}

#[test]
fn a_failed_append_leaves_no_half_line() {
    // /dev/full takes nothing: every write fails with "no space left".
    let (_directory, path) = scratch();
    let (mut ledger, _) = open(&path);
    ledger.append(&record("00000001"), &stamp()).unwrap();
    ledger.file = OpenOptions::new().append(true).open("/dev/full").unwrap();
    assert!(matches!(
        ledger.append(&record("00000002"), &stamp()),
        Err(LedgerError::Append { .. })
    ));
    // The device cannot be cut back either, so nothing more is written.
    assert!(matches!(
        ledger.append(&record("00000003"), &stamp()),
        Err(LedgerError::Torn { .. })
    ));
    assert_eq!(ledger.sequence(), 1);
}

/// All lines of all files, in order.
fn all_lines(path: &Path) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for_each_line(path, &mut |line| all.push(line.to_vec())).unwrap();
    all
}

fn audited(path: &Path) -> portcullis_ledger::audit::Outcome {
    let mut audit = portcullis_ledger::audit::Audit::new(None);
    for line in all_lines(path) {
        audit.take(&line, true);
    }
    audit.finish()
}

#[test]
fn a_full_file_is_put_aside_and_the_chain_goes_on() {
    let (directory, path) = scratch();
    let (mut ledger, _) = open(&path);
    ledger.limit = 500;
    for number in 1..=9 {
        let reference = format!("{number:08x}");
        assert_eq!(
            ledger.append(&record(&reference), &stamp()).unwrap(),
            number
        );
        ledger.limit = 500;
    }
    let names: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.len() > 2, "{names:?}");
    assert!(
        names.contains(&segment::name(3)) || names.contains(&segment::name(2)),
        "{names:?}"
    );
    let outcome = audited(&path);
    assert_eq!((outcome.entries, outcome.findings), (9, vec![]));
    assert_eq!(find(&path, "00000001").unwrap().unwrap()["seq"], 1);
    assert_eq!(find(&path, "00000009").unwrap().unwrap()["seq"], 9);
    // And after a restart.
    drop(ledger);
    let (mut ledger, _) = open(&path);
    assert_eq!(ledger.append(&record("0000000a"), &stamp()).unwrap(), 10);
    assert_eq!(audited(&path).findings, vec![]);
}

#[test]
fn a_machine_that_died_between_two_files_loses_nothing() {
    let (_directory, path) = scratch();
    let (mut ledger, _) = open(&path);
    for reference in ["00000001", "00000002"] {
        ledger.append(&record(reference), &stamp()).unwrap();
    }
    drop(ledger);
    // The full file has its name, the next one is not in its place yet.
    std::fs::rename(&path, path.with_file_name(segment::name(2))).unwrap();
    std::fs::write(path.with_extension("next"), "").unwrap();
    let (mut ledger, _) = open(&path);
    assert_eq!(ledger.append(&record("00000003"), &stamp()).unwrap(), 3);
    ledger.limit = 1;
    assert_eq!(ledger.append(&record("00000004"), &stamp()).unwrap(), 4);
    let outcome = audited(&path);
    assert_eq!((outcome.entries, outcome.findings), (4, vec![]));
}

#[test]
fn a_full_file_that_was_cut_is_not_built_upon() {
    let (_directory, path) = scratch();
    for damaged in ["", "garbage\n", "{\"half\""] {
        std::fs::write(path.with_file_name(segment::name(2)), damaged).unwrap();
        assert!(matches!(
            Ledger::open(&path, &stamp()),
            Err(LedgerError::Continue { .. })
        ));
    }
}

#[test]
fn a_file_that_cannot_be_put_aside_goes_on() {
    let (_directory, path) = scratch();
    let (mut ledger, _) = open(&path);
    ledger.append(&record("00000001"), &stamp()).unwrap();
    // In the place of the next file is something that no file can replace.
    std::fs::create_dir(path.with_extension("next")).unwrap();
    ledger.limit = 1;
    assert_eq!(ledger.append(&record("00000002"), &stamp()).unwrap(), 2);
    assert_eq!(chained(&path), 2);
    assert!(ledger.limit > ledger.length, "not tried at every line");
}
