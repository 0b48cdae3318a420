//! What the suites came to on each release, and the table of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How the document begins.
const OPENING: &str = "# Compatibility\n\n\
    The end-to-end suites of this repository, run in the root file systems of Debian releases, each\n\
    with its own containerd, runc and crun, all on one kernel. Each cell says how many tests passed\n\
    out of how many; `stock_shim` is containerd's own shim, which shows what the tests themselves\n\
    demand. `user_namespace` needs containerd 2; before, its tests pass without having looked. Written by `cargo xtask matrix`; not to be edited by hand.\n\n";

/// The tests of one group: how many passed, and which did not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Group {
    passed: usize,
    failed: Vec<String>,
}

/// What the suites came to in one root folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Results {
    suite: String,
    groups: BTreeMap<String, Group>,
}

/// The results on one release.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    /// Name of the release.
    pub(crate) release: String,
    /// Its containerd, runc and crun.
    pub(crate) versions: String,
    /// The results.
    pub(crate) results: Results,
}

// === impl Results ===

impl Results {
    /// Takes in one line of `cargo test`.
    ///
    /// Samples: `     Running tests/cri_pod.rs (target/debug/deps/cri_pod-166333e0192b180e)` and
    /// `test needs_containerd::with_runc::it_pauses ... ok`.
    pub(crate) fn read(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(running) = line.trim_start().strip_prefix("Running tests/") {
            let name = running.split('.').next().unwrap_or(running);
            name.clone_into(&mut self.suite);
            return;
        }
        let Some((test, outcome)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "))
        else {
            return;
        };
        let passed = match outcome {
            "ok" => true,
            "FAILED" => false,
            _ => return,
        };
        let (path, name) = test.rsplit_once("::").unwrap_or(("", test));
        let module = path.split("::").skip(1);
        let place: Vec<&str> = [self.suite.as_str()].into_iter().chain(module).collect();
        let group = self.groups.entry(place.join(" ")).or_default();
        if passed {
            group.passed += 1;
        } else {
            group.failed.push(name.to_owned());
        }
    }

    /// How many tests passed, and how many failed.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let groups = self.groups.values();
        groups.fold((0, 0), |(passed, failed), group| {
            (passed + group.passed, failed + group.failed.len())
        })
    }

    /// Each group: its name, how many tests passed, and which failed.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&str, usize, &[String])> {
        let groups = self.groups.iter();
        groups.map(|(name, group)| (name.as_str(), group.passed, group.failed.as_slice()))
    }

    /// Whether no test was run.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether a test failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.groups.values().any(|group| !group.failed.is_empty())
    }

    /// Whether tests were run and none failed.
    pub(crate) fn all_passed(&self) -> bool {
        !self.is_empty() && !self.has_failed()
    }

    fn cell(&self, name: &str) -> String {
        self.groups.get(name).map_or_else(
            || "not run".to_owned(),
            |group| {
                let all = group.passed + group.failed.len();
                format!("{} of {all}", group.passed)
            },
        )
    }
}

/// A Markdown table of all results, and a list of what failed.
pub(crate) fn table(columns: &[Column]) -> String {
    let mut names: Vec<&String> = columns
        .iter()
        .flat_map(|column| column.results.groups.keys())
        .collect();
    names.sort();
    names.dedup();
    let head = columns
        .iter()
        .map(|column| format!("{}: {}", column.release, column.versions));
    let mut text = row("suite", head);
    text.push_str(&row("---", columns.iter().map(|_| "---".to_owned())));
    for name in names {
        text.push_str(&row(
            name,
            columns.iter().map(|column| column.results.cell(name)),
        ));
    }
    text.push_str("\nFailed:");
    let before = text.len();
    for column in columns {
        for (name, group) in &column.results.groups {
            for test in &group.failed {
                // Writing to a string cannot fail.
                let _written = write!(text, "\n- {}: {name} `{test}`", column.release);
            }
        }
    }
    text.push_str(if text.len() == before {
        " none.\n"
    } else {
        "\n"
    });
    text
}

/// The whole document around `table`.
pub(crate) fn document(table: &str) -> String {
    format!("{OPENING}{table}")
}

fn row(first: &str, rest: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = std::iter::once(first.to_owned()).chain(rest).collect();
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::{Column, Results, table};

    const OUTPUT: [&str; 7] = [
        "     Running tests/shim_lifecycle.rs (target/debug/deps/shim_lifecycle-1)",
        "running 3 tests",
        "test needs_containerd::with_runc::it_pauses ... ok",
        "test needs_containerd::with_runc::it_starts ... FAILED",
        "     Running tests/cri_pod.rs (target/debug/deps/cri_pod-2)",
        "test needs_containerd::a_pod_runs ... ok",
        "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
    ];

    fn column(lines: &[&str]) -> Column {
        let mut results = Results::default();
        lines.iter().for_each(|line| results.read(line));
        Column {
            release: "forky".to_owned(),
            versions: "containerd 2.1.9".to_owned(),
            results,
        }
    }

    #[test]
    fn tests_are_counted_for_each_suite_and_shim() {
        let text = table(&[column(&OUTPUT)]);
        let expected = "| suite | forky: containerd 2.1.9 |\n\
                        | --- | --- |\n\
                        | cri_pod | 1 of 1 |\n\
                        | shim_lifecycle with_runc | 1 of 2 |\n\
                        \n\
                        Failed:\n\
                        - forky: shim_lifecycle with_runc `it_starts`\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_suite_that_was_not_run_is_no_success() {
        let (whole, part) = (column(&OUTPUT[4..]), column(&OUTPUT[..3]));
        let text = table(&[whole.clone(), part]);
        assert!(text.contains("| cri_pod | 1 of 1 | not run |"), "{text}");
        assert!(text.ends_with("Failed: none.\n"), "{text}");
        assert!(whole.results.all_passed());
        assert!(!column(&OUTPUT).results.all_passed());
        assert_eq!(column(&OUTPUT).results.counts(), (2, 1));
        assert!(!Results::default().all_passed());
    }
}
