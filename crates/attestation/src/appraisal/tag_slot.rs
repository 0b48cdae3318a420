//! Appraisal of the asset tag: what the TPM certified, and the document that belongs to it.

use std::collections::BTreeMap;

use super::{Genuine, chain};
use crate::attest::{Attest, AttestError, Attested, NvContents};
use crate::evidence::{Evidence, TagSlot};
use crate::finding::Finding;
use crate::hex;
use crate::jwk::{KeyUse, TrustedKeys};
use crate::nv::NvPublic;
use crate::tag::slot::{self, COUNTER_INDEX};
use crate::tag::{self, AssetTag, DIGEST_BYTES, NV_INDEX, TagError};
use crate::verdict::TagPin;

/// What the evidence says about the asset tag.
#[derive(Default)]
pub(super) struct SlotAppraisal {
    pub(super) pin: Option<TagPin>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) findings: Vec<Finding>,
}

/// Appraises slot, counter and document; a host without slot and document is a host without a tag,
/// and no finding.
///
/// The pin says what the TPM certified, so an old tag is pinned too: the gate then refuses it by
/// its counter. An index that others than the tag authority may write is not pinned.
pub(super) fn appraise(
    evidence: &Evidence,
    genuine: &Genuine,
    keys: &TrustedKeys,
    now_s: u64,
) -> SlotAppraisal {
    let mut appraisal = SlotAppraisal::default();
    if evidence.tag_slot.is_none() && evidence.tag_document.is_none() {
        return appraisal;
    }
    match pin(evidence, genuine, keys) {
        Ok(pin) => appraisal.pin = Some(pin),
        Err(finding) => appraisal.findings.push(finding),
    }
    match read_document(evidence, appraisal.pin.as_ref(), keys, now_s) {
        // Without a certified slot the document is about some TPM, not about this one.
        Ok(document) if appraisal.pin.is_some() => appraisal.tags = document.tags,
        Ok(_) => {}
        Err(finding) => appraisal.findings.push(finding),
    }
    appraisal
}

/// What the TPM certified about slot and counter.
fn pin(evidence: &Evidence, genuine: &Genuine, keys: &TrustedKeys) -> Result<TagPin, Finding> {
    let Some(given) = &evidence.tag_slot else {
        let expected = "the digest of the tag document";
        return Err(Finding::new(
            "asset-tag-missing",
            subject(NV_INDEX),
            expected,
            "index not defined, or never written",
        ));
    };
    let (public, contents) = certified(NV_INDEX, given, genuine)?;
    let is_ours = keys
        .iter()
        .filter(|pinned| pinned.key_use() == KeyUse::Tag)
        .any(|pinned| slot::is_slot_of(public.name(), pinned.key(), &evidence.ueid));
    if !is_ours {
        return Err(Finding::new(
            "asset-tag-tampered",
            subject(NV_INDEX),
            "an index that only a pinned tag authority can write",
            writers(&public),
        ));
    }
    let digest: &[u8; DIGEST_BYTES] = contents.as_array().ok_or_else(|| {
        let found = format!("{} bytes", contents.len());
        Finding::new("asset-tag-tampered", subject(NV_INDEX), "48 bytes", found)
    })?;
    Ok(TagPin {
        nv_index: public.index,
        nv_name: public.name().clone(),
        digest: *digest,
        counter: counter(evidence.tag_counter.as_ref(), genuine)?,
    })
}

/// Where the tag counter stands.
fn counter(given: Option<&TagSlot>, genuine: &Genuine) -> Result<u64, Finding> {
    let Some(given) = given else {
        let expected = "the counter that tells the latest tag";
        return Err(Finding::new(
            "asset-tag-missing",
            subject(COUNTER_INDEX),
            expected,
            "index not defined, or never counted",
        ));
    };
    let (public, contents) = certified(COUNTER_INDEX, given, genuine)?;
    contents
        .as_array()
        .filter(|_| slot::is_counter(public.name()))
        .map(|bytes| u64::from_be_bytes(*bytes))
        .ok_or_else(|| {
            let found = format!("attributes {:#010x}", public.attributes);
            let expected = "a counter, which the TPM lets nobody set back";
            Finding::new(
                "asset-tag-tampered",
                subject(COUNTER_INDEX),
                expected,
                found,
            )
        })
}

fn subject(index: u32) -> String {
    format!("TPM NV index {index:#010x}")
}

/// Who may write an index that is not as it has to be.
fn writers(public: &NvPublic) -> String {
    let who = [
        (0b0001, "the platform"),
        (0b0010, "the owner"),
        (0b0100, "whoever knows its password"),
        (0b1000, "whoever its policy admits"),
    ];
    let who: Vec<&str> = who
        .into_iter()
        .filter(|(bit, _)| public.attributes & bit != 0)
        .map(|(_, name)| name)
        .collect();
    let attributes = public.attributes;
    if who.is_empty() {
        return format!("attributes {attributes:#010x}");
    }
    format!(
        "{} may write (attributes {attributes:#010x})",
        who.join(", ")
    )
}

