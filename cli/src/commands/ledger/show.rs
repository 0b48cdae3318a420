//! `portcullis ledger show`

use clap::Args;
use portcullis_attestation::hex;
use portcullis_ledger::entry::Entry;
use serde_json::{Value, json};

use crate::commands::explain;
use crate::failure::Failure;
use crate::ledger_files::{LedgerFiles, Line};
use crate::paint::{Rows, strong};
use crate::report::Report;

/// Show one entry of the ledger, by its number or its reference.
///
/// Reads the files and needs no agent. 'portcullis explain' asks the agent instead.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis ledger show 41
  portcullis ledger show 8d21c0aa --ledger /mnt/evidence/w7 --output json")]
pub(crate) struct ShowArguments {
    /// Number of the entry, or the eight digits after 'ref='.
    #[arg(value_name = "NUMBER|REF")]
    what: String,
    #[command(flatten)]
    files: LedgerFiles,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot find entry '{}' in the ledger", what.escape_debug())]
struct Absent {
    what: String,
}

pub(crate) fn run(arguments: &ShowArguments) -> Result<Report, Failure> {
    let what = arguments.what.as_str();
    let number = what.parse::<u64>().ok();
    let (mut by_reference, mut by_number) = (None, None);
    arguments.files.for_each(&mut |_, line| {
        let Line::Whole(line) = line else {
            return Ok(());
        };
        let Ok(entry) = Entry::parse(line) else {
            return Ok(());
        };
        if entry.text(&["ref"]) == Some(what) {
            by_reference = Some(entry);
        } else if number == Some(entry.sequence) {
            by_number = Some(entry);
        }
        Ok(())
    })?;
    // Eight digits can be either.
    let entry = by_reference.or(by_number).ok_or_else(|| {
        Failure::usage(Absent {
            what: what.to_owned(),
        })
    })?;
    Ok(Report::done(describe(&entry), Value::Object(entry.record)))
}

fn describe(entry: &Entry) -> String {
    let digest = hex::encode(&entry.digest);
    if entry.event().is_none() {
        let mut rows = Rows::default();
        rows.add("sha256", digest);
        return format!("{}{}", explain::describe(&entry.record), rows.render());
    }
    let mut rows = Rows::default();
    rows.add("at", entry.at.clone());
    rows.add("ledger entry", entry.sequence.to_string());
    rows.add("sha256", digest);
    for (name, value) in &entry.record {
        if !["at", "seq", "prev", "event", "boot_id", "boottime_ms"].contains(&name.as_str()) {
            rows.add(name, crate::paint::plain(&json!(value).to_string()));
        }
    }
    let event = crate::paint::plain(entry.event().unwrap_or_default());
    format!("{}\n{}", strong(&event), rows.render())
}
