//! `portcullis policy show`

use std::path::PathBuf;

use clap::Args;
use portcullis_attestation::policy_bundle::{self, PolicyBundle, PolicyError, Term};
use portcullis_config::Difference;
use serde_json::json;

use crate::clock;
use crate::documents;
use crate::failure::{EXIT_REFUSED, Failure};
use crate::files;
use crate::paint::{Rows, caution, good, plain, strong};
use crate::report::Report;
use crate::validity::validity;

/// Verify a policy bundle and show what it makes of this node's settings.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis policy show /etc/portcullis/policy.d/fleet.jws
  portcullis policy show --key keys/policy.jwk fleet.jws")]
pub(crate) struct ShowArguments {
    /// Signed policy bundle.
    file: PathBuf,
    /// Public key to verify with, instead of those pinned on this host.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

pub(crate) fn run(arguments: &ShowArguments) -> Result<Report, Failure> {
    let document = files::read_text(&arguments.file)?;
    let keys = documents::verifying_keys(&arguments.key)?;
    let signed = policy_bundle::verify(&document, &keys).map_err(|error| match error {
        PolicyError::Signature(_) => Failure::refused(error),
        other => Failure::usage(other),
    })?;
    let now = clock::now_unix_s();
    let bundle = &signed.bundle;
    let valid = bundle.term(now, 0) == Term::Valid;
    let mut rows = Rows::default();
    rows.add("signature", good("verified"));
    let (begins, ends) = (bundle.not_before_s, bundle.expires_s);
    rows.add("validity", validity(begins, ends, now));
    rows.add("issuer", plain(&bundle.issuer));
    rows.add("issued", clock::utc_and_distance(bundle.issued_at_s, now));
    rows.add("sequence", bundle.sequence.to_string());
    rows.add("sha256", signed.sha256.as_str());
    rows.add("profiles", names(bundle));
    let title = format!("Policy bundle {}", plain(&bundle.name));
    let mut text = format!("{}\n{}", strong(&title), rows.render());
    text.push_str(&format!("\n{}\n", strong("Settings")));
    for line in bundle.settings.lines() {
        text.push_str(format!("  {}", plain(line)).trim_end());
        text.push('\n');
    }
    // On the operator's own machine there are none to compare with.
    let differences = portcullis_config::differences(bundle);
    text.push_str(&format!("\n{}\n", strong("Against this node's own files")));
    text.push_str(&match &differences {
        Ok(differences) => differing(differences),
        Err(faults) => format!("  {}\n", caution(&faults.to_string())),
    });
    let differences: Vec<_> = differences
        .iter()
        .flatten()
        .map(|it| json!({ "key": it.key, "own": it.own, "signed": it.signed }))
        .collect();
    let json = json!({
        "verified": true,
        "valid": valid,
        "sha256": signed.sha256,
        "signer": signed.signer,
        "claims": bundle.to_claims(),
        "differences": differences,
    });
    Ok(Report {
        text,
        json,
        exit: if valid { 0 } else { EXIT_REFUSED },
    })
}

fn differing(differences: &[Difference]) -> String {
    if differences.is_empty() {
        return "  no difference\n".to_owned();
    }
    let mut rows = Rows::default();
    for difference in differences {
        let own = difference.own.as_deref().unwrap_or("not set");
        let change = format!("{} -> {}", plain(own), plain(&difference.signed));
        rows.add(&plain(&difference.key), change);
    }
    rows.render()
}

/// Names of the profiles in a bundle.
pub(super) fn names(bundle: &PolicyBundle) -> String {
    let names: Vec<&str> = bundle.profiles.iter().map(|it| it.name.as_str()).collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}
