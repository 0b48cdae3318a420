use super::*;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

const AT: &str = "2026-11-21T20:58:04Z";

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
    Ledger::open(path, AT).unwrap()
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
    let mut before = GENESIS.to_owned();
    let lines = lines(path);
    for (index, line) in lines.iter().enumerate() {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["prev"], before, "line {index}");
        assert_eq!(value["seq"], index + 1);
        before = digest(line.as_bytes());
    }
    lines.len()
}

#[test]
fn every_line_names_the_one_before() {
    let (_directory, path) = scratch();
    let (mut ledger, _) = open(&path);
    for number in 1..=3 {
        assert_eq!(ledger.append(&record("00000001"), AT).unwrap(), number);
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
    open(&path).0.append(&record("00000001"), AT).unwrap();
    let (mut ledger, torn) = open(&path);
    assert_eq!((ledger.sequence(), torn), (1, None));
    assert_eq!(ledger.append(&record("00000002"), AT).unwrap(), 2);
    assert_eq!(chained(&path), 2);
}

#[test]
fn a_torn_last_line_is_moved_aside_and_noted() {
    let (_directory, path) = scratch();
    open(&path).0.append(&record("00000001"), AT).unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [whole.as_slice(), b"{\"half\":"].concat()).unwrap();

    let (mut ledger, torn) = open(&path);
    let torn = torn.unwrap();
    assert_eq!(torn.bytes, 8);
    assert_eq!(std::fs::read(&torn.path).unwrap(), b"{\"half\":");
    ledger.append(&record("00000003"), AT).unwrap();
    assert_eq!(chained(&path), 3);
    let note: Value = serde_json::from_str(&lines(&path)[1]).unwrap();
    assert_eq!(note["event"], "torn-line-moved");
    assert_eq!(note["sha256"], digest(b"{\"half\":"));
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
    ledger.append(&record("00000001"), AT).unwrap();
    ledger.append(&record("00000002"), AT).unwrap();
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
        ledger.append(&record("00000003"), AT).unwrap();
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
        let refused = Ledger::open(&path, AT).unwrap_err();
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
        Ledger::open(&path, AT),
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
    ledger.append(&with(0), AT).unwrap();
    let overhead = std::fs::read(&path).unwrap().len();
    let fits = LINE_LIMIT_BYTES - overhead;
    ledger.append(&with(fits), AT).unwrap();
    let refused = ledger.append(&with(fits + 1), AT).unwrap_err();
    assert!(
        matches!(refused, LedgerError::Size { size_bytes } if size_bytes == LINE_LIMIT_BYTES + 1)
    );
    ledger.append(&with(1), AT).unwrap();
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
    assert_eq!(ledger.append(&forged, AT).unwrap(), 1);
    assert_eq!(chained(&path), 1);
    assert!(lines(&path)[0].contains(AT));
}

#[test]
fn a_record_is_found_by_its_reference() {
    let (_directory, path) = scratch();
    let (mut ledger, _) = open(&path);
    for reference in ["0000000a", "0000000b", "0000000a"] {
        ledger.append(&record(reference), AT).unwrap();
    }
    // The text of another record's field is not a reference.
    let mut decoy = record("0000000c");
    decoy.insert("note".to_owned(), r#""ref":"0000000d""#.into());
    ledger.append(&decoy, AT).unwrap();

    assert_eq!(find(&path, "0000000a").unwrap().unwrap()["seq"], 3);
    assert_eq!(find(&path, "0000000b").unwrap().unwrap()["seq"], 2);
    assert_eq!(find(&path, "0000000d").unwrap(), None);
}

#[test]
fn a_failed_append_leaves_no_half_line() {
    // /dev/full takes nothing: every write fails with "no space left".
    let (_directory, path) = scratch();
    let (mut ledger, _) = open(&path);
    ledger.append(&record("00000001"), AT).unwrap();
    ledger.file = OpenOptions::new().append(true).open("/dev/full").unwrap();
    assert!(matches!(
        ledger.append(&record("00000002"), AT),
        Err(LedgerError::Append { .. })
    ));
    // The device cannot be cut back either, so nothing more is written.
    assert!(matches!(
        ledger.append(&record("00000003"), AT),
        Err(LedgerError::Torn { .. })
    ));
    assert_eq!(ledger.sequence(), 1);
}
