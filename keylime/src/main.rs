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
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use portcullis_attestation::software_key::SoftwareKey;
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
            say(3, &chain(error.as_ref()));
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
            let name = node.name.escape_debug();
            match adapter::round(&settings, node, &verifier, &mut key) {
                Ok(Round::Written {
                    status,
                    lifetime_s,
                    findings,
                }) => {
                    all_affirming &= status == "affirming";
                    say(
                        6,
                        &format!(
                            "verdict written node='{name}' status='{status}' lifetime_s='{lifetime_s}' findings='{findings}'"
                        ),
                    );
                }
                Ok(Round::Nothing { reason }) => {
                    all_affirming = false;
                    say(4, &format!("no verdict node='{name}' reason='{reason}'"));
                }
                Err(error) => {
                    all_affirming = false;
                    let cause = chain(&error);
                    say(4, &format!("no verdict node='{name}' reason='{cause}'"));
                }
            }
        }
        if arguments.once {
            return Ok(all_affirming);
        }
        thread::park_timeout(settings.poll_interval());
    }
}

/// An error and its causes on one line.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    let plain = line
        .chars()
        .map(|one| if one.is_control() { ' ' } else { one });
    plain.take(1024).collect()
}

/// One line on standard error, with the priority that systemd reads.
fn say(priority: u8, event: &str) {
    // There is nobody else to tell.
    drop(writeln!(
        std::io::stderr().lock(),
        "<{priority}>portcullis-keylime: {event}"
    ));
}
