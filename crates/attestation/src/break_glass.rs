//! A break-glass token: a signed exception for one start of one pod or container on one node.
//!
//! Says what is granted to whom; whether it is granted here, now and still is judged by the gate,
//! which knows node policy, launch and claims.

use serde_json::{Map, Value};

use crate::claims::{ClaimError, Claims};
use crate::hex;
use crate::jwk::TrustedKeys;
use crate::jws::{self, JwsError, SignError, Signer, Typ};
use crate::ueid::Ueid;
use crate::validity::Validity;

/// Longest time for which any node takes a token, in seconds.
pub const MAX_LIFETIME_S: u64 = 24 * 3600;

/// Rules that one token may waive.
const MAX_RULES: usize = 64;
/// Bytes of a name of a node, namespace, pod or container, and of an id.
const NAME_BYTES: usize = 253;
/// Bytes of the reason.
const REASON_BYTES: usize = 256;
/// Bytes of the ticket.
const TICKET_BYTES: usize = 64;

/// Claims of a token.
const CLAIMS: [&str; 15] = [
    "iss",
    "jti",
    "iat",
    "nbf",
    "exp",
    "node",
    "ueid",
    "namespace",
    "pod",
    "container",
    "image",
    "rules",
    "host_trust",
    "reason",
    "ticket",
];

/// The identity of a token: 128 random bits, in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(String);

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakGlass {
    /// Who grants it.
    pub issuer: String,
    /// Which token it is.
    pub id: TokenId,
    /// When it was signed, in seconds since 1970.
    pub issued_at_s: u64,
    /// First second of validity.
    pub not_before_s: u64,
    /// First second after validity; later than `not_before_s`.
    pub expires_s: u64,
    /// Name of the node that it is for.
    pub node: String,
    /// The TPM that it is for. None where it waives the host's verdict, which is what says which
    /// TPM this is.
    pub ueid: Option<Ueid>,
    /// The namespace: that of the pod, or containerd's.
    pub namespace: String,
    /// The pod. It or the container is named.
    pub pod: Option<String>,
    /// The container: its name in the pod, or its id where there is no pod.
    pub container: Option<String>,
    /// Digest of its image, `sha256:` and 64 hex digits.
    pub image: Option<String>,
    /// What is waived.
    pub grant: Grant,
    /// Why.
    pub reason: String,
    /// Where that is written up.
    pub ticket: String,
}

/// What a token waives; never both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// Rules about workloads, by their ids; at least one, each once.
    Rules(Vec<String>),
    /// That the host proves what it is.
    HostTrust,
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BreakGlassError {
    /// The token is not one that a pinned key for policies signed.
    #[error("cannot verify break-glass token")]
    Signature(#[source] JwsError),
    /// The token itself is not well formed.
    #[error("cannot read break-glass token")]
    Token(#[source] JwsError),
    /// The token is genuine, but its claims are not those of a break-glass token.
    #[error("cannot read break-glass token")]
    Claim(#[from] ClaimError),
}

/// Verifies a token with the pinned keys for policies.
///
/// Does *not* look at the time, nor at whether the token was used.
///
/// # Errors
///
/// [`BreakGlassError`].
pub fn verify(token: &str, keys: &TrustedKeys) -> Result<BreakGlass, BreakGlassError> {
    let payload = jws::verify(token, Typ::BreakGlass, keys)?;
    Ok(BreakGlass::from_claims(&payload)?)
}

/// A name without what could break out of a line.
fn name(value: &Value) -> Option<String> {
    line(value, NAME_BYTES)
}

fn line(value: &Value, limit_bytes: usize) -> Option<String> {
    let text = value.as_str()?;
    let fits = (1..=limit_bytes).contains(&text.len())
        && !text.chars().any(char::is_control)
        && !text.trim().is_empty();
    fits.then(|| text.to_owned())
}

fn image(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let digits = text.strip_prefix("sha256:")?;
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (digits.len() == 64 && digits.bytes().all(is_hex)).then(|| text.to_owned())
}

fn rules(value: &Value) -> Option<Vec<String>> {
    let list = value.as_array()?;
    let mut rules: Vec<String> = Vec::new();
    for rule in list {
        let rule = rule.as_str()?;
        let is_known =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=64).contains(&rule.len()) && rule.bytes().all(is_known);
        if !fits || rules.iter().any(|known| known == rule) {
            return None;
        }
        rules.push(rule.to_owned());
    }
    (1..=MAX_RULES).contains(&rules.len()).then_some(rules)
}

fn grant(claims: &Claims<'_>) -> Result<Grant, ClaimError> {
    let list = "1 to 64 ids of rules, each once";
    let rules = claims.optional("rules", list, rules)?;
    let host_trust = claims.optional("host_trust", "true, or no such claim", |value| {
        (value == &Value::Bool(true)).then_some(())
    })?;
    match (rules, host_trust) {
        (Some(rules), None) => Ok(Grant::Rules(rules)),
        (None, Some(())) => Ok(Grant::HostTrust),
        (Some(_), Some(())) => Err(claims.malformed("host_trust", "a token without 'rules'")),
        (None, None) => Err(claims.malformed("rules", "this claim or 'host_trust'")),
    }
}

// === impl TokenId ===

impl TokenId {
    /// Names a token by bytes that the caller drew from the system's random source.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(hex::encode(&bytes))
    }

    /// Reads 32 lower-case hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 32 && text.bytes().all(is_hex)).then(|| Self(text.to_owned()))
    }

    /// The 32 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 8 digits, for a line that people read.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or_default()
    }
}

