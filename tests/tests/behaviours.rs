//! `docs/behaviours.md` lists every behaviour of a shim with a test that exists, or a reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis_tests::failure::{Doing, Outcome};

const PAGE: &str = "docs/behaviours.md";
/// Behaviours are numbered from 1 to this.
const LAST: u32 = 59;
/// Where test names without a folder are looked for.
const SUITES: &str = "tests/tests";

/// One line of the table.
struct Row {
    number: u32,
    tests: Vec<String>,
    rest: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The rows: `| number | behaviour | tests | what is not provoked, and why |`.
fn rows(page: &str) -> Vec<Row> {
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_matches('|').split(" | ");
        inner.map(|cell| cell.trim().to_owned()).collect()
    };
    let lines = page.lines().filter(|line| line.starts_with("| "));
    lines
        .filter_map(|line| {
            let cells = cells(line);
            let number = cells.first()?.parse().ok()?;
            // Names stand between backquotes: every second part.
            let tests = cells.get(2)?.split('`').skip(1).step_by(2);
            Some(Row {
                number,
                tests: tests.map(str::to_owned).collect(),
                rest: cells.get(3).cloned().unwrap_or_default(),
            })
        })
        .collect()
}

/// Whether `test`, a file and a function in it, exists.
fn exists(test: &str) -> bool {
    let Some((file, name)) = test.split_once("::") else {
        return false;
    };
    let folder = if file.contains('/') { "" } else { SUITES };
    let text = fs::read_to_string(root().join(folder).join(file)).unwrap_or_default();
    let name = name.rsplit("::").next().unwrap_or(name);
    // A macro makes functions of lines that begin with a name.
    let listed = |line: &str| line.trim_start().starts_with(&format!("{name}("));
    text.contains(&format!("fn {name}(")) || text.lines().any(listed)
}

#[test]
fn every_behaviour_has_a_test_or_a_reason() -> Outcome {
    let page = fs::read_to_string(root().join(PAGE)).doing(format!("read '{PAGE}'"))?;
    let rows = rows(&page);
    let numbers: Vec<u32> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=LAST).collect::<Vec<_>>(), "one row for each");
    for row in &rows {
        let number = row.number;
        assert!(
            !row.tests.is_empty() || !row.rest.is_empty(),
            "behaviour {number} has neither test nor reason"
        );
        for test in &row.tests {
            assert!(exists(test), "behaviour {number}: there is no '{test}'");
        }
    }
    Ok(())
}

/// A test that is named after a behaviour is in the list.
#[test]
fn numbered_tests_are_listed() -> Outcome {
    let page = fs::read_to_string(root().join(PAGE)).doing(format!("read '{PAGE}'"))?;
    let listed: BTreeSet<String> = rows(&page).into_iter().flat_map(|row| row.tests).collect();
    let suites = fs::read_dir(root().join(SUITES)).doing("list the suites")?;
    let mut seen = 0;
    for suite in suites.flatten().map(|entry| entry.path()) {
        let file = suite.file_name().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(&suite).unwrap_or_default();
        let functions = text.lines().filter_map(|line| {
            let line = line.trim_start();
            let line = line.strip_prefix("pub(super) ").unwrap_or(line);
            let name = line.strip_prefix("fn t")?.split('(').next()?;
            name.starts_with(|digit: char| digit.is_ascii_digit())
                .then(|| format!("{file}::t{name}"))
        });
        for test in functions {
            seen += 1;
            assert!(listed.contains(&test), "'{test}' is not in {PAGE}");
        }
    }
    assert!(seen > 10, "this test would not notice");
    Ok(())
}
