//! Public keys: P-256, as JWK, pinned for one use each.

use std::fmt;

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use portcullis_json::{JsonError, Limits};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::base64url;
use crate::claims::{ClaimError, Claims};

/// A public JWK is about 250 bytes; the rest is room for members such as `alg`.
const LIMITS: Limits = Limits {
    max_bytes: 4096,
    max_depth: 4,
};

/// DER of a P-256 `SubjectPublicKeyInfo`, up to the 65 bytes of the uncompressed point.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// An ECDSA public key on P-256; the point is on the curve.
#[derive(Debug, Clone)]
pub struct PublicKey {
    key: VerifyingKey,
    x: [u8; 32],
    y: [u8; 32],
}

/// Key id: the RFC 7638 thumbprint (SHA-256, base64url) of a public key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid(String);

/// What a pinned key may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyUse {
    /// Verdicts: the key of a verifier.
    Verdict,
    /// Reference values: the key of the operator.
    Reference,
    /// Asset tags: the key of the tag authority.
    Tag,
    /// Policy bundles and break-glass tokens: the key of whoever decides what a fleet may run.
    Policy,
}

/// A public key pinned for one use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    key: PublicKey,
    key_use: KeyUse,
}

/// All keys pinned on a host.
#[derive(Debug, Clone, Default)]
pub struct TrustedKeys(Vec<TrustedKey>);

/// Why a public key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwkError {
    /// The file is not strict JSON.
    #[error("cannot parse public key")]
    Json(#[from] JsonError),
    /// A member is missing or wrong.
    #[error("cannot read public key")]
    Member(#[from] ClaimError),
    /// The member `d` is there: this is a private key, and it now lies where public ones belong.
    #[error("cannot trust a private key; keep it secret, replace it, and pin its public half")]
    Private,
    /// The coordinates are not those of a point on P-256.
    #[error("cannot find the point of the public key on curve P-256")]
    Point,
    /// `kid` is there and is not the thumbprint.
    #[error("cannot accept key id '{found}' of the public key: expected its thumbprint {expected}")]
    Kid {
        /// The RFC 7638 thumbprint.
        expected: Kid,
        /// The member `kid`, escaped and cut to 64 characters.
        found: String,
    },
    /// One key would have two uses, and then a signature for one would count for the other.
    #[error("cannot pin key {kid} for use '{wanted}': it is pinned for use '{pinned}'")]
    Shared {
        /// The key.
        kid: Kid,
        /// The use it has.
        pinned: KeyUse,
        /// The use that was asked for.
        wanted: KeyUse,
    },
}

/// A signature that does not verify. Says nothing more, on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot verify signature")]
pub struct SignatureInvalid;

// === impl PublicKey ===

impl PublicKey {
    /// The key with these affine coordinates, big-endian; `None` off the curve.
    #[must_use]
    pub fn from_coordinates(x: [u8; 32], y: [u8; 32]) -> Option<Self> {
        let point = [&[0x04][..], &x, &y].concat();
        let key = VerifyingKey::from_sec1_bytes(&point).ok()?;
        Some(Self { key, x, y })
    }

    /// The key with this uncompressed point (`04 ‖ x ‖ y`); `None` off the curve.
    #[must_use]
    pub fn from_sec1(point: &[u8]) -> Option<Self> {
        let (x, y) = point.strip_prefix(&[0x04])?.split_at_checked(32)?;
        Self::from_coordinates(x.try_into().ok()?, y.try_into().ok()?)
    }

    /// Affine x, big-endian.
    #[must_use]
    pub const fn x(&self) -> &[u8; 32] {
        &self.x
    }

    /// Affine y, big-endian.
    #[must_use]
    pub const fn y(&self) -> &[u8; 32] {
        &self.y
    }

    /// The key id.
    ///
    /// # Source
    ///
    /// RFC 7638, "JSON Web Key (JWK) Thumbprint": required members, ordered, without white space.
    #[must_use]
    pub fn kid(&self) -> Kid {
        let [x, y] = [base64url::encode(&self.x), base64url::encode(&self.y)];
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Kid(base64url::encode(&Sha256::digest(members.as_bytes())))
    }

    /// DER of the `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn to_spki_der(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], &[0x04], &self.x, &self.y].concat()
    }

    /// Verifies an ECDSA signature over the SHA-256 of `message`.
    ///
    /// `signature` is r ‖ s, 32 bytes each, big-endian. Both halves of the range of s are
    /// accepted: TPMs do not normalise it, and nothing here relies on one spelling of a signature.
    ///
    /// # Errors
    ///
    /// [`SignatureInvalid`], also for r or s of zero or beyond the order of the curve.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), SignatureInvalid> {
        let digest: [u8; 32] = Sha256::digest(message).into();
        Signature::from_slice(signature)
            .and_then(|signature| self.key.verify_prehash(&digest, &signature))
            .or(Err(SignatureInvalid))
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.x == other.x && self.y == other.y
    }
}

