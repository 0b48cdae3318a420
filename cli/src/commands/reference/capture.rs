//! `portcullis reference capture`

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use portcullis_attestation::event_log::{EventLog, EventLogError, ReplayError};
use portcullis_attestation::hex;
use portcullis_attestation::ima::{ImaList, ImaListError};
use portcullis_attestation::pcr::{HashAlg, PcrIndex, PcrValues};
use portcullis_attestation::reference::{
    BootState, CaptureFilesError, ImaRules, UnknownFile, is_directory,
};
use portcullis_client::method::{Capture as CaptureCall, CaptureReply};
use serde_json::json;

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
  portcullis reference capture --name debian-12 --events --files --exclude /var/log/ -o captured.json
  portcullis reference capture | less")]
pub(crate) struct CaptureArguments {
    /// Name of the boot state, as it will appear in verdicts.
    #[arg(long, value_name = "STATE", default_value = "default", value_parser = state_name)]
    name: String,
    /// Capture rules on the events of the firmware's log where it explains a PCR, and exact values
    /// of the other PCRs.
    #[arg(long)]
    events: bool,
    /// Also capture the files that the kernel's IMA list proves to have been run or read, in place
    /// of PCR 10, which has to be among 'agent.pcrs'.
    #[arg(long)]
    files: bool,
    /// Directory whose files are not captured and not judged; repeat for several.
    #[arg(long, value_name = "DIRECTORY", requires = "files", value_parser = directory)]
    exclude: Vec<String>,
    /// What another file will make of the host: 'warn' or 'refuse'.
    #[arg(
        long,
        value_name = "OUTCOME",
        default_value = "refuse",
        requires = "files",
        value_parser = unknown_file
    )]
    unknown: UnknownFile,
    /// File to write; standard output if not given.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, thiserror::Error)]
enum CaptureError {
    #[error("cannot capture: the agent's PCR values cannot be read")]
    Reply,
    #[error("cannot capture events")]
    Parse(#[source] EventLogError),
    #[error("cannot capture files")]
    List(#[source] ImaListError),
    #[error(transparent)]
    Files(#[from] CaptureFilesError),
    #[error("cannot capture events")]
    Replay(#[source] ReplayError),
    #[error(
        "cannot capture events: the event log explains none of PCR {pcrs} ({bank}); capture without '--events'"
    )]
    Unexplained { pcrs: String, bank: HashAlg },
}

pub(crate) fn run(arguments: &CaptureArguments) -> Result<Report, Failure> {
    let reply = agent::call(&CaptureCall {}, agent::SLOW)?;
    let state = state_of(arguments, &reply)?;
    let capture = capture_of(&state, &reply);
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
    if !state.events.is_empty() {
        let ruled = state.events.iter().flat_map(|rules| rules.pcrs.keys());
        let ruled: Vec<String> = ruled.map(ToString::to_string).collect();
        rows.add("by events", format!("PCR {}", ruled.join(",")));
        for exact in &state.banks {
            let exact = exact.selection();
            rows.add(
                "by value",
                format!("PCR {exact}, which the log does not explain"),
            );
        }
    }
    if let Some(rules) = &state.ima {
        rows.add("by files", format!("PCR 10, {} files", rules.files.len()));
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

/// The state of this host, in the form that is asked for.
fn state_of(arguments: &CaptureArguments, reply: &CaptureReply) -> Result<BootState, Failure> {
    let values = values_of(reply)
        .ok_or(CaptureError::Reply)
        .map_err(Failure::internal)?;
    let state = if arguments.events {
        ruled_state(&arguments.name, &values)?
    } else {
        BootState::exact(arguments.name.clone(), vec![values.clone()])
    };
    if !arguments.files {
        return Ok(state);
    }
    let bytes = event_log::read_ima_list()?;
    let list = ImaList::parse(&bytes)
        .map_err(CaptureError::List)
        .map_err(Failure::usage)?;
    let rules = ImaRules {
        files: BTreeMap::new(),
        excluded: arguments.exclude.clone(),
        unknown: arguments.unknown,
    };
    state
        .with_files(&values, &list, rules)
        .map_err(CaptureError::Files)
        .map_err(Failure::usage)
}

/// The state by the events of this host's log, as far as they explain the values.
fn ruled_state(name: &str, values: &PcrValues) -> Result<BootState, Failure> {
    let bytes = event_log::read_live()?;
    let log = EventLog::parse(&bytes)
        .map_err(CaptureError::Parse)
        .map_err(Failure::usage)?;
    let state = BootState::captured(name.to_owned(), values, &log)
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

fn capture_of(state: &BootState, reply: &CaptureReply) -> Capture {
    Capture {
        boot_states: vec![state.to_claim()],
        tpms: vec![json!({ "ueid": reply.ueid, "ak_name": reply.ak_name })],
    }
}

fn indices(reply: &CaptureReply) -> String {
    let indices: Vec<String> = reply.pcrs.iter().map(|pcr| pcr.index.to_string()).collect();
    indices.join(",")
}

fn directory(text: &str) -> Result<String, String> {
    if is_directory(text) {
        Ok(text.to_owned())
    } else {
        Err("expected an absolute path with a slash at its end, not '/'".to_owned())
    }
}

fn unknown_file(text: &str) -> Result<UnknownFile, String> {
    UnknownFile::parse(text).ok_or_else(|| "expected 'warn' or 'refuse'".to_owned())
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
        let value = "ab".repeat(32);
        let reply = CaptureReply {
            ueid: "AQ".to_owned(),
            ak_name: "000b".to_owned(),
            pcr_bank: "sha256".to_owned(),
            pcrs: vec![PcrValue {
                index: 7,
                digest: value.clone(),
            }],
            boot_id: String::new(),
        };
        let values = values_of(&reply).unwrap();
        let state = BootState::exact("debian".to_owned(), vec![values]);
        assert_eq!(
            capture_of(&state, &reply).to_value(),
            json!({
                "boot_states": [{"name": "debian", "pcrs": {"sha256": {"7": value}}}],
                "tpms": [{"ueid": "AQ", "ak_name": "000b"}],
            })
        );
        for (index, digest) in [
            (24, "ab".repeat(32)),
            (7, "ab".repeat(31)),
            (7, String::new()),
        ] {
            let mut reply = reply.clone();
            reply.pcrs[0] = PcrValue { index, digest };
            assert_eq!(values_of(&reply), None);
        }
    }
}
