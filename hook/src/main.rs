//! `portcullis-hook`: an OCI hook that refuses a container on a host that cannot be vouched for.
//!
//! For runtime callers that do not use the shim: CRI-O, Podman, Docker with its own runtime. It
//! runs as `createRuntime` (or the older `prestart`) hook, in the runtime's namespaces and before
//! the container's first process. It only looks: what a hook writes into `config.json` has no
//! effect. It asks the agent, decides as the shim does, checks that the configuration is hardened,
//! and records the decision.
//!
//! Nothing that is read is trusted: not the state on standard input, not the bundle, not the
//! agent's answer, of which only what pinned keys signed and what the TPM said counts.
//!
//! Exit code 0 means permitted and nothing else; 1 refused, 2 undecided, 64 wrong usage or
//! settings, 70 any other fault. The reason is one line on standard error and in the system log,
//! because crun shows nobody what a hook wrote.
//!
//! Layer 2: may use layer 0, `client`, `host` and `config`; no async runtime, no TPM library.
#![forbid(unsafe_code)]

mod agent;
mod arguments;
mod bundle;
mod names;
mod node_rules;
mod state;
mod system_log;
mod verification;

use std::process::ExitCode;
use std::time::Instant;

use portcullis_gate::{Code, RecordId, Refusal, Refusals};
// Linked for its symbols.
use portcullis_unwinder as _;

use crate::arguments::{Arguments, Request};
use crate::system_log::Severity;

/// musl's own allocator maps and unmaps memory a hundred times in one run, which takes longer than
/// all that the hook computes in between. This one asks for it in large pieces and gives nothing back
/// until the process ends.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Exit code for wrong usage (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;
/// Exit code of a program that cannot do its job (`EX_SOFTWARE` of sysexits.h).
const EXIT_INTERNAL: u8 = 70;

fn main() -> ExitCode {
    let begun = Instant::now();
    let exit = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(Request::Verify(arguments)) => verify(&arguments, begun),
        Ok(Request::Show(text)) => show(text),
        Err(error) => {
            tell(&format!("portcullis-hook: {error}"), Severity::Error);
            EXIT_USAGE
        }
    };
    ExitCode::from(exit)
}

fn verify(arguments: &Arguments, begun: Instant) -> u8 {
    let Some(id) = record_id() else {
        tell(&no_randomness().to_string(), Severity::Error);
        return EXIT_INTERNAL;
    };
    // Runtimes start hooks in the bundle, which the container's owner may have filled. Nothing
    // here is looked up relative to it, and so it stays.
    if let Err(error) = std::env::set_current_dir("/") {
        tell(
            &format!("portcullis-hook: cannot change to directory '/': {error}"),
            Severity::Error,
        );
        return EXIT_INTERNAL;
    }
    match verification::run(arguments, id, begun) {
        Ok(None) => 0,
        Ok(Some(would_refuse)) => {
            let line = would_refuse.line(&id);
            tell(
                &format!("audit mode would refuse: {line}"),
                Severity::Warning,
            );
            0
        }
        Err(refusals) => {
            tell(&refusals.line(&id), severity(&refusals));
            refusals.exit_code()
        }
    }
}

/// The reference under which the decision is found again.
fn record_id() -> Option<RecordId> {
    let mut random = [0; 4];
    getrandom::fill(&mut random)
        .is_ok()
        .then_some(RecordId(random))
}

fn no_randomness() -> Refusal {
    Refusal::new(
        Code::HostUnreadable,
        "random numbers of the kernel",
        "four bytes",
        "an error",
    )
}

fn severity(refusals: &Refusals) -> Severity {
    match refusals.kind() {
        portcullis_gate::Kind::Refused => Severity::Warning,
        portcullis_gate::Kind::Undecided | portcullis_gate::Kind::Fault => Severity::Error,
    }
}

#[expect(clippy::print_stdout, reason = "help and version were asked for")]
fn show(text: &str) -> u8 {
    println!("{text}");
    // Not 0: a runtime that calls the hook so must not take the answer for permission.
    EXIT_USAGE
}

/// The one line, to whoever started the hook and to the system log.
#[expect(clippy::print_stderr, reason = "the line is the hook's only output")]
fn tell(line: &str, severity: Severity) {
    eprintln!("{line}");
    system_log::send(line, severity);
}
