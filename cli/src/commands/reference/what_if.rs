//! `portcullis reference what-if`

use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_attestation::appraisal::{Appraisal, AppraisalPolicy, appraise};
use portcullis_attestation::evidence::{Evidence, EvidenceError};
use portcullis_attestation::finding::Finding;
use portcullis_attestation::jwk::TrustedKeys;
use portcullis_attestation::nonce::Nonce;
use portcullis_attestation::reference::{self, Floors, Reference};
use portcullis_client::method::Evidence as EvidenceCall;
use serde_json::{Value, json};

use crate::agent;
use crate::clock;
use crate::commands::attest::tier;
use crate::documents;
use crate::failure::{EXIT_REFUSED, Failure};
use crate::files;
use crate::paint::{Rows, bad, good, plain, strong};
use crate::report::Report;

/// Say which hosts would be trusted with other reference values, before they are rolled out.
///
/// Takes this node's evidence, or files that 'portcullis evidence' wrote on any number of nodes, and
/// appraises each twice: with the reference values that are pinned here, and with these changed as
/// you say. Nothing is stored. Ends with 1 if a host that is trusted now would not be any more:
/// every launch on it would be refused from its next attestation on.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis reference what-if --add debian-12-next.jws
  portcullis reference what-if --add next.jws --drop debian-12.jws --evidence w1.json \\
    --evidence w2.json --key keys/reference.jwk")]
pub(crate) struct WhatIfArguments {
    /// Document that would be added.
    #[arg(long, value_name = "FILE")]
    add: Vec<PathBuf>,
    /// File in /etc/portcullis/reference.d that would be gone, by its name.
    #[arg(long, value_name = "NAME")]
    drop: Vec<String>,
    /// Evidence of a host; of this node if none is given.
    #[arg(long, value_name = "FILE")]
    evidence: Vec<PathBuf>,
    /// Public key to verify documents with, instead of those pinned on this host.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// How many signatures a document needs.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    signatures: usize,
}

