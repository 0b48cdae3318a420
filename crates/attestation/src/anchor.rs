//! Anchoring the head of a ledger in a TPM: two NV indices, and what the AK signs about them.
//!
//! The *counter* cannot be set back, not even by deleting and defining it again; it says how often
//! something was anchored. The *extend* index holds a hash over every head that was anchored, in
//! order, and can be set back only to its start. Both are certified by the AK together with the
//! head, so that a signature taken at one head says nothing about another.

use sha2::{Digest as _, Sha256};

use crate::ak::AkPublic;
use crate::attest::{Attest, AttestError, Attested, SignedAttest};
use crate::clock::ClockInfo;
use crate::nv::NvPublic;
use crate::pcr::HashAlg;
use crate::tpm_name::TpmName;

/// NV index of the counter: how many heads were anchored.
pub const COUNTER_INDEX: u32 = 0x018d_0c02;
/// NV index that is extended by each head.
pub const EXTEND_INDEX: u32 = 0x018d_0c03;
/// Size of the counter's contents.
pub const COUNTER_BYTES: u16 = 8;
/// Size of the extend index's contents: one SHA-256 digest.
pub const EXTEND_BYTES: u16 = 32;

/// TPMA_NV: the owner writes, owner and everybody with the empty password read, and a wrong
/// password never locks the TPM. Not orderly: such a counter lives in memory and jumps ahead after
/// a power cut, which would look like anchors that are gone.
const ACCESS: u32 = 1 << 1 | 1 << 17 | 1 << 18 | 1 << 25;
/// TPMA_NV of the counter as it is defined (TPM_NT_COUNTER).
pub const COUNTER_ATTRIBUTES: u32 = ACCESS | 0x10;
/// TPMA_NV of the extend index as it is defined (TPM_NT_EXTEND).
pub const EXTEND_ATTRIBUTES: u32 = ACCESS | 0x40;
/// TPMA_NV_WRITTEN, set by the TPM at the first write.
const WRITTEN: u32 = 1 << 29;

/// What a certificate is made for; kept apart, so that an answer to a question is no anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// An anchor of this head, which is the digest of the ledger's line `sequence`.
    Anchor {
        /// SHA-256 of the line.
        head: &'a [u8; 32],
        /// Number of the line.
        sequence: u64,
    },
    /// The answer to somebody who drew this nonce.
    Challenge {
        /// 32 random bytes.
        nonce: &'a [u8; 32],
    },
}

/// Both indices, signed by the AK for one purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    /// TPM2_NV_Certify of the counter.
    pub counter: SignedAttest,
    /// TPM2_NV_Certify of the extend index.
    pub extend: SignedAttest,
}

/// What the certificates say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certified {
    /// Value of the counter.
    pub counter: u64,
    /// Value of the extend index.
    pub extend: [u8; 32],
    /// The TPM's clock when it signed the later of the two.
    pub clock: ClockInfo,
}

/// Why certificates prove nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorError {
    /// A signature or the structure under it is wrong.
    #[error("cannot accept certificate of the {index}")]
    Attest {
        /// Which index, in words.
        index: &'static str,
        /// What is wrong.
        #[source]
        source: AttestError,
    },
    /// It is about something else.
    #[error("cannot accept certificate of the {index}: expected {expected}, found {found}")]
    Content {
        /// Which index, in words.
        index: &'static str,
        /// What it had to say.
        expected: String,
        /// What it says.
        found: String,
    },
}

const COUNTER: &str = "counter index";
const EXTEND: &str = "extend index";

/// The counter's TPM name once it was written.
#[must_use]
pub fn counter_name() -> Option<TpmName> {
    name(COUNTER_INDEX, COUNTER_ATTRIBUTES, COUNTER_BYTES)
}

/// The extend index's TPM name once it was written.
#[must_use]
pub fn extend_name() -> Option<TpmName> {
    name(EXTEND_INDEX, EXTEND_ATTRIBUTES, EXTEND_BYTES)
}

