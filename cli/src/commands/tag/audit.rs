//! `portcullis tag audit`

use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_attestation::jwk::TrustedKeys;
use portcullis_attestation::{tag, verdict};
use portcullis_json::{JsonError, Limits};
use serde_json::{Value, json};

use crate::clock;
use crate::documents;
use crate::failure::{EXIT_REFUSED, Failure};
use crate::files::{self, FileError};
use crate::paint::{Rows, bad, good, plain, strong};
use crate::report::Report;
use crate::tag_audit::{Evidence, Host, Policy, Tags, audit};

/// Objects inside each other in a status; it has four.
const DEPTH: usize = 16;
/// Hosts in one audit.
const HOSTS: usize = 100_000;

/// Hold the tags of many hosts against a policy.
///
/// Reads what 'portcullis status --output json' prints on each host. Tags count as attested if the
/// status carries a verdict, signed by one of the keys given and in date, that pins this very tag
/// document; as signed if a tag key given signed the document for the host's TPM and it is in date.
/// Ends with 0 if the policy is kept, with 1 if not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis tag audit --policy fleet.toml --key keys/tag.jwk --key verdict-keys/w7.jwk status/
  portcullis tag audit --policy fleet.toml --before yesterday/ status/*.json --output json

A policy:
  evidence = \"attested\"            # or \"signed\", or \"none\"
  unique = [\"slot\"]
  [values]
  country = [\"DE\", \"FR\"]
  [[host]]
  name = \"fra-*\"
  require = \"country=DE, site\"
  [[move]]                         # since the state in --before
  key = \"country\"")]
pub(crate) struct AuditArguments {
    /// Tag policy, TOML.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Public keys to verify tags and verdicts with, instead of those pinned on this host.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// An earlier state of the same hosts, for rules '[[move]]'.
    #[arg(long, value_name = "FOLDER")]
    before: Option<PathBuf>,
    /// Status files, or folders of '*.json'.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum AuditError {
    #[error("cannot read tag policy '{}': {reason}", path.display())]
    Policy { path: PathBuf, reason: String },
    #[error("cannot read status '{}'", path.display())]
    Json {
        path: PathBuf,
        #[source]
        source: JsonError,
    },
    #[error("cannot read status '{}': expected what 'portcullis status --output json' prints", path.display())]
    Shape { path: PathBuf },
    #[error("cannot find a status file in '{}'", path.display())]
    Empty { path: PathBuf },
    #[error("cannot audit more than {HOSTS} hosts")]
    Many,
}

pub(crate) fn run(arguments: &AuditArguments) -> Result<Report, Failure> {
    let policy = policy(&arguments.policy)?;
    let keys = documents::verifying_keys(&arguments.key)?;
    let now = clock::now_unix_s();
    let hosts = hosts(&arguments.paths, &keys, now)?;
    // What was proved then need not be in date any more; only the tags are compared.
    let before = match &arguments.before {
        Some(path) => self::hosts(std::slice::from_ref(path), &keys, now)?,
        None => Vec::new(),
    };
    let violations = audit(&policy, &hosts, &before);

    let mut rows = Rows::default();
    for host in &hosts {
        let evidence = match host.evidence {
            Evidence::None => bad(host.evidence.as_str()),
            other => good(other.as_str()),
        };
        let tags = plain(&super::tag_list(&host.tags));
        rows.add(&plain(&host.name), format!("{evidence}: {tags}"));
    }
    let mut broken = Rows::default();
    for it in &violations {
        let text = format!("[{}] expected {}, found {}", it.code, it.expected, it.found);
        broken.add(&plain(&it.host), plain(&text));
    }
    let verdict = match violations.len() {
        0 => good("The policy is kept."),
        count => bad(&format!("{count} violations:")),
    };
    let text = format!(
        "{}\n{}\n{verdict}\n{}",
        strong(&format!("Tags of {} hosts", hosts.len())),
        rows.render(),
        broken.render()
    );
    let listed = |host: &Host| {
        json!({
            "host": host.name,
            "ueid": host.ueid,
            "tags": host.tags,
            "evidence": host.evidence.as_str(),
            "note": host.note,
        })
    };
    let json = json!({
        "hosts": hosts.iter().map(listed).collect::<Vec<_>>(),
        "violations": violations.iter().map(|it| json!({
            "host": it.host,
            "code": it.code,
            "expected": it.expected,
            "found": it.found,
        })).collect::<Vec<_>>(),
    });
    let exit = if violations.is_empty() {
        0
    } else {
        EXIT_REFUSED
    };
    Ok(Report { text, json, exit })
}

fn policy(path: &Path) -> Result<Policy, Failure> {
    let text = files::read_text(path)?;
    toml::from_str(&text).map_err(|error| {
        Failure::usage(AuditError::Policy {
            path: path.to_path_buf(),
            reason: error.to_string().trim().replace('\n', " "),
        })
    })
}

fn hosts(paths: &[PathBuf], keys: &TrustedKeys, now_s: u64) -> Result<Vec<Host>, Failure> {
    let mut hosts = Vec::new();
    for path in paths {
        for file in status_files(path)? {
            if hosts.len() == HOSTS {
                return Err(Failure::usage(AuditError::Many));
            }
            hosts.push(host(&file, keys, now_s)?);
        }
    }
    Ok(hosts)
}

/// The file itself, or the files `*.json` of a folder, in order.
fn status_files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let failed = |source| FileError::Read {
        path: path.to_path_buf(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            found.push(file);
        }
    }
    if found.is_empty() {
        let path = path.to_path_buf();
        return Err(Failure::usage(AuditError::Empty { path }));
    }
    found.sort();
    Ok(found)
}

fn host(path: &Path, keys: &TrustedKeys, now_s: u64) -> Result<Host, Failure> {
    let bytes = files::read(path, files::INPUT_LIMIT_BYTES)?;
    let limits = Limits {
        max_bytes: bytes.len(),
        max_depth: DEPTH,
    };
    let status = portcullis_json::parse(&bytes, limits).map_err(|source| {
        Failure::usage(AuditError::Json {
            path: path.to_path_buf(),
            source,
        })
    })?;
    let text = |name: &str| status.get(name).and_then(Value::as_str);
    let Some(name) = text("node_name") else {
        let path = path.to_path_buf();
        return Err(Failure::usage(AuditError::Shape { path }));
    };
    let ueid = text("ueid");
    let (tags, evidence, note) = proved(
        ueid,
        text("tag_document"),
        text("verdict_token"),
        (keys, now_s),
    );
    Ok(Host {
        name: name.to_owned(),
        ueid: ueid.map(str::to_owned),
        tags,
        evidence,
        note,
    })
}

/// The tags of a host, how well they are proved, and why no better. Tags that nobody signed are not
/// taken over.
fn proved(
    ueid: Option<&str>,
    document: Option<&str>,
    token: Option<&str>,
    (keys, now_s): (&TrustedKeys, u64),
) -> (Tags, Evidence, Option<String>) {
    let nothing = |why: &str| (Tags::new(), Evidence::None, Some(why.to_owned()));
    let Some(document) = document else {
        return nothing("the status carries no tag document");
    };
    let tag = match tag::verify(document, keys) {
        Ok(tag) => tag,
        Err(error) => return nothing(&format!("{error} with the keys given")),
    };
    if ueid != Some(tag.subject.as_str()) {
        return nothing("the tag document is for another TPM");
    }
    if !tag.is_valid_at(now_s) {
        return nothing("the tag document is out of date");
    }
    let signed = |why: String| (tag.tags.clone(), Evidence::Signed, Some(why));
    let Some(token) = token else {
        return signed("signed; the status carries no verdict".to_owned());
    };
    let verdict = match verdict::verify(token, keys) {
        Ok(verdict) => verdict,
        Err(error) => return signed(format!("signed; {error} with the keys given")),
    };
    if verdict.expires_s <= now_s {
        return signed("signed; the verdict has expired".to_owned());
    }
    let host = &verdict.host;
    let is_pinned = host.ueid == tag.subject
        && host
            .tag
            .as_ref()
            .is_some_and(|pin| pin.digest == tag::digest(document) && pin.counter == tag.counter);
    if !is_pinned {
        return signed("signed; the verdict attests another tag, or none".to_owned());
    }
    (tag.tags, Evidence::Attested, None)
}
