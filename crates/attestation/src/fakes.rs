//! Stand-ins for tests: a key in memory, and a TPM that signs whatever it is told to.

use std::error::Error;

use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest as _, Sha256};

use crate::ak::AkPublic;
use crate::attest::SignedAttest;
use crate::boot_id::BootId;
use crate::clock::ClockInfo;
use crate::evidence::{Evidence, TagSlot, qualifying_data};
use crate::jwk::{KeyUse, PublicKey, TrustedKey, TrustedKeys};
use crate::jws::Signer;
use crate::nonce::Nonce;
use crate::pcr::{HashAlg, PcrIndex, PcrValues};
use crate::tag;
use crate::ueid::Ueid;

/// A private key whose bytes are one byte, repeated.
#[derive(Debug, Clone)]
pub(crate) struct FakeKey {
    key: SigningKey,
    public: PublicKey,
}

/// A TPM with one AK, one boot, and PCR 0 to 7.
#[derive(Debug, Clone)]
pub(crate) struct FakeTpm {
    pub(crate) ak: FakeKey,
    pub(crate) clock: ClockInfo,
    pub(crate) pcrs: PcrValues,
    pub(crate) ueid: Ueid,
}

/// The boot id every fake host has.
pub(crate) const BOOT_ID: &str = "9b0b3ffa-6b1c-4f3e-9d52-0d1f2a3b4c5d";

// === impl FakeKey ===

impl FakeKey {
    pub(crate) fn new(seed: u8) -> Self {
        let key = SigningKey::from_slice(&[seed; 32]).expect("1 to 254 give a key");
        let point = key.verifying_key().to_sec1_point(false);
        let public = PublicKey::from_sec1(point.as_bytes()).expect("on the curve");
        Self { key, public }
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let digest = Sha256::digest(message);
        let signature: Signature = self.key.sign_prehash(&digest).expect("signs");
        signature.to_bytes().into()
    }

    /// A set of keys in which this is the only one.
    pub(crate) fn pinned(&self, key_use: KeyUse) -> TrustedKeys {
        let mut keys = TrustedKeys::new();
        keys.insert(TrustedKey::new(self.public.clone(), key_use))
            .expect("the only one");
        keys
    }
}

impl Signer for FakeKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign_digest(
        &mut self,
        digest: &[u8; 32],
    ) -> Result<[u8; 64], Box<dyn Error + Send + Sync + 'static>> {
        let signature: Signature = self.key.sign_prehash(digest)?;
        Ok(signature.to_bytes().into())
    }
}

// === impl FakeTpm ===

impl FakeTpm {
    pub(crate) fn new(seed: u8) -> Self {
        let mut pcrs = PcrValues::new(HashAlg::Sha256);
        for index in 0..8 {
            let pcr = PcrIndex::new(index).expect("0 to 23");
            pcrs.insert(pcr, vec![index; 32]).expect("32 bytes");
        }
        Self {
            ak: FakeKey::new(seed),
            clock: ClockInfo {
                clock_ms: 5000,
                reset_count: 3,
                restart_count: 1,
                safe: true,
            },
            pcrs,
            ueid: Ueid::of_endorsement_key(&[seed]),
        }
    }

    /// TPM2B_PUBLIC of the AK.
    pub(crate) fn ak_public(&self) -> Vec<u8> {
        self.ak_public_with(0x0005_0072)
    }

    pub(crate) fn ak_public_with(&self, attributes: u32) -> Vec<u8> {
        let mut area = vec![0x00, 0x23, 0x00, 0x0b];
        area.extend(attributes.to_be_bytes());
        area.extend([
            0, 0, 0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x03, 0x00, 0x10,
        ]);
        area.extend(sized(self.ak.public().x()));
        area.extend(sized(self.ak.public().y()));
        sized(&area)
    }

    pub(crate) fn ak(&self) -> AkPublic {
        AkPublic::parse(&self.ak_public()).expect("an AK")
    }

    /// Everything of a TPMS_ATTEST before what is attested.
    fn attest_head(&self, kind: u16, extra_data: &[u8]) -> Vec<u8> {
        let mut message = vec![0xff, 0x54, 0x43, 0x47];
        message.extend(kind.to_be_bytes());
        message.extend(sized(&[&[0x00, 0x0b][..], &[0xaa; 32]].concat()));
        message.extend(sized(extra_data));
        message.extend(self.clock.clock_ms.to_be_bytes());
        message.extend(self.clock.reset_count.to_be_bytes());
        message.extend(self.clock.restart_count.to_be_bytes());
        message.push(u8::from(self.clock.safe));
        message.extend(0x2019_1023_0016_3636_u64.to_be_bytes());
        message
    }

