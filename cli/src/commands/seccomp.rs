//! `portcullis seccomp`

mod diff;
mod intersect;
mod lint;
mod sections;

use clap::Subcommand;

use crate::failure::Failure;
use crate::report::Report;

/// What can be done with seccomp sections and profiles.
#[derive(Debug, Subcommand)]
pub(crate) enum SeccompCommand {
    Lint(lint::LintArguments),
    Diff(diff::DiffArguments),
    Intersect(intersect::IntersectArguments),
}

pub(crate) fn run(command: &SeccompCommand) -> Result<Report, Failure> {
    match command {
        SeccompCommand::Lint(arguments) => lint::run(arguments),
        SeccompCommand::Diff(arguments) => diff::run(arguments),
        SeccompCommand::Intersect(arguments) => intersect::run(arguments),
    }
}
