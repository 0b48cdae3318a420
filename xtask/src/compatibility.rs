//! `docs/compatibility.md`: one section for each command that writes into it.

use std::fs;
use std::path::Path;

use crate::step::{Failed, Outcome};

/// Where it is, below the root of the workspace.
const DOCUMENT: &str = "docs/compatibility.md";
/// How the guest's section begins; what is before it is the matrix'.
const GUEST: &str = "## A guest with a measured boot\n";

/// Replaces what `cargo xtask matrix` found.
pub(crate) fn write_matrix(root: &Path, text: &str) -> Outcome {
    change(root, |old| {
        let guest = old.find(GUEST).and_then(|at| old.get(at..));
        match guest {
            Some(guest) => format!("{}\n\n{guest}", text.trim_end()),
            None => text.to_owned(),
        }
    })
}

/// Replaces what `cargo xtask vm` found; `text` has no heading.
pub(crate) fn write_guest(root: &Path, text: &str) -> Outcome {
    change(root, |old| {
        let before = old.find(GUEST).and_then(|at| old.get(..at)).unwrap_or(old);
        format!("{}\n\n{GUEST}\n{}\n", before.trim_end(), text.trim_end())
    })
}

fn change(root: &Path, edit: impl FnOnce(&str) -> String) -> Outcome {
    let document = root.join(DOCUMENT);
    let failed = |verb: &str, source| Failed::File {
        deed: format!("{verb} '{}'", document.display()),
        source,
    };
    let old = fs::read_to_string(&document).map_err(|source| failed("read", source))?;
    fs::write(&document, edit(&old)).map_err(|source| failed("write", source))
}

#[cfg(test)]
mod tests {
    use super::{DOCUMENT, GUEST, write_guest, write_matrix};

    #[test]
    fn each_command_leaves_the_others_section() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("docs")).unwrap();
        let document = root.path().join(DOCUMENT);
        std::fs::write(&document, "# Compatibility\n\nold matrix\n").unwrap();
        write_guest(root.path(), "old guest\n").unwrap();
        write_matrix(root.path(), "# Compatibility\n\nnew matrix\n").unwrap();
        write_guest(root.path(), "new guest\n").unwrap();
        let text = std::fs::read_to_string(&document).unwrap();
        assert_eq!(
            text,
            format!("# Compatibility\n\nnew matrix\n\n{GUEST}\nnew guest\n")
        );
    }
}
