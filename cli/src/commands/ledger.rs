//! `portcullis ledger`

mod aks;
mod anchor;
mod export;
mod list;
mod live;
mod picked;
mod show;
mod verify;

use clap::Subcommand;

use crate::failure::Failure;
use crate::report::Report;

/// What can be done with the ledger.
#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    List(list::ListArguments),
    Show(show::ShowArguments),
    Verify(verify::VerifyArguments),
    Export(export::ExportArguments),
    Anchor(anchor::AnchorArguments),
}

pub(crate) fn run(command: &LedgerCommand) -> Result<Report, Failure> {
    match command {
        LedgerCommand::List(arguments) => list::run(arguments),
        LedgerCommand::Show(arguments) => show::run(arguments),
        LedgerCommand::Verify(arguments) => verify::run(arguments),
        LedgerCommand::Export(arguments) => export::run(arguments),
        LedgerCommand::Anchor(arguments) => anchor::run(arguments),
    }
}
