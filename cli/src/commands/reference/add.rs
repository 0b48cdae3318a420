//! `portcullis reference add`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use portcullis_attestation::ClaimError;
use portcullis_attestation::jws::{SignError, Signer as _};
use portcullis_attestation::reference::{self, ReferenceValues};
use portcullis_config::paths;
use serde_json::{Value, json};

use crate::clock;
use crate::documents::{self, Capture};
use crate::failure::Failure;
use crate::files;
use crate::paint::strong;
use crate::report::Report;

use super::sign::document_rows;

/// Make the next document of a provider: what the last one approves, and newly captured states.
///
/// Both documents count as long as both are on a node: that is the window in which a fleet is
/// updated. With --withdraw the older ones stop to count on every node that has seen the new one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis reference add --to debian-12.jws -i kernel-6.1.56.json --key keys/reference.pem \\
    -o debian-12-next.jws
  portcullis reference add --to debian-12-next.jws --drop kernel-6.1.55 --withdraw \\
    --key keys/reference.pem -o debian-12-last.jws")]
pub(crate) struct AddArguments {
    /// The last signed document.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Public key to verify it with, instead of those pinned on this host.
    #[arg(long, value_name = "FILE")]
    signed_by: Vec<PathBuf>,
    /// Captured file; several are merged.
    #[arg(long = "in", short, value_name = "FILE")]
    input: Vec<PathBuf>,
    /// Boot state to leave out.
    #[arg(long, value_name = "NAME")]
    drop: Vec<String>,
    /// Withdraw all older documents of this provider.
    #[arg(long)]
    withdraw: bool,
    /// Private key made with 'keys generate --use reference'.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Validity from now on.
    #[arg(long, value_name = "SPAN", default_value = "90d", value_parser = documents::validity)]
    valid: Duration,
    /// File to write.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, thiserror::Error)]
enum AddError {
    #[error("cannot approve the captured values")]
    ReadCapture(#[source] ClaimError),
    #[error("cannot leave out boot state '{}': the document has none of that name", name.escape_debug())]
    Unknown { name: String },
    #[error("cannot make a document without a boot state")]
    Empty,
    #[error("cannot sign reference values")]
    Sign(#[source] SignError),
}

pub(crate) fn run(arguments: &AddArguments) -> Result<Report, Failure> {
    let document = files::read_text(&arguments.to)?;
    let keys = documents::verifying_keys(&arguments.signed_by)?;
    let last = reference::verify(document.trim(), &keys).map_err(Failure::refused)?;
    let mut captures = vec![kept(&last.values, &arguments.drop).map_err(Failure::usage)?];
    for path in &arguments.input {
        captures.push(Capture::read(path)?);
    }
    let capture = Capture::merge(captures).map_err(Failure::usage)?;
    if capture.boot_states.is_empty() {
        return Err(Failure::usage(AddError::Empty));
    }
    let now = clock::now_unix_s();
    let sequence = last.values.sequence.saturating_add(1).max(now);
    let values = next(&last.values, &capture, sequence, (now, arguments))
        .map_err(AddError::ReadCapture)
        .map_err(Failure::usage)?;
    let mut key = documents::private_key(&arguments.key)?;
    let kid = key.public_key().kid().to_string();
    let signed = values
        .sign(&mut key)
        .map_err(AddError::Sign)
        .map_err(Failure::internal)?;
    let bytes = signed.as_bytes();
    files::write(&arguments.out, bytes, files::PUBLIC, arguments.force)?;

    let mut rows = document_rows(&values, now);
    rows.add(
        "sequence",
        format!("{sequence}, after {}", last.values.sequence),
    );
    rows.add("withdraws", withdrawn(arguments.withdraw, sequence));
    rows.add("signed with", kid.as_str());
    rows.add("file", arguments.out.display().to_string());
    let text = format!(
        "{}\n{}\nNext: see what changes with 'portcullis reference diff {} {}', then copy it to {}/.",
        strong("Signed."),
        rows.render(),
        arguments.to.display(),
        arguments.out.display(),
        paths::REFERENCE
    );
    let json = json!({ "file": arguments.out, "kid": kid, "claims": values.to_claims() });
    Ok(Report::done(text, json))
}

/// What stays of the last document, as if it were captured.
fn kept(values: &ReferenceValues, drop: &[String]) -> Result<Capture, AddError> {
    if let Some(name) = drop
        .iter()
        .find(|name| !values.boot_states.iter().any(|state| state.name == **name))
    {
        return Err(AddError::Unknown { name: name.clone() });
    }
    let claims = values.to_claims();
    let list = |name: &str| {
        let list = claims.get(name).and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let is_dropped = |state: &Value| {
        let name = state.get("name").and_then(Value::as_str);
        drop.iter().any(|dropped| Some(dropped.as_str()) == name)
    };
    Ok(Capture {
        boot_states: list("boot_states")
            .into_iter()
            .filter(|state| !is_dropped(state))
            .collect(),
        tpms: list("tpms"),
    })
}

fn next(
    last: &ReferenceValues,
    capture: &Capture,
    sequence: u64,
    (now, arguments): (u64, &AddArguments),
) -> Result<ReferenceValues, ClaimError> {
    let mut claims = json!({
        "iss": last.issuer,
        "iat": now,
        "nbf": now,
        "exp": now.saturating_add(arguments.valid.as_secs()),
        "seq": sequence,
        "boot_states": capture.boot_states,
        "tpms": capture.tpms,
    });
    let minimum = if arguments.withdraw {
        Some(sequence)
    } else {
        last.minimum_sequence
    };
    if let (Some(minimum), Some(members)) = (minimum, claims.as_object_mut()) {
        members.insert("min_seq".to_owned(), minimum.into());
    }
    ReferenceValues::from_claims(&claims)
}

fn withdrawn(withdraw: bool, sequence: u64) -> String {
    if withdraw {
        format!("documents of this provider before {sequence}")
    } else {
        "nothing: the older document counts beside it".to_owned()
    }
}
