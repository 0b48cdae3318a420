//! Keys, captures and signed documents in files.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_attestation::jwk::{JwkError, TrustedKey, TrustedKeys};
use portcullis_attestation::software_key::{SoftwareKey, SoftwareKeyError};
use portcullis_json::{JsonError, Limits};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::files::{self, FileError};

/// A P-256 key in PKCS#8 PEM is 241 bytes; comments around it are allowed for.
const KEY_LIMIT_BYTES: u64 = 16 * 1024;

/// Objects and lists inside each other in a capture; rules on events have twelve.
const CAPTURE_DEPTH: usize = 16;

/// Permission bits of group and others.
const OTHERS: u32 = 0o077;

/// How long something is valid that is signed for longer than anybody means.
const LONGEST_VALIDITY: Duration = Duration::from_secs(20 * 366 * 24 * 3600);

#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    #[error("cannot use private key '{}': others may read it; run 'chmod 0600 {}'", path.display(), path.display())]
    KeyReadable { path: PathBuf },
    #[error("cannot use private key '{}'", path.display())]
    Key {
        path: PathBuf,
        #[source]
        source: SoftwareKeyError,
    },
    #[error("cannot use public key '{}'", path.display())]
    PublicKey {
        path: PathBuf,
        #[source]
        source: JwkError,
    },
    #[error("cannot read capture '{}'", path.display())]
    Capture {
        path: PathBuf,
        #[source]
        source: JsonError,
    },
    #[error("cannot read capture '{}': expected an object with 'boot_states' and 'tpms'", path.display())]
    CaptureShape { path: PathBuf },
    #[error("cannot merge captures: boot state '{}' has two different sets of values; capture one of them under another name", name.escape_debug())]
    CaptureConflict { name: String },
}

/// What `reference capture` writes and `reference sign` reads: claims that wait for a signature.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Capture {
    pub(crate) boot_states: Vec<Value>,
    pub(crate) tpms: Vec<Value>,
}

