//! A verifier gone wrong: its key is pinned on the host, and it signs what it likes.

use std::fs;

use portcullis_attestation::base64url;
use portcullis_attestation::jws::Signer;
use portcullis_attestation::software_key::SoftwareKey;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Where its key is made.
const KEYS: &str = "/run/operator/keys";
/// Where it is pinned.
const PINNED: &str = "/etc/portcullis/trust.d/remote.jwk";

/// The verifier.
#[derive(Debug)]
pub(crate) struct Forger {
    pinned: SoftwareKey,
    foreign: SoftwareKey,
}

// === impl Forger ===

impl Forger {
    /// Makes the key and pins it beside the agent's.
    pub(crate) fn pin(node: &Node) -> Outcome<Self> {
        let pinned = key(node, "remote")?;
        let foreign = key(node, "stranger")?;
        fs::copy(format!("{KEYS}/remote.jwk"), PINNED).doing("pin a key")?;
        Ok(Self { pinned, foreign })
    }

    /// Signs `payload`.
    pub(crate) fn sign(&mut self, payload: &Value) -> Outcome<String> {
        self.sign_text("ES256", &payload.to_string())
    }

    /// Signs the text `payload`, with `alg` in the header.
    pub(crate) fn sign_text(&mut self, alg: &str, payload: &str) -> Outcome<String> {
        token(&mut self.pinned, alg, payload)
    }

    /// Signs with a key that is not pinned, under the name of the one that is.
    pub(crate) fn sign_as_stranger(&mut self, payload: &Value) -> Outcome<String> {
        let kid = self.pinned.public_key().kid().to_string();
        let (head, signature) = signed(&mut self.foreign, &kid, "ES256", &payload.to_string())?;
        Ok(format!("{head}.{}", base64url::encode(&signature)))
    }

    /// A token without signature, as `alg` = `none` would have it.
    pub(crate) fn unsigned(&mut self, payload: &Value) -> Outcome<String> {
        let kid = self.pinned.public_key().kid().to_string();
        let (head, _) = signed(&mut self.pinned, &kid, "none", &payload.to_string())?;
        Ok(format!("{head}."))
    }
}

fn key(node: &Node, name: &str) -> Outcome<SoftwareKey> {
    let generate = ["keys", "generate", "--use", "verdict", "--name", name];
    let mut generate = generate.to_vec();
    generate.extend(["--out", KEYS]);
    node.portcullis(&generate)?.success()?;
    let pem = fs::read_to_string(format!("{KEYS}/{name}.pem")).doing("read a private key")?;
    SoftwareKey::from_pem(&pem).doing("read a private key")
}

fn token(key: &mut SoftwareKey, alg: &str, payload: &str) -> Outcome<String> {
    let kid = key.public_key().kid().to_string();
    let (head, signature) = signed(key, &kid, alg, payload)?;
    Ok(format!("{head}.{}", base64url::encode(&signature)))
}

/// Header and payload with a dot between them, and the signature over both.
fn signed(
    key: &mut SoftwareKey,
    kid: &str,
    alg: &str,
    payload: &str,
) -> Outcome<(String, [u8; 64])> {
    let header = format!(r#"{{"alg":"{alg}","typ":"JWT","kid":"{kid}"}}"#);
    let head = format!(
        "{}.{}",
        base64url::encode(header.as_bytes()),
        base64url::encode(payload.as_bytes())
    );
    let digest: [u8; 32] = Sha256::digest(head.as_bytes()).into();
    let signature = key
        .sign_digest(&digest)
        .map_err(|error| Failure::new(format!("cannot sign: {error}")))?;
    Ok((head, signature))
}

/// The payload of a token, whoever signed it.
pub(crate) fn payload(token: &str) -> Outcome<Value> {
    let part = token
        .split('.')
        .nth(1)
        .ok_or_else(|| Failure::new("a token without payload"))?;
    let bytes =
        base64url::decode(part).ok_or_else(|| Failure::new("a payload that is no base64url"))?;
    serde_json::from_slice(&bytes).doing("read a payload")
}
