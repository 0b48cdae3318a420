//! `docs/rules.md` says of every rule what the source says.

#![expect(clippy::expect_used, reason = "a test without its page has failed")]

use std::fs;
use std::path::Path;

use portcullis_gate::{Code, Rule};

/// The cells of every row of the page that is about a rule.
fn rows() -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rules.md");
    let page = fs::read_to_string(path).expect("the page");
    let (rules, _modes) = page.split_once("\n## Modes\n").expect("its second part");
    rules
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let inner = line.trim_start_matches("| ").trim_end_matches(" |");
            inner.split(" | ").map(str::to_owned).collect()
        })
        .collect()
}

#[test]
fn the_page_lists_every_rule_once_in_the_order_of_the_source() {
    let or_dash = |text: &str| if text.is_empty() { "–" } else { text }.to_owned();
    let mut listed = rows().into_iter();
    for rule in Rule::ALL {
        let row = listed
            .next()
            .unwrap_or_else(|| panic!("the page lacks '{rule}'"));
        let references = rule.references();
        let known = [
            format!("`{rule}`"),
            rule.title().to_owned(),
            or_dash(references.sp800_190),
            or_dash(references.pss),
            or_dash(references.cis_docker),
            or_dash(references.cis_kubernetes),
        ];
        assert_eq!(row[..6], known);
        assert_eq!(row.len(), 7, "{rule}: what is done");
        let fixed = row[6].contains("cannot be loosened");
        assert_eq!(fixed, !rule.may_be_loosened(), "{rule}");
    }
    assert_eq!(
        listed.next(),
        None,
        "the page lists what the source does not know"
    );
}

#[test]
fn the_codes_on_the_page_exist() {
    let mut seen = 0;
    for row in rows() {
        for word in row[6].split('`').skip(1).step_by(2) {
            assert!(Code::from_name(word).is_some(), "{}: '{word}'", row[0]);
            seen += 1;
        }
    }
    assert!(seen > 20, "this test would not notice");
}
