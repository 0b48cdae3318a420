//! `portcullis break-glass`

mod issue;
mod list;
mod show;

use clap::Subcommand;
pub(crate) use show::waived;

use crate::failure::Failure;
use crate::report::Report;

/// What can be done with break-glass tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum BreakGlassCommand {
    Issue(Box<issue::IssueArguments>),
    List(list::ListArguments),
    Show(show::ShowArguments),
}

pub(crate) fn run(command: &BreakGlassCommand) -> Result<Report, Failure> {
    match command {
        BreakGlassCommand::Issue(arguments) => issue::run(arguments),
        BreakGlassCommand::List(arguments) => list::run(arguments),
        BreakGlassCommand::Show(arguments) => show::run(arguments),
    }
}
