//! Reading the files of a host.

use std::time::SystemTime;

use portcullis_attestation::break_glass;
use portcullis_attestation::jwk::{JwkError, TrustedKey, TrustedKeys};
use portcullis_gate::break_glass::Found;
use portcullis_gate::{Code, Refusal, Refusals, quote};

use crate::config::Config;
use crate::tree::Table;
use crate::trusted_file::{Root, TrustedFile};
use crate::{Faults, bundle, paths, read, tree};

/// Where the kernel keeps the name of the host.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// A file of a signed document, not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedFile {
    /// Its path.
    pub path: String,
    /// The compact JWS, without white space around it.
    pub token: String,
}

/// Reads the settings of this host.
///
/// # Errors
/// All faults of all files together. A missing `portcullis.toml` is a fault: without a policy
/// nothing may start.
pub fn load() -> Result<Config, Faults> {
    load_from(&Root::host())
}

/// Reads the settings beneath `root`; see [`Root::scratch`].
///
/// # Errors
/// As [`load`].
pub fn load_from(root: &Root) -> Result<Config, Faults> {
    load_at(root, now())
}

/// Seconds since 1970; a clock before that reads as 0, at which every bundle is premature.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// Reads the settings beneath `root` as they are at `now_unix_s`, in seconds since 1970.
///
/// # Errors
/// As [`load`].
pub fn load_at(root: &Root, now_unix_s: u64) -> Result<Config, Faults> {
    let mut faults = Vec::new();
    let settings = local(root, &mut faults);
    let host_name = host_name(&mut faults);
    under_bundle(root, settings, &host_name, now_unix_s, faults)
}

/// The node's own `settings`, with those of the bundle in force on top.
fn under_bundle(
    root: &Root,
    mut settings: Table,
    host_name: &str,
    now_unix_s: u64,
    mut faults: Vec<Refusal>,
) -> Result<Config, Faults> {
    if let Some(faults) = Refusals::from_vec(std::mem::take(&mut faults)) {
        return Err(faults);
    }
    let policy = bundle::policy_of(&settings);
    let in_force = bundle::in_force(root, policy, now_unix_s, &mut faults);
    if let Some(bundle) = &in_force {
        bundle.overrule(&mut settings, &mut faults);
    }
    if let Some(faults) = Refusals::from_vec(faults) {
        return Err(faults);
    }
    let mut config = read::config(&settings, host_name)?;
    config.bundle = in_force;
    Ok(config)
}

/// What the node's own files say, without any bundle.
pub(crate) fn local(root: &Root, faults: &mut Vec<Refusal>) -> Table {
    let files = files(root, faults);
    merged(&files, faults)
}

/// Reads the settings of this host, whose name is known: for a process that may not ask the kernel
/// any more.
///
/// # Errors
/// As [`load`].
pub fn load_as(host_name: &str) -> Result<Config, Faults> {
    let mut faults = Vec::new();
    let settings = local(&Root::host(), &mut faults);
    under_bundle(&Root::host(), settings, host_name, now(), faults)
}

/// Reads settings from text that was found at `path`, without any drop-in: to check a file before
/// it is installed.
///
/// # Errors
/// All faults of the text together.
pub fn parse(path: &str, text: &str, host_name: &str) -> Result<Config, Faults> {
    let mut faults = Vec::new();
    match (
        tree::parse(path, text, &mut faults),
        Refusals::from_vec(faults),
    ) {
        (_, Some(faults)) => Err(faults),
        (table, None) => read::config(&table.unwrap_or_default(), host_name),
    }
}

fn files(root: &Root, faults: &mut Vec<Refusal>) -> Vec<TrustedFile> {
    let mut files = Vec::new();
    match root.file(paths::CONFIG) {
        Ok(Some(file)) => files.push(file),
        Ok(None) => {
            let subject = quote(paths::CONFIG);
            faults.push(Refusal::new(
                Code::ConfigMissing,
                subject,
                "the node policy",
                "no file",
            ));
        }
        Err(fault) => faults.push(fault),
    }
    files.extend(directory(root, paths::DROP_INS, ".toml", faults));
    files
}

fn merged(files: &[TrustedFile], faults: &mut Vec<Refusal>) -> Table {
    let mut merged = Table::new();
    for file in files {
        if let Some(table) = tree::parse(&file.path, &file.text, faults) {
            tree::merge(&mut merged, table);
        }
    }
    merged
}

