//! A policy bundle: settings and hardening profiles for many nodes, signed by whoever decides what
//! they may run.
//!
//! What the settings mean is not looked at here; they are a text, read by the reader of the node's
//! own settings.

use std::fmt;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::claims::{ClaimError, Claims};
use crate::hex;
use crate::jwk::TrustedKeys;
use crate::jws::{self, JwsError, SignError, Signer, Typ};
use crate::validity::Validity;

/// Bytes of the name of a bundle.
const NAME_BYTES: usize = 64;
/// Profiles of one bundle.
const MAX_PROFILES: usize = 32;

/// Claims of a bundle.
const CLAIMS: [&str; 8] = [
    "iss", "name", "seq", "iat", "nbf", "exp", "settings", "profiles",
];

/// A verified bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPolicy {
    /// What it says.
    pub bundle: PolicyBundle,
    /// Key id of who signed it.
    pub signer: String,
    /// SHA-256 of the claims, in hex: the same for all who signed them.
    pub sha256: String,
}

/// What a bundle says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyBundle {
    /// Who decides.
    pub issuer: String,
    /// Its name, for people and records: 1 to 64 letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Of two bundles the one with the higher number is the newer one; 1 or more.
    pub sequence: u64,
    /// When it was signed, in seconds since 1970.
    pub issued_at_s: u64,
    /// First second of validity.
    pub not_before_s: u64,
    /// First second after validity; later than `not_before_s`.
    pub expires_s: u64,
    /// Settings, in TOML; may be empty.
    pub settings: String,
    /// Hardening profiles, each name once.
    pub profiles: Vec<BundledProfile>,
}

/// A hardening profile in a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundledProfile {
    /// Its name.
    pub name: String,
    /// What `NAME.toml` would hold.
    pub text: String,
    /// What `NAME.seccomp.json` would hold, if there were one.
    pub seccomp: Option<String>,
}

/// Where a bundle stands in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// It does not count yet.
    Premature,
    /// It counts.
    Valid,
    /// It is past its end, and counts for as long as the node allows after that.
    Grace,
    /// It counts no longer.
    Expired,
}

/// Why a bundle is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The token is not one that a pinned key for policies signed.
    #[error("cannot verify policy bundle")]
    Signature(#[source] JwsError),
    /// The token itself is not well formed.
    #[error("cannot read policy bundle")]
    Token(#[source] JwsError),
    /// The token is genuine, but its claims are not those of a bundle.
    #[error("cannot read policy bundle")]
    Claim(#[from] ClaimError),
}

/// Verifies a bundle with the pinned keys for policies.
///
/// Does *not* look at the time (see [`PolicyBundle::term`]), nor at what the settings say.
///
/// # Errors
///
/// [`PolicyError`].
pub fn verify(token: &str, keys: &TrustedKeys) -> Result<SignedPolicy, PolicyError> {
    let (signer, payload) = jws::verify_naming_key(token, Typ::Policy, keys)?;
    let bundle = PolicyBundle::from_claims(&payload)?;
    Ok(SignedPolicy {
        sha256: hex::encode(&Sha256::digest(bundle.to_claims().to_string().as_bytes())),
        bundle,
        signer,
    })
}

/// Whether `name` may name a bundle.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=NAME_BYTES).contains(&name.len()) && name.bytes().all(is_known)
}

fn read_profiles(members: &Map<String, Value>) -> Option<Vec<BundledProfile>> {
    if members.len() > MAX_PROFILES {
        return None;
    }
    let mut profiles = Vec::new();
    for (name, profile) in members {
        let profile = profile.as_object()?;
        let seccomp = match profile.get("seccomp") {
            Some(list) => Some(list.as_str()?.to_owned()),
            None => None,
        };
        let known = 1 + usize::from(seccomp.is_some());
        if profile.len() != known || !is_name(name) {
            return None;
        }
        profiles.push(BundledProfile {
            name: name.clone(),
            text: profile.get("text")?.as_str()?.to_owned(),
            seccomp,
        });
    }
    Some(profiles)
}

// === impl PolicyBundle ===

impl PolicyBundle {
    /// Signs the bundle; the answer is the token.
    ///
    /// # Errors
    ///
    /// [`SignError`].
    pub fn sign(&self, signer: &mut dyn Signer) -> Result<String, SignError> {
        jws::sign(Typ::Policy, &self.to_claims(), signer)
    }

    /// Reads the claims of a bundle. Says nothing about who signed them: see [`verify`].
    ///
    /// # Errors
    ///
    /// [`ClaimError`], also for a claim that no bundle has.
    pub fn from_claims(payload: &Value) -> Result<Self, ClaimError> {
        let claims = Claims::of(payload)?;
        claims.only(&CLAIMS)?;
        let validity = Validity::read(&claims)?;
        let profiles = "at most 32 names, each with 'text' and perhaps 'seccomp'";
        let profiles = claims.optional("profiles", profiles, |value| {
            read_profiles(value.as_object()?)
        })?;
        let name = "1 to 64 letters, digits, '-', '_' and '.'";
        Ok(Self {
            issuer: claims.text("iss")?.to_owned(),
            name: claims.required("name", name, |value| {
                value
                    .as_str()
                    .filter(|name| is_name(name))
                    .map(str::to_owned)
            })?,
            sequence: claims.required("seq", "a whole number, 1 or more", |value| {
                value.as_u64().filter(|sequence| *sequence > 0)
            })?,
            issued_at_s: validity.issued_at_s,
            not_before_s: validity.not_before_s,
            expires_s: validity.expires_s,
            settings: claims.text("settings")?.to_owned(),
            profiles: profiles.unwrap_or_default(),
        })
    }

    /// The claims of the bundle.
    #[must_use]
    pub fn to_claims(&self) -> Value {
        let mut profiles = Map::new();
        for profile in &self.profiles {
            let mut members = Map::new();
            members.insert("text".to_owned(), profile.text.clone().into());
            if let Some(list) = &profile.seccomp {
                members.insert("seccomp".to_owned(), list.clone().into());
            }
            profiles.insert(profile.name.clone(), Value::Object(members));
        }
        json!({
            "iss": self.issuer,
            "name": self.name,
            "seq": self.sequence,
            "iat": self.issued_at_s,
            "nbf": self.not_before_s,
            "exp": self.expires_s,
            "settings": self.settings,
            "profiles": profiles,
        })
    }

    /// Where it stands at `now_s`, in seconds since 1970, on a node that lets it count for
    /// `grace_s` seconds after its end.
    #[must_use]
    pub fn term(&self, now_s: u64, grace_s: u64) -> Term {
        if now_s < self.not_before_s {
            Term::Premature
        } else if now_s < self.expires_s {
            Term::Valid
        } else if now_s < self.expires_s.saturating_add(grace_s) {
            Term::Grace
        } else {
            Term::Expired
        }
    }

    /// The profile of this name.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<&BundledProfile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }
}

// === impl Term ===

impl fmt::Display for Term {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Premature => "premature",
            Self::Valid => "valid",
            Self::Grace => "grace",
            Self::Expired => "expired",
        })
    }
}

// === impl PolicyError ===

impl From<JwsError> for PolicyError {
    fn from(cause: JwsError) -> Self {
        if cause.is_malformed() {
            Self::Token(cause)
        } else {
            Self::Signature(cause)
        }
    }
}

#[cfg(test)]
mod tests;
