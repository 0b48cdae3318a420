//! `portcullis evidence`

use clap::Args;
use portcullis_attestation::nonce::Nonce;
use portcullis_client::method::Evidence;
use serde_json::Value;

use crate::agent;
use crate::failure::Failure;
use crate::report::Report;

/// Collect evidence of this node for a verifier elsewhere: a quote of its PCRs in answer to the
/// verifier's challenge, and what belongs to it.
///
/// Prints JSON. Nothing in it is secret, and nothing in it is believed before it is appraised.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis evidence --nonce AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8
  ssh root@w7 portcullis evidence --nonce AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")]
pub(crate) struct EvidenceArguments {
    /// The verifier's challenge: 32 random bytes in base64url, never used before.
    #[arg(long, value_name = "BASE64URL", value_parser = nonce)]
    nonce: Nonce,
}

pub(crate) fn run(arguments: &EvidenceArguments) -> Result<Report, Failure> {
    let call = Evidence {
        nonce: arguments.nonce.to_string(),
    };
    let json = Value::Object(agent::call(&call, agent::SLOW)?.evidence);
    Ok(Report::done(format!("{json:#}"), json))
}

fn nonce(text: &str) -> Result<Nonce, String> {
    Nonce::parse(text).ok_or_else(|| "expected 32 bytes in base64url, 43 characters".to_owned())
}
