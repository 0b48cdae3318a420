//! Appraisal of the asset tag: what the TPM certified, and the document that belongs to it.

use std::collections::BTreeMap;

use super::{Genuine, chain};
use crate::attest::{Attest, AttestError, Attested, NvContents};
use crate::evidence::{Evidence, TagSlot};
use crate::finding::Finding;
use crate::hex;
use crate::jwk::TrustedKeys;
use crate::nv::NvPublic;
use crate::tag::{self, AssetTag, TagError};
use crate::verdict::TagPin;

/// What the evidence says about the asset tag.
#[derive(Default)]
pub(super) struct SlotAppraisal {
    pub(super) pin: Option<TagPin>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) findings: Vec<Finding>,
}

/// Appraises slot and document; a host with neither is a host without a tag, and no finding.
pub(super) fn appraise(
    evidence: &Evidence,
    genuine: &Genuine,
    keys: &TrustedKeys,
    now_s: u64,
) -> SlotAppraisal {
    let mut appraisal = SlotAppraisal::default();
    let certified = evidence
        .tag_slot
        .as_ref()
        .map(|slot| certify(slot, genuine));
    match certified {
        None if evidence.tag_document.is_none() => return appraisal,
        None => {
            let subject = format!("TPM NV index {:#010x}", tag::NV_INDEX);
            let expected = "the digest of the tag document";
            appraisal.findings.push(Finding::new(
                "asset-tag-missing",
                subject,
                expected,
                "index not defined",
            ));
        }
        Some(Ok(pin)) => appraisal.pin = Some(pin),
        Some(Err(finding)) => appraisal.findings.push(finding),
    }
    match read_document(evidence, appraisal.pin.as_ref(), keys, now_s) {
        // Without a certified slot the document is about some TPM, not about this one.
        Ok(document) if appraisal.pin.is_some() => appraisal.tags = document.tags,
        Ok(_) => {}
        Err(finding) => appraisal.findings.push(finding),
    }
    appraisal
}

/// What the TPM itself signed about the slot.
fn certify(slot: &TagSlot, genuine: &Genuine) -> Result<TagPin, Finding> {
    let subject = format!("TPM NV index {:#010x}", tag::NV_INDEX);
    let refuse =
        |code, expected: &str, found: String| Finding::new(code, subject.clone(), expected, found);
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
    if let Some((expected, found)) = other_index(&public, certified, slot) {
        return Err(refuse("asset-tag-tampered", expected, found));
    }
    let Some(digest) = certified.contents.as_array() else {
        let found = format!("{} bytes", certified.contents.len());
        return Err(refuse("asset-tag-tampered", "48 bytes", found));
    };
    Ok(TagPin {
        nv_index: public.index,
        nv_name: public.name().clone(),
        digest: *digest,
    })
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
    public: &NvPublic,
    certified: &NvContents,
    slot: &TagSlot,
) -> Option<(&'static str, String)> {
    if public.index != tag::NV_INDEX {
        return Some(("NV index 0x01c10110", format!("{:#010x}", public.index)));
    }
    if !public.is_written() {
        return Some(("an index that was written", "none written".to_owned()));
    }
    if certified.name != *public.name() {
        return Some(("the name of the certified index", public.name().to_string()));
    }
    if certified.offset != 0 || certified.contents.len() != usize::from(public.size_bytes) {
        let found = format!(
            "{} bytes from {}",
            certified.contents.len(),
            certified.offset
        );
        return Some(("the whole contents certified", found));
    }
    if certified.contents != slot.contents {
        return Some((
            "the contents that were certified",
            hex::encode(&slot.contents),
        ));
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
