//! Which attestation keys an auditor trusts.

use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_attestation::ak::AkPublic;
use portcullis_attestation::jwk::TrustedKeys;
use portcullis_attestation::reference::{self, ReferenceError};
use portcullis_attestation::tpm_name::TpmName;

use crate::documents;
use crate::failure::Failure;
use crate::files;

/// Where the names of AKs come from.
#[derive(Debug, Args)]
pub(crate) struct AkSources {
    /// The node's AK: its TPM name, its public area (TPM2B_PUBLIC), or signed reference values that
    /// endorse it. If neither this nor --trust is given: the reference values of this host.
    #[arg(long, value_name = "NAME|FILE")]
    ak: Vec<String>,
    /// Directory with pinned keys (*.jwk) and reference values (*.jws) that they signed; takes the
    /// place of this host's.
    #[arg(long, value_name = "DIR")]
    trust: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum AkError {
    #[error("cannot use '{what}' as AK: expected a TPM name, a TPM2B_PUBLIC or reference values", what = what.escape_debug())]
    Form { what: String },
    #[error("cannot use reference values '{}'", path.display())]
    Reference {
        path: PathBuf,
        #[source]
        source: ReferenceError,
    },
    #[error("cannot find an endorsed AK in '{}'", path.display())]
    NoneEndorsed { path: PathBuf },
    #[error("cannot list directory '{}'", path.display())]
    List {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

// === impl AkSources ===

impl AkSources {
    /// Whether somebody named keys, and so wants anchors to be there.
    pub(crate) const fn is_given(&self) -> bool {
        !self.ak.is_empty() || self.trust.is_some()
    }

    /// The names; `None` if nobody named any and this host knows none.
    pub(crate) fn names(&self) -> Result<Option<Vec<TpmName>>, Failure> {
        if !self.is_given() {
            return Ok(of_this_host());
        }
        let mut names = Vec::new();
        if let Some(directory) = &self.trust {
            let keys = pinned_in(directory)?;
            for path in listed(directory, "jws")? {
                names.extend(endorsed(&path, &keys)?);
            }
            if names.is_empty() && self.ak.is_empty() {
                return Err(Failure::usage(AkError::NoneEndorsed {
                    path: directory.clone(),
                }));
            }
        }
        for what in &self.ak {
            names.extend(self.named(what)?);
        }
        Ok(Some(names))
    }

    fn named(&self, what: &str) -> Result<Vec<TpmName>, Failure> {
        if let Some(name) = TpmName::parse(what) {
            return Ok(vec![name]);
        }
        let path = Path::new(what);
        let bytes = files::read(path, files::INPUT_LIMIT_BYTES)?;
        if let Ok(ak) = AkPublic::parse(&bytes) {
            return Ok(vec![ak.name().clone()]);
        }
        if !bytes.starts_with(b"ey") {
            return Err(Failure::usage(AkError::Form {
                what: what.to_owned(),
            }));
        }
        let keys = match &self.trust {
            Some(directory) => pinned_in(directory)?,
            None => documents::verifying_keys(&[])?,
        };
        endorsed(path, &keys)
    }
}

/// What the reference values of this host endorse; where there are none, nothing is known.
fn of_this_host() -> Option<Vec<TpmName>> {
    let keys = portcullis_config::trusted_keys().ok()?;
    let files = portcullis_config::reference_values().ok()?;
    let names: Vec<TpmName> = files
        .iter()
        .filter_map(|file| reference::verify(&file.token, &keys).ok())
        .flat_map(|reference| reference.values.tpms)
        .map(|tpm| tpm.ak_name)
        .collect();
    (!names.is_empty()).then_some(names)
}

/// The AKs that a document endorses. Whether it is still valid does not matter: it says whose the
/// AK is, and a ledger is older than the day on which it is read.
fn endorsed(path: &Path, keys: &TrustedKeys) -> Result<Vec<TpmName>, Failure> {
    let document = files::read_text(path)?;
    let reference = reference::verify(&document, keys).map_err(|source| {
        let path = path.to_path_buf();
        let error = AkError::Reference { path, source };
        match &error {
            AkError::Reference {
                source: ReferenceError::Signature(_),
                ..
            } => Failure::refused(error),
            _ => Failure::usage(error),
        }
    })?;
    let names = reference.values.tpms.into_iter().map(|tpm| tpm.ak_name);
    Ok(names.collect())
}

fn pinned_in(directory: &Path) -> Result<TrustedKeys, Failure> {
    let files = listed(directory, "jwk")?;
    if files.is_empty() {
        return Ok(TrustedKeys::new());
    }
    documents::verifying_keys(&files)
}

fn listed(directory: &Path, extension: &str) -> Result<Vec<PathBuf>, Failure> {
    let list = |source| AkError::List {
        path: directory.to_path_buf(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)
        .map_err(list)
        .map_err(Failure::usage)?
    {
        let path = entry.map_err(list).map_err(Failure::usage)?.path();
        if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "000b5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

    fn sources(ak: &[&str]) -> AkSources {
        AkSources {
            ak: ak.iter().map(|it| (*it).to_owned()).collect(),
            trust: None,
        }
    }

    #[test]
    fn takes_a_name_as_it_is() {
        let names = sources(&[NAME]).names().unwrap().unwrap();
        assert_eq!(names, [TpmName::parse(NAME).unwrap()]);
    }

    #[test]
    fn refuses_a_file_that_names_no_ak() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        std::fs::write(&path, "-----BEGIN PUBLIC KEY-----").unwrap();
        let failure = sources(&[path.to_str().unwrap()]).names().unwrap_err();
        assert_eq!(failure.exit(), 64);
        assert!(
            failure.line().contains("expected a TPM name"),
            "{}",
            failure.line()
        );
        let empty = AkSources {
            ak: Vec::new(),
            trust: Some(directory.path().to_path_buf()),
        };
        assert!(empty.names().unwrap_err().line().contains("endorsed AK"));
    }
}
