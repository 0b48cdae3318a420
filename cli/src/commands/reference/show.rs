//! `portcullis reference show`

use std::path::PathBuf;

use clap::Args;
use portcullis_attestation::reference::{self, BootState, ReferenceError};
use serde_json::json;

use crate::clock;
use crate::documents;
use crate::failure::{EXIT_REFUSED, Failure};
use crate::files;
use crate::paint::{Rows, good, plain, strong};
use crate::report::Report;
use crate::validity::validity;

/// Digits of a PCR value that are shown; `--output json` has all.
const DIGITS: usize = 16;

/// Verify reference values and show what they approve.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis reference show /etc/portcullis/reference.d/debian-12.jws
  portcullis reference show --key keys/reference.jwk debian-12.jws")]
pub(crate) struct ShowArguments {
    /// Signed reference values.
    file: PathBuf,
    /// Public key to verify with, instead of those pinned on this host.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

pub(crate) fn run(arguments: &ShowArguments) -> Result<Report, Failure> {
    let document = files::read_text(&arguments.file)?;
    let keys = documents::verifying_keys(&arguments.key)?;
    let reference = reference::verify(&document, &keys).map_err(|error| match error {
        ReferenceError::Signature(_) => Failure::refused(error),
        other => Failure::usage(other),
    })?;
    let now = clock::now_unix_s();
    let values = &reference.values;
    let valid = values.is_valid_at(now);
    let mut rows = Rows::default();
    rows.add("signature", good("verified"));
    rows.add(
        "validity",
        validity(values.not_before_s, values.expires_s, now),
    );
    rows.add("issuer", plain(&values.issuer));
    rows.add("issued", clock::utc_and_distance(values.issued_at_s, now));
    rows.add("sequence", values.sequence.to_string());
    rows.add("id", reference.id.as_str());
    rows.add("TPMs", values.tpms.len().to_string());
    let mut text = format!("{}\n{}", strong("Reference values"), rows.render());
    for state in &values.boot_states {
        text.push_str(&boot_state(state));
    }
    let json = json!({
        "id": reference.id,
        "verified": true,
        "valid": valid,
        "claims": values.to_claims(),
    });
    Ok(Report {
        text,
        json,
        exit: if valid { 0 } else { EXIT_REFUSED },
    })
}

fn boot_state(state: &BootState) -> String {
    let mut text = format!("\nBoot state {}\n", strong(&plain(&state.name)));
    let mut rows = Rows::default();
    for bank in &state.banks {
        let claim = bank.to_claim();
        for (index, _) in bank.iter() {
            let value = claim
                .get(&index.to_string())
                .and_then(serde_json::Value::as_str);
            let shown: String = value.unwrap_or_default().chars().take(DIGITS).collect();
            rows.add(
                &format!("PCR {index} ({})", bank.bank()),
                format!("{shown}…"),
            );
        }
    }
    text.push_str(&rows.render());
    text
}
