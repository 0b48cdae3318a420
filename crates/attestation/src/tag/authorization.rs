//! The tag authority's permission to write one digest into one TPM's slot.
//!
//! It is signed once, where the key is, together with the document, and needs no session of the
//! TPM: the signature covers the whole NV_Write command (cpHash) instead of a nonce. Replaying it
//! writes the same digest into the same slot again, and a document that is no longer the latest is
//! caught by its counter.
//!
//! The name of an NV index changes at its first write and is part of the command, so there are two
//! signatures: for a slot that is fresh, and for one that holds a tag already.
//!
//! A tag key also signs JWS. The two cannot be taken for each other: what is signed here begins
//! with four zero bytes, the signing input of a JWS is base64url text.
//!
//! # Source
//!
//! TPM 2.0 Library, part 3, "TPM2_PolicySigned" (aHash) and "TPM2_NV_Write"; part 1, "Command
//! Parameter Hash".

use sha2::{Digest as _, Sha256};

use super::{DIGEST_BYTES, digest, slot};
use crate::base64url;
use crate::jwk::{PublicKey, SignatureInvalid};
use crate::jws::{SignError, Signer};
use crate::ueid::Ueid;

/// TPM_CC_NV_Write.
const NV_WRITE: u32 = 0x0000_0137;
/// Bytes of one signature, r ‖ s.
const SIGNATURE_BYTES: usize = 64;

/// Two signatures of the tag authority, for the first write of a slot and for later ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteAuthorization {
    first: [u8; SIGNATURE_BYTES],
    again: [u8; SIGNATURE_BYTES],
}

/// The cpHash of the NV_Write that stores `digest` in the slot.
#[must_use]
pub fn command_hash(
    digest: &[u8; DIGEST_BYTES],
    authority: &PublicKey,
    subject: &Ueid,
    written: bool,
) -> [u8; 32] {
    let name = slot::name_of(&slot::public(authority, subject, written));
    let mut hash = Sha256::new();
    hash.update(NV_WRITE.to_be_bytes());
    // The index authorises its own writing, so its name stands for both handles.
    hash.update(&name);
    hash.update(&name);
    hash.update([0, 48]);
    hash.update(digest);
    hash.update([0, 0]); // offset
    hash.finalize().into()
}

/// What the authority signs: `nonceTPM ‖ expiration ‖ cpHashA ‖ policyRef` with no nonce and no
/// expiration.
fn message(
    digest: &[u8; DIGEST_BYTES],
    authority: &PublicKey,
    subject: &Ueid,
    written: bool,
) -> Vec<u8> {
    let command = command_hash(digest, authority, subject, written);
    [&[0; 4][..], &command, &slot::policy_ref(subject)].concat()
}

// === impl WriteAuthorization ===

impl WriteAuthorization {
    /// Signs the permission to write the digest of `document` into the slot of `subject`.
    ///
    /// # Errors
    ///
    /// [`SignError`].
    pub fn sign(
        document: &str,
        subject: &Ueid,
        signer: &mut dyn Signer,
    ) -> Result<Self, SignError> {
        let digest = digest(document);
        let authority = signer.public_key().clone();
        let mut signature = |written| {
            let message = message(&digest, &authority, subject, written);
            let kid = || authority.kid().to_string();
            let signature = signer
                .sign_digest(&Sha256::digest(&message).into())
                .map_err(|cause| SignError::Sign { kid: kid(), cause })?;
            authority
                .verify(&message, &signature)
                .map_err(|cause| SignError::Foreign { kid: kid(), cause })?;
            Ok(signature)
        };
        Ok(Self {
            first: signature(false)?,
            again: signature(true)?,
        })
    }

    /// Verifies both signatures.
    ///
    /// # Errors
    ///
    /// [`SignatureInvalid`] if `authority` did not sign this for `document` and `subject`.
    pub fn verify(
        &self,
        document: &str,
        subject: &Ueid,
        authority: &PublicKey,
    ) -> Result<(), SignatureInvalid> {
        let digest = digest(document);
        for (written, signature) in [(false, &self.first), (true, &self.again)] {
            authority.verify(&message(&digest, authority, subject, written), signature)?;
        }
        Ok(())
    }

    /// The signature for a slot that was written before, or that was not: r ‖ s, 32 bytes each.
    #[must_use]
    pub const fn signature(&self, written: bool) -> &[u8; SIGNATURE_BYTES] {
        if written { &self.again } else { &self.first }
    }

    /// Reads the text form; `None` unless it is base64url of 128 bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 2 * SIGNATURE_BYTES] = base64url::decode_array(text)?;
        let (first, again) = bytes.split_first_chunk()?;
        Some(Self {
            first: *first,
            again: *again.as_array()?,
        })
    }
}

/// The text form: base64url of both signatures.
impl std::fmt::Display for WriteAuthorization {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&base64url::encode(&[&self.first[..], &self.again].concat()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::FakeKey;
    use proptest::prelude::*;

    fn signed() -> (WriteAuthorization, Ueid, FakeKey) {
        let mut key = FakeKey::new(1);
        let subject = Ueid::of_endorsement_key(b"ek");
        let authorization = WriteAuthorization::sign("a.b.c", &subject, &mut key);
        (authorization.expect("signs"), subject, key)
    }

    #[test]
    fn counts_for_one_document_one_tpm_and_one_key() {
        let (authorization, subject, key) = signed();
        let other = Ueid::of_endorsement_key(b"other");
        let (by, foreign) = (key.public(), FakeKey::new(2));
        assert_eq!(authorization.verify("a.b.c", &subject, by), Ok(()));
        for (document, subject, by) in [
            ("a.b.d", &subject, by),
            ("a.b.c", &other, by),
            ("a.b.c", &subject, foreign.public()),
        ] {
            let refused = authorization.verify(document, subject, by);
            assert_eq!(refused, Err(SignatureInvalid), "{document}");
        }
    }

    #[test]
    fn the_two_signatures_are_not_interchangeable() {
        let (authorization, subject, key) = signed();
        let swapped = WriteAuthorization {
            first: authorization.again,
            again: authorization.first,
        };
        assert!(swapped.verify("a.b.c", &subject, key.public()).is_err());
        let half = WriteAuthorization {
            again: authorization.first,
            ..authorization
        };
        assert!(half.verify("a.b.c", &subject, key.public()).is_err());
    }

    #[test]
    fn reads_back_and_takes_no_other_length() {
        let (authorization, ..) = signed();
        let text = authorization.to_string();
        assert_eq!(WriteAuthorization::parse(&text), Some(authorization));
        for length in 0..text.len() {
            assert_eq!(
                WriteAuthorization::parse(text.get(..length).expect("ASCII")),
                None
            );
        }
        assert_eq!(WriteAuthorization::parse(&format!("{text}A")), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[A-Za-z0-9_-]{160,180}|\\PC{0,40}") {
            if let Some(read) = WriteAuthorization::parse(&text) {
                prop_assert_eq!(read.to_string(), text);
            }
        }
    }
}
