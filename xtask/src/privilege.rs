//! Who we are, and how to run something as root.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

/// The runner that cargo and nextest put in front of a test program.
const RUNNER: &str = "sudo --preserve-env";

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    // Sample: "Uid:\t1000\t1000\t1000\t1000"; the second number is the effective user id.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_whitespace().nth(1))
        == Some("0")
}

/// A command that runs `program` as root.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg("--preserve-env").arg("--").arg(program);
    command
}

/// Makes `cargo` run the test programs it builds as root, and build them as us.
pub(crate) fn run_tests_as_root(cargo: &mut Command, host: &str) {
    if !is_root() {
        let triple = host.replace('-', "_").to_uppercase();
        cargo.env(format!("CARGO_TARGET_{triple}_RUNNER"), RUNNER);
    }
}
