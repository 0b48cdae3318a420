//! Approvals of boot states that a TPM itself checks before it lets the verdict key sign.
//!
//! A document of reference values carries one for each boot state and bank that comes to exact PCR
//! values, stated or by rules on events that leave no choice: the provider's signature over the TPM policy that asks for these values. The TPM of a
//! node, whose verdict key is bound to the provider ([`crate::key_policy`]), verifies it.
//!
//! An approval knows no time: a TPM has no trusted clock to hold against. A document that is out of
//! date or that the operator took away is no longer *appraised* by, but the TPM goes on taking its
//! approvals. To take one back for good, bind nodes to another key.
//!
//! The key that signs these signs JWS as well, both as ECDSA over SHA-256. Neither passes for the
//! other: the message here is always 64 bytes long, a policy digest and [`policy_ref`], while a
//! signing input begins with its header in base64url, which alone is more than 100 characters, and
//! [`policy_ref`] has bytes that no signing input has.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::base64url;
use crate::claims::{ClaimError, Claims};
use crate::jwk::PublicKey;
use crate::jws::{SignError, Signer};
use crate::pcr::{HashAlg, PcrValues};
use crate::policy_digest;
use crate::reference::BootState;

/// The claim of a document in which they are.
pub(crate) const CLAIM: &str = "authorizations";

/// A provider's approval of one boot state in one bank; its signature verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    boot_state: String,
    signer: PublicKey,
    pcrs: PcrValues,
    policy: [u8; 32],
    signature: [u8; 64],
}

/// What approvals are for: no signature that was given for anything else counts as one.
#[must_use]
pub fn policy_ref() -> [u8; 32] {
    Sha256::digest(b"portcullis-verdict-v1").into()
}

/// What a provider signs to approve the policy with digest `policy`; its SHA-256 is the TPM's
/// `aHash`.
///
/// # Source
///
/// TPM 2.0 Library, part 3, "TPM2_PolicyAuthorize".
#[must_use]
pub fn message(policy: &[u8; 32]) -> [u8; 64] {
    let mut message = [0; 64];
    let (first, second) = message.split_at_mut(32);
    first.copy_from_slice(policy);
    second.copy_from_slice(&policy_ref());
    message
}

/// Signs approvals of all `states` that come to exact values; the answer is the claim.
pub(crate) fn sign(states: &[BootState], signer: &mut dyn Signer) -> Result<Value, SignError> {
    let mut approvals = Vec::new();
    for state in states {
        for values in HashAlg::ALL
            .into_iter()
            .filter_map(|bank| state.exact_values(bank))
        {
            let Some(policy) = policy_digest::pcr(&values) else {
                continue;
            };
            let message = message(&policy);
            let kid = signer.public_key().kid().to_string();
            let signature = match signer.sign_digest(&Sha256::digest(message).into()) {
                Ok(signature) => signature,
                Err(cause) => return Err(SignError::Sign { kid, cause }),
            };
            if let Err(cause) = signer.public_key().verify(&message, &signature) {
                return Err(SignError::Foreign { kid, cause });
            }
            approvals.push(json!({
                "boot_state": state.name,
                "bank": values.bank().as_str(),
                "signature": base64url::encode(&signature),
            }));
        }
    }
    Ok(Value::Array(approvals))
}

/// Reads and verifies the approvals of a document that `signer` signed. A document without the
/// claim, made before there were approvals, has none.
pub(crate) fn read(
    payload: &Value,
    states: &[BootState],
    signer: &PublicKey,
) -> Result<Vec<Approval>, ClaimError> {
    let expected = "signatures by the key of the document over exact values of its boot states";
    let approvals = Claims::of(payload)?.optional(CLAIM, expected, |value| {
        let list = value.as_array()?;
        list.iter()
            .map(|claim| Approval::from_claim(claim, states, signer))
            .collect::<Option<Vec<_>>>()
    })?;
    Ok(approvals.unwrap_or_default())
}

// === impl Approval ===

impl Approval {
    fn from_claim(claim: &Value, states: &[BootState], signer: &PublicKey) -> Option<Self> {
        let text = |name| claim.get(name).and_then(Value::as_str);
        let name = text("boot_state")?;
        let state = states.iter().find(|state| state.name == name)?;
        let pcrs = state.exact_values(HashAlg::parse(text("bank")?)?)?;
        let policy = policy_digest::pcr(&pcrs)?;
        let signature = base64url::decode_array(text("signature")?)?;
        signer.verify(&message(&policy), &signature).ok()?;
        Some(Self {
            boot_state: name.to_owned(),
            signer: signer.clone(),
            pcrs,
            policy,
            signature,
        })
    }

    /// Name of the boot state.
    #[must_use]
    pub fn boot_state(&self) -> &str {
        &self.boot_state
    }

    /// The provider's key.
    #[must_use]
    pub const fn signer(&self) -> &PublicKey {
        &self.signer
    }

    /// The values the TPM asks for; at least one, never of SHA-1.
    #[must_use]
    pub const fn pcrs(&self) -> &PcrValues {
        &self.pcrs
    }

    /// Digest of the TPM policy that asks for them.
    #[must_use]
    pub const fn policy(&self) -> &[u8; 32] {
        &self.policy
    }

    /// The provider's signature over [`message`]: r ‖ s, 32 bytes each.
    #[must_use]
    pub const fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// Whether a TPM whose PCRs are `live` takes it.
    #[must_use]
    pub fn holds_for(&self, live: &PcrValues) -> bool {
        live.bank() == self.pcrs.bank()
            && self
                .pcrs
                .iter()
                .all(|(pcr, value)| live.value(pcr) == Some(value))
    }
}

#[cfg(test)]
mod tests;
