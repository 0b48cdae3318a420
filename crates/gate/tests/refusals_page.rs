//! `docs/refusals.md` says exactly what the source says, and where each code is provoked.

#![expect(clippy::expect_used, reason = "a test without its page has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_gate::Code;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The cells of every row of the page that is about a code.
fn rows() -> Vec<Vec<String>> {
    let page = fs::read_to_string(workspace().join("docs/refusals.md")).expect("the page");
    page.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let inner = line.trim_start_matches("| ").trim_end_matches(" |");
            inner.split(" | ").map(str::to_owned).collect()
        })
        .collect()
}

/// The part of a source file that is compiled for tests only.
fn test_code<'a>(path: &str, text: &'a str) -> &'a str {
    if path.contains("tests") {
        text
    } else {
        text.split_once("#[cfg(test)]")
            .map_or("", |(_, tests)| tests)
    }
}

#[test]
fn the_page_lists_every_code_once_in_the_order_of_the_source() {
    let mut listed = rows().into_iter();
    for code in Code::ALL {
        let row = listed
            .next()
            .unwrap_or_else(|| panic!("the page lacks '{code}'"));
        let known = [
            &format!("`{code}`"),
            code.kind().as_str(),
            code.meaning(),
            code.remedy(),
            code.spec(),
        ];
        assert_eq!(row[..5], known);
    }
    assert_eq!(
        listed.next(),
        None,
        "the page lists what the source does not know"
    );
}

#[test]
fn every_code_is_mentioned_by_the_test_that_the_page_names() {
    for row in rows() {
        let name = row[0].trim_matches('`');
        let code = Code::from_name(name).unwrap_or_else(|| panic!("no code '{name}'"));
        let path = row[5].trim_matches('`');
        let text = fs::read_to_string(workspace().join(path))
            .unwrap_or_else(|error| panic!("{name}: cannot read '{path}': {error}"));
        let tests = test_code(path, &text);
        let spellings = [
            format!("Code::{code:?}"),
            format!("\"{name}\""),
            format!("[{name}]"),
        ];
        assert!(
            spellings.iter().any(|spelling| tests.contains(spelling)),
            "'{path}' has no test of '{name}'"
        );
    }
}
