//! A private key in memory and in files: for the operator's own keys, never for a node's.

use std::error::Error;
use std::fmt;

use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding};
use zeroize::Zeroizing;

use crate::jwk::PublicKey;
use crate::jws::Signer;

/// A P-256 private key; wiped from memory when dropped.
pub struct SoftwareKey {
    key: SigningKey,
    public: PublicKey,
}

/// Why a private key cannot be read or written. Never holds a piece of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SoftwareKeyError {
    /// The text is not a PKCS#8 PEM of a P-256 private key.
    #[error("cannot read private key: expected PKCS#8 in PEM, of a key on P-256")]
    Read,
    /// The key could not be encoded.
    #[error("cannot write private key as PKCS#8")]
    Write,
}

// === impl SoftwareKey ===

impl SoftwareKey {
    /// Makes a key out of random bytes.
    ///
    /// `None` if they are zero or beyond the order of the curve, which random bytes are once in
    /// 2³² draws: draw again.
    #[must_use]
    pub fn from_random(bytes: &Zeroizing<[u8; 32]>) -> Option<Self> {
        SigningKey::from_slice(bytes.as_slice())
            .ok()
            .and_then(Self::new)
    }

    /// Reads a private key.
    ///
    /// # Errors
    ///
    /// [`SoftwareKeyError::Read`].
    pub fn from_pem(pem: &str) -> Result<Self, SoftwareKeyError> {
        SigningKey::from_pkcs8_pem(pem)
            .ok()
            .and_then(Self::new)
            .ok_or(SoftwareKeyError::Read)
    }

    /// Writes the private key. The caller keeps the file from other users (mode 0600).
    ///
    /// # Errors
    ///
    /// [`SoftwareKeyError::Write`].
    pub fn to_pem(&self) -> Result<Zeroizing<String>, SoftwareKeyError> {
        self.key
            .to_pkcs8_pem(LineEnding::LF)
            .or(Err(SoftwareKeyError::Write))
    }

    fn new(key: SigningKey) -> Option<Self> {
        let point = key.verifying_key().to_sec1_point(false);
        let public = PublicKey::from_sec1(point.as_bytes())?;
        Some(Self { key, public })
    }
}

impl Signer for SoftwareKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign_digest(
        &mut self,
        digest: &[u8; 32],
    ) -> Result<[u8; 64], Box<dyn Error + Send + Sync + 'static>> {
        // Deterministic (RFC 6979): no random source that could repeat and so give away the key.
        let signature: Signature = self.key.sign_prehash(digest).map_err(Box::new)?;
        Ok(signature.to_bytes().into())
    }
}

/// Shows the public half only.
impl fmt::Debug for SoftwareKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SoftwareKey")
            .field("kid", &self.public.kid())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
