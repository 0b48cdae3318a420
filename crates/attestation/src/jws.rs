//! Compact JWS, ES256 and nothing else.
//!
//! Header: exactly `{"alg":"ES256","typ":"…","kid":"…"}`. The algorithm is fixed here and the type
//! is what the caller asked for; the header only gets to agree. Neither a smaller header nor a
//! larger one is accepted, so `crit`, `jku`, `jwk` or `x5u` have no way in.

use std::error::Error;

use portcullis_json::{JsonError, Limits};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::base64url;
use crate::jwk::{KeyUse, PublicKey, SignatureInvalid, TrustedKeys};

/// Size of a whole token but for reference values and policies; a verdict is about 2 KiB.
pub const MAX_BYTES: usize = 64 * 1024;
/// Size of reference values: rules on the events of a boot are some 15 KiB, lists of files more.
/// And of policies: a list of system calls is some 20 KiB.
pub const MAX_REFERENCE_BYTES: usize = 256 * 1024;

/// A header is about 90 bytes.
const HEADER_LIMITS: Limits = Limits {
    max_bytes: 512,
    max_depth: 1,
};
/// A payload is never larger than its token.
const PAYLOAD_LIMITS: Limits = Limits {
    max_bytes: MAX_REFERENCE_BYTES,
    max_depth: 16,
};
/// Characters of a header member that an error shows.
const QUOTE_LIMIT: usize = 64;

/// What kind of statement a token makes; the header's `typ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Typ {
    /// A verdict.
    Verdict,
    /// An asset tag.
    Tag,
    /// Reference values.
    Reference,
    /// A policy bundle.
    Policy,
    /// A break-glass token.
    BreakGlass,
}

/// A token that was taken apart and not verified: nothing in it may be believed.
#[derive(Debug, Clone)]
pub struct Unverified {
    kid: String,
    signing_input: String,
    payload: Vec<u8>,
    signature: [u8; 64],
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// The token is too large.
    #[error("cannot accept token of {size_bytes} bytes, more than {limit_bytes}")]
    Size {
        /// Size of the token in bytes.
        size_bytes: usize,
        /// [`Typ::limit_bytes`].
        limit_bytes: usize,
    },
    /// The token is not three parts with dots between them.
    #[error("cannot split token into header, payload and signature")]
    Parts,
    /// A part is not canonical base64url, or the signature is not 64 bytes.
    #[error("cannot decode {part} of token")]
    Encoding {
        /// `header`, `payload` or `signature`.
        part: &'static str,
    },
    /// Header or payload is not strict JSON.
    #[error("cannot parse {part} of token")]
    Json {
        /// `header` or `payload`.
        part: &'static str,
        /// Where and why.
        #[source]
        cause: JsonError,
    },
    /// The header is not exactly `alg`, `typ` and `kid`, all texts.
    #[error("cannot accept header of token: expected exactly 'alg', 'typ' and 'kid'")]
    Header,
    /// The header asks for another algorithm.
    #[error("cannot accept algorithm '{found}' of token: expected 'ES256'")]
    Algorithm {
        /// The header's `alg`, escaped and cut.
        found: String,
    },
    /// The token is another kind of statement.
    #[error("cannot accept type '{found}' of token: expected '{expected}'")]
    Type {
        /// The type that was asked for.
        expected: &'static str,
        /// The header's `typ`, escaped and cut.
        found: String,
    },
    /// No pinned key has the header's key id.
    #[error("cannot find key '{kid}' of token among the pinned keys")]
    KeyUnknown {
        /// The header's `kid`, escaped and cut.
        kid: String,
    },
    /// The key is pinned, but for something else.
    #[error("cannot use key '{kid}' of token for '{expected}': it is pinned for '{pinned}'")]
    KeyUse {
        /// The header's `kid`.
        kid: String,
        /// The use that was asked for.
        expected: KeyUse,
        /// The use the key has.
        pinned: KeyUse,
    },
    /// The signature does not verify with the key.
    #[error("cannot verify signature of token with key '{kid}'")]
    Signature {
        /// The header's `kid`.
        kid: String,
    },
}

