//! `portcullis doctor`

mod version;

use std::path::Path;

use clap::Args;
use portcullis_gate::Version;
use portcullis_host::{HostError, ask_version, runtime_binary};
use serde_json::{Value, json};

use self::version::Finding;
use crate::failure::{EXIT_REFUSED, EXIT_UNDECIDED, Failure};
use crate::paint::{Rows, bad, caution, good, plain};
use crate::report::Report;

/// Runtimes that are looked for beside the one that node policy names.
const KNOWN: [&str; 2] = ["runc", "crun"];

/// Say whether the OCI runtimes of this host can be relied on.
///
/// Masks, filters and labels are applied by the runtime. It must be root's, and new enough: the
/// versions asked for are those in which races around masked paths were fixed. A distribution may
/// have mended an older one; then its changelog says so, and this command cannot see it. Ends with
/// 0 if nothing is to be done, with 1 if something is, with 2 if a runtime does not tell its version.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis doctor
  portcullis doctor --output json | jq '.runtimes[].found'")]
pub(crate) struct DoctorArguments {}

/// One runtime.
struct Looked {
    name: String,
    path: String,
    version: Option<String>,
    findings: Vec<String>,
    is_known: bool,
}

pub(crate) fn run(_arguments: &DoctorArguments) -> Result<Report, Failure> {
    let named = portcullis_config::load().map(|config| config.runtime.binary);
    let mut names: Vec<String> = named.iter().cloned().collect();
    for known in KNOWN {
        if !names.iter().any(|name| name.ends_with(known)) {
            names.push(known.to_owned());
        }
    }
    let mut looked = Vec::new();
    for name in names {
        let is_named = named.as_ref().is_ok_and(|named| *named == name);
        looked.extend(look_at(name, is_named));
    }
    Ok(report(&looked))
}

/// Looks at one runtime; none if it is not here and need not be.
fn look_at(name: String, is_named: bool) -> Option<Looked> {
    let mut looked = Looked {
        name,
        path: String::new(),
        version: None,
        findings: Vec::new(),
        is_known: true,
    };
    let binary = match runtime_binary(Path::new(&looked.name)) {
        Ok(binary) => binary,
        Err(HostError::Program { .. }) if !is_named => return None,
        Err(error) => {
            looked.findings.push(error.to_string());
            return Some(looked);
        }
    };
    looked.path = binary.path().display().to_string();
    let told: Option<Version> = ask_version(binary.path()).ok().map(|it| it.version);
    looked.version = told.as_ref().map(ToString::to_string);
    match version::judge(&looked.name, told.as_ref()) {
        Finding::Fixed => {}
        Finding::Open(issues) => looked.findings = issues,
        Finding::Unknown => looked.is_known = false,
    }
    Some(looked)
}

fn report(looked: &[Looked]) -> Report {
    let mut rows = Rows::default();
    for one in looked {
        let version = plain(one.version.as_deref().unwrap_or("version not known"));
        let state = if !one.findings.is_empty() {
            bad(&plain(&one.findings.join("; ")))
        } else if one.is_known {
            good("nothing to do")
        } else {
            caution("not known here: ask whoever keeps it")
        };
        rows.add(&plain(&one.name), format!("{version}: {state}"));
    }
    if looked.is_empty() {
        rows.add("OCI runtimes", bad("none installed"));
    }
    let exit = if looked.is_empty() || looked.iter().any(|one| !one.findings.is_empty()) {
        EXIT_REFUSED
    } else if looked.iter().any(|one| !one.is_known) {
        EXIT_UNDECIDED
    } else {
        0
    };
    let runtimes = looked.iter().map(|one| {
        json!({
            "name": one.name,
            "path": one.path,
            "version": one.version,
            "found": one.findings,
            "known": one.is_known,
        })
    });
    Report {
        text: rows.render(),
        json: json!({ "runtimes": runtimes.collect::<Vec<Value>>() }),
        exit,
    }
}
