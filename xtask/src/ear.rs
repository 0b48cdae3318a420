//! The tests of `tests/ear`: our verdicts beside those of the `ear` crate.
//!
//! They are a workspace of their own with a lock file of their own, for what `ear` pulls in. A
//! machine that has our packages may lack these and the network; that is a loud skip.

use crate::programs;
use crate::screen;
use crate::step::{self, Failed, Outcome};
use crate::tally::Tally;
use crate::workspace::Workspace;

/// Runs them, if their packages can be had.
pub(crate) fn test(workspace: &Workspace, tally: &mut Tally) -> Outcome {
    let package = workspace.root.join("tests/ear/Cargo.toml");
    if let Some(reason) = lacks_packages(workspace)? {
        screen::say(&format!(
            "skipped: cannot fetch what the ear crate needs: {reason}"
        ));
        return Ok(());
    }
    let mut format = workspace.cargo();
    format.arg("fmt").arg("--manifest-path").arg(&package);
    step::run(format.args(["--", "--check"]))?;
    let mut command = workspace.cargo();
    command.args(["test", "--locked", "--manifest-path"]);
    command.arg(&package).arg("--target-dir");
    command.arg(workspace.target.join("ear"));
    step::run_watched(&mut command, |line| tally.read(line))
}

/// Why the packages cannot be had. A lock file that is out of date is no such reason: with it the
/// tests themselves have to fail.
fn lacks_packages(workspace: &Workspace) -> Outcome<Option<String>> {
    let mut fetch = workspace.cargo();
    fetch.args(["fetch", "--locked", "--target", &programs::host_triple()?]);
    fetch.args(["--manifest-path", "tests/ear/Cargo.toml"]);
    let output = fetch.output().map_err(|source| Failed::Run {
        line: "cargo fetch --manifest-path tests/ear/Cargo.toml".to_owned(),
        source,
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || said.contains("--locked") {
        return Ok(None);
    }
    let reason = said.lines().find_map(|line| line.strip_prefix("error: "));
    Ok(Some(reason.unwrap_or("cargo fetch failed").to_owned()))
}
