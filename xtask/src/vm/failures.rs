//! What the tests that failed in the guest had to say.

use std::fs;
use std::io;
use std::path::Path;

use crate::step::{Failed, Outcome};

/// Lines of one test that are shown; all are in its file.
const SHOWN: usize = 60;

/// A test that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// Its suite, what it ran in, and its path.
    name: String,
    /// What it printed.
    output: String,
}

/// The failures that the guest has left in `folder`, one file each: `SUITE.HOW.MODULE.TEST.txt`.
pub(super) fn of(folder: &Path) -> Outcome<Vec<Failure>> {
    let failed = |source| Failed::File {
        deed: format!("read '{}'", folder.display()),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // The guest did not come so far, which the report says.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut failures = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        failures.push(Failure {
            name: name.into_owned(),
            output: String::from_utf8_lossy(&fs::read(&path).map_err(failed)?).into_owned(),
        });
    }
    failures.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(failures)
}

/// Test `name` with the reason why it failed, if it told one.
pub(super) fn reason(failures: &[Failure], name: &str) -> String {
    let ending = format!(".{name}");
    let failure = failures.iter().find(|one| one.name.ends_with(&ending));
    match failure.and_then(Failure::reason) {
        Some(reason) => format!("{name} ({reason})"),
        None => name.to_owned(),
    }
}

// === impl Failure ===

impl Failure {
    /// For people: its last lines.
    pub(super) fn text(&self) -> String {
        let lines: Vec<&str> = self.output.lines().collect();
        let hidden = lines.len().saturating_sub(SHOWN);
        let mut text = format!("\nfailed in the guest: {}\n", self.name);
        for line in lines.into_iter().skip(hidden) {
            text.push_str("    ");
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// The first error, or what a panic said.
    ///
    /// Samples: `| Error: waited 30s in vain for rain`, and the line after
    /// `thread 'a' panicked at tests/tests/b.rs:1:2:`. What a world says is set off by `| `.
    fn reason(&self) -> Option<&str> {
        let mut lines = self
            .output
            .lines()
            .map(|line| line.strip_prefix("| ").unwrap_or(line));
        while let Some(line) = lines.next() {
            if let Some(error) = line.strip_prefix("Error: ") {
                return Some(error);
            }
            if line.contains(" panicked at ") {
                return lines.next();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{of, reason};

    #[test]
    fn a_failure_is_found_by_its_test_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let leave = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        leave(
            "mounts.in_worlds.needs_root.it_mounts.txt",
            "running 1 test\n| Error: Failure(\"no disk\")\nError: the world ended\n",
        )
        .unwrap();
        leave(
            "mounts.in_worlds.needs_root.it_hides.txt",
            "thread 'it_hides' panicked at mounts.rs:1:2:\nassertion failed: hidden\n",
        )
        .unwrap();
        let failures = of(folder.path()).unwrap();
        assert_eq!(
            reason(&failures, "it_mounts"),
            "it_mounts (Failure(\"no disk\"))"
        );
        assert_eq!(
            reason(&failures, "it_hides"),
            "it_hides (assertion failed: hidden)"
        );
        assert_eq!(reason(&failures, "it_says_nothing"), "it_says_nothing");
        assert!(failures[1].text().contains("    running 1 test\n"));
    }

    #[test]
    fn no_folder_means_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        assert!(of(&folder.path().join("failed")).unwrap().is_empty());
    }
}
