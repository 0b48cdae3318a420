//! `portcullis reference capture`

use std::path::PathBuf;

use clap::Args;
use portcullis_client::method::{Capture as CaptureCall, CaptureReply};
use serde_json::{Map, Value, json};

use crate::agent;
use crate::documents::Capture;
use crate::failure::Failure;
use crate::files;
use crate::paint::{Rows, plain, strong};
use crate::report::Report;

/// Read this node's boot state and TPM identity, to be approved with 'reference sign'.
///
/// Capture on a node that you know is in the state you want: what is captured is what will be
/// accepted.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis reference capture --name debian-12 --out captured.json
  portcullis reference capture | less")]
pub(crate) struct CaptureArguments {
    /// Name of the boot state, as it will appear in verdicts.
    #[arg(long, value_name = "STATE", default_value = "default", value_parser = state_name)]
    name: String,
    /// File to write; standard output if not given.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(arguments: &CaptureArguments) -> Result<Report, Failure> {
    let reply = agent::call(&CaptureCall {}, agent::SLOW)?;
    let capture = capture_of(&arguments.name, &reply);
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

fn capture_of(name: &str, reply: &CaptureReply) -> Capture {
    let values: Map<String, Value> = reply
        .pcrs
        .iter()
        .map(|pcr| (pcr.index.to_string(), Value::String(pcr.digest.clone())))
        .collect();
    let mut banks = Map::new();
    banks.insert(reply.pcr_bank.clone(), Value::Object(values));
    Capture {
        boot_states: vec![json!({ "name": name, "pcrs": banks })],
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
            capture_of("debian", &reply).to_value(),
            json!({
                "boot_states": [{"name": "debian", "pcrs": {"sha256": {"7": "ab"}}}],
                "tpms": [{"ueid": "AQ", "ak_name": "000b"}],
            })
        );
    }
}
