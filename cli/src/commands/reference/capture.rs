//! `portcullis reference capture`

use std::path::PathBuf;

use clap::Args;
use portcullis_attestation::event_log::{EventLog, EventLogError, ReplayError};
use portcullis_attestation::hex;
use portcullis_attestation::pcr::{HashAlg, PcrIndex, PcrValues};
use portcullis_attestation::reference::BootState;
use portcullis_client::method::{Capture as CaptureCall, CaptureReply};
use serde_json::{Map, Value, json};

use crate::agent;
use crate::documents::Capture;
use crate::event_log;
use crate::failure::Failure;
use crate::files;
use crate::paint::{Rows, plain, strong};
use crate::report::Report;

/// Read this node's boot state and TPM identity, to be approved with 'reference sign'.
///
/// Capture on a node that you know is in the state you want: what is captured is what will be
/// accepted. With '--events' it is not the PCR values, but the events of the firmware's log, one by
/// one, so that a later change of a single one can be added to the reference values.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis reference capture --name debian-12 --out captured.json
  portcullis reference capture --name debian-12 --events --out captured.json
  portcullis reference capture | less")]
pub(crate) struct CaptureArguments {
    /// Name of the boot state, as it will appear in verdicts.
    #[arg(long, value_name = "STATE", default_value = "default", value_parser = state_name)]
    name: String,
    /// Capture rules on the events of the firmware's log where it explains a PCR, and exact values
    /// of the other PCRs.
    #[arg(long)]
    events: bool,
    /// File to write; standard output if not given.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, thiserror::Error)]
enum CaptureError {
    #[error("cannot capture events: the agent's PCR values cannot be read")]
    Reply,
    #[error("cannot capture events")]
    Parse(#[source] EventLogError),
    #[error("cannot capture events")]
    Replay(#[source] ReplayError),
    #[error(
        "cannot capture events: the event log explains none of PCR {pcrs} ({bank}); capture without '--events'"
    )]
    Unexplained { pcrs: String, bank: HashAlg },
}

pub(crate) fn run(arguments: &CaptureArguments) -> Result<Report, Failure> {
    let reply = agent::call(&CaptureCall {}, agent::SLOW)?;
    let state = if arguments.events {
        Some(ruled_state(&arguments.name, &reply)?)
    } else {
        None
    };
    let capture = capture_of(&arguments.name, &reply, state.as_ref());
    let json = capture.to_value();
    let Some(out) = &arguments.out else {
        return Ok(Report::done(format!("{json:#}"), json));
    };
    files::write(
        out,
        format!("{json:#}\n").as_bytes(),
        files::PUBLIC,
        arguments.force,
    )?;
    let mut rows = Rows::default();
    rows.add("boot state", arguments.name.as_str());
    rows.add(
        "PCRs",
        format!("{} ({})", indices(&reply), plain(&reply.pcr_bank)),
    );
    if let Some(state) = &state {
        let ruled = state.events.iter().flat_map(|rules| rules.pcrs.keys());
        let ruled: Vec<String> = ruled.map(ToString::to_string).collect();
        rows.add("by events", format!("PCR {}", ruled.join(",")));
        let exact = state.banks.first().map(|values| values.selection());
        if let Some(exact) = exact {
            rows.add(
                "by value",
                format!("PCR {exact}, which the log does not explain"),
            );
        }
    }
    rows.add("TPM", plain(&reply.ueid));
    rows.add("file", out.display().to_string());
    let text = format!(
        "{}\n{}\nNext: where the key is, run 'portcullis reference sign --key reference.pem -i {} -o \
         {}.jws'.",
        strong("Captured."),
        rows.render(),
        out.display(),
        arguments.name
    );
    Ok(Report::done(text, json))
}

/// The state by the events of this host's log, as far as they explain the values.
fn ruled_state(name: &str, reply: &CaptureReply) -> Result<BootState, Failure> {
    let bytes = event_log::read_live()?;
    let log = EventLog::parse(&bytes)
        .map_err(CaptureError::Parse)
        .map_err(Failure::usage)?;
    let values = values_of(reply)
        .ok_or(CaptureError::Reply)
        .map_err(Failure::internal)?;
    let state = BootState::captured(name.to_owned(), &values, &log)
        .map_err(CaptureError::Replay)
        .map_err(Failure::usage)?;
    if state.events.is_empty() {
        return Err(Failure::usage(CaptureError::Unexplained {
            pcrs: values.selection().to_string(),
            bank: values.bank(),
        }));
    }
    Ok(state)
}

fn values_of(reply: &CaptureReply) -> Option<PcrValues> {
    let mut values = PcrValues::new(HashAlg::parse(&reply.pcr_bank)?);
    for pcr in &reply.pcrs {
        let index = PcrIndex::new(u8::try_from(pcr.index).ok()?)?;
        values.insert(index, hex::decode(&pcr.digest)?).ok()?;
    }
    Some(values)
}

fn capture_of(name: &str, reply: &CaptureReply, ruled: Option<&BootState>) -> Capture {
    let values: Map<String, Value> = reply
        .pcrs
        .iter()
        .map(|pcr| (pcr.index.to_string(), Value::String(pcr.digest.clone())))
        .collect();
    let mut banks = Map::new();
    banks.insert(reply.pcr_bank.clone(), Value::Object(values));
    let exact = || json!({ "name": name, "pcrs": banks });
    Capture {
        boot_states: vec![ruled.map_or_else(exact, BootState::to_claim)],
        tpms: vec![json!({ "ueid": reply.ueid, "ak_name": reply.ak_name })],
    }
}

fn indices(reply: &CaptureReply) -> String {
    let indices: Vec<String> = reply.pcrs.iter().map(|pcr| pcr.index.to_string()).collect();
    indices.join(",")
}

fn state_name(text: &str) -> Result<String, String> {
    let fits = !text.is_empty()
        && text.len() <= 128
        && text
            .chars()
            .all(|one| one.is_ascii_alphanumeric() || "-_.+ ".contains(one));
    if fits {
        Ok(text.to_owned())
    } else {
        Err("expected at most 128 letters, digits, spaces, '-', '_', '.' and '+'".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use portcullis_client::method::PcrValue;

    use super::*;

    #[test]
    fn writes_what_reference_values_are_made_of() {
        let reply = CaptureReply {
            ueid: "AQ".to_owned(),
            ak_name: "000b".to_owned(),
            pcr_bank: "sha256".to_owned(),
            pcrs: vec![PcrValue {
                index: 7,
                digest: "ab".to_owned(),
            }],
            boot_id: String::new(),
        };
        assert_eq!(
            capture_of("debian", &reply, None).to_value(),
            json!({
                "boot_states": [{"name": "debian", "pcrs": {"sha256": {"7": "ab"}}}],
                "tpms": [{"ueid": "AQ", "ak_name": "000b"}],
            })
        );
    }
}
