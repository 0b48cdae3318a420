//! The tests of `tests/ear`: our verdicts beside those of the `ear` crate.
//!
//! They are a workspace of their own with a lock file of their own, for what `ear` pulls in.

use crate::step::{self, Outcome};
use crate::tally::Tally;
use crate::workspace::Workspace;

/// Checks their formatting and runs them.
pub(crate) fn test(workspace: &Workspace, tally: &mut Tally) -> Outcome {
    let package = workspace.root.join("tests/ear/Cargo.toml");
    let mut format = workspace.cargo();
    format.arg("fmt").arg("--manifest-path").arg(&package);
    step::run(format.args(["--", "--check"]))?;
    let mut command = workspace.cargo();
    command.args(["test", "--locked", "--manifest-path"]);
    command.arg(&package).arg("--target-dir");
    command.arg(workspace.target.join("ear"));
    step::run_watched(&mut command, |line| tally.read(line))
}
