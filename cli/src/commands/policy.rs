//! `portcullis policy`

mod show;
mod sign;

use clap::Subcommand;

use crate::failure::Failure;
use crate::report::Report;

/// What can be done with policy bundles.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    Sign(sign::SignArguments),
    Show(show::ShowArguments),
}

pub(crate) fn run(command: &PolicyCommand) -> Result<Report, Failure> {
    match command {
        PolicyCommand::Sign(arguments) => sign::run(arguments),
        PolicyCommand::Show(arguments) => show::run(arguments),
    }
}