// === impl BreakGlass ===

impl BreakGlass {
    /// Signs the token.
    ///
    /// # Errors
    ///
    /// [`SignError`].
    pub fn sign(&self, signer: &mut dyn Signer) -> Result<String, SignError> {
        jws::sign(Typ::BreakGlass, &self.to_claims(), signer)
    }

    /// Reads the claims of a token. Says nothing about who signed them: see [`verify`].
    ///
    /// # Errors
    ///
    /// [`ClaimError`], also for a claim that no token has: a limit that nobody checks is none.
    pub fn from_claims(payload: &Value) -> Result<Self, ClaimError> {
        let claims = Claims::of(payload)?;
        claims.only(&CLAIMS)?;
        let validity = Validity::read(&claims)?;
        let named = "1 to 253 bytes without control characters";
        let token = Self {
            issuer: claims.text("iss")?.to_owned(),
            id: claims.required("jti", "32 lower-case hex digits", |value| {
                TokenId::parse(value.as_str()?)
            })?,
            issued_at_s: validity.issued_at_s,
            not_before_s: validity.not_before_s,
            expires_s: validity.expires_s,
            node: claims.required("node", named, name)?,
            ueid: claims.optional("ueid", "a ueid", |value| Ueid::parse(value.as_str()?))?,
            namespace: claims.required("namespace", named, name)?,
            pod: claims.optional("pod", named, name)?,
            container: claims.optional("container", named, name)?,
            image: claims.optional("image", "'sha256:' and 64 lower-case hex digits", image)?,
            grant: grant(&claims)?,
            reason: claims.required("reason", "1 to 256 bytes on one line", |value| {
                line(value, REASON_BYTES)
            })?,
            ticket: claims.required("ticket", "1 to 64 bytes on one line", |value| {
                line(value, TICKET_BYTES)
            })?,
        };
        if token.lifetime_s() > MAX_LIFETIME_S {
            return Err(claims.malformed("exp", "at most 24 hours after 'nbf'"));
        }
        if token.pod.is_none() && token.container.is_none() {
            return Err(claims.malformed("pod", "this claim, 'container' or both"));
        }
        if token.grant == Grant::HostTrust && token.ueid.is_some() {
            let expected = "no such claim beside 'host_trust': the verdict is what proves it";
            return Err(claims.malformed("ueid", expected));
        }
        Ok(token)
    }

    /// The claims of the token.
    #[must_use]
    pub fn to_claims(&self) -> Value {
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        put("iss", self.issuer.clone().into());
        put("jti", self.id.as_str().into());
        put("iat", self.issued_at_s.into());
        put("nbf", self.not_before_s.into());
        put("exp", self.expires_s.into());
        put("node", self.node.clone().into());
        put("namespace", self.namespace.clone().into());
        for (name, value) in [
            ("ueid", self.ueid.as_ref().map(Ueid::as_str)),
            ("pod", self.pod.as_deref()),
            ("container", self.container.as_deref()),
            ("image", self.image.as_deref()),
        ] {
            if let Some(value) = value {
                put(name, value.into());
            }
        }
        match &self.grant {
            Grant::Rules(rules) => put("rules", rules.clone().into()),
            Grant::HostTrust => put("host_trust", true.into()),
        };
        put("reason", self.reason.clone().into());
        put("ticket", self.ticket.clone().into());
        Value::Object(claims)
    }

    /// For how many seconds it counts.
    #[must_use]
    pub const fn lifetime_s(&self) -> u64 {
        self.expires_s.saturating_sub(self.not_before_s)
    }
}

// === impl BreakGlassError ===

impl From<JwsError> for BreakGlassError {
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
