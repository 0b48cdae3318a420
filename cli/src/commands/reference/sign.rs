//! `portcullis reference sign`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use portcullis_attestation::ClaimError;
use portcullis_attestation::jws::{SignError, Signer as _};
use portcullis_attestation::reference::ReferenceValues;
use portcullis_config::paths;
use serde_json::json;

use crate::clock;
use crate::documents::{self, Capture};
use crate::failure::Failure;
use crate::files;
use crate::paint::{Rows, strong};
use crate::report::Report;

/// Approve captured boot states: sign them as reference values.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis reference sign --key keys/reference.pem -i captured.json -o debian-12.jws
  portcullis reference sign --key keys/reference.pem --valid 30d -i a.json -i b.json -o fleet.jws")]
pub(crate) struct SignArguments {
    /// Private key made with 'keys generate --use reference'.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Captured file; several are merged.
    #[arg(long = "in", short, value_name = "FILE", required = true)]
    input: Vec<PathBuf>,
    /// File to write.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Validity from now on.
    #[arg(long, value_name = "SPAN", default_value = "90d", value_parser = documents::validity)]
    valid: Duration,
    /// Running number of the document; the time in seconds if not given.
    #[arg(long)]
    seq: Option<u64>,
    /// Who approves; the identity of the key if not given.
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, thiserror::Error)]
enum SignReferenceError {
    #[error("cannot approve the captured values")]
    ReadCapture(#[source] ClaimError),
    #[error("cannot approve captures without a boot state")]
    Empty,
    #[error("cannot sign reference values")]
    Sign(#[source] SignError),
}

pub(crate) fn run(arguments: &SignArguments) -> Result<Report, Failure> {
    let captures = arguments
        .input
        .iter()
        .map(|path| Capture::read(path))
        .collect::<Result<Vec<_>, _>>()?;
    let capture = Capture::merge(captures).map_err(Failure::usage)?;
    if capture.boot_states.is_empty() {
        return Err(Failure::usage(SignReferenceError::Empty));
    }
    let mut key = documents::private_key(&arguments.key)?;
    let now = clock::now_unix_s();
    let kid = key.public_key().kid().to_string();
    let issuer = arguments
        .issuer
        .clone()
        .unwrap_or_else(|| documents::issuer_of(&kid));
    let values = ReferenceValues::from_claims(&json!({
        "iss": issuer,
        "iat": now,
        "nbf": now,
        "exp": now.saturating_add(arguments.valid.as_secs()),
        "seq": arguments.seq.unwrap_or(now),
        "boot_states": capture.boot_states,
        "tpms": capture.tpms,
    }))
    .map_err(SignReferenceError::ReadCapture)
    .map_err(Failure::usage)?;
    let document = values
        .sign(&mut key)
        .map_err(SignReferenceError::Sign)
        .map_err(Failure::internal)?;
    files::write(
        &arguments.out,
        document.as_bytes(),
        files::PUBLIC,
        arguments.force,
    )?;

    let mut rows = document_rows(&values, now);
    rows.add("sequence", values.sequence.to_string());
    rows.add("signed with", kid.as_str());
    rows.add("file", arguments.out.display().to_string());
    let text = format!(
        "{}\n{}\nNext: copy it to {}/ on the nodes and run 'portcullis attest' there.",
        strong("Signed."),
        rows.render(),
        paths::REFERENCE
    );
    let json = json!({ "file": arguments.out, "kid": kid, "claims": values.to_claims() });
    Ok(Report::done(text, json))
}

/// What a document approves and for how long, for whoever has just signed it.
pub(super) fn document_rows(values: &ReferenceValues, now: u64) -> Rows {
    let names: Vec<&str> = values
        .boot_states
        .iter()
        .map(|state| state.name.as_str())
        .collect();
    let mut rows = Rows::default();
    rows.add("boot states", names.join(", "));
    rows.add("TPMs", values.tpms.len().to_string());
    rows.add(
        "valid until",
        clock::utc_and_distance(values.expires_s, now),
    );
    rows
}