    pub(crate) fn quote_message(&self, extra_data: &[u8]) -> Vec<u8> {
        let mut message = self.attest_head(0x8018, extra_data);
        message.extend(1_u32.to_be_bytes());
        message.extend(self.pcrs.bank().tpm_id().to_be_bytes());
        message.push(3);
        message.extend(self.pcrs.selection().bitmap());
        message.extend(sized(&self.pcrs.digest()));
        message
    }

    pub(crate) fn signed(&self, message: Vec<u8>) -> SignedAttest {
        let signature = self.ak.sign(&message);
        let signature = tpmt_signature(&signature[..32], &signature[32..]);
        SignedAttest { message, signature }
    }

    /// Where the tag counter stands.
    pub(crate) const TAG_COUNTER: u64 = 7;
    /// Seed of the tag authority's key.
    pub(crate) const TAG_AUTHORITY: u8 = 8;

    /// The slot's public area as the tag authority has it.
    pub(crate) fn tag_public(&self) -> Vec<u8> {
        let authority = FakeKey::new(Self::TAG_AUTHORITY);
        sized(&tag::slot::public(authority.public(), &self.ueid, true))
    }

    /// The asset tag's slot with `contents`, certified for `extra_data`.
    pub(crate) fn tag_slot(&self, contents: &[u8], extra_data: &[u8]) -> TagSlot {
        self.nv_slot(self.tag_public(), contents, extra_data)
    }

    /// The tag counter, certified for `extra_data`.
    pub(crate) fn tag_counter(&self, counter: u64, extra_data: &[u8]) -> TagSlot {
        let public = sized(&tag::slot::counter_public());
        self.nv_slot(public, &counter.to_be_bytes(), extra_data)
    }

    /// Any NV index, certified.
    pub(crate) fn nv_slot(&self, public: Vec<u8>, contents: &[u8], extra_data: &[u8]) -> TagSlot {
        let area = &public[2..];
        let name = [&[0x00, 0x0b][..], &Sha256::digest(area)].concat();
        let mut message = self.attest_head(0x8014, extra_data);
        message.extend(sized(&name));
        message.extend([0, 0]);
        message.extend(sized(contents));
        TagSlot {
            public,
            contents: contents.to_vec(),
            certificate: self.signed(message),
        }
    }

    /// Evidence without a tag.
    pub(crate) fn evidence(&self, nonce: Nonce) -> Evidence {
        let boot_id = BootId::parse(BOOT_ID).expect("a boot id");
        let extra_data = qualifying_data(&nonce, &boot_id, &[0; 32]);
        Evidence {
            nonce,
            boot_id,
            gate_digest: [0; 32],
            ueid: self.ueid.clone(),
            ak_public: self.ak_public(),
            quote: self.signed(self.quote_message(&extra_data)),
            pcrs: self.pcrs.clone(),
            event_log: None,
            ima_list: None,
            tag_slot: None,
            tag_counter: None,
            tag_document: None,
        }
    }

    /// The same with a document and the slot that belongs to it.
    pub(crate) fn evidence_with_tag(&self, nonce: Nonce, document: &str) -> Evidence {
        let mut evidence = self.evidence(nonce);
        let extra_data = qualifying_data(&nonce, &evidence.boot_id, &[0; 32]);
        evidence.tag_slot = Some(self.tag_slot(&tag::digest(document), &extra_data));
        evidence.tag_counter = Some(self.tag_counter(Self::TAG_COUNTER, &extra_data));
        evidence.tag_document = Some(document.to_owned());
        evidence
    }
}

/// TPM2B_NV_PUBLIC.
pub(crate) fn nv_public(index: u32, attributes: u32, size: usize) -> Vec<u8> {
    let mut area = index.to_be_bytes().to_vec();
    area.extend([0x00, 0x0b]);
    area.extend(attributes.to_be_bytes());
    area.extend([0, 0]);
    area.extend(u16::try_from(size).expect("small").to_be_bytes());
    sized(&area)
}

/// TPMT_SIGNATURE of ECDSA with SHA-256.
pub(crate) fn tpmt_signature(r: &[u8], s: &[u8]) -> Vec<u8> {
    [&[0x00, 0x18, 0x00, 0x0b][..], &sized(r), &sized(s)].concat()
}

/// TPM2B: size, then bytes.
pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    let size = u16::try_from(bytes.len()).expect("small").to_be_bytes();
    [&size[..], bytes].concat()
}
