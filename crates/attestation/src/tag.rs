//! The asset tag: the tag authority's signed statement about one TPM.
//!
//! The document alone says what is true of *some* host; it counts only on the host whose TPM has
//! the document's hash in NV index [`NV_INDEX`], whose `ueid` is the document's subject, and whose
//! tag counter stands where the document says.

pub mod authorization;
pub mod request;
pub mod slot;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha384};

use crate::claims::{ClaimError, Claims};
use crate::jwk::TrustedKeys;
use crate::jws::{self, JwsError, SignError, Signer, Typ};
use crate::ueid::Ueid;
use crate::validity::Validity;

/// NV index that holds the SHA-384 of the document: the slot and size that Intel SecL uses.
pub const NV_INDEX: u32 = 0x01c1_0110;
/// Size of the contents of that index in bytes.
pub const DIGEST_BYTES: usize = 48;

/// Tags one document may hold.
const MAX_TAGS: usize = 64;
/// Characters of the name part of a key and of a value, as in a Kubernetes label.
const LABEL_BYTES: usize = 63;
/// Characters of the prefix of a key, as in a Kubernetes label.
const PREFIX_BYTES: usize = 253;

/// Where a host stands, in degrees.
///
/// # Source
///
/// RFC 9711, "location".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Location {
    /// -90 to 90, north is positive.
    pub latitude: f64,
    /// -180 to 180, east is positive.
    pub longitude: f64,
}

/// What the tag authority says about one TPM.
#[derive(Debug, Clone, PartialEq)]
pub struct AssetTag {
    /// The tag authority.
    pub issuer: String,
    /// The TPM this is about.
    pub subject: Ueid,
    /// When it was signed, in seconds since 1970.
    pub issued_at_s: u64,
    /// First second of validity.
    pub not_before_s: u64,
    /// First second after validity; later than `not_before_s`.
    pub expires_s: u64,
    /// Where the TPM's tag counter stands while this tag is the latest; 1 or more.
    pub counter: u64,
    /// Keys and values, both of the grammar of Kubernetes labels.
    pub tags: BTreeMap<String, String>,
    /// Where the host stands, if the authority says.
    pub location: Option<Location>,
}

/// Why an asset tag is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// The token is not one that a pinned tag authority signed.
    #[error("cannot verify asset tag")]
    Signature(#[source] JwsError),
    /// The token itself is not well formed.
    #[error("cannot read asset tag")]
    Token(#[source] JwsError),
    /// The token is genuine, but its claims are not those of an asset tag.
    #[error("cannot read asset tag")]
    Claim(#[from] ClaimError),
}

/// Verifies a tag document with the pinned keys of tag authorities.
///
/// Does *not* look at the time, at the TPM's NV index, or whether the subject is this host.
///
/// # Errors
///
/// [`TagError`].
pub fn verify(document: &str, keys: &TrustedKeys) -> Result<AssetTag, TagError> {
    Ok(AssetTag::from_claims(&jws::verify(
        document,
        Typ::Tag,
        keys,
    )?)?)
}

/// What NV index [`NV_INDEX`] must hold for `document`: SHA-384 over the token's bytes.
#[must_use]
pub fn digest(document: &str) -> [u8; DIGEST_BYTES] {
    Sha384::digest(document.as_bytes()).into()
}

/// Whether `key` may name a tag: a Kubernetes label key, with or without a prefix.
#[must_use]
pub fn is_key(key: &str) -> bool {
    let (prefix, name) = key
        .rsplit_once('/')
        .map_or((None, key), |(p, n)| (Some(p), n));
    let prefix_fits = prefix.is_none_or(|prefix| {
        prefix.len() <= PREFIX_BYTES
            && prefix.split('.').all(|part| {
                is_framed(
                    part,
                    |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit(),
                    b"-",
                )
            })
    });
    prefix_fits && !name.is_empty() && is_value(name)
}

/// Whether `value` may be the value of a tag: a Kubernetes label value, which may be empty.
#[must_use]
pub fn is_value(value: &str) -> bool {
    value.is_empty()
        || value.len() <= LABEL_BYTES
            && is_framed(value, |byte| byte.is_ascii_alphanumeric(), b"-_.")
}

/// Whether `text` is not empty, begins and ends with `outer`, and holds `outer` or `inner` only.
fn is_framed(text: &str, outer: impl Fn(u8) -> bool, inner: &[u8]) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|byte| outer(*byte))
        && bytes.last().is_some_and(|byte| outer(*byte))
        && bytes
            .iter()
            .all(|byte| outer(*byte) || inner.contains(byte))
}

fn read_tags(members: &Map<String, Value>) -> Option<BTreeMap<String, String>> {
    if members.len() > MAX_TAGS {
        return None;
    }
    members
        .iter()
        .map(|(key, value)| {
            let value = value.as_str().filter(|value| is_value(value))?;
            is_key(key).then(|| (key.clone(), value.to_owned()))
        })
        .collect()
}

fn read_location(value: &Value) -> Option<Location> {
    let degrees = |name, limit: f64| {
        value
            .get(name)
            .and_then(Value::as_f64)
            .filter(|degrees| degrees.abs() <= limit)
    };
    Some(Location {
        latitude: degrees("latitude", 90.0)?,
        longitude: degrees("longitude", 180.0)?,
    })
}

// === impl AssetTag ===

impl AssetTag {
    /// Signs the tag with the tag authority's key; the answer is the document.
    ///
    /// # Errors
    ///
    /// [`SignError`].
    pub fn sign(&self, signer: &mut dyn Signer) -> Result<String, SignError> {
        jws::sign(Typ::Tag, &self.to_claims(), signer)
    }

    /// Reads the claims of a tag document. Says nothing about who signed them: see [`verify`].
    ///
    /// # Errors
    ///
    /// [`ClaimError`].
    pub fn from_claims(payload: &Value) -> Result<Self, ClaimError> {
        let claims = Claims::of(payload)?;
        let validity = Validity::read(&claims)?;
        let grammar = "at most 64 keys and values of the grammar of Kubernetes labels";
        Ok(Self {
            issuer: claims.text("iss")?.to_owned(),
            subject: claims.required("sub", "a ueid", |value| Ueid::parse(value.as_str()?))?,
            issued_at_s: validity.issued_at_s,
            not_before_s: validity.not_before_s,
            expires_s: validity.expires_s,
            counter: claims.required("counter", "a whole number, 1 or more", |value| {
                value.as_u64().filter(|counter| *counter > 0)
            })?,
            tags: claims.required("tags", grammar, |value| read_tags(value.as_object()?))?,
            location: claims.optional("location", "latitude and longitude", read_location)?,
        })
    }

    /// The claims of the document.
    #[must_use]
    pub fn to_claims(&self) -> Value {
        let mut claims = json!({
            "iss": self.issuer,
            "sub": self.subject.as_str(),
            "iat": self.issued_at_s,
            "nbf": self.not_before_s,
            "exp": self.expires_s,
            "counter": self.counter,
            "tags": self.tags,
        });
        if let (Some(location), Some(members)) = (self.location, claims.as_object_mut()) {
            let Location {
                latitude,
                longitude,
            } = location;
            members.insert(
                "location".to_owned(),
                json!({ "latitude": latitude, "longitude": longitude }),
            );
        }
        claims
    }

    /// Whether the tag counts at `now_s`, in seconds since 1970.
    #[must_use]
    pub fn is_valid_at(&self, now_s: u64) -> bool {
        (self.not_before_s..self.expires_s).contains(&now_s)
    }
}

// === impl TagError ===

impl From<JwsError> for TagError {
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
