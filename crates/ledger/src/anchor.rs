//! The line that says: up to here the TPM vouches for the chain.

use portcullis_attestation::ak::AkPublic;
use portcullis_attestation::anchor::{AnchorError, Certificates, Certified, Purpose};
use portcullis_attestation::attest::SignedAttest;
use portcullis_attestation::{StructureError, base64url, hex};
use serde_json::{Map, Value, json};

/// Value of `event` in such a line.
pub const EVENT: &str = "anchor";
/// Value of `event` in the line that says that TPM and ledger no longer fit together.
pub const APART_EVENT: &str = "anchor-apart";

/// An anchor as its line holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Number of the last line that it covers.
    pub through: u64,
    /// SHA-256 of that line.
    pub head: [u8; 32],
    /// The counter after it.
    pub counter: u64,
    /// The extend index after it.
    pub extend: [u8; 32],
    /// Public area of the AK (TPM2B_PUBLIC).
    pub ak_public: Vec<u8>,
    /// What the AK signed.
    pub certificates: Certificates,
}

/// Why an anchor cannot be read, or proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorRecordError {
    /// A field is missing or wrong.
    #[error("cannot read field '{field}' of anchor: expected {expected}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// The AK is none.
    #[error("cannot read AK of anchor")]
    Ak(#[source] StructureError),
    /// A certificate is none, or another's.
    #[error(transparent)]
    Certificate(#[from] AnchorError),
    /// The line says something else than the TPM signed.
    #[error("cannot believe '{field}' of anchor: the TPM signed {signed}, the line says {found}")]
    Contradiction {
        /// The field.
        field: &'static str,
        /// What is signed.
        signed: String,
        /// What the line says.
        found: String,
    },
}

// === impl Anchor ===

impl Anchor {
    /// The fields of the line.
    #[must_use]
    pub fn to_record(&self) -> Map<String, Value> {
        let mut record = Map::new();
        record.insert("event".to_owned(), EVENT.into());
        record.insert(
            "anchor".to_owned(),
            json!({
                "through": self.through,
                "head": hex::encode(&self.head),
                "counter": self.counter,
                "extend": hex::encode(&self.extend),
                "ak_public": base64url::encode(&self.ak_public),
                "counter_certificate": signed_json(&self.certificates.counter),
                "extend_certificate": signed_json(&self.certificates.extend),
            }),
        );
        record
    }

    /// Reads the fields of a line whose `event` is [`EVENT`].
    ///
    /// # Errors
    ///
    /// [`AnchorRecordError::Field`].
    pub fn from_record(record: &Map<String, Value>) -> Result<Self, AnchorRecordError> {
        let wrong = |field, expected| AnchorRecordError::Field { field, expected };
        let anchor = record
            .get("anchor")
            .and_then(Value::as_object)
            .ok_or(wrong("anchor", "an object"))?;
        let number = |field| {
            let value = anchor.get(field).and_then(Value::as_u64);
            value.ok_or(wrong(field, "a whole number"))
        };
        let digest = |field| {
            let value = anchor.get(field).and_then(Value::as_str);
            let expected = "32 bytes in lower-case hexadecimal";
            value
                .and_then(hex::decode_array)
                .ok_or(wrong(field, expected))
        };
        let signed =
            |field| signed_from(anchor.get(field)).ok_or(wrong(field, "'message' and 'signature'"));
        let ak_public = anchor.get("ak_public").and_then(Value::as_str);
        Ok(Self {
            through: number("through")?,
            head: digest("head")?,
            counter: number("counter")?,
            extend: digest("extend")?,
            ak_public: ak_public
                .and_then(base64url::decode)
                .ok_or(wrong("ak_public", "bytes in base64url"))?,
            certificates: Certificates {
                counter: signed("counter_certificate")?,
                extend: signed("extend_certificate")?,
            },
        })
    }

    /// The AK that the line names.
    ///
    /// # Errors
    ///
    /// [`AnchorRecordError::Ak`].
    pub fn ak(&self) -> Result<AkPublic, AnchorRecordError> {
        AkPublic::parse(&self.ak_public).map_err(AnchorRecordError::Ak)
    }

    /// Verifies what `ak` signed, and that the line says the same. That `ak` is to be trusted, and
    /// that [`Anchor::head`] is the line's, is for the caller to know.
    ///
    /// # Errors
    ///
    /// [`AnchorRecordError::Certificate`] and [`AnchorRecordError::Contradiction`].
    pub fn verify(&self, ak: &AkPublic) -> Result<Certified, AnchorRecordError> {
        let purpose = Purpose::Anchor {
            head: &self.head,
            sequence: self.through,
        };
        let certified = self.certificates.verify(ak, &purpose)?;
        let contradiction = |field, signed, found| AnchorRecordError::Contradiction {
            field,
            signed,
            found,
        };
        if certified.counter != self.counter {
            let (signed, found) = (certified.counter.to_string(), self.counter.to_string());
            return Err(contradiction("counter", signed, found));
        }
        if certified.extend != self.extend {
            let (signed, found) = (hex::encode(&certified.extend), hex::encode(&self.extend));
            return Err(contradiction("extend", signed, found));
        }
        Ok(certified)
    }
}

/// A signed structure as JSON.
#[must_use]
pub fn signed_json(signed: &SignedAttest) -> Value {
    json!({
        "message": base64url::encode(&signed.message),
        "signature": base64url::encode(&signed.signature),
    })
}

/// Reads what [`signed_json`] wrote.
#[must_use]
pub fn signed_from(value: Option<&Value>) -> Option<SignedAttest> {
    let bytes = |name| base64url::decode(value?.get(name)?.as_str()?);
    Some(SignedAttest {
        message: bytes("message")?,
        signature: bytes("signature")?,
    })
}