/// What the TPM itself signed about NV index `index`.
fn certified<'a>(
    index: u32,
    slot: &'a TagSlot,
    genuine: &Genuine,
) -> Result<(NvPublic, &'a [u8]), Finding> {
    let refuse =
        |code, expected: &str, found: String| Finding::new(code, subject(index), expected, found);
    let malformed = |cause| refuse("evidence-malformed", "a TPM2B_NV_PUBLIC", chain(&cause));
    let public = NvPublic::parse(&slot.public).map_err(malformed)?;
    let signed = slot
        .certificate
        .verify(&genuine.ak)
        .map_err(|cause| match &cause {
            AttestError::Signature { .. } | AttestError::SignatureFormat(_) => refuse(
                "asset-tag-tampered",
                "a certificate by the AK of the quote",
                chain(&cause),
            ),
            AttestError::Message(_) => refuse("evidence-malformed", "a TPMS_ATTEST", chain(&cause)),
        })?;
    let Attested::Nv(certified) = &signed.attested else {
        return Err(refuse(
            "evidence-malformed",
            "NV contents",
            "a quote".to_owned(),
        ));
    };
    if let Some((expected, found)) = unlike(&signed, genuine) {
        return Err(refuse("asset-tag-tampered", expected, found));
    }
    if let Some((expected, found)) = other_index(index, &public, certified, slot) {
        return Err(refuse("asset-tag-tampered", &expected, found));
    }
    Ok((public, &slot.contents))
}

/// Whether the certificate was made by the same key in the same boot for the same nonce.
fn unlike(signed: &Attest, genuine: &Genuine) -> Option<(&'static str, String)> {
    if signed.extra_data != genuine.qualifying_data {
        return Some((
            "the qualifying data of the quote",
            hex::encode(&signed.extra_data),
        ));
    }
    if signed.qualified_signer != genuine.attest.qualified_signer {
        return Some((
            "the signer of the quote",
            hex::encode(&signed.qualified_signer),
        ));
    }
    if !signed.clock.is_same_boot(&genuine.attest.clock) {
        let clock = signed.clock;
        let found = format!(
            "reset {} restart {}",
            clock.reset_count, clock.restart_count
        );
        return Some(("the boot of the quote", found));
    }
    None
}

/// Whether the certificate is about all of the right index.
fn other_index(
    index: u32,
    public: &NvPublic,
    certified: &NvContents,
    slot: &TagSlot,
) -> Option<(String, String)> {
    let differs = |expected: &str, found: String| Some((expected.to_owned(), found));
    if public.index != index {
        return Some((subject(index), format!("{:#010x}", public.index)));
    }
    if !public.is_written() {
        return differs("an index that was written", "none written".to_owned());
    }
    if certified.name != *public.name() {
        return differs("the name of the certified index", public.name().to_string());
    }
    if certified.offset != 0 || certified.contents.len() != usize::from(public.size_bytes) {
        let found = format!(
            "{} bytes from {}",
            certified.contents.len(),
            certified.offset
        );
        return differs("the whole contents certified", found);
    }
    if certified.contents != slot.contents {
        return differs(
            "the contents that were certified",
            hex::encode(&slot.contents),
        );
    }
    None
}

fn read_document(
    evidence: &Evidence,
    pin: Option<&TagPin>,
    keys: &TrustedKeys,
    now_s: u64,
) -> Result<AssetTag, Finding> {
    let Some(document) = &evidence.tag_document else {
        let expected = "the tag document whose digest is in the TPM";
        return Err(Finding::new(
            "asset-tag-missing",
            "tag document",
            expected,
            "none",
        ));
    };
    let refuse =
        |code, expected: String, found: String| Finding::new(code, "tag document", expected, found);
    let tag = tag::verify(document, keys).map_err(|cause| {
        let (code, expected) = match cause {
            TagError::Signature(_) => (
                "asset-tag-signature-invalid",
                "a signature by a pinned tag key",
            ),
            TagError::Token(_) | TagError::Claim(_) => ("asset-tag-malformed", "a signed tag"),
        };
        refuse(code, expected.to_owned(), chain(&cause))
    })?;
    let digest = tag::digest(document);
    if let Some(pin) = pin.filter(|pin| pin.digest != digest) {
        let expected = format!("digest {} as in the TPM", hex::encode(&pin.digest));
        return Err(refuse("asset-tag-tampered", expected, hex::encode(&digest)));
    }
    if tag.subject != evidence.ueid {
        let expected = format!("subject '{}'", evidence.ueid);
        return Err(refuse(
            "asset-tag-mismatch",
            expected,
            tag.subject.to_string(),
        ));
    }
    if let Some(pin) = pin.filter(|pin| pin.counter != tag.counter) {
        let expected = format!(
            "the tag for counter {}, where the TPM's stands",
            pin.counter
        );
        let found = format!("one for counter {}", tag.counter);
        return Err(refuse("asset-tag-replayed", expected, found));
    }
    if !tag.is_valid_at(now_s) {
        let found = format!("valid from {} to {}", tag.not_before_s, tag.expires_s);
        return Err(refuse(
            "asset-tag-expired",
            format!("valid at {now_s}"),
            found,
        ));
    }
    Ok(tag)
}
