//! `portcullis policy sign`

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use portcullis_attestation::ClaimError;
use portcullis_attestation::jws::{SignError, Signer as _};
use portcullis_attestation::policy_bundle::{BundledProfile, PolicyBundle};
use portcullis_config::paths;
use serde_json::json;

use crate::clock;
use crate::documents;
use crate::failure::Failure;
use crate::files;
use crate::paint::{Rows, strong};
use crate::report::Report;

/// Sign settings and profiles as a policy bundle for many nodes.
///
/// The settings are read as a node reads them, and so is every profile: what a node would refuse is
/// not signed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis policy sign --key keys/policy.pem --settings fleet.toml -o fleet.jws
  portcullis policy sign --key keys/policy.pem --settings fleet.toml --profile own.toml --seq 12 \\
    --valid 30d -o fleet-12.jws")]
pub(crate) struct SignArguments {
    /// Private key made with 'keys generate --use policy'.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Settings in the form of portcullis.toml.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Profile, NAME.toml; NAME.seccomp.json beside it is its list of system calls.
    #[arg(long, value_name = "FILE", required_unless_present = "settings")]
    profile: Vec<PathBuf>,
    /// File to write.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Name of the bundle, for people and records.
    #[arg(long, value_name = "NAME", default_value = "policy")]
    name: String,
    /// Validity from now on.
    #[arg(long, alias = "valid-for", value_name = "SPAN", default_value = "90d", value_parser = documents::validity)]
    valid: Duration,
    /// Running number of the bundle; the time in seconds if not given.
    #[arg(long, alias = "sequence")]
    seq: Option<u64>,
    /// Who decides; the identity of the key if not given.
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, thiserror::Error)]
enum SignPolicyError {
    #[error("cannot find the name of profile '{}': expected NAME.toml", path.display())]
    ProfileName { path: PathBuf },
    #[error("cannot make a policy bundle of this")]
    Claims(#[source] ClaimError),
    #[error("cannot sign policy bundle")]
    Sign(#[source] SignError),
}

pub(crate) fn run(arguments: &SignArguments) -> Result<Report, Failure> {
    let (label, settings) = match &arguments.settings {
        Some(path) => (path.display().to_string(), text(path)?),
        None => ("settings".to_owned(), String::new()),
    };
    let profiles = arguments
        .profile
        .iter()
        .map(|path| profile(path))
        .collect::<Result<Vec<_>, _>>()?;
    portcullis_config::examine(&label, &settings, &profiles)?;
    let mut key = documents::private_key(&arguments.key)?;
    let kid = key.public_key().kid().to_string();
    let now = clock::now_unix_s();
    let drafted = PolicyBundle {
        issuer: arguments
            .issuer
            .clone()
            .unwrap_or_else(|| documents::issuer_of(&kid)),
        name: arguments.name.clone(),
        sequence: arguments.seq.unwrap_or(now),
        issued_at_s: now,
        not_before_s: now,
        expires_s: now.saturating_add(arguments.valid.as_secs()),
        settings,
        profiles,
    };
    // What a node would not read is not signed.
    let bundle = PolicyBundle::from_claims(&drafted.to_claims())
        .map_err(SignPolicyError::Claims)
        .map_err(Failure::usage)?;
    let token = bundle
        .sign(&mut key)
        .map_err(SignPolicyError::Sign)
        .map_err(Failure::usage)?;
    let bytes = token.as_bytes();
    files::write(&arguments.out, bytes, files::PUBLIC, arguments.force)?;

    let mut rows = Rows::default();
    rows.add("name", bundle.name.as_str());
    rows.add("sequence", bundle.sequence.to_string());
    rows.add(
        "valid until",
        clock::utc_and_distance(bundle.expires_s, now),
    );
    rows.add("profiles", super::show::names(&bundle));
    rows.add("signed with", kid.as_str());
    rows.add("file", arguments.out.display().to_string());
    let text = format!(
        "{}\n{}\nNext: copy it to {}/ on the nodes.",
        strong("Signed."),
        rows.render(),
        paths::POLICY
    );
    let json = json!({ "file": arguments.out, "kid": kid, "claims": bundle.to_claims() });
    Ok(Report::done(text, json))
}

fn text(path: &Path) -> Result<String, Failure> {
    let mut text = files::read_text(path)?;
    text.push('\n');
    Ok(text)
}

fn profile(path: &Path) -> Result<BundledProfile, Failure> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.strip_suffix(".toml"))
        .ok_or_else(|| {
            Failure::usage(SignPolicyError::ProfileName {
                path: path.to_path_buf(),
            })
        })?;
    let list = path.with_file_name(format!("{name}.seccomp.json"));
    let seccomp = match list.exists() {
        true => Some(text(&list)?),
        false => None,
    };
    Ok(BundledProfile {
        name: name.to_owned(),
        text: text(path)?,
        seccomp,
    })
}
