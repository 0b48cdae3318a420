//! `portcullis reference events`

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use portcullis_attestation::event_log::{Event, EventLog, EventLogError, ReplayError};
use portcullis_attestation::hex;
use portcullis_attestation::pcr::{HashAlg, PcrIndex};
use serde_json::{Value, json};

use crate::event_log;
use crate::failure::Failure;
use crate::paint::{caution, plain, strong};
use crate::report::Report;

/// Digits of a digest in the table; `--output json` has all.
const DIGITS: usize = 16;
/// Characters of a text in the table.
const TEXT_LIMIT: usize = 100;

/// Show the firmware's event log: what was measured into which PCR, and what the PCRs come to.
///
/// Text that an event's digest proves is shown as it is; what nothing proves, such as names of
/// files, is marked. The type of an event is never proven. The log itself is proven for a PCR if
/// the value at the end is the one that the TPM holds.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis reference events
  portcullis reference events --pcr 8 --pcr 9
  portcullis reference events --output json /sys/kernel/security/tpm0/binary_bios_measurements")]
pub(crate) struct EventsArguments {
    /// Log to read, '-' for standard input; this host's if not given.
    file: Option<PathBuf>,
    /// PCR to show; repeat for several, all if not given.
    #[arg(long, value_name = "INDEX", value_parser = pcr_index)]
    pcr: Vec<PcrIndex>,
    /// Bank whose digests are shown; the strongest in the log if not given.
    #[arg(long, value_name = "BANK", value_parser = bank)]
    bank: Option<HashAlg>,
}

#[derive(Debug, thiserror::Error)]
enum EventsError {
    #[error("cannot show event log")]
    Parse(#[source] EventLogError),
    #[error("cannot show event log")]
    Replay(#[source] ReplayError),
    #[error("cannot show event log: it has digests of no bank that is known here")]
    Bank,
}

pub(crate) fn run(arguments: &EventsArguments) -> Result<Report, Failure> {
    let bytes = match &arguments.file {
        Some(path) => event_log::read(path)?,
        None => event_log::read_live()?,
    };
    let log = EventLog::parse(&bytes)
        .map_err(EventsError::Parse)
        .map_err(Failure::usage)?;
    let bank = arguments
        .bank
        .or_else(|| strongest(&log))
        .ok_or(EventsError::Bank)
        .map_err(Failure::usage)?;
    let replayed = log
        .replay(bank)
        .map_err(EventsError::Replay)
        .map_err(Failure::usage)?;

    let wanted: BTreeSet<u32> = arguments
        .pcr
        .iter()
        .map(|pcr| u32::from(pcr.get()))
        .collect();
    let is_shown = |pcr: u32| wanted.is_empty() || wanted.contains(&pcr);
    let mut text = format!("{}\n", strong(&format!("Events ({bank})")));
    let mut events = Vec::new();
    for event in log.events().iter().filter(|event| is_shown(event.pcr)) {
        text.push_str(&row(event, bank));
        events.push(claim(event, &log));
    }
    let _a_string_takes_every_write = write!(text, "\n{}\n", strong("PCRs by replay"));
    for (pcr, value) in replayed
        .iter()
        .filter(|(pcr, _)| is_shown(u32::from(pcr.get())))
    {
        let _a_string_takes_every_write = writeln!(text, "  {pcr:>2}  {}", hex::encode(value));
    }
    let banks: serde_json::Map<String, Value> = log
        .banks()
        .filter_map(|bank| Some((bank.to_string(), log.replay(bank).ok()?.to_claim().into())))
        .collect();
    let json = json!({
        "startup_locality": log.startup_locality(),
        "events": events,
        "pcrs": banks,
    });
    Ok(Report::done(text, json))
}

fn strongest(log: &EventLog<'_>) -> Option<HashAlg> {
    // SHA-256 first: it is what hosts quote.
    [
        HashAlg::Sha256,
        HashAlg::Sha384,
        HashAlg::Sha512,
        HashAlg::Sha1,
    ]
    .into_iter()
    .find(|bank| log.banks().any(|known| known == *bank))
}

fn row(event: &Event<'_>, bank: HashAlg) -> String {
    let digest: String = match event.digest(bank) {
        Some(digest) if event.is_extended() => hex::encode(digest).chars().take(DIGITS).collect(),
        _ => "-".repeat(DIGITS),
    };
    let pcr = match i32::try_from(event.pcr) {
        Ok(pcr) => pcr.to_string(),
        Err(_no_register) => "-".to_owned(),
    };
    let cut = |text: &str| -> String {
        let mut cut: String = plain(text).chars().take(TEXT_LIMIT).collect();
        if text.chars().count() > TEXT_LIMIT {
            cut.push('…');
        }
        cut
    };
    let text = match (event.checked(bank), event.hint()) {
        (Some(checked), _) => cut(&checked.describe()),
        (None, Some(hint)) => caution(&format!("unproven: {}", cut(&hint))),
        (None, None) => caution(&format!("unproven: {} bytes", event.data.len())),
    };
    format!(
        "  {:>4}  {pcr:>2}  {:<34}  {digest}  {text}\n",
        event.number, event.kind
    )
}

fn claim(event: &Event<'_>, log: &EventLog<'_>) -> Value {
    let digests: serde_json::Map<String, Value> = log
        .banks()
        .filter_map(|bank| Some((bank.to_string(), hex::encode(event.digest(bank)?).into())))
        .collect();
    let checked = log.banks().find_map(|bank| event.checked(bank));
    json!({
        "number": event.number,
        "pcr": event.pcr,
        "type": event.kind.to_string(),
        "extended": event.is_extended(),
        "digests": digests,
        "proven": checked.map(|checked| checked.describe()),
        "unproven": match checked {
            Some(_) => None,
            None => event.hint(),
        },
        "data_bytes": event.data.len(),
    })
}

fn pcr_index(text: &str) -> Result<PcrIndex, String> {
    PcrIndex::parse(text).ok_or_else(|| "expected a PCR from 0 to 23".to_owned())
}

fn bank(text: &str) -> Result<HashAlg, String> {
    HashAlg::parse(text).ok_or_else(|| "expected 'sha1', 'sha256', 'sha384' or 'sha512'".to_owned())
}
