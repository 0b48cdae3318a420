//! `portcullis sensitivity`

use std::path::Path;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use portcullis_client::method::RecordRelease;
use portcullis_config::paths;
use portcullis_host::{HostError, Pin, pinned, unpin};
use serde_json::json;

use crate::agent;
use crate::clock;
use crate::containers::processes::Host;
use crate::containers::{Found, PROC, ProcessesError};
use crate::failure::Failure;
use crate::paint::{Rows, plain, strong};
use crate::report::Report;

/// What can be done with the level.
#[derive(Debug, Subcommand)]
pub(crate) enum SensitivityCommand {
    /// Show the level that this host took of its first workload, and since when.
    ///
    /// A level by the asset tag is none that the host took: 'portcullis tag show' shows it. Needs root.
    #[command(after_help = "Example: portcullis sensitivity show --output json")]
    Show,
    /// Give the level up, so that the next workload decides.
    ///
    /// Refused while any container runs that 'portcullis census' lists, whoever started it. The
    /// ledger keeps the reason. Needs root.
    #[command(after_help = "\
Example:
  portcullis sensitivity release --reason 'CHG-118: drained, becomes a host for public workloads'")]
    Release(ReleaseArguments),
}

/// Why.
#[derive(Debug, Args)]
pub(crate) struct ReleaseArguments {
    /// Why, for the ledger.
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    reason: String,
}

#[derive(Debug, thiserror::Error)]
enum SensitivityError {
    #[error(transparent)]
    Processes(#[from] ProcessesError),
    #[error("cannot tell containers from the host: run the command on the host itself")]
    Elsewhere,
    #[error("cannot release level '{level}': {running} containers run; see 'portcullis census'")]
    Running {
        /// The level.
        level: String,
        /// How many.
        running: usize,
    },
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        error.refusal().into()
    }
}

pub(crate) fn run(command: &SensitivityCommand) -> Result<Report, Failure> {
    match command {
        SensitivityCommand::Show => show(),
        SensitivityCommand::Release(arguments) => release(&arguments.reason),
    }
}

fn show() -> Result<Report, Failure> {
    let pin = pinned(Path::new(paths::PIN))?;
    Ok(match &pin {
        Some(pin) => described("This host keeps the level of its first workload.", pin),
        None => none(),
    })
}

fn release(reason: &str) -> Result<Report, Failure> {
    let released = unpin(Path::new(paths::PIN), |pin| -> Result<(), Failure> {
        verify_drained(&pin.level)?;
        let call = RecordRelease {
            level: pin.level.clone(),
            since: pin.since_unix_s,
            reason: reason.to_owned(),
        };
        agent::call(&call, agent::QUICK).map(drop)
    })?;
    Ok(match &released {
        Some(pin) => described("Released. The next workload decides.", pin),
        None => none(),
    })
}

/// No container is left, neither of the level nor of any other.
fn verify_drained(level: &str) -> Result<(), Failure> {
    let undecided = |error: SensitivityError| Failure::undecided(error);
    let proc = Path::new(PROC);
    let host = Host::of_this_process(proc).map_err(|error| undecided(error.into()))?;
    if !host.is_the_machines(proc) {
        return Err(undecided(SensitivityError::Elsewhere));
    }
    let found = Found::now().map_err(|error| undecided(error.into()))?;
    match found.containers.len() {
        0 => Ok(()),
        running => Err(Failure::refused(SensitivityError::Running {
            level: level.to_owned(),
            running,
        })),
    }
}

fn none() -> Report {
    let text = "This host keeps no level of a workload.\n".to_owned();
    Report::done(text, json!({ "level": null, "since": null }))
}

fn described(headline: &str, pin: &Pin) -> Report {
    let mut rows = Rows::default();
    rows.add("level", plain(&pin.level));
    let since = clock::utc_and_distance(pin.since_unix_s, clock::now_unix_s());
    rows.add("since", since);
    let text = format!("{}\n{}", strong(headline), rows.render());
    let json = json!({ "level": pin.level, "since": pin.since_unix_s });
    Report::done(text, json)
}
