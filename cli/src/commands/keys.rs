//! `portcullis keys`

mod generate;

use clap::Subcommand;

use crate::failure::Failure;
use crate::report::Report;

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    Generate(generate::GenerateArguments),
}

pub(crate) fn run(command: &KeysCommand) -> Result<Report, Failure> {
    match command {
        KeysCommand::Generate(arguments) => generate::run(arguments),
    }
}
