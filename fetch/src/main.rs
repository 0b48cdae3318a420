//! `portcullis-fetch`: brings a node's verdict from an HTTPS server to the agent's file, and news of
//! drift to another.
//!
//! The agent makes no sockets; this program does nothing else. It hands on only what a pinned
//! verifier signed, so that a server under foreign control can at most be silent, and then the
//! verdict that is there runs out.
#![forbid(unsafe_code)]

mod webhook;

use std::path::Path;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use portcullis_attestation::jws::MAX_BYTES;
use portcullis_attestation::verdict;
use portcullis_config::{Faults, RemoteConfig};
use portcullis_host::write_whole;
use portcullis_https::{Client, HttpsError};
use portcullis_journal::{Journal, chain};

/// Brings this node's verdict from the server that 'remote.url' names to the file 'remote.verdict'.
///
/// Reads its settings from /etc/portcullis. A verdict that no pinned key signed is not handed on.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis-fetch",
    version,
    after_help = "Example: portcullis-fetch --once"
)]
struct Arguments {
    /// Look once and end; the exit code is 2 if there is no verdict
    #[arg(long)]
    once: bool,
    /// Post what is on standard input to 'agent.on_drift_webhook' instead, and end; the exit code is 2
    /// if that was in vain
    #[arg(long, conflicts_with = "once")]
    post_drift: bool,
}

const JOURNAL: Journal = Journal::of("portcullis-fetch");

/// There is no verdict that could be handed on.
const EXIT_UNDECIDED: u8 = 2;
/// Settings or command line are wrong.
const EXIT_USAGE: u8 = 64;

/// Why no verdict was handed on.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    /// The server gave none.
    #[error("cannot fetch verdict")]
    Ask(#[from] HttpsError),
    /// What it gave is no text.
    #[error("cannot read verdict: it is not ASCII")]
    Text,
    /// Pinned keys cannot be read.
    #[error("cannot read pinned keys: {0}")]
    Keys(Faults),
    /// No pinned verifier signed it.
    #[error("cannot hand verdict on")]
    Verdict(#[from] verdict::VerdictError),
    /// The file cannot be written.
    #[error("cannot write '{path}'")]
    Write {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

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
    let outcome = if arguments.post_drift {
        post_drift()
    } else {
        follow(&arguments)
    };
    match outcome {
        Ok(code) => code,
        Err(reason) => {
            JOURNAL.error("cannot start", &[("cause", &reason)]);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn post_drift() -> Result<ExitCode, String> {
    let config = portcullis_config::load().map_err(|faults| faults.to_string())?;
    let webhook = (config.agent.on_drift_webhook)
        .ok_or("cannot post: 'agent.on_drift_webhook' names no server")?;
    match webhook::post(&webhook, std::io::stdin().lock()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            JOURNAL.error("drift not told to webhook", &[("cause", &chain(&error))]);
            Ok(ExitCode::from(EXIT_UNDECIDED))
        }
    }
}

fn follow(arguments: &Arguments) -> Result<ExitCode, String> {
    let config = portcullis_config::load().map_err(|faults| faults.to_string())?;
    let remote = (config.agent.remote).ok_or(
        "cannot fetch: 'agent.verifier' is not 'remote' in /etc/portcullis/portcullis.toml",
    )?;
    let (Some(url), Some(authority)) = (&remote.url, &remote.authority) else {
        return Err("cannot fetch: 'remote.url' names no server".to_owned());
    };
    let client = Client::new(Path::new(authority), None).map_err(|error| chain(&error))?;
    let mut last = String::new();
    loop {
        let mut code = ExitCode::SUCCESS;
        match fetch(&client, url, &remote, &mut last) {
            Ok(true) => JOURNAL.info("verdict handed on", &[]),
            Ok(false) => {}
            Err(error) => {
                JOURNAL.warn("no verdict", &[("cause", &chain(&error))]);
                code = ExitCode::from(EXIT_UNDECIDED);
            }
        }
        if arguments.once {
            return Ok(code);
        }
        thread::park_timeout(remote.interval);
    }
}

/// Whether a verdict that was not there before was written.
fn fetch(
    client: &Client,
    url: &str,
    remote: &RemoteConfig,
    last: &mut String,
) -> Result<bool, FetchError> {
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    let body = client.get(url, limit)?;
    let token = String::from_utf8(body)
        .ok()
        .filter(|text| text.is_ascii())
        .ok_or(FetchError::Text)?;
    let token = token.trim();
    if token == last {
        return Ok(false);
    }
    // Read anew, so that a change by the operator needs no restart.
    let keys = portcullis_config::trusted_keys().map_err(FetchError::Keys)?;
    verdict::verify(token, &keys)?;
    write_whole(Path::new(&remote.verdict), token.as_bytes()).map_err(|source| {
        FetchError::Write {
            path: remote.verdict.clone(),
            source,
        }
    })?;
    token.clone_into(last);
    Ok(true)
}