#[derive(Debug, thiserror::Error)]
enum WhatIfError {
    #[error("cannot use evidence '{}'", path.display())]
    Evidence {
        path: PathBuf,
        #[source]
        source: EvidenceError,
    },
    #[error("cannot draw a nonce")]
    Nonce(#[source] getrandom::Error),
    #[error("cannot leave out '{}': no such file in /etc/portcullis/reference.d", name.escape_debug())]
    Unknown { name: String },
    #[error("cannot say what changes: neither '--add' nor '--drop' is given")]
    Nothing,
}

/// A set of reference values.
struct Set {
    references: Vec<Reference>,
    refused: Vec<Finding>,
}

pub(crate) fn run(arguments: &WhatIfArguments) -> Result<Report, Failure> {
    if arguments.add.is_empty() && arguments.drop.is_empty() {
        return Err(Failure::usage(WhatIfError::Nothing));
    }
    let keys = documents::verifying_keys(&arguments.key)?;
    let present = present()?;
    if let Some(name) = arguments
        .drop
        .iter()
        .find(|name| !present.iter().any(|(file, _)| file == *name))
    {
        return Err(Failure::usage(WhatIfError::Unknown { name: name.clone() }));
    }
    let mut future: Vec<(String, String)> = present
        .iter()
        .filter(|(file, _)| !arguments.drop.contains(file))
        .cloned()
        .collect();
    for path in &arguments.add {
        future.push((name_of(path), files::read_text(path)?));
    }
    let now = clock::now_unix_s();
    let before = Set::of(present, &keys, arguments.signatures, now);
    let after = Set::of(future, &keys, arguments.signatures, now);

    let mut text = String::new();
    let mut hosts = Vec::new();
    let mut stops = false;
    for (name, evidence) in hosts_of(arguments)? {
        let was = before.appraise(&evidence, &keys, now);
        let would_be = after.appraise(&evidence, &keys, now);
        stops |= was.status.is_affirming() && !would_be.status.is_affirming();
        text.push_str(&described(&name, &was, &would_be));
        hosts.push(json!({
            "host": name,
            "ueid": evidence.ueid.as_str(),
            "before": claims(&was),
            "after": claims(&would_be),
            "launches_stop": was.status.is_affirming() && !would_be.status.is_affirming(),
        }));
    }
    Ok(Report {
        text,
        json: json!({ "hosts": hosts }),
        exit: if stops { EXIT_REFUSED } else { 0 },
    })
}

/// The documents on this host, by the names of their files.
fn present() -> Result<Vec<(String, String)>, Failure> {
    let files = portcullis_config::reference_values()?;
    Ok(files
        .into_iter()
        .map(|file| (name_of(Path::new(&file.path)), file.token))
        .collect())
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

fn hosts_of(arguments: &WhatIfArguments) -> Result<Vec<(String, Evidence)>, Failure> {
    if arguments.evidence.is_empty() {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(WhatIfError::Nonce)
            .map_err(Failure::internal)?;
        let nonce = Nonce::new(bytes).to_string();
        let reply = agent::call(&EvidenceCall { nonce }, agent::SLOW)?;
        let text = Value::Object(reply.evidence).to_string();
        return Ok(vec![(
            "this node".to_owned(),
            evidence_of(Path::new("this node"), text.as_bytes())?,
        )]);
    }
    arguments
        .evidence
        .iter()
        .map(|path| {
            let bytes = files::read(path, files::INPUT_LIMIT_BYTES)?;
            Ok((name_of(path), evidence_of(path, &bytes)?))
        })
        .collect()
}

fn evidence_of(path: &Path, bytes: &[u8]) -> Result<Evidence, Failure> {
    Evidence::from_json(bytes).map_err(|source| {
        Failure::usage(WhatIfError::Evidence {
            path: path.to_path_buf(),
            source,
        })
    })
}

// === impl Set ===

impl Set {
    fn of(
        documents: Vec<(String, String)>,
        keys: &TrustedKeys,
        signatures: usize,
        now: u64,
    ) -> Self {
        let mut verified = Vec::new();
        let mut refused = Vec::new();
        for (file, token) in documents {
            match reference::verify(token.trim(), keys) {
                Ok(reference) => verified.push((file, reference)),
                Err(error) => refused.push(error.finding(&file)),
            }
        }
        let standing = reference::standing(verified, &Floors::default(), signatures, now);
        refused.extend(standing.refused);
        Self {
            references: standing.accepted,
            refused,
        }
    }

    /// Whether the evidence is fresh does not matter here: its own nonce is taken for the challenge.
    fn appraise(&self, evidence: &Evidence, keys: &TrustedKeys, now: u64) -> Appraisal {
        let policy = AppraisalPolicy {
            references: &self.references,
            refused_references: &self.refused,
            keys,
        };
        appraise(evidence, &evidence.nonce, &policy, now)
    }
}

fn described(name: &str, was: &Appraisal, would_be: &Appraisal) -> String {
    let mut rows = Rows::default();
    rows.add("now", tier_and_state(was));
    rows.add("then", tier_and_state(would_be));
    let launches = match (was.status.is_affirming(), would_be.status.is_affirming()) {
        (true, true) => good("go on"),
        (true, false) => bad("all of them stop from the next attestation on"),
        (false, true) => good("start again"),
        (false, false) => "stay refused".to_owned(),
    };
    rows.add("launches", launches);
    for finding in &would_be.findings {
        rows.add(
            finding.code,
            format!(
                "{}: expected {}, found {}",
                plain(&finding.subject),
                plain(&finding.expected),
                plain(&finding.found)
            ),
        );
    }
    format!("{}\n{}\n", strong(&plain(name)), rows.render())
}

fn tier_and_state(appraisal: &Appraisal) -> String {
    let state = appraisal.boot_state.as_deref().unwrap_or("no boot state");
    format!("{} ({})", tier(appraisal.status.as_str()), plain(state))
}

fn claims(appraisal: &Appraisal) -> Value {
    let findings: Vec<Value> = appraisal
        .findings
        .iter()
        .map(|finding| {
            json!({
                "code": finding.code,
                "subject": finding.subject,
                "expected": finding.expected,
                "found": finding.found,
            })
        })
        .collect();
    json!({
        "status": appraisal.status.as_str(),
        "boot_state": appraisal.boot_state,
        "findings": findings,
    })
}
