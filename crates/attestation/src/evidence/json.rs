//! Evidence as JSON, on its way from a node to a verifier.
//!
//! ```text
//! {"nonce":"…","boot_id":"…","gate_digest":"…","ueid":"…","ak_public":"…",
//!  "quote":{"message":"…","signature":"…"},"pcr_bank":"sha256","pcrs":{"0":"…"},
//!  "event_log":"…","ima_list":"…","tag_slot":{"public":"…","contents":"…","certificate":{…}},
//!  "tag_counter":{…},"tag_document":"…"}
//! ```
//!
//! Digests and what the TPM gave are lower-case hexadecimal, the nonce and `ueid` as in a verdict, the logs base64url.

use portcullis_json::{JsonError, Limits};
use serde_json::{Map, Value, json};

use super::{Evidence, TagSlot};
use crate::attest::SignedAttest;
use crate::base64url;
use crate::boot_id::BootId;
use crate::claims::{ClaimError, Claims};
use crate::hex;
use crate::nonce::Nonce;
use crate::pcr::{HashAlg, PcrValues};
use crate::ueid::Ueid;

/// Evidence with a tag document is about 10 KiB, an event log some 20 to 200 KiB.
const LIMITS: Limits = Limits {
    max_bytes: 1024 * 1024,
    max_depth: 8,
};
/// What hexadecimal members hold.
const HEX: &str = "lower-case hexadecimal";

/// Why a text is no evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// It is not strict JSON.
    #[error("cannot read evidence")]
    Json(#[from] JsonError),
    /// A member is missing or of the wrong form.
    #[error("cannot read evidence")]
    Member(#[from] ClaimError),
}

// === impl Evidence ===

impl Evidence {
    /// Writes it down.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut members = json!({
            "nonce": self.nonce.to_string(),
            "boot_id": self.boot_id.as_str(),
            "gate_digest": hex::encode(&self.gate_digest),
            "ueid": self.ueid.as_str(),
            "ak_public": hex::encode(&self.ak_public),
            "quote": signed_json(&self.quote),
            "pcr_bank": self.pcrs.bank().as_str(),
            "pcrs": self.pcrs.to_claim(),
        });
        if let Some(members) = members.as_object_mut() {
            if let Some(log) = &self.event_log {
                members.insert("event_log".to_owned(), base64url::encode(log).into());
            }
            if let Some(list) = &self.ima_list {
                members.insert("ima_list".to_owned(), base64url::encode(list).into());
            }
            for (name, slot) in [
                ("tag_slot", &self.tag_slot),
                ("tag_counter", &self.tag_counter),
            ] {
                if let Some(slot) = slot {
                    members.insert(name.to_owned(), slot_json(slot));
                }
            }
            if let Some(document) = &self.tag_document {
                members.insert("tag_document".to_owned(), document.as_str().into());
            }
        }
        members
    }

    /// Reads it. What it says is believed no more than before: see [`crate::appraisal::appraise`].
    ///
    /// # Errors
    ///
    /// [`EvidenceError`], which names the member. Members that are not known are passed over.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let value = portcullis_json::parse(bytes, LIMITS)?;
        let claims = Claims::of(&value)?;
        let bank = claims.required("pcr_bank", "the name of a bank", |value| {
            HashAlg::parse(value.as_str()?)
        })?;
        let slot = |name| -> Result<Option<TagSlot>, ClaimError> {
            let members = claims.optional(name, "an object", Value::as_object)?;
            members.map(|members| slot(members, name)).transpose()
        };
        Ok(Self {
            nonce: claims.required("nonce", "32 bytes in base64url", |value| {
                Nonce::parse(value.as_str()?)
            })?,
            boot_id: claims.required("boot_id", "a lower-case UUID", |value| {
                BootId::parse(value.as_str()?)
            })?,
            gate_digest: claims.required("gate_digest", "32 bytes in hexadecimal", |value| {
                hex::decode_array(value.as_str()?)
            })?,
            ueid: claims.required("ueid", "an EK's hash in base64url", |value| {
                Ueid::parse(value.as_str()?)
            })?,
            ak_public: bytes_of(claims, "ak_public")?,
            quote: signed(
                claims.required("quote", "an object", Value::as_object)?,
                "quote",
            )?,
            pcrs: claims.required("pcrs", "values of PCRs of the bank", |value| {
                PcrValues::from_claim(bank, value.as_object()?).filter(|pcrs| !pcrs.is_empty())
            })?,
            event_log: claims.optional("event_log", "bytes in base64url", |value| {
                base64url::decode(value.as_str()?)
            })?,
            ima_list: claims.optional("ima_list", "bytes in base64url", |value| {
                base64url::decode(value.as_str()?)
            })?,
            tag_slot: slot("tag_slot")?,
            tag_counter: slot("tag_counter")?,
            tag_document: claims
                .optional("tag_document", "a text", Value::as_str)?
                .map(str::to_owned),
        })
    }
}

