//! What the agent knows about its own node: the TPM, its attestation key, and the verdict key.

use std::path::{Path, PathBuf};

use portcullis_attestation::jwk::{JwkError, KeyUse, PublicKey, TrustedKey};
use portcullis_attestation::key_policy::KeyPolicy;
use portcullis_attestation::tpm_name::TpmName;
use portcullis_attestation::ueid::Ueid;
use portcullis_client::method::VerdictKeySummary;
use portcullis_config::{Config, KeyPolicy as Wanted, paths};
use portcullis_json::{JsonError, Limits};
use portcullis_tpm::{Identity, KeyBlob, TpmError};
use serde_json::{Value, json};

use crate::atomic_file::{self, FileError};

/// In the state directory.
const FILE: &str = "enrollment.json";
/// In the state directory: the verdict key, which only the TPM can use.
const KEY_PUBLIC: &str = "keys/verdict.public";
/// See [`KEY_PUBLIC`].
const KEY_PRIVATE: &str = "keys/verdict.private";
/// In [`FILE`]: the keys to which the verdict key is bound.
const APPROVERS: &str = "approvers";
/// The file is about 500 bytes and 230 for each of at most eight approvers, each half of the key
/// about 200.
const LIMITS: Limits = Limits {
    max_bytes: 4096,
    max_depth: 4,
};
/// Format of [`FILE`].
const VERSION: u64 = 1;

/// An enrolled node.
#[derive(Debug, Clone)]
pub(crate) struct Enrollment {
    /// The TPM.
    pub(crate) ueid: Ueid,
    /// Its attestation key.
    pub(crate) ak_name: TpmName,
    /// The key that signs verdicts.
    pub(crate) key: KeyBlob,
    /// Its public half.
    pub(crate) public_key: PublicKey,
    /// Whose approval the TPM asks for before it signs with it; `None` if it asks for nothing.
    pub(crate) policy: Option<KeyPolicy>,
}

/// What was stored and cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrollmentError {
    /// A file cannot be read or written.
    #[error("cannot use the node's enrollment")]
    File(#[from] FileError),
    /// The file is not JSON.
    #[error("cannot parse enrollment '{}'", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: JsonError,
    },
    /// A field is missing or wrong.
    #[error("cannot read '{field}' of the node's enrollment; run 'portcullis enroll'")]
    Field {
        /// Its name.
        field: &'static str,
    },
    /// The public key is none.
    #[error("cannot read the verdict key of the node's enrollment; run 'portcullis enroll'")]
    Key(#[source] JwkError),
    /// The stored key is not the one in the enrollment.
    #[error("cannot use the verdict key: it is not the enrolled one; run 'portcullis enroll'")]
    OtherKey,
    /// The stored key cannot be decoded.
    #[error("cannot decode the verdict key; run 'portcullis enroll'")]
    DecodeKey(#[source] TpmError),
    /// The stored key is bound to others than the enrollment says.
    #[error(
        "cannot use the verdict key: its policy is not that of the enrollment; run 'portcullis enroll'"
    )]
    OtherPolicy,
}

// === impl Enrollment ===

impl Enrollment {
    /// Joins who the TPM is with a key that was made for it.
    pub(crate) fn new(
        identity: &Identity,
        key: KeyBlob,
        policy: Option<KeyPolicy>,
    ) -> Result<Self, TpmError> {
        Ok(Self {
            ueid: identity.ueid.clone(),
            ak_name: identity.ak_name.clone(),
            public_key: key.public_key()?,
            key,
            policy,
        })
    }

    /// Reads what was stored in `directory`; `None` if the node is not enrolled.
    pub(crate) fn load(directory: &Path) -> Result<Option<Self>, EnrollmentError> {
        let limit = LIMITS.max_bytes as u64;
        let path = directory.join(FILE);
        let Some(bytes) = atomic_file::read(&path, limit)? else {
            return Ok(None);
        };
        let value = portcullis_json::parse(&bytes, LIMITS)
            .map_err(|source| EnrollmentError::Parse { path, source })?;
        if value.get("version").and_then(Value::as_u64) != Some(VERSION) {
            return Err(EnrollmentError::Field { field: "version" });
        }
        let half = |name, field| {
            atomic_file::read(&directory.join(name), limit)?.ok_or(EnrollmentError::Field { field })
        };
        let key = KeyBlob {
            public: half(KEY_PUBLIC, KEY_PUBLIC)?,
            private: half(KEY_PRIVATE, KEY_PRIVATE)?,
        };
        let enrolled = value
            .get("verdict_key")
            .ok_or(EnrollmentError::Field {
                field: "verdict_key",
            })
            .and_then(|jwk| TrustedKey::from_value(jwk).map_err(EnrollmentError::Key))?;
        let public_key = key.public_key().map_err(EnrollmentError::DecodeKey)?;
        if *enrolled.key() != public_key {
            return Err(EnrollmentError::OtherKey);
        }
        let policy = approvers(&value)?;
        let asked = key.policy().map_err(EnrollmentError::DecodeKey)?;
        if asked != policy.as_ref().map(KeyPolicy::digest) {
            return Err(EnrollmentError::OtherPolicy);
        }
        Ok(Some(Self {
            ueid: text(&value, "ueid", Ueid::parse)?,
            ak_name: text(&value, "ak_name", TpmName::parse)?,
            key,
            public_key,
            policy,
        }))
    }

