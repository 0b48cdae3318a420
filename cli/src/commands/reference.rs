//! `portcullis reference`

mod capture;
mod events;
mod show;
mod sign;

use clap::Subcommand;

use crate::failure::Failure;
use crate::report::Report;

/// What can be done with reference values.
#[derive(Debug, Subcommand)]
pub(crate) enum ReferenceCommand {
    Capture(capture::CaptureArguments),
    Sign(sign::SignArguments),
    Show(show::ShowArguments),
    Events(events::EventsArguments),
}

pub(crate) fn run(command: &ReferenceCommand) -> Result<Report, Failure> {
    match command {
        ReferenceCommand::Capture(arguments) => capture::run(arguments),
        ReferenceCommand::Sign(arguments) => sign::run(arguments),
        ReferenceCommand::Show(arguments) => show::run(arguments),
        ReferenceCommand::Events(arguments) => events::run(arguments),
    }
}
