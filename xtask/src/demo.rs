//! `cargo xtask demo`: packages, programs, then the show itself in a private world.

use std::process::ExitCode;

use crate::packages::{self, Consent};
use crate::privilege;
use crate::programs;
use crate::step::{Failed, Outcome, timed};
use crate::workspace::Workspace;

/// Options of the demo.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// Install missing packages without asking
    #[arg(long)]
    yes: bool,
    /// How to print the outcome: a table for people, or a JSON array of
    /// `{step, expected, observed, ok}`
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Leave everything running and say how to play with it and how to end it
    #[arg(long)]
    keep: bool,
}

/// Form of the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// A table.
    Text,
    /// JSON, and nothing else, on standard output.
    Json,
}

/// Runs the demo.
pub(crate) fn run(arguments: &Arguments) -> Outcome<ExitCode> {
    let workspace = Workspace::find()?;
    let consent = if arguments.yes {
        Consent::Given
    } else {
        Consent::Ask
    };
    timed("Debian packages", || packages::provide_for_demo(consent))?;
    let folder = timed("programs, as shipped", || programs::build(&workspace))?;
    let lab = timed("the demo itself", || programs::build_lab(&workspace))?;
    let mut show = privilege::as_root(&lab);
    show.arg("demo")
        .arg("--scratch")
        .arg(workspace.target.join("demo"));
    show.arg("--programs").arg(folder);
    if arguments.output == Output::Json {
        show.args(["--output", "json"]);
    }
    if arguments.keep {
        show.arg("--keep");
    }
    let status = show.status().map_err(|source| Failed::Run {
        line: lab.display().to_string(),
        source,
    })?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(u8::MAX)))
}
