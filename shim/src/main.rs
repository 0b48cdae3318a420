//! `containerd-shim-portcullis-v1`: containerd's runtime shim with a gate in front.
//!
//! containerd runs this program as `io.containerd.portcullis.v1`. It serves the Task API for one
//! pod, checks the host's verdict, boot state and asset tag before any process starts, hardens
//! every OCI configuration, exec and update, and drives runc or crun. It never talks to a TPM:
//! the agent does, and what the agent carries is verified here with keys pinned on the host.
//!
//! It trusts root on this host and the files under `/etc/portcullis`; it does not trust
//! containerd's clients, pod specs, images, or the agent's word alone.

mod args;
mod bootstrap;
mod bundle;
mod callers;
mod cgroup;
mod child;
mod connection;
mod delete;
mod errand;
mod events;
mod group;
mod introspection;
mod launch;
mod leftover;
mod log;
mod look;
mod metrics;
mod mount;
mod oom;
mod options;
mod orphan;
mod peer;
mod placement;
mod rights;
mod runtime;
mod server;
mod service;
mod socket;
mod start;
mod status;
mod stdio;
mod sys;
mod task;

use std::process::ExitCode;

// Linked for its symbols.
use portcullis_unwinder as _;

use crate::args::Action;

/// Shown by `--help`.
const USAGE: &str = "\
containerd-shim-portcullis-v1: containerd runtime shim that refuses untrusted hosts

containerd runs this program; people run 'portcullis'. To use it:
  ctr run --runtime io.containerd.portcullis.v1 IMAGE ID
  or runtime_type = \"io.containerd.portcullis.v1\" in containerd's configuration

usage: containerd-shim-portcullis-v1 [flags] start|delete
  -namespace NAME   containerd namespace
  -id ID            container or sandbox id
  -address PATH     containerd's socket
  -bundle PATH      bundle, with 'delete'
  -debug            more log lines
  -info             print what shim and runtime can do, as protobuf
  -v                print the version
";

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the edge of the program"
)]
fn main() -> ExitCode {
    if let Err(error) = sys::close_inherited() {
        eprintln!("portcullis: cannot close inherited descriptors: {error}");
        return ExitCode::FAILURE;
    }
    let args = match args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("portcullis: {error}");
            return ExitCode::from(64);
        }
    };
    if args.debug {
        log::verbose();
    }
    let done: Result<(), Box<dyn std::error::Error>> = match args.action {
        Action::Help => {
            print!("{USAGE}");
            Ok(())
        }
        Action::Version => {
            println!(
                "containerd-shim-portcullis-v1:\n  Version:  {}",
                env!("CARGO_PKG_VERSION")
            );
            Ok(())
        }
        Action::Info => introspection::run().map_err(Into::into),
        Action::Start => start::run(&args).map_err(Into::into),
        Action::Delete => delete::run(&args).map_err(Into::into),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portcullis: {}", log::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
