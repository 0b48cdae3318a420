//! Whether TPM slot, verdict and tag document agree on one asset tag.

use std::collections::BTreeMap;

use portcullis_attestation::hex;
use portcullis_attestation::jwk::TrustedKeys;
use portcullis_attestation::tag::{self, AssetTag, NV_INDEX, TagError};
use portcullis_attestation::verdict::{HostVerdict, TagPin};

use crate::snapshot::TagSlot;
use crate::{Code, LaunchPolicy, Moment, Refusal, Snapshot};

/// What is known about the tags of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tags {
    /// Signed by a pinned authority for this TPM, and bound to it.
    Verified(BTreeMap<String, String>),
    /// Nobody tagged this host: neither TPM nor verdict nor agent knows of a tag.
    Absent,
    /// There is something, and it does not hold.
    Unverified,
}

/// The verified tags of this host.
///
/// Slot, verdict and document must all be there or all be absent: one of them alone is an
/// attempt, or an accident, half done.
pub(super) fn verified(
    policy: &LaunchPolicy,
    keys: &TrustedKeys,
    verdict: &HostVerdict,
    snapshot: &Snapshot,
    moment: &Moment,
) -> Result<Tags, Refusal> {
    let document = snapshot.tag_document.as_deref();
    let signed = document.map(|document| tag::verify(document, keys));
    // An authority's own word about another TPM says more than that nothing here fits it.
    if let Some(Ok(asset_tag)) = &signed
        && asset_tag.subject != verdict.ueid
    {
        return Err(Refusal::new(
            Code::AssetTagSubjectMismatch,
            "tag document",
            format!("subject {}, the TPM of this node", verdict.ueid),
            asset_tag.subject.as_str(),
        ));
    }
    // For its age a verdict pins a tag no longer: then that is the reason, and not that there is one.
    if verdict.tag.is_none()
        && let (Some(slot), Some((document, Ok(asset_tag)))) =
            (&snapshot.live.tag, document.zip(signed.as_ref()))
        && bound(slot, document).is_ok()
    {
        timely(asset_tag, policy, moment)?;
    }
    if let Some(refusal) = slot_refusal(verdict.tag.as_ref(), snapshot.live.tag.as_ref()) {
        return Err(refusal);
    }
    let (pin, slot, document, signed) =
        match (&verdict.tag, &snapshot.live.tag, document.zip(signed)) {
            (Some(pin), Some(slot), Some((document, signed))) => (pin, slot, document, signed),
            (Some(_), _, None) => {
                return Err(missing(
                    "asset tag".to_owned(),
                    "its document with the agent",
                    "none",
                ));
            }
            (_, _, None) => return Ok(Tags::Absent),
            (_, _, Some(_)) => {
                let expected = "the digest of the tag document that the agent holds";
                return Err(missing(nv(NV_INDEX), expected, "not defined"));
            }
        };
    bound(slot, document)?;
    let asset_tag = signed.map_err(|error| unfit(&error))?;
    if asset_tag.counter != pin.counter {
        return Err(Refusal::new(
            Code::AssetTagReplayed,
            "tag document",
            format!("the tag for counter {}, as attested", pin.counter),
            format!("one for counter {}", asset_tag.counter),
        ));
    }
    timely(&asset_tag, policy, moment)?;
    Ok(Tags::Verified(asset_tag.tags))
}

/// Compares the slot with what the verdict pins; `None` if it is as it was attested.
pub(super) fn slot_refusal(pin: Option<&TagPin>, slot: Option<&TagSlot>) -> Option<Refusal> {
    let (pin, slot) = match (pin, slot) {
        (None, None) => return None,
        (Some(pin), Some(slot)) => (pin, slot),
        (Some(pin), None) => {
            let expected = "the asset tag that was attested";
            return Some(missing(nv(pin.nv_index), expected, "not defined"));
        }
        (None, Some(slot)) => {
            let refusal = tampered(nv(slot.nv_index), "no asset tag, as attested", "one");
            let remedy = "run 'portcullis attest' if you have just provisioned it";
            return Some(refusal.with_remedy(remedy));
        }
    };
    if slot.nv_index != pin.nv_index {
        let expected = nv(pin.nv_index);
        return Some(tampered(
            "asset tag".to_owned(),
            expected,
            nv(slot.nv_index),
        ));
    }
    let subject = nv(slot.nv_index);
    if slot.nv_name != pin.nv_name {
        let expected = format!("Name {} as attested", pin.nv_name);
        return Some(tampered(subject, expected, slot.nv_name.to_string()));
    }
    (slot.contents != pin.digest).then(|| {
        let expected = format!("contents {} as attested", hex::encode(&pin.digest));
        tampered(subject, expected, hex::encode(&slot.contents))
    })
}

/// Compares the slot with the document's digest.
fn bound(slot: &TagSlot, document: &str) -> Result<(), Refusal> {
    let digest = tag::digest(document);
    if slot.contents != digest {
        let expected = format!("SHA-384 {} as the TPM holds", hex::encode(&slot.contents));
        return Err(tampered(
            "tag document".to_owned(),
            expected,
            hex::encode(&digest),
        ));
    }
    Ok(())
}

/// Refuses a tag that is not valid now.
fn timely(asset_tag: &AssetTag, policy: &LaunchPolicy, moment: &Moment) -> Result<(), Refusal> {
    let (now, skew) = (moment.unix_s, policy.clock_skew.as_secs());
    if asset_tag.not_before_s > now.saturating_add(skew) {
        return Err(untimely(
            format!("valid from {} on ('nbf')", asset_tag.not_before_s),
            format!("now {now}"),
        ));
    }
    if asset_tag.expires_s <= now {
        return Err(untimely(
            "an end ('exp') in the future".to_owned(),
            format!("{} s past it", now.saturating_sub(asset_tag.expires_s)),
        ));
    }
    Ok(())
}

fn unfit(error: &TagError) -> Refusal {
    let (code, expected) = match error {
        TagError::Signature(_) => (
            Code::AssetTagSignatureInvalid,
            "a signature by a key that is pinned for tags",
        ),
        _ => (Code::AssetTagMalformed, "the claims of an asset tag"),
    };
    Refusal::new(code, "tag document", expected, super::innermost(error))
}

fn nv(index: u32) -> String {
    format!("TPM NV index 0x{index:08x}")
}

fn missing(subject: String, expected: &str, found: &str) -> Refusal {
    Refusal::new(Code::AssetTagMissing, subject, expected, found)
}

fn tampered(subject: String, expected: impl Into<String>, found: impl Into<String>) -> Refusal {
    Refusal::new(Code::AssetTagTampered, subject, expected, found)
}

fn untimely(expected: String, found: String) -> Refusal {
    Refusal::new(Code::AssetTagExpired, "asset tag", expected, found)
}

// === impl Tags ===

impl Tags {
    /// The tags; none if the host has no verified ones.
    pub(super) fn into_map(self) -> BTreeMap<String, String> {
        match self {
            Self::Verified(tags) => tags,
            Self::Absent | Self::Unverified => BTreeMap::new(),
        }
    }
}
