//! `portcullis enroll`

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_attestation::jwk::{JwkError, KeyUse, TrustedKey};
use portcullis_client::method::{Enroll, EnrollReply, Renew};
use portcullis_config::paths;
use serde_json::{Value, json};

use crate::agent;
use crate::documents;
use crate::failure::Failure;
use crate::files::{self, FileError};
use crate::paint::{Rows, caution, plain, strong};
use crate::report::Report;

/// Characters of the key id in the file name; the whole id is in the file.
const KID_IN_NAME: usize = 12;

/// Make this node's keys in its TPM, if they do not exist, and pin its verdict key.
///
/// May be run again at any time: keys that exist are kept, a key that is pinned stays pinned. Unless the
/// settings say otherwise, the TPM signs with the verdict key only in boot states for which one of
/// the reference keys pinned now has signed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis enroll
  portcullis enroll --renew
  portcullis enroll --output json | jq -r .ueid")]
pub(crate) struct EnrollArguments {
    /// Make a new verdict key, bound to the reference keys that are pinned now, and unpin the old one.
    #[arg(long)]
    renew: bool,
}

#[derive(Debug, thiserror::Error)]
enum EnrollError {
    #[error("cannot pin the verdict key that the agent gave")]
    ReadKey(#[source] JwkError),
    #[error("cannot pin a key of use '{found}' as verdict key")]
    KeyUse { found: KeyUse },
    #[error("cannot pin the verdict key: '{}' holds another key; remove the file if that key is retired", path.display())]
    OtherKey { path: PathBuf },
}

pub(crate) fn run(arguments: &EnrollArguments) -> Result<Report, Failure> {
    let reply = if arguments.renew {
        agent::call(&Renew {}, agent::SLOW)?
    } else {
        agent::call(&Enroll {}, agent::SLOW)?
    };
    let key = verdict_key(&reply).map_err(Failure::internal)?;
    let directory = Path::new(paths::TRUST);
    let path = directory.join(file_name(&key));
    let added = pin(&key, directory, &path)?;
    let unpinned = match &reply.retired_kid {
        Some(kid) if arguments.renew => unpin(kid, directory)?,
        _ => None,
    };
    let others = other_verdict_keys(directory, &key);

    let mut rows = Rows::default();
    rows.add("TPM", plain(&reply.ueid));
    rows.add("AK name", plain(&reply.ak_name));
    rows.add("verdict key", key.key().kid().to_string());
    let pinned = if added {
        "written"
    } else {
        "was there already"
    };
    rows.add("pinned in", format!("{} ({pinned})", path.display()));
    if let Some(unpinned) = &unpinned {
        rows.add("no longer pinned", unpinned.display().to_string());
    }
    for other in &others {
        rows.add(
            "also pinned",
            caution(&format!("{} (remove it if retired)", other.display())),
        );
    }
    let text = format!(
        "{}\n{}\nNext, once for this node:\n  \
         portcullis reference capture --name STATE --out captured.json   approve what it booted\n  \
         portcullis tag request -o request.json   if it gets an asset tag\n",
        strong("Enrolled."),
        rows.render()
    );
    let json = json!({
        "ueid": reply.ueid,
        "ak_name": reply.ak_name,
        "verdict_key": key.to_value(),
        "pinned_in": path,
        "added": added,
        "unpinned": unpinned,
        "also_pinned": others,
    });
    Ok(Report::done(text, json))
}

fn verdict_key(reply: &EnrollReply) -> Result<TrustedKey, EnrollError> {
    let key = TrustedKey::from_value(&Value::Object(reply.verdict_key.clone()))
        .map_err(EnrollError::ReadKey)?;
    match key.key_use() {
        KeyUse::Verdict => Ok(key),
        found => Err(EnrollError::KeyUse { found }),
    }
}

fn file_name(key: &TrustedKey) -> String {
    file_name_of(key.key().kid().as_str())
}

fn file_name_of(kid: &str) -> String {
    let kid: String = kid.chars().take(KID_IN_NAME).collect();
    format!("verdict-{kid}.jwk")
}

/// Takes away the key with this id where an earlier enrolment pinned it. Kept elsewhere, by hand, it is named
/// among the others.
fn unpin(kid: &str, directory: &Path) -> Result<Option<PathBuf>, Failure> {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || matches!(one, '-' | '_');
    if !kid.chars().all(is_plain) {
        return Ok(None);
    }
    let path = directory.join(file_name_of(kid));
    let is_it = documents::public_key(&path)
        .is_ok_and(|key| key.key_use() == KeyUse::Verdict && key.key().kid().as_str() == kid);
    if !is_it {
        return Ok(None);
    }
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(Some(path)),
        Err(source) => Err(FileError::Write { path, source }.into()),
    }
}

