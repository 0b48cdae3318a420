//! `portcullis break-glass show`

use std::path::PathBuf;

use clap::Args;
use portcullis_attestation::break_glass::{self, BreakGlass, BreakGlassError, Grant};
use portcullis_attestation::ueid::Ueid;
use serde_json::json;

use crate::clock;
use crate::documents;
use crate::failure::{EXIT_REFUSED, Failure};
use crate::files;
use crate::paint::{Rows, good, plain, strong};
use crate::report::Report;
use crate::validity::validity;

/// Verify a break-glass token and show what it waives.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis break-glass show /etc/portcullis/break-glass.d/inc-7.jws
  portcullis break-glass show --key keys/policy.jwk inc-7.jws")]
pub(crate) struct ShowArguments {
    /// Break-glass token.
    file: PathBuf,
    /// Public key to verify with, instead of those pinned on this host.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

pub(crate) fn run(arguments: &ShowArguments) -> Result<Report, Failure> {
    let document = files::read_text(&arguments.file)?;
    let keys = documents::verifying_keys(&arguments.key)?;
    let token = break_glass::verify(&document, &keys).map_err(|error| match error {
        BreakGlassError::Signature(_) => Failure::refused(error),
        other => Failure::usage(other),
    })?;
    let now = clock::now_unix_s();
    let valid = (token.not_before_s..token.expires_s).contains(&now);
    let mut rows = rows(&token, now);
    rows.add("signature", good("verified"));
    let text = format!("{}\n{}", strong("Break-glass token"), rows.render());
    let json = json!({ "verified": true, "valid": valid, "claims": token.to_claims() });
    Ok(Report {
        text,
        json,
        exit: if valid { 0 } else { EXIT_REFUSED },
    })
}

/// What a token says.
pub(super) fn rows(token: &BreakGlass, now: u64) -> Rows {
    let mut rows = Rows::default();
    rows.add("id", token.id.as_str());
    let (begins, ends) = (token.not_before_s, token.expires_s);
    rows.add("validity", validity(begins, ends, now));
    rows.add("waives", waived(token));
    rows.add("node", plain(&token.node));
    rows.add("namespace", plain(&token.namespace));
    for (name, value) in [
        ("TPM", token.ueid.as_ref().map(Ueid::as_str)),
        ("pod", token.pod.as_deref()),
        ("container", token.container.as_deref()),
        ("image", token.image.as_deref()),
        ("reason", Some(&*token.reason)),
        ("ticket", Some(&*token.ticket)),
        ("issuer", Some(&*token.issuer)),
    ] {
        if let Some(value) = value {
            rows.add(name, plain(value));
        }
    }
    rows
}

/// What a token waives, in one line.
pub(crate) fn waived(token: &BreakGlass) -> String {
    match &token.grant {
        Grant::Rules(rules) => plain(&rules.join(", ")),
        Grant::HostTrust => "that the host proves what it is".to_owned(),
    }
}
