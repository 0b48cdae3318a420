//! `portcullis verdict show`

use std::path::PathBuf;

use clap::Args;
use portcullis_attestation::boot_id::BootId;
use portcullis_attestation::hex;
use portcullis_attestation::jws::{Typ, Unverified};
use portcullis_attestation::trust::Claim;
use portcullis_attestation::verdict::{self, Verdict, VerdictDefect};
use portcullis_config::paths;
use serde_json::{Value, json};

use crate::clock;
use crate::commands::attest::tier;
use crate::documents;
use crate::failure::{EXIT_REFUSED, EXIT_UNDECIDED, Failure};
use crate::files;
use crate::paint::{Rows, bad, good, plain, strong};
use crate::report::Report;

/// Verify a verdict with the pinned keys and show what it says.
///
/// Ends with 0 if it is genuine, affirming and not expired, with 1 if it is forged or not
/// affirming, with 2 if it has expired.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis verdict show
  portcullis verdict show --file verdict.jwt --key verdict.jwk --output json")]
pub(crate) struct ShowArguments {
    /// Verdict; the one this node holds if not given.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Public key to verify with, instead of those pinned on this host.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

pub(crate) fn run(arguments: &ShowArguments) -> Result<Report, Failure> {
    let path = arguments
        .file
        .clone()
        .unwrap_or_else(|| PathBuf::from(paths::VERDICT));
    let token = files::read_text(&path)?;
    let keys = documents::verifying_keys(&arguments.key)?;
    let verdict = verdict::verify(&token, &keys).map_err(|error| match error.defect() {
        VerdictDefect::Signature | VerdictDefect::Algorithm => Failure::refused(error),
        VerdictDefect::Malformed
        | VerdictDefect::Duplicate
        | VerdictDefect::Mixed
        | VerdictDefect::Unbound
        | VerdictDefect::Contradiction
        | VerdictDefect::Profile => Failure::usage(error),
    })?;
    let now = clock::now_unix_s();
    let claims = Unverified::parse(&token, Typ::Verdict)
        .and_then(|token| token.payload())
        .unwrap_or(Value::Null);
    let json = json!({
        "verified": true,
        "expired": verdict.expires_s <= now,
        "age_s": now.saturating_sub(verdict.issued_at_s),
        "claims": claims,
    });
    Ok(Report {
        text: describe(&verdict, now),
        json,
        exit: exit(&verdict, now),
    })
}

fn exit(verdict: &Verdict, now: u64) -> u8 {
    if !verdict.status.is_affirming() {
        EXIT_REFUSED
    } else if verdict.expires_s <= now {
        EXIT_UNDECIDED
    } else {
        0
    }
}

fn describe(verdict: &Verdict, now: u64) -> String {
    let host = &verdict.host;
    let mut rows = Rows::default();
    rows.add("signature", good("verified"));
    rows.add("status", tier(verdict.status.as_str()));
    rows.add(
        "node",
        plain(host.node_name.as_deref().unwrap_or("not named")),
    );
    rows.add(
        "boot state",
        plain(host.boot_state.as_deref().unwrap_or("none matched")),
    );
    rows.add("issued", clock::utc_and_distance(verdict.issued_at_s, now));
    let expires = clock::utc_and_distance(verdict.expires_s, now);
    let expired = verdict.expires_s <= now;
    rows.add("expires", if expired { bad(&expires) } else { expires });
    rows.add("issuer", plain(&verdict.issuer));
    rows.add("sequence", host.sequence.to_string());
    rows.add("TPM", host.ueid.as_str());
    rows.add("AK name", host.ak_name.to_string());
    rows.add(
        "boot",
        format!(
            "{}, reset count {}, restart count {}",
            this_boot(host),
            host.reset_count,
            host.restart_count
        ),
    );
    rows.add(
        "PCRs",
        format!("{} ({})", host.pcrs.selection, host.pcrs.selection.bank()),
    );
    rows.add("PCR digest", hex::encode(&host.pcrs.digest));
    if let Some(pin) = &host.tag {
        rows.add(
            "asset tag",
            format!(
                "NV 0x{:08x}, sha384 {}",
                pin.nv_index,
                hex::encode(&pin.digest)
            ),
        );
    }
    if !host.tags.is_empty() {
        rows.add("tags", crate::commands::tag::tag_list(&host.tags));
    }
    let mut vector = Rows::default();
    for claim in Claim::ALL {
        if let Some(value) = host.vector.value(claim) {
            vector.add(
                claim.as_str(),
                format!("{:>4}  {}", value.get(), tier(value.tier().as_str())),
            );
        }
    }
    format!(
        "{}\n{}\n{}\n{}",
        strong("Verdict"),
        rows.render(),
        strong("Trust vector"),
        vector.render()
    )
}

/// Whether the verdict is about the boot that runs here. On another host than the verdict's, or
/// where the boot id cannot be read, this says what is known.
fn this_boot(host: &verdict::HostVerdict) -> &'static str {
    let running = portcullis_host::boot_id()
        .ok()
        .and_then(|text| BootId::parse(&text));
    match running {
        Some(boot_id) if boot_id.seed() == host.boot_seed => "this one",
        Some(_) => "another one than runs here",
        None => "unknown",
    }
}