/// Writes the key where it is pinned; `false` if it is there already.
fn pin(key: &TrustedKey, directory: &Path, path: &Path) -> Result<bool, Failure> {
    match DirBuilder::new().mode(0o755).create(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(source) => {
            return Err(FileError::Write {
                path: directory.to_path_buf(),
                source,
            }
            .into());
        }
    }
    let text = format!("{:#}\n", key.to_value());
    match files::write(path, text.as_bytes(), files::PUBLIC, false) {
        Ok(()) => Ok(true),
        Err(FileError::Exists { .. }) if documents::public_key(path)? == *key => Ok(false),
        Err(FileError::Exists { .. }) => Err(Failure::usage(EnrollError::OtherKey {
            path: path.to_path_buf(),
        })),
        Err(error) => Err(error.into()),
    }
}

/// Files that pin other verdict keys. What cannot be read is left out here: it is a fault of the
/// settings, and every launch reports it.
fn other_verdict_keys(directory: &Path, key: &TrustedKey) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut others: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jwk"))
        .filter(|path| {
            documents::public_key(path)
                .is_ok_and(|other| other.key_use() == KeyUse::Verdict && other != *key)
        })
        .collect();
    others.sort();
    others
}

#[cfg(test)]
mod tests {
    use portcullis_attestation::jws::Signer as _;
    use portcullis_attestation::software_key::SoftwareKey;
    use zeroize::Zeroizing;

    use super::*;

    fn key(seed: u8, key_use: KeyUse) -> TrustedKey {
        let private = SoftwareKey::from_random(&Zeroizing::new([seed; 32])).unwrap();
        TrustedKey::new(private.public_key().clone(), key_use)
    }

    fn reply(key: &TrustedKey) -> EnrollReply {
        let Value::Object(verdict_key) = key.to_value() else {
            panic!("not an object")
        };
        EnrollReply {
            ueid: String::new(),
            ak_name: String::new(),
            verdict_key,
            retired_kid: None,
        }
    }

    #[test]
    fn unpins_the_old_key_and_no_other() {
        let scratch = tempfile::tempdir().unwrap();
        let (old, tag) = (key(1, KeyUse::Verdict), key(2, KeyUse::Tag));
        for key in [&old, &tag] {
            let path = scratch.path().join(file_name(key));
            assert!(pin(key, scratch.path(), &path).unwrap());
        }
        for kid in ["../x", "unknown", tag.key().kid().as_str()] {
            assert_eq!(unpin(kid, scratch.path()).unwrap(), None, "{kid}");
        }
        let path = scratch.path().join(file_name(&old));
        assert_eq!(
            unpin(old.key().kid().as_str(), scratch.path()).unwrap(),
            Some(path.clone())
        );
        assert!(!path.exists());
    }

    #[test]
    fn pins_a_key_once() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("trust.d");
        let key = key(1, KeyUse::Verdict);
        let path = directory.join(file_name(&key));
        assert!(pin(&key, &directory, &path).unwrap());
        assert!(!pin(&key, &directory, &path).unwrap());
        assert_eq!(documents::public_key(&path).unwrap(), key);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[test]
    fn never_replaces_another_key() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("verdict-x.jwk");
        let (one, other) = (key(1, KeyUse::Verdict), key(2, KeyUse::Verdict));
        assert!(pin(&one, scratch.path(), &path).unwrap());
        let failure = pin(&other, scratch.path(), &path).unwrap_err();
        assert!(
            failure.line().contains("holds another key"),
            "{}",
            failure.line()
        );
        assert_eq!(documents::public_key(&path).unwrap(), one);
    }

    #[test]
    fn names_the_other_keys_that_are_pinned_for_verdicts() {
        let scratch = tempfile::tempdir().unwrap();
        let (one, other) = (key(1, KeyUse::Verdict), key(2, KeyUse::Verdict));
        for key in [&one, &other, &key(3, KeyUse::Tag)] {
            let path = scratch.path().join(file_name(key));
            assert!(pin(key, scratch.path(), &path).unwrap());
        }
        std::fs::write(scratch.path().join("broken.jwk"), b"{").unwrap();
        assert_eq!(
            other_verdict_keys(scratch.path(), &one),
            [scratch.path().join(file_name(&other))]
        );
    }

    #[test]
    fn takes_only_a_verdict_key_from_the_agent() {
        assert!(
            verdict_key(&reply(&key(1, KeyUse::Verdict)))
                .is_ok_and(|it| it == key(1, KeyUse::Verdict))
        );
        let error = verdict_key(&reply(&key(1, KeyUse::Policy))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot pin a key of use 'policy' as verdict key"
        );
        let mut empty = reply(&key(1, KeyUse::Verdict));
        empty.verdict_key.remove("x");
        assert!(matches!(verdict_key(&empty), Err(EnrollError::ReadKey(_))));
    }
}