/// Reads a private key; the text is wiped from memory.
pub(crate) fn private_key(path: &Path) -> Result<SoftwareKey, Failure> {
    let failed = |source| FileError::Read {
        path: path.to_path_buf(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_file() && metadata.mode() & OTHERS != 0 {
        return Err(Failure::usage(DocumentError::KeyReadable {
            path: path.to_path_buf(),
        }));
    }
    // All at once: a buffer that grows would leave copies of the key behind.
    let mut pem = Zeroizing::new(vec![
        0;
        usize::try_from(KEY_LIMIT_BYTES).unwrap_or_default()
    ]);
    let mut length = 0;
    let mut file = file.take(KEY_LIMIT_BYTES);
    loop {
        match file
            .read(pem.get_mut(length..).unwrap_or_default())
            .map_err(failed)?
        {
            0 => break,
            count => length = length.saturating_add(count),
        }
    }
    let text = str::from_utf8(pem.get(..length).unwrap_or_default()).unwrap_or_default();
    SoftwareKey::from_pem(text).map_err(|source| {
        Failure::usage(DocumentError::Key {
            path: path.to_path_buf(),
            source,
        })
    })
}

/// Reads a public key.
pub(crate) fn public_key(path: &Path) -> Result<TrustedKey, Failure> {
    let bytes = files::read(path, KEY_LIMIT_BYTES)?;
    TrustedKey::parse(&bytes).map_err(|source| {
        Failure::usage(DocumentError::PublicKey {
            path: path.to_path_buf(),
            source,
        })
    })
}

/// The keys to verify with: those named on the command line, or those pinned on this host.
pub(crate) fn verifying_keys(named: &[PathBuf]) -> Result<TrustedKeys, Failure> {
    if named.is_empty() {
        return Ok(portcullis_config::trusted_keys()?);
    }
    let mut keys = TrustedKeys::new();
    for path in named {
        keys.insert(public_key(path)?).map_err(|source| {
            Failure::usage(DocumentError::PublicKey {
                path: path.clone(),
                source,
            })
        })?;
    }
    Ok(keys)
}

/// The name of the signer that a document carries if nobody gives another one: the URI of its key.
///
/// # Source
///
/// RFC 9278, "JWK Thumbprint URI".
pub(crate) fn issuer_of(kid: &str) -> String {
    format!("urn:ietf:params:oauth:jwk-thumbprint:sha-256:{kid}")
}

/// A span such as `90d` or `12h`, for the command line.
pub(crate) fn validity(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text)
        .map_err(|cause| format!("{cause}; expected a span such as '90d' or '12h'"))?;
    if span.as_secs() == 0 || span > LONGEST_VALIDITY {
        return Err("expected a span between one second and 20 years".to_owned());
    }
    Ok(span)
}

// === impl Capture ===

impl Capture {
    /// Reads a capture file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = files::read(path, files::INPUT_LIMIT_BYTES)?;
        let limits = Limits {
            max_bytes: bytes.len(),
            max_depth: CAPTURE_DEPTH,
        };
        let value = portcullis_json::parse(&bytes, limits).map_err(|source| {
            Failure::usage(DocumentError::Capture {
                path: path.to_path_buf(),
                source,
            })
        })?;
        Self::from_value(value).ok_or_else(|| {
            Failure::usage(DocumentError::CaptureShape {
                path: path.to_path_buf(),
            })
        })
    }

    fn from_value(value: Value) -> Option<Self> {
        let Value::Object(mut members) = value else {
            return None;
        };
        let Value::Array(boot_states) = members.remove("boot_states")? else {
            return None;
        };
        let Value::Array(tpms) = members.remove("tpms")? else {
            return None;
        };
        members.is_empty().then_some(Self { boot_states, tpms })
    }

    /// The form of the file.
    pub(crate) fn to_value(&self) -> Value {
        let mut members = Map::new();
        members.insert(
            "boot_states".to_owned(),
            Value::Array(self.boot_states.clone()),
        );
        members.insert("tpms".to_owned(), Value::Array(self.tpms.clone()));
        Value::Object(members)
    }

    /// Several captures as one; the same boot state or TPM twice is kept once.
    pub(crate) fn merge(captures: Vec<Self>) -> Result<Self, DocumentError> {
        let mut merged = Self::default();
        let mut named = BTreeMap::new();
        for capture in captures {
            for state in capture.boot_states {
                let name = state
                    .get("name")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned();
                match named.get(&name) {
                    None => {
                        named.insert(name, state.clone());
                        merged.boot_states.push(state);
                    }
                    Some(known) if *known == state => {}
                    Some(_) => return Err(DocumentError::CaptureConflict { name }),
                }
            }
            for tpm in capture.tpms {
                if !merged.tpms.contains(&tpm) {
                    merged.tpms.push(tpm);
                }
            }
        }
        Ok(merged)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn capture(name: &str, value: &str, tpm: &str) -> Capture {
        Capture {
            boot_states: vec![json!({"name": name, "pcrs": {"sha256": {"0": value}}})],
            tpms: vec![json!({"ueid": tpm})],
        }
    }

    #[test]
    fn keeps_once_what_two_captures_both_hold() {
        let merged = Capture::merge(vec![
            capture("debian", "aa", "one"),
            capture("debian", "aa", "two"),
            capture("ubuntu", "bb", "one"),
        ])
        .unwrap();
        assert_eq!(merged.boot_states.len(), 2);
        assert_eq!(merged.tpms.len(), 2);
    }

    #[test]
    fn refuses_two_sets_of_values_under_one_name() {
        let error =
            Capture::merge(vec![capture("a", "aa", "one"), capture("a", "bb", "one")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot merge captures: boot state 'a' has two different sets of values; capture one \
             of them under another name"
        );
    }

    #[test]
    fn reads_only_the_two_members() {
        assert!(Capture::from_value(json!({"boot_states": [], "tpms": []})).is_some());
        for other in [
            json!({"boot_states": []}),
            json!({"boot_states": [], "tpms": [], "seq": 1}),
            json!({"boot_states": {}, "tpms": []}),
            json!([]),
        ] {
            assert_eq!(Capture::from_value(other), None);
        }
    }

    #[test]
    fn a_validity_is_a_span_that_somebody_can_mean() {
        assert_eq!(validity("90d").unwrap(), Duration::from_secs(90 * 86_400));
        assert_eq!(validity("1s").unwrap(), Duration::from_secs(1));
        for text in ["", "0s", "900ms", "90", "-1d", "30y"] {
            assert!(validity(text).is_err(), "{text}");
        }
    }
}
