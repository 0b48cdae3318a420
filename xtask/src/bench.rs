//! `cargo xtask bench`: our shim beside containerd's own, measured in a private world.

use std::process::ExitCode;

use crate::packages;
use crate::privilege;
use crate::programs;
use crate::step::{Failed, Outcome, timed};
use crate::workspace::Workspace;

/// Options of the measurements.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// How often each thing is measured
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// How to print the figures: a table, or a JSON array of
    /// `{measure, unit, ours, peer, ratio, runs, spread}`
    #[arg(long, value_enum, default_value_t = crate::demo::Output::Text)]
    output: crate::demo::Output,
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Outcome<ExitCode> {
    let workspace = Workspace::find()?;
    timed("Debian packages", packages::provide_for_tests)?;
    let folder = timed("programs, as shipped", || programs::build(&workspace))?;
    let lab = timed("the bench itself", || programs::build_lab(&workspace))?;
    let mut bench = privilege::as_root(&lab);
    bench
        .arg("bench")
        .arg("--scratch")
        .arg(workspace.target.join("bench"));
    bench
        .arg("--programs")
        .arg(folder)
        .arg("--runs")
        .arg(arguments.runs.to_string());
    if arguments.output == crate::demo::Output::Json {
        bench.arg("--json");
    }
    let status = bench.status().map_err(|source| Failed::Run {
        line: lab.display().to_string(),
        source,
    })?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