/// What the extend index holds after `head` was anchored over `before`; an index that was never
/// written counts as zeros.
///
/// # Source
///
/// TPM 2.0 Library, part 3, "TPM2_NV_Extend".
#[must_use]
pub fn extended(before: &[u8; 32], head: &[u8; 32]) -> [u8; 32] {
    Sha256::new()
        .chain_update(before)
        .chain_update(head)
        .finalize()
        .into()
}

/// Whether an index is what is defined here, written or not.
#[must_use]
pub fn is_ours(public: &NvPublic) -> bool {
    let expected = match public.index {
        COUNTER_INDEX => (COUNTER_ATTRIBUTES, COUNTER_BYTES),
        EXTEND_INDEX => (EXTEND_ATTRIBUTES, EXTEND_BYTES),
        _ => return false,
    };
    (public.attributes & !WRITTEN, public.size_bytes) == expected
}

fn name(index: u32, attributes: u32, size_bytes: u16) -> Option<TpmName> {
    let mut area = index.to_be_bytes().to_vec();
    area.extend(HashAlg::Sha256.tpm_id().to_be_bytes());
    area.extend((attributes | WRITTEN).to_be_bytes());
    area.extend(0_u16.to_be_bytes());
    area.extend(size_bytes.to_be_bytes());
    TpmName::of_public_area(HashAlg::Sha256, &area)
}

// === impl Purpose ===

impl Purpose<'_> {
    /// The qualifying data of both certificates.
    #[must_use]
    pub fn qualifying_data(&self) -> [u8; 32] {
        let digest = match self {
            Self::Anchor { head, sequence } => Sha256::new()
                .chain_update(b"portcullis-ledger-anchor-v1\0")
                .chain_update(sequence.to_be_bytes())
                .chain_update(head),
            Self::Challenge { nonce } => Sha256::new()
                .chain_update(b"portcullis-ledger-challenge-v1\0")
                .chain_update(nonce),
        };
        digest.finalize().into()
    }
}

// === impl Certificates ===

impl Certificates {
    /// Verifies both signatures, that they are about the two indices as they are defined here, and
    /// that they were made for `purpose`.
    ///
    /// # Errors
    ///
    /// [`AnchorError`].
    pub fn verify(&self, ak: &AkPublic, purpose: &Purpose<'_>) -> Result<Certified, AnchorError> {
        let (_, counter) = certified(&self.counter, ak, purpose, COUNTER, counter_name())?;
        let (attest, extend) = certified(&self.extend, ak, purpose, EXTEND, extend_name())?;
        Ok(Certified {
            counter: u64::from_be_bytes(counter),
            extend,
            clock: attest.clock,
        })
    }
}

fn certified<const N: usize>(
    signed: &SignedAttest,
    ak: &AkPublic,
    purpose: &Purpose<'_>,
    index: &'static str,
    name: Option<TpmName>,
) -> Result<(Attest, [u8; N]), AnchorError> {
    let attest = signed
        .verify(ak)
        .map_err(|source| AnchorError::Attest { index, source })?;
    let wrong = |expected: &str, found: String| AnchorError::Content {
        index,
        expected: expected.to_owned(),
        found,
    };
    if attest.extra_data != purpose.qualifying_data() {
        return Err(wrong(
            "one made for this head or question",
            "another's".to_owned(),
        ));
    }
    let Attested::Nv(nv) = &attest.attested else {
        return Err(wrong("NV contents", "a quote".to_owned()));
    };
    if name.as_ref() != Some(&nv.name) {
        let expected = name.map_or_else(String::new, |name| format!("name {name}"));
        return Err(wrong(&expected, nv.name.to_string()));
    }
    let contents = (nv.offset == 0)
        .then(|| <[u8; N]>::try_from(nv.contents.as_slice()).ok())
        .flatten()
        .ok_or_else(|| {
            let found = format!("{} bytes from offset {}", nv.contents.len(), nv.offset);
            wrong(&format!("all {N} bytes"), found)
        })?;
    Ok((attest, contents))
}

#[cfg(test)]
mod tests;
