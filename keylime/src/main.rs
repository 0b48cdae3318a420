//! `portcullis-keylime`: turns what a Keylime verifier says of nodes into verdicts.
//!
//! Keylime answers over HTTPS and signs nothing. This program asks it, has each node quote its PCRs
//! for a nonce of its own, and signs a verdict about that TPM, that boot and those PCRs: affirming
//! if Keylime vouches, contraindicated if it speaks against the node, and none at all if it is
//! silent, so that a verdict runs out. It runs best where its key is safe from the nodes' root.
#![forbid(unsafe_code)]

mod adapter;
mod clock;
mod node;
mod opinion;
mod settings;
mod verdict;
mod verifier;

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use portcullis_attestation::software_key::SoftwareKey;
use portcullis_journal::{Journal, chain};
use zeroize::Zeroizing;

use adapter::Round;
use settings::Settings;
use verifier::Verifier;

/// Turns what a Keylime verifier says of nodes into verdicts.
///
/// Pass becomes an affirming verdict, fail one that speaks against the node; if Keylime is silent
/// or cannot be asked, nothing is written and the last verdict runs out.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis-keylime",
    version,
    after_help = "Example: portcullis-keylime --config /etc/portcullis/keylime.toml --once"
)]
struct Arguments {
    /// Settings
    #[arg(long, value_name = "FILE", default_value = settings::DEFAULT)]
    config: PathBuf,
    /// Ask about each node once and end; the exit code is 1 unless every verdict is affirming
    #[arg(long)]
    once: bool,
}

const JOURNAL: Journal = Journal::of("portcullis-keylime");

/// Some node has no affirming verdict.
const EXIT_NOT_AFFIRMING: u8 = 1;
/// Settings, keys or command line are wrong.
const EXIT_USAGE: u8 = 64;

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
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_NOT_AFFIRMING),
        Err(error) => {
            JOURNAL.error("cannot start", &[("cause", &chain(error.as_ref()))]);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let settings = Settings::load(&arguments.config)?;
    let verifier = Verifier::new(&settings)?;
    let path = settings.signing_key.display();
    let pem = fs::read_to_string(&settings.signing_key)
        .map(Zeroizing::new)
        .map_err(|error| format!("cannot read '{path}': {error}"))?;
    let mut key =
        SoftwareKey::from_pem(&pem).map_err(|error| format!("cannot use '{path}': {error}"))?;
    loop {
        let mut all_affirming = true;
        for node in &settings.nodes {
            all_affirming &= match adapter::round(&settings, node, &verifier, &mut key) {
                Ok(Round::Written {
                    status,
                    lifetime_s,
                    findings,
                }) => {
                    let fields = [
                        ("node", &*node.name),
                        ("status", status),
                        ("lifetime_s", &lifetime_s.to_string()),
                        ("findings", &findings),
                    ];
                    JOURNAL.info("verdict written", &fields);
                    status == "affirming"
                }
                Ok(Round::Nothing { reason }) => silent(&node.name, &reason),
                Err(error) => silent(&node.name, &chain(&error)),
            };
        }
        if arguments.once {
            return Ok(all_affirming);
        }
        thread::park_timeout(settings.poll_interval());
    }
}

/// Says why there is no verdict, which is not an affirming one.
fn silent(node: &str, reason: &str) -> bool {
    JOURNAL.warn("no verdict", &[("node", node), ("reason", reason)]);
    false
}
