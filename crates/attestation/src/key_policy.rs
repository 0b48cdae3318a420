//! To whom a verdict key is bound: the providers whose approvals make its TPM sign.

use crate::approval::{Approval, policy_ref};
use crate::jwk::PublicKey;
use crate::policy_digest;

/// Branches of one `TPM2_PolicyOR`.
///
/// # Source
///
/// TPM 2.0 Library, part 2, "TPML_DIGEST".
pub const MAX_SIGNERS: usize = 8;

/// Reference value providers, any of whom may approve the state in which a key signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPolicy(Vec<PublicKey>);

/// A policy of no provider, or of more than a TPM takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot bind a key to {found} providers of reference values: expected 1 to 8")]
pub struct SignerCount {
    /// How many there are.
    pub found: usize,
}

// === impl KeyPolicy ===

impl KeyPolicy {
    /// A policy of these providers; their order does not matter.
    ///
    /// # Errors
    ///
    /// [`SignerCount`].
    pub fn new(signers: impl IntoIterator<Item = PublicKey>) -> Result<Self, SignerCount> {
        let mut signers: Vec<PublicKey> = signers.into_iter().collect();
        signers.sort_by_key(PublicKey::kid);
        signers.dedup();
        match signers.len() {
            1..=MAX_SIGNERS => Ok(Self(signers)),
            found => Err(SignerCount { found }),
        }
    }

    /// The providers, ordered by key id.
    #[must_use]
    pub fn signers(&self) -> &[PublicKey] {
        &self.0
    }

    /// The policy of each provider alone, in the same order.
    #[must_use]
    pub fn branches(&self) -> Vec<[u8; 32]> {
        let branch = |signer: &PublicKey| {
            policy_digest::authorize(&policy_digest::verifying_key_name(signer), &policy_ref())
        };
        self.0.iter().map(branch).collect()
    }

    /// The `authPolicy` of a key that is bound to them.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        match *self.branches() {
            [only] => only,
            ref several => policy_digest::or(several),
        }
    }

    /// Whether the TPM of a key that is bound to them takes `approval`.
    #[must_use]
    pub fn admits(&self, approval: &Approval) -> bool {
        self.0.contains(approval.signer())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::FakeKey;

    fn key(seed: u8) -> PublicKey {
        FakeKey::new(seed).public().clone()
    }

    #[test]
    fn the_order_of_providers_does_not_matter() {
        let one = KeyPolicy::new([key(1), key(2), key(3)]).expect("three");
        let other = KeyPolicy::new([key(3), key(1), key(2), key(1)]).expect("three");
        assert_eq!(one, other);
        assert_eq!(one.digest(), other.digest());
        assert_ne!(
            one.digest(),
            KeyPolicy::new([key(1)]).expect("one").digest()
        );
    }

    #[test]
    fn one_provider_needs_no_choice() {
        let alone = KeyPolicy::new([key(1)]).expect("one");
        assert_eq!(alone.branches(), [alone.digest()]);
    }

    #[test]
    fn nobody_and_a_crowd_are_refused() {
        assert_eq!(KeyPolicy::new([]), Err(SignerCount { found: 0 }));
        KeyPolicy::new((1..=8).map(key)).expect("eight");
        assert_eq!(
            KeyPolicy::new((1..=9).map(key)),
            Err(SignerCount { found: 9 })
        );
    }
}
