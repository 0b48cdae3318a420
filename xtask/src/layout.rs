//! Sizes and names of source files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::step::{Failed, Outcome};

/// More production lines than this are refused.
const MAX_LINES: usize = 600;
/// Names that say nothing about what is inside.
const BANNED: [&str; 12] = [
    "utils", "util", "common", "helpers", "misc", "types", "base", "core", "manager", "handler",
    "data", "info",
];
/// Folders that hold no source of ours.
const SKIPPED: [&str; 3] = ["target", ".git", "data"];

/// Checks every Rust file below `root`; the failure lists all faults.
pub(crate) fn check(root: &Path) -> Outcome {
    let mut faults = Vec::new();
    for file in sources(root)? {
        let text = fs::read_to_string(&file).map_err(|source| Failed::File {
            deed: format!("read '{}'", file.display()),
            source,
        })?;
        let shown = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .display()
            .to_string();
        faults.extend(faults_of(&file, &text).map(|fault| format!("{shown}: {fault}")));
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failed::Missing(faults.join("\n")))
}

fn faults_of(file: &Path, text: &str) -> impl Iterator<Item = String> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let named = (BANNED.contains(&stem.as_ref()) || stem == "mod")
        .then(|| format!("'{stem}' does not say what is inside; name the file for its noun"));
    // Files of test code alone have no limit.
    let is_test = is_test_code(file);
    let lines = if is_test || stem == "tests" {
        0
    } else {
        production_lines(text)
    };
    let sized = (lines > MAX_LINES)
        .then(|| format!("{lines} production lines, at most {MAX_LINES}; split it by noun"));
    named.into_iter().chain(sized)
}

/// Whether a file is below a folder `tests` that is not itself a package with sources, as
/// `tests/src/` is, or belongs to a module `tests`.
fn is_test_code(file: &Path) -> bool {
    let parts: Vec<_> = file.components().map(|part| part.as_os_str()).collect();
    let sources = parts.iter().rposition(|part| *part == "src");
    parts
        .iter()
        .skip(sources.unwrap_or(0))
        .any(|part| *part == "tests")
}

/// Lines before the trailing test module.
fn production_lines(text: &str) -> usize {
    text.lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .count()
}

fn sources(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let failed = |source| Failed::File {
        deed: format!("list '{}'", folder.display()),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !path.is_symlink() && !SKIPPED.contains(&name.as_ref()) {
            found.append(&mut sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{MAX_LINES, check, faults_of};
    use std::path::Path;

    fn faults(file: &str, lines: usize) -> Vec<String> {
        let text = "x\n".repeat(lines) + "#[cfg(test)]\nmod tests {}\n";
        faults_of(Path::new(file), &text).collect()
    }

    #[test]
    fn refuses_one_line_too_many_and_not_one_less() {
        assert!(faults("gate/src/decide.rs", MAX_LINES).is_empty());
        assert_eq!(faults("gate/src/decide.rs", MAX_LINES + 1).len(), 1);
    }

    #[test]
    fn test_files_may_be_long() {
        assert!(faults("tests/tests/gate_launch.rs", MAX_LINES + 1).is_empty());
        assert!(faults("gate/src/decide/tests.rs", MAX_LINES + 1).is_empty());
        assert!(faults("gate/src/decide/tests/table.rs", MAX_LINES + 1).is_empty());
        assert_eq!(faults("tests/src/world.rs", MAX_LINES + 1).len(), 1);
    }

    #[test]
    fn refuses_names_that_say_nothing() {
        for name in ["utils", "mod", "types"] {
            assert_eq!(faults(&format!("gate/src/{name}.rs"), 1).len(), 1, "{name}");
        }
    }

    #[test]
    fn all_faults_are_named_together() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["helpers.rs", "mod.rs", "good.rs"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let text = check(folder.path()).unwrap_err().to_string();
        assert!(
            text.contains("helpers.rs") && text.contains("mod.rs"),
            "{text}"
        );
        assert!(!text.contains("good.rs"), "{text}");
    }
}