/// A private key that signs tokens, in a TPM or in memory.
pub trait Signer {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// Signs a SHA-256 digest with ECDSA on P-256; the answer is r ‖ s, 32 bytes each, big-endian.
    ///
    /// # Errors
    ///
    /// Whatever stopped the key; [`sign`] passes it on as the source of [`SignError::Sign`].
    fn sign_digest(
        &mut self,
        digest: &[u8; 32],
    ) -> Result<[u8; 64], Box<dyn Error + Send + Sync + 'static>>;
}

/// Why a token could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The key did not sign.
    #[error("cannot sign with key {kid}")]
    Sign {
        /// The key's id.
        kid: String,
        /// What the key said.
        #[source]
        cause: Box<dyn Error + Send + Sync + 'static>,
    },
    /// The key signed, and the signature does not verify: it is not the key it says it is.
    #[error("cannot verify own signature with key {kid}")]
    Foreign {
        /// The key's id.
        kid: String,
        /// The check that failed.
        #[source]
        cause: SignatureInvalid,
    },
    /// The token would be refused by every reader.
    #[error("cannot make token of {size_bytes} bytes, more than {limit_bytes}")]
    Size {
        /// Size of the token in bytes.
        size_bytes: usize,
        /// [`Typ::limit_bytes`].
        limit_bytes: usize,
    },
}

/// Verifies `token` with the pinned key it names and returns its payload.
///
/// The payload is read only after the signature verified. Says nothing about time, issuer or
/// meaning of the payload.
///
/// # Errors
///
/// [`JwsError`]; none of them is worth a retry.
pub fn verify(token: &str, typ: Typ, keys: &TrustedKeys) -> Result<Value, JwsError> {
    verify_naming_key(token, typ, keys).map(|(_kid, payload)| payload)
}

/// The same, with the id of the key that signed.
pub(crate) fn verify_naming_key(
    token: &str,
    typ: Typ,
    keys: &TrustedKeys,
) -> Result<(String, Value), JwsError> {
    let unverified = Unverified::parse(token, typ)?;
    let shown = quoted(&unverified.kid);
    let Some(pinned) = keys.find(&unverified.kid) else {
        return Err(JwsError::KeyUnknown { kid: shown });
    };
    if pinned.key_use() != typ.key_use() {
        let (expected, pinned) = (typ.key_use(), pinned.key_use());
        return Err(JwsError::KeyUse {
            kid: shown,
            expected,
            pinned,
        });
    }
    pinned
        .key()
        .verify(unverified.signing_input.as_bytes(), &unverified.signature)
        .map_err(|SignatureInvalid| JwsError::Signature { kid: shown })?;
    let payload = unverified.payload()?;
    Ok((unverified.kid, payload))
}

/// Makes a token: header of this module, `payload`, and a signature by `signer`.
///
/// The signature is verified before the token is handed out, so a signer that holds another key
/// than it says cannot spread tokens that nobody accepts.
///
/// # Errors
///
/// [`SignError`].
pub fn sign(typ: Typ, payload: &Value, signer: &mut dyn Signer) -> Result<String, SignError> {
    let kid = signer.public_key().kid().to_string();
    let header = format!(
        r#"{{"alg":"ES256","typ":"{}","kid":"{kid}"}}"#,
        typ.as_str()
    );
    let mut token = base64url::encode(header.as_bytes());
    token.push('.');
    token.push_str(&base64url::encode(payload.to_string().as_bytes()));

    let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    let signature = match signer.sign_digest(&digest) {
        Ok(signature) => signature,
        Err(cause) => return Err(SignError::Sign { kid, cause }),
    };
    if let Err(cause) = signer.public_key().verify(token.as_bytes(), &signature) {
        return Err(SignError::Foreign { kid, cause });
    }
    token.push('.');
    token.push_str(&base64url::encode(&signature));
    let limit_bytes = typ.limit_bytes();
    if token.len() > limit_bytes {
        return Err(SignError::Size {
            size_bytes: token.len(),
            limit_bytes,
        });
    }
    Ok(token)
}

fn quoted(text: &str) -> String {
    text.escape_debug().take(QUOTE_LIMIT).collect()
}

