//! One file for each command: its arguments, and what it does with them.

mod attest;
mod break_glass;
mod census;
mod check;
mod containers;
mod doctor;
mod enroll;
mod evidence;
mod explain;
mod keys;
mod ledger;
mod policy;
mod quarantine;
mod reference;
mod seccomp;
mod sensitivity;
mod status;
mod tag;
mod verdict;

pub(crate) use break_glass::waived;
use clap::Subcommand;

use crate::failure::Failure;
use crate::report::Report;

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make keys for signing reference values, asset tags and policies.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Approve boot states: read them from a node, sign them, look at them.
    #[command(subcommand)]
    Reference(reference::ReferenceCommand),
    /// Say where a host stands and what it is for: issue, provision and look at asset tags.
    #[command(subcommand)]
    Tag(tag::TagCommand),
    Enroll(enroll::EnrollArguments),
    Attest(attest::AttestArguments),
    Status(status::StatusArguments),
    Quarantine(quarantine::QuarantineArguments),
    /// Decide for many nodes: sign settings and profiles as a bundle, look at it.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Except one start of one pod or container, for an emergency.
    #[command(subcommand)]
    BreakGlass(break_glass::BreakGlassCommand),
    /// Look at verdicts.
    #[command(subcommand)]
    Verdict(verdict::VerdictCommand),
    Evidence(evidence::EvidenceArguments),
    Explain(explain::ExplainArguments),
    /// Read, verify and export the ledger of decisions.
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    Census(census::CensusArguments),
    /// Pause, resume or stop the containers that run here, whoever started them.
    #[command(subcommand)]
    Containers(containers::ContainersCommand),
    Check(check::CheckArguments),
    /// Look at the level of sensitivity that this host took of its first workload, or give it up.
    #[command(subcommand)]
    Sensitivity(sensitivity::SensitivityCommand),
    /// Judge and compare seccomp sections and profiles.
    #[command(subcommand)]
    Seccomp(seccomp::SeccompCommand),
    Doctor(doctor::DoctorArguments),
}

/// Does what was asked.
pub(crate) fn run(command: &Command) -> Result<Report, Failure> {
    match command {
        Command::Keys(command) => keys::run(command),
        Command::Reference(command) => reference::run(command),
        Command::Tag(command) => tag::run(command),
        Command::Enroll(arguments) => enroll::run(arguments),
        Command::Attest(arguments) => attest::run(arguments),
        Command::Quarantine(arguments) => quarantine::run(arguments),
        Command::Status(arguments) => status::run(arguments),
        Command::Policy(command) => policy::run(command),
        Command::BreakGlass(command) => break_glass::run(command),
        Command::Verdict(command) => verdict::run(command),
        Command::Evidence(arguments) => evidence::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Ledger(command) => ledger::run(command),
        Command::Census(arguments) => census::run(arguments),
        Command::Containers(command) => containers::run(command),
        Command::Check(arguments) => check::run(arguments),
        Command::Sensitivity(command) => sensitivity::run(command),
        Command::Seccomp(command) => seccomp::run(command),
        Command::Doctor(arguments) => doctor::run(arguments),
    }
}
