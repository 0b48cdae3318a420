//! `cargo xtask`: the one way to build, test and show Portcullis.
//!
//! - `cargo xtask demo`: watch containers start on a trusted host and be refused on others.
//! - `cargo xtask test`: everything that must pass, in the order in which it fails fastest.
//! - `cargo xtask bench`: our shim, all checks on, beside containerd's own.
//! - `cargo xtask matrix`: the end-to-end suites on each containerd that Debian ships.
//! - `cargo xtask compat`: real programs under each hardening profile.
//! - `cargo xtask vm`: the gate in a guest with a measured boot.
//! - `cargo xtask fuzz`: whatever reads what it does not trust, under libFuzzer.
//!
//! Works as root, or asks sudo for the parts that need it.
#![forbid(unsafe_code)]

mod bench;
mod compat;
mod compatibility;
mod demo;
mod ear;
mod fuzz;
mod keylime;
mod layout;
mod matrix;
mod packages;
mod privilege;
mod programs;
mod screen;
mod step;
mod tally;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, test and show Portcullis.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Watch containers start on a trusted host and be refused on untrusted or mistagged ones
    ///
    /// Starts a software TPM, the agent and a containerd of its own in a private world below
    /// `target/demo`; nothing of this machine's own containerd is touched. Ends with a table, and
    /// with success only if each step came out as expected.
    Demo(demo::Arguments),
    /// Run all checks and tests
    ///
    /// Installs missing Debian packages, then: formatting, file sizes and names, lints, build,
    /// unit, property and documentation tests, and the suites that need root, a TPM or containerd.
    Test(test::Arguments),
    /// Measure our shim, all checks on, beside containerd's own
    ///
    /// Builds the programs as shipped and measures in a private world with a software TPM. Figures
    /// go to standard output, progress to standard error. A run that measures everything beside
    /// containerd's own shim writes docs/benchmarks/: a page with the machine's description, the
    /// budgets and all figures, a chart, and the figures as JSON. Fails if something could not be
    /// measured; a budget that is not met is no failure.
    Bench(bench::Arguments),
    /// Run the end-to-end suites on the containerd, runc and crun of several Debian releases
    ///
    /// Makes a folder with the root file system of each release below `target/matrix`, which takes
    /// the network, and keeps it for the next time. The results become `docs/compatibility.md`.
    Matrix(matrix::Arguments),
    /// Run real programs under each hardening profile, and say which relaxation they need
    ///
    /// Makes an archive with nginx, postgres, redis, memcached, Python, Node.js, a JVM and busybox below
    /// `target/compat`, and the root folder of a Debian release below `target/matrix`, which takes the
    /// network and some 2 GiB, and keeps them for the next time. Each program runs as a pod, in a
    /// private world, under each profile; one that does not work is tried with each relaxation.
    /// Progress goes to standard error. A run of all writes its part of `docs/compatibility.md`.
    Compat(compat::Arguments),
    /// Boot a guest with Secure Boot, a TPM and a measured boot chain, and try the gate in it
    ///
    /// Builds the guest from Debian packages below `target/vm`, which takes the network and some
    /// 2 GiB, and keeps it for the next time; runs it in software under QEMU, a minute or two for
    /// each boot. Logs of the last boots stay in `target/vm/boots`. A run of all scenarios with the
    /// programs as shipped writes its part of `docs/compatibility.md`.
    Vm(vm::Arguments),
    /// Fuzz everything that reads what it does not trust, one target after another
    ///
    /// Builds the targets of `fuzz/` below `target/fuzz`, which takes a C++ compiler, and runs each
    /// for a minute, from seeds that were recorded and from what earlier runs found worth keeping.
    /// Ends with the number of executions of each; an input that makes one fail is kept in
    /// `target/fuzz/findings`, and fails the run.
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Matrix(arguments) => matrix::run(&arguments),
        Task::Compat(arguments) => compat::run(&arguments),
        Task::Vm(arguments) => vm::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
    };
    done.unwrap_or_else(|failed| {
        screen::say(&format!("xtask: {failed}"));
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_xtask_in_the_documents_can_be_typed() {
        let documents = [
            include_str!("../../README.md"),
            include_str!("../../CONTRIBUTING.md"),
        ];
        let lines = documents.iter().flat_map(|text| text.lines());
        let typed: Vec<&str> = lines
            .filter(|line| line.starts_with("cargo xtask "))
            .collect();
        assert!(typed.len() >= 3, "this test would not notice");
        for line in typed {
            let words = line.split_whitespace().skip(1);
            assert!(Arguments::try_parse_from(words).is_ok(), "{line}");
        }
    }
}
