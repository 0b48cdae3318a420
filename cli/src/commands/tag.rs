//! `portcullis tag`

mod audit;
mod import;
mod issue;
mod provision;
mod request;
mod show;

pub(crate) use show::tag_list;

use clap::Subcommand;

use crate::failure::Failure;
use crate::report::Report;

/// What can be done with asset tags.
#[derive(Debug, Subcommand)]
pub(crate) enum TagCommand {
    Audit(audit::AuditArguments),
    Import(import::ImportArguments),
    Issue(issue::IssueArguments),
    Provision(provision::ProvisionArguments),
    Request(request::RequestArguments),
    Show(show::ShowArguments),
}

pub(crate) fn run(command: &TagCommand) -> Result<Report, Failure> {
    match command {
        TagCommand::Audit(arguments) => audit::run(arguments),
        TagCommand::Import(arguments) => import::run(arguments),
        TagCommand::Issue(arguments) => issue::run(arguments),
        TagCommand::Provision(arguments) => provision::run(arguments),
        TagCommand::Request(arguments) => request::run(arguments),
        TagCommand::Show(arguments) => show::run(arguments),
    }
}
