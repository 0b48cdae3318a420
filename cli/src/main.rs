//! `portcullis`: what an operator does with a node, its keys, its boot states and its tags.
//!
//! The command holds no rights of its own: what concerns the TPM or the ledger it asks the agent
//! for; keys, reference values and tags are files. It trusts its arguments, and nothing it reads:
//! documents are verified with the keys pinned on the host before anything is said about them.
//!
//! Exit codes: 0 done or permitted, 1 refused, 2 undecided (something could not be checked),
//! 64 wrong usage, input or settings, 70 anything else. An error is one line on stderr; with
//! `--output json` it is on stdout as JSON, too.
//!
//! Layer 2: may use layer 0, `client`, `host` and `config`; never `tpm`.
#![forbid(unsafe_code)]

mod agent;
mod arguments;
mod clock;
mod commands;
mod containers;
mod der;
mod documents;
mod event_log;
mod failure;
mod files;
mod findings;
mod isecl;
mod ledger_files;
mod manifest;
mod node_policy;
mod paint;
mod remedy;
mod report;
mod table;
mod tag_audit;
mod tag_file;
mod tokens;
mod tree;
mod trial;
mod validity;
mod workload;
mod yaml;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::Arguments;
use crate::failure::EXIT_USAGE;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => return explain_usage(&message),
    };
    let outcome = commands::run(&arguments.command);
    ExitCode::from(report::print(outcome, arguments.output))
}

/// Prints help, version, or what is wrong with the command line and what may have been meant.
fn explain_usage(message: &clap::Error) -> ExitCode {
    // Where the message cannot be printed, the exit code still says it.
    let printed = message.print();
    if message.use_stderr() {
        ExitCode::from(EXIT_USAGE)
    } else if printed.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(failure::EXIT_INTERNAL)
    }
}
