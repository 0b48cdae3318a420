//! `portcullis seccomp lint`

use std::path::PathBuf;

use clap::Args;
use portcullis_seccomp::{Finding, lint};
use serde_json::{Value, json};

use super::sections::{ReadingArguments, unusable};
use crate::failure::{EXIT_REFUSED, Failure};
use crate::paint;
use crate::report::Report;

/// Names of calls that a line shows.
const SHOWN_CALLS: usize = 6;

/// Say what in a seccomp section means something else than it reads.
///
/// Takes a 'linux.seccomp' section, a whole OCI configuration, or a profile file of Docker,
/// containerd, Podman or Kubernetes. Ends with 0 if there is nothing to say, with 1 if there is,
/// with 2 if the file cannot be judged. docs/seccomp.md explains each finding.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis seccomp lint profile.json
  portcullis seccomp lint --arch aarch64 --cap CAP_SYS_ADMIN default.json
  portcullis seccomp lint --output json /run/containerd/…/config.json")]
pub(crate) struct LintArguments {
    /// The file; '-' is standard input.
    file: PathBuf,
    #[command(flatten)]
    reading: ReadingArguments,
}

pub(crate) fn run(arguments: &LintArguments) -> Result<Report, Failure> {
    let native = arguments.reading.native()?;
    let section = arguments.reading.section(&arguments.file)?;
    let findings = lint(&section, native).map_err(unusable)?;
    let json = json!({
        "architecture": native.oci(),
        "findings": findings.iter().map(Finding::to_json).collect::<Vec<Value>>(),
    });
    if findings.is_empty() {
        let text = format!("nothing to say about it on {native}");
        return Ok(Report::done(text, json));
    }
    let text: Vec<String> = findings.iter().map(shown).collect();
    Ok(Report {
        text: text.join("\n"),
        json,
        exit: EXIT_REFUSED,
    })
}

fn shown(finding: &Finding) -> String {
    let mut text = format!(
        "{} {}",
        paint::strong(finding.rule.as_str()),
        finding.pointer.escape_debug()
    );
    if !finding.calls.is_empty() {
        text.push_str(&format!(" ({})", calls(&finding.calls)));
    }
    text.push_str(&format!("\n  {}", finding.text));
    if let Some(witness) = &finding.witness {
        text.push_str(&format!("\n  for example {witness}"));
    }
    text
}

/// Names of calls, the first few of many.
pub(super) fn calls(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN_CALLS);
    let mut shown: Vec<String> = shown.map(|name| name.escape_debug().to_string()).collect();
    match names.len().saturating_sub(SHOWN_CALLS) {
        0 => {}
        more => shown.push(format!("{more} more")),
    }
    shown.join(", ")
}
