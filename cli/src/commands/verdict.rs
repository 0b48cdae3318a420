//! `portcullis verdict`

mod show;

use clap::Subcommand;

use crate::failure::Failure;
use crate::report::Report;

/// What can be done with verdicts.
#[derive(Debug, Subcommand)]
pub(crate) enum VerdictCommand {
    Show(show::ShowArguments),
}

pub(crate) fn run(command: &VerdictCommand) -> Result<Report, Failure> {
    match command {
        VerdictCommand::Show(arguments) => show::run(arguments),
    }
}