fn slot(members: &Map<String, Value>, name: &str) -> Result<TagSlot, ClaimError> {
    let claims = Claims::at(members, "", name);
    let certificate = claims.required("certificate", "an object", Value::as_object)?;
    Ok(TagSlot {
        public: bytes_of(claims, "public")?,
        contents: bytes_of(claims, "contents")?,
        certificate: signed(certificate, "certificate")?,
    })
}

fn signed(members: &Map<String, Value>, name: &str) -> Result<SignedAttest, ClaimError> {
    let claims = Claims::at(members, "", name);
    Ok(SignedAttest {
        message: bytes_of(claims, "message")?,
        signature: bytes_of(claims, "signature")?,
    })
}

fn bytes_of(claims: Claims<'_>, name: &str) -> Result<Vec<u8>, ClaimError> {
    claims.required(name, HEX, |value| hex::decode(value.as_str()?))
}

fn slot_json(slot: &TagSlot) -> Value {
    json!({
        "public": hex::encode(&slot.public),
        "contents": hex::encode(&slot.contents),
        "certificate": signed_json(&slot.certificate),
    })
}

fn signed_json(signed: &SignedAttest) -> Value {
    json!({
        "message": hex::encode(&signed.message),
        "signature": hex::encode(&signed.signature),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::FakeTpm;

    fn evidence() -> Evidence {
        FakeTpm::new(1).evidence(Nonce::new([7; 32]))
    }

    #[test]
    fn reads_what_it_wrote() {
        let mut evidence = evidence();
        let text = evidence.to_json().to_string();
        assert_eq!(Evidence::from_json(text.as_bytes()).unwrap(), evidence);
        evidence.event_log = Some(vec![0, 255]);
        evidence.ima_list = Some(vec![255, 0]);
        evidence.tag_document = Some("a.b.c".to_owned());
        evidence.tag_slot = Some(TagSlot {
            public: vec![1, 2],
            contents: vec![3; 48],
            certificate: evidence.quote.clone(),
        });
        evidence.tag_counter = Some(TagSlot {
            contents: vec![4; 8],
            ..evidence.tag_slot.clone().unwrap()
        });
        let text = evidence.to_json().to_string();
        assert_eq!(Evidence::from_json(text.as_bytes()).unwrap(), evidence);
    }

    #[test]
    fn names_the_member_that_is_wrong() {
        let whole = evidence().to_json();
        let names: Vec<String> = whole.as_object().unwrap().keys().cloned().collect();
        for name in names {
            for wrong in [Value::Null, json!("Z"), json!(1), json!({})] {
                let mut changed = whole.clone();
                changed[&name] = wrong.clone();
                let text = changed.to_string();
                let error = Evidence::from_json(text.as_bytes())
                    .map(|_| ())
                    .unwrap_err();
                let cause = std::error::Error::source(&error).unwrap().to_string();
                assert!(
                    cause.contains(&name) || name == "quote" || name == "pcrs",
                    "{name}: {cause}"
                );
            }
        }
        Evidence::from_json(b"{}").unwrap_err();
        Evidence::from_json(b"").unwrap_err();
    }
}