impl Eq for PublicKey {}

// === impl Kid ===

impl Kid {
    /// The 43 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

// === impl KeyUse ===

impl KeyUse {
    /// All uses.
    pub const ALL: [Self; 4] = [Self::Verdict, Self::Reference, Self::Tag, Self::Policy];

    /// The value of the member `use`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Reference => "reference",
            Self::Tag => "tag",
            Self::Policy => "policy",
        }
    }

    /// Reads the value of the member `use`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|key_use| key_use.as_str() == text)
    }
}

impl fmt::Display for KeyUse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

// === impl TrustedKey ===

impl TrustedKey {
    /// Pins `key` for `key_use`.
    #[must_use]
    pub const fn new(key: PublicKey, key_use: KeyUse) -> Self {
        Self { key, key_use }
    }

    /// Reads a public JWK: `kty` EC, `crv` P-256, `x`, `y`, and `use` as in [`KeyUse`].
    ///
    /// `alg` may be there and is then ES256; `kid` may be there and is then the thumbprint. Other
    /// members are ignored, as RFC 7517 asks.
    ///
    /// # Errors
    ///
    /// [`JwkError`]; a private key is refused by its member `d`, whatever else is right.
    pub fn parse(jwk: &[u8]) -> Result<Self, JwkError> {
        let value = portcullis_json::parse(jwk, LIMITS)?;
        Self::from_value(&value)
    }

    /// The same, from a tree that was parsed already.
    ///
    /// # Errors
    ///
    /// [`JwkError`], but never for duplicate keys: they are gone from a tree.
    pub fn from_value(jwk: &Value) -> Result<Self, JwkError> {
        let members = Claims::of(jwk)?;
        if members.has("d") {
            return Err(JwkError::Private);
        }
        members.required("kty", "'EC'", |value| (value == "EC").then_some(()))?;
        members.required("crv", "'P-256'", |value| (value == "P-256").then_some(()))?;
        members.optional("alg", "'ES256'", |value| (value == "ES256").then_some(()))?;
        let coordinate = |name| {
            members.required(name, "32 bytes in base64url", |value| {
                base64url::decode_array::<32>(value.as_str()?)
            })
        };
        let key = PublicKey::from_coordinates(coordinate("x")?, coordinate("y")?)
            .ok_or(JwkError::Point)?;
        let uses = "'verdict', 'reference', 'tag' or 'policy'";
        let key_use = members.required("use", uses, |value| KeyUse::parse(value.as_str()?))?;
        let kid = members.optional("kid", "a text", Value::as_str)?;
        if let Some(found) = kid.filter(|found| *found != key.kid().as_str()) {
            let found = found.escape_debug().take(64).collect();
            return Err(JwkError::Kid {
                expected: key.kid(),
                found,
            });
        }
        Ok(Self { key, key_use })
    }

    /// The JWK, with `kid`, `alg` and `use`.
    #[must_use]
    pub fn to_value(&self) -> Value {
        json!({
            "kty": "EC",
            "crv": "P-256",
            "alg": "ES256",
            "use": self.key_use.as_str(),
            "kid": self.key.kid().as_str(),
            "x": base64url::encode(&self.key.x),
            "y": base64url::encode(&self.key.y),
        })
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// What it may sign.
    #[must_use]
    pub const fn key_use(&self) -> KeyUse {
        self.key_use
    }
}

// === impl TrustedKeys ===

impl TrustedKeys {
    /// No key, so nothing verifies.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Pins one more key; the same key for the same use again changes nothing.
    ///
    /// # Errors
    ///
    /// [`JwkError::Shared`] if the key is pinned for another use.
    pub fn insert(&mut self, key: TrustedKey) -> Result<(), JwkError> {
        match self.0.iter().find(|pinned| pinned.key == key.key) {
            None => self.0.push(key),
            Some(pinned) if pinned.key_use == key.key_use => {}
            Some(pinned) => {
                return Err(JwkError::Shared {
                    kid: key.key.kid(),
                    pinned: pinned.key_use,
                    wanted: key.key_use,
                });
            }
        }
        Ok(())
    }

    /// The key with this id, whatever its use.
    #[must_use]
    pub fn find(&self, kid: &str) -> Option<&TrustedKey> {
        self.0
            .iter()
            .find(|pinned| pinned.key.kid().as_str() == kid)
    }

    /// All keys.
    pub fn iter(&self) -> impl Iterator<Item = &TrustedKey> {
        self.0.iter()
    }

    /// Whether no key is pinned for `key_use`.
    #[must_use]
    pub fn lacks(&self, key_use: KeyUse) -> bool {
        !self.0.iter().any(|pinned| pinned.key_use == key_use)
    }
}

#[cfg(test)]
mod tests;