    /// Stores it in `directory`. The file that makes it count is written last.
    pub(crate) fn store(&self, directory: &Path) -> Result<(), FileError> {
        atomic_file::write(&directory.join(KEY_PUBLIC), &self.key.public)?;
        atomic_file::write(&directory.join(KEY_PRIVATE), &self.key.private)?;
        let mut members = json!({
            "version": VERSION,
            "ueid": self.ueid.as_str(),
            "ak_name": self.ak_name.to_string(),
            "verdict_key": self.verdict_key(),
        });
        if let (Some(policy), Some(members)) = (&self.policy, members.as_object_mut()) {
            let approvers = policy
                .signers()
                .iter()
                .map(|key| TrustedKey::new(key.clone(), KeyUse::Reference).to_value());
            members.insert(APPROVERS.to_owned(), approvers.collect());
        }
        let mut text = members.to_string();
        text.push('\n');
        atomic_file::write(&directory.join(FILE), text.as_bytes())
    }

    /// The public half of the verdict key as relying parties pin it.
    pub(crate) fn verdict_key(&self) -> Value {
        TrustedKey::new(self.public_key.clone(), KeyUse::Verdict).to_value()
    }

    /// The verdict key as the status shows it.
    pub(crate) fn key_summary(&self, config: &Config) -> VerdictKeySummary {
        let wanted = key_policy(config);
        let defect = match (&self.policy, &wanted) {
            (_, Err(reason)) => Some(reason.clone()),
            (found, Ok(wanted)) if found == wanted => None,
            (None, Ok(_)) => Some("signs in any state".to_owned()),
            (Some(_), Ok(None)) => Some("is bound, 'key_policy=' asks for none".to_owned()),
            (Some(_), Ok(Some(_))) => Some("is bound to other keys than are pinned".to_owned()),
        };
        let signers = self.policy.as_ref().map_or(&[][..], KeyPolicy::signers);
        VerdictKeySummary {
            kid: self.public_key.kid().to_string(),
            policy: match self.policy {
                Some(_) => "approved-state".to_owned(),
                None => "none".to_owned(),
            },
            approvers: signers.iter().map(|key| key.kid().to_string()).collect(),
            defect,
        }
    }

    /// Whether the node is the one that was enrolled.
    pub(crate) fn is_of(&self, identity: &Identity) -> bool {
        self.ueid == identity.ueid && self.ak_name == identity.ak_name
    }
}

/// The policy of a verdict key that is made now: that of the settings and the pinned keys.
///
/// # Errors
///
/// What is missing, one line.
pub(crate) fn key_policy(config: &Config) -> Result<Option<KeyPolicy>, String> {
    if config.agent.key_policy == Wanted::None {
        return Ok(None);
    }
    let keys = portcullis_config::trusted_keys().map_err(|faults| faults.to_string())?;
    let providers = keys
        .iter()
        .filter(|key| key.key_use() == KeyUse::Reference)
        .map(|key| key.key().clone());
    KeyPolicy::new(providers).map(Some).map_err(|count| match count.found {
        0 => format!(
            "no reference key is pinned in {}, and the verdict key is bound to those; pin one first",
            paths::TRUST
        ),
        _ => count.to_string(),
    })
}

/// The keys in [`APPROVERS`]; a key that is bound to nobody has none.
fn approvers(value: &Value) -> Result<Option<KeyPolicy>, EnrollmentError> {
    let field = || EnrollmentError::Field { field: APPROVERS };
    let Some(list) = value.get(APPROVERS) else {
        return Ok(None);
    };
    let keys = list
        .as_array()
        .ok_or_else(field)?
        .iter()
        .map(|jwk| TrustedKey::from_value(jwk).map(|key| key.key().clone()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(EnrollmentError::Key)?;
    KeyPolicy::new(keys).map(Some).map_err(|_count| field())
}

fn text<T>(
    value: &Value,
    field: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, EnrollmentError> {
    value
        .get(field)
        .and_then(Value::as_str)
        .and_then(parse)
        .ok_or(EnrollmentError::Field { field })
}
