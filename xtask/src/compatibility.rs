//! `docs/compatibility.md`: one section for each command that writes into it.

use std::fs;
use std::path::Path;

use crate::step::{Failed, Outcome};

/// Where it is, below the root of the workspace.
const DOCUMENT: &str = "docs/compatibility.md";
/// How the sections of the programs and of the guest begin. What is before them is the matrix'.
const PROGRAMS: &str = "## Real programs\n";
const GUEST: &str = "## A guest with a measured boot\n";
/// The sections after that of the matrix, in their order.
const SECTIONS: [&str; 2] = [PROGRAMS, GUEST];

/// Replaces what `cargo xtask matrix` found.
pub(crate) fn write_matrix(root: &Path, text: &str) -> Outcome {
    change(root, None, text)
}

/// Replaces what `cargo xtask compat` found; `text` has no heading.
pub(crate) fn write_programs(root: &Path, text: &str) -> Outcome {
    change(root, Some(PROGRAMS), text)
}

/// Replaces what `cargo xtask vm` found; `text` has no heading.
pub(crate) fn write_guest(root: &Path, text: &str) -> Outcome {
    change(root, Some(GUEST), text)
}

/// Replaces the section under `heading`, or that before all headings, and leaves the others.
fn change(root: &Path, heading: Option<&str>, text: &str) -> Outcome {
    let document = root.join(DOCUMENT);
    let failed = |verb: &str, source| Failed::File {
        deed: format!("{verb} '{}'", document.display()),
        source,
    };
    let old = fs::read_to_string(&document).map_err(|source| failed("read", source))?;
    let mut parts = vec![match heading {
        None => text.trim_end().to_owned(),
        Some(_) => until_heading(&old).trim_end().to_owned(),
    }];
    for section in SECTIONS {
        let body = if heading == Some(section) {
            Some(text)
        } else {
            old.split_once(section).map(|(_, rest)| until_heading(rest))
        };
        parts.extend(body.map(|body| format!("{section}\n{}", body.trim())));
    }
    let new = format!("{}\n", parts.join("\n\n"));
    fs::write(&document, new).map_err(|source| failed("write", source))
}

/// What is before the first heading of a section.
fn until_heading(text: &str) -> &str {
    let ends = SECTIONS.iter().filter_map(|section| text.find(section));
    ends.min().and_then(|end| text.get(..end)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{DOCUMENT, GUEST, PROGRAMS, write_guest, write_matrix, write_programs};

    #[test]
    fn each_command_leaves_the_others_sections() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("docs")).unwrap();
        let document = root.path().join(DOCUMENT);
        std::fs::write(&document, "# Compatibility\n\nold matrix\n").unwrap();
        write_guest(root.path(), "old guest\n").unwrap();
        write_programs(root.path(), "old programs\n").unwrap();
        write_matrix(root.path(), "# Compatibility\n\nnew matrix\n").unwrap();
        write_programs(root.path(), "new programs\n").unwrap();
        write_guest(root.path(), "new guest\n").unwrap();
        let text = std::fs::read_to_string(&document).unwrap();
        assert_eq!(
            text,
            format!(
                "# Compatibility\n\nnew matrix\n\n{PROGRAMS}\nnew programs\n\n{GUEST}\nnew guest\n"
            )
        );
    }
}
