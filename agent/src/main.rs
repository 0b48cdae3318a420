//! `portcullis-agent`: the attester and embedded verifier of one node.
//!
//! It is the only program that talks to the TPM. It attests the node on a schedule and on demand,
//! appraises the evidence against signed reference values, signs the verdict with a key in the
//! TPM, and serves relying parties on a Varlink socket that only root can reach: the freshest
//! verdict together with a live reading of the TPM, and the ledger of their decisions.
//!
//! What it needs rights for, it opens first; then it gives them up ([`confinement`]).
//!
//! It trusts the TPM, the kernel, and files that only root can write. It does not trust its
//! clients: calls are limited in size, time and number, and none can hold up another.
//!
//! A node that is not enrolled, or whose TPM is away, still has an agent; launches are undecided
//! then, and `portcullis status` says why.
#![forbid(unsafe_code)]

mod anchoring;
mod atomic_file;
mod attester;
mod boot;
mod boot_fuse;
mod break_glass_use;
mod challenge;
mod confinement;
mod connection;
mod cycle;
mod drift;
mod enrollment;
mod errand;
mod floors;
mod kernel_log;
mod latch;
mod ledger;
mod log;
mod metrics;
mod node;
mod notifier;
mod notify;
mod privileged;
mod provisioning;
mod quarantine;
mod reason;
mod remote;
mod responder;
mod schedule;
mod sequence;
mod server;
mod service;
mod settings;
mod tag_provisioning;
mod tally;
mod tpm_queue;
mod tpm_thread;
mod verifier;

use std::process::ExitCode;

use clap::Parser;

/// Attester and embedded verifier of one node.
///
/// Reads its settings from /etc/portcullis, keeps its keys and its ledger in /var/lib/portcullis,
/// and serves /run/portcullis/agent.sock. None of these paths can be changed.
#[derive(Debug, Parser)]
#[command(name = "portcullis-agent", version)]
struct Arguments {
    /// Be the process that runs 'agent.on_drift_command' for the agent.
    #[arg(long, hide = true, conflicts_with = "responder")]
    notifier: bool,
    /// Be the process that sees to containers and webhook, for one message on standard input.
    #[arg(long, hide = true)]
    responder: bool,
}

/// The settings or the command line are wrong.
const EXIT_USAGE: u8 = 64;
/// The agent cannot do its job.
const EXIT_INTERNAL: u8 = 70;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            // Nowhere is left to say that help could not be printed.
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    let config = match portcullis_config::load() {
        Ok(config) => config,
        Err(faults) => {
            for fault in faults.iter() {
                log::error("settings", &[("fault", &fault.to_string())]);
            }
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if arguments.notifier {
        let outcome = notifier::run(&config.agent).map(|()| true);
        return beside("notifier stopped", outcome);
    }
    if arguments.responder {
        return beside("responder stopped", responder::run(&config));
    }
    match server::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error("agent stopped", &[("cause", &log::chain(&error))]);
            ExitCode::from(EXIT_INTERNAL)
        }
    }
}

/// The end of a process beside the agent.
fn beside(event: &str, outcome: std::io::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        // What was not done has been said.
        Ok(false) => ExitCode::from(EXIT_INTERNAL),
        Err(error) => {
            log::error(event, &[("cause", &error.to_string())]);
            ExitCode::from(EXIT_INTERNAL)
        }
    }
}
