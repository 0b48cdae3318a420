//! `portcullis reference`

mod add;
mod capture;
mod cosign;
mod diff;
mod events;
mod import;
mod show;
mod sign;
mod what_if;

use clap::Subcommand;

use crate::failure::Failure;
use crate::report::Report;

/// What can be done with reference values.
#[derive(Debug, Subcommand)]
pub(crate) enum ReferenceCommand {
    Capture(capture::CaptureArguments),
    Sign(sign::SignArguments),
    Cosign(cosign::CosignArguments),
    Add(add::AddArguments),
    Diff(diff::DiffArguments),
    WhatIf(what_if::WhatIfArguments),
    Import(import::ImportArguments),
    Show(show::ShowArguments),
    Events(events::EventsArguments),
}

pub(crate) fn run(command: &ReferenceCommand) -> Result<Report, Failure> {
    match command {
        ReferenceCommand::Capture(arguments) => capture::run(arguments),
        ReferenceCommand::Sign(arguments) => sign::run(arguments),
        ReferenceCommand::Cosign(arguments) => cosign::run(arguments),
        ReferenceCommand::Add(arguments) => add::run(arguments),
        ReferenceCommand::Diff(arguments) => diff::run(arguments),
        ReferenceCommand::WhatIf(arguments) => what_if::run(arguments),
        ReferenceCommand::Import(arguments) => import::run(arguments),
        ReferenceCommand::Show(arguments) => show::run(arguments),
        ReferenceCommand::Events(arguments) => events::run(arguments),
    }
}
