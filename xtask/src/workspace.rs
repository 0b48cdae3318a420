//! Where things are.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{Failed, Outcome};

/// The workspace and its build folder.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    /// Folder of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Build folder.
    pub(crate) target: PathBuf,
}

// === impl Workspace ===

impl Workspace {
    /// Finds the workspace this program was built from.
    pub(crate) fn find() -> Outcome<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .ok_or_else(|| Failed::Missing("xtask is not in a workspace".to_owned()))?
            .to_path_buf();
        let mut question = cargo(&root);
        question.args(["metadata", "--no-deps", "--format-version", "1"]);
        let output = question.output().map_err(|source| Failed::Run {
            line: "cargo metadata".to_owned(),
            source,
        })?;
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let target = answer
            .get("target_directory")
            .and_then(serde_json::Value::as_str)
            .ok_or_else(|| Failed::Missing("'cargo metadata' names no build folder".to_owned()))?
            .into();
        Ok(Self { root, target })
    }

    /// A cargo command that works on this workspace.
    pub(crate) fn cargo(&self) -> Command {
        cargo(&self.root)
    }

    /// Folder of the built programs, all four side by side.
    pub(crate) fn programs(&self) -> PathBuf {
        self.target.join("programs")
    }
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}