fn read_header(part: &str, typ: Typ) -> Result<String, JwsError> {
    let header = base64url::decode(part).ok_or(JwsError::Encoding { part: "header" })?;
    let header =
        portcullis_json::parse(&header, HEADER_LIMITS).map_err(|cause| JwsError::Json {
            part: "header",
            cause,
        })?;
    let members = header
        .as_object()
        .filter(|members| members.len() == 3)
        .ok_or(JwsError::Header)?;
    let text = |members: &Map<String, Value>, name: &str| {
        members
            .get(name)
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or(JwsError::Header)
    };
    let (algorithm, found, kid) = (
        text(members, "alg")?,
        text(members, "typ")?,
        text(members, "kid")?,
    );
    if algorithm != "ES256" {
        return Err(JwsError::Algorithm {
            found: quoted(&algorithm),
        });
    }
    if found != typ.as_str() {
        return Err(JwsError::Type {
            expected: typ.as_str(),
            found: quoted(&found),
        });
    }
    Ok(kid)
}

// === impl JwsError ===

impl JwsError {
    /// Whether the token is not well formed, as opposed to well formed and not genuine.
    #[must_use]
    pub const fn is_malformed(&self) -> bool {
        match self {
            Self::Size { .. }
            | Self::Parts
            | Self::Encoding { .. }
            | Self::Json { .. }
            | Self::Header => true,
            Self::Algorithm { .. }
            | Self::Type { .. }
            | Self::KeyUnknown { .. }
            | Self::KeyUse { .. }
            | Self::Signature { .. } => false,
        }
    }

    /// Whether one object of header or payload holds a name twice, so that two readers could read
    /// two things (RFC 7515, section 4; RFC 7519, section 4).
    #[must_use]
    pub const fn is_duplicate(&self) -> bool {
        matches!(
            self,
            Self::Json {
                cause: JsonError::DuplicateKey { .. },
                ..
            }
        )
    }
}

// === impl Typ ===

impl Typ {
    /// The header's `typ`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verdict => "JWT",
            Self::Tag => "portcullis-tag+jws",
            Self::Reference => "portcullis-reference+jws",
            Self::Policy => "portcullis-policy+jws",
            Self::BreakGlass => "portcullis-break-glass+jws",
        }
    }

    /// Size of the largest token, in bytes.
    #[must_use]
    pub const fn limit_bytes(self) -> usize {
        match self {
            Self::Verdict | Self::Tag | Self::BreakGlass => MAX_BYTES,
            Self::Reference | Self::Policy => MAX_REFERENCE_BYTES,
        }
    }

    /// The use for which a key must be pinned to sign this.
    #[must_use]
    pub const fn key_use(self) -> KeyUse {
        match self {
            Self::Verdict => KeyUse::Verdict,
            Self::Tag => KeyUse::Tag,
            Self::Reference => KeyUse::Reference,
            Self::Policy | Self::BreakGlass => KeyUse::Policy,
        }
    }
}

// === impl Unverified ===

impl Unverified {
    /// Takes a token apart, without a key. For display and for finding the key; to believe the
    /// payload, call [`verify`].
    ///
    /// # Errors
    ///
    /// [`JwsError`], any but the ones about keys and the signature.
    pub fn parse(token: &str, typ: Typ) -> Result<Self, JwsError> {
        let limit_bytes = typ.limit_bytes();
        if token.len() > limit_bytes {
            return Err(JwsError::Size {
                size_bytes: token.len(),
                limit_bytes,
            });
        }
        let (signing_input, signature) = token.rsplit_once('.').ok_or(JwsError::Parts)?;
        let (header, payload) = signing_input.split_once('.').ok_or(JwsError::Parts)?;
        if payload.contains('.') {
            return Err(JwsError::Parts);
        }
        let kid = read_header(header, typ)?;
        let payload = base64url::decode(payload).ok_or(JwsError::Encoding { part: "payload" })?;
        let signature =
            base64url::decode_array(signature).ok_or(JwsError::Encoding { part: "signature" })?;
        Ok(Self {
            kid,
            signing_input: signing_input.to_owned(),
            payload,
            signature,
        })
    }

    /// The key id the token names.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The payload as strict JSON.
    ///
    /// # Errors
    ///
    /// [`JwsError::Json`].
    pub fn payload(&self) -> Result<Value, JwsError> {
        portcullis_json::parse(&self.payload, PAYLOAD_LIMITS).map_err(|cause| JwsError::Json {
            part: "payload",
            cause,
        })
    }
}

#[cfg(test)]
mod tests;