fn directory(root: &Root, path: &str, suffix: &str, faults: &mut Vec<Refusal>) -> Vec<TrustedFile> {
    match root.directory(path) {
        Ok(Some(directory)) => directory.files(suffix, faults),
        Ok(None) => Vec::new(),
        Err(fault) => {
            faults.push(fault);
            Vec::new()
        }
    }
}

fn host_name(faults: &mut Vec<Refusal>) -> String {
    let name = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
    read::node_name(name.trim_end()).unwrap_or_else(|| {
        let fault = Refusal::new(
            Code::HostUnreadable,
            quote(HOST_NAME),
            "a host name of letters, digits, '-' and '.'",
            quote(name.trim_end()),
        );
        faults.push(fault.with_remedy("set the host name, or 'node_name='"));
        String::new()
    })
}

/// Reads the public keys that are pinned on this host.
///
/// # Errors
/// A fault for every file that is not a public key with a known use, or that contradicts another.
pub fn trusted_keys() -> Result<TrustedKeys, Faults> {
    trusted_keys_from(&Root::host())
}

/// Reads the public keys that are pinned beneath `root`; see [`Root::scratch`].
///
/// # Errors
/// As [`trusted_keys`].
pub fn trusted_keys_from(root: &Root) -> Result<TrustedKeys, Faults> {
    let mut faults = Vec::new();
    let mut keys = TrustedKeys::new();
    let mut seen: Vec<(String, String)> = Vec::new();
    for file in directory(root, paths::TRUST, ".jwk", &mut faults) {
        let key = match TrustedKey::parse(file.text.as_bytes()) {
            Ok(key) => key,
            Err(error) => {
                faults.push(unusable(&file.path, &error));
                continue;
            }
        };
        let kid = key.key().kid().to_string();
        if let Some((_, other)) = seen.iter().find(|(known, _)| *known == kid) {
            faults.push(Refusal::new(
                Code::TrustKeyMismatch,
                quote(&file.path),
                format!("a key that is not in {} already", quote(other)),
                format!("the same key id {kid}"),
            ));
            continue;
        }
        seen.push((kid, file.path.clone()));
        if let Err(error) = keys.insert(key) {
            faults.push(unusable(&file.path, &error));
        }
    }
    Refusals::from_vec(faults).map_or(Ok(keys), Err)
}

fn unusable(path: &str, error: &JwkError) -> Refusal {
    Refusal::new(
        Code::TrustKeyMalformed,
        quote(path),
        "a public JWK on P-256 with 'use'",
        innermost(error),
    )
}

/// Reads the signed reference values of this host, in the order of their names, unverified.
///
/// # Errors
/// A fault for every file that others than root could change or that is too large.
pub fn reference_values() -> Result<Vec<SignedFile>, Faults> {
    reference_values_from(&Root::host())
}

/// Reads the signed reference values beneath `root`; see [`Root::scratch`].
///
/// # Errors
/// As [`reference_values`].
pub fn reference_values_from(root: &Root) -> Result<Vec<SignedFile>, Faults> {
    let mut faults = Vec::new();
    let files = signed_files(root, paths::REFERENCE, &mut faults);
    Refusals::from_vec(faults).map_or(Ok(files), Err)
}

/// Reads and verifies the break-glass tokens of this host, in the order of their names. What cannot
/// be read or verified is told beside the others: it makes no other one useless.
pub fn break_glass_tokens() -> Vec<Found> {
    let mut faults = Vec::new();
    let files = signed_files(&Root::host(), paths::BREAK_GLASS, &mut faults);
    let faulty = faults.into_iter().map(|fault| Found {
        file: fault.subject.trim_matches('\'').to_owned(),
        token: Err(format!("{}, not {}", fault.found, fault.expected)),
    });
    if files.is_empty() {
        return faulty.collect();
    }
    let keys = trusted_keys();
    let verified = files.into_iter().map(|file| Found {
        token: match &keys {
            Ok(keys) => break_glass::verify(&file.token, keys).map_err(|error| innermost(&error)),
            Err(faults) => Err(faults.first().to_string()),
        },
        file: file.path,
    });
    verified.chain(faulty).collect()
}

/// What an error comes from.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

pub(crate) fn signed_files(root: &Root, path: &str, faults: &mut Vec<Refusal>) -> Vec<SignedFile> {
    directory(root, path, ".jws", faults)
        .into_iter()
        .map(|file| SignedFile {
            path: file.path,
            token: file.text.trim().to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
