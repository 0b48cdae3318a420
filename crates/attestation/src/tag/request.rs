//! A host's request for a tag: its TPM says where the tag counter stands, so that the authority
//! can issue the next one, offline.
//!
//! Without the TPM's signature a host could name a number that its counter has not reached yet,
//! and keep the tag it gets until it suits. The signature proves that the counter stood there.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::slot::{COUNTER_BYTES, is_counter};
use crate::ak::AkPublic;
use crate::attest::{Attested, SignedAttest};
use crate::claims::{ClaimError, Claims};
use crate::hex;
use crate::tpm_name::TpmName;
use crate::ueid::Ueid;

/// Sets the qualifying data apart from any other use of the AK.
const LABEL: &[u8] = b"portcullis-tag-request-v1";

/// What a host says about itself and its counter. Nothing in it is believed before
/// [`TagRequest::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRequest {
    /// The TPM.
    pub ueid: Ueid,
    /// TPM2B_PUBLIC of the AK.
    pub ak_public: Vec<u8>,
    /// TPM2_NV_Certify over the whole counter.
    pub certificate: SignedAttest,
}

/// A request whose certificate verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedCounter {
    /// The TPM, as the request names it: an enrolment ties it to the AK.
    pub ueid: Ueid,
    /// The AK that signed.
    pub ak_name: TpmName,
    /// Where the counter stood.
    pub counter: u64,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The file is not a request.
    #[error("cannot read tag request")]
    Claim(#[from] ClaimError),
    /// The AK is none.
    #[error("cannot use the attestation key of the tag request: {reason}")]
    Key {
        /// What is wrong with it.
        reason: String,
    },
    /// The AK did not sign what it should.
    #[error("cannot verify tag request: expected {expected}")]
    Certificate {
        /// What was expected.
        expected: &'static str,
    },
}

/// What the AK signs along with the counter.
#[must_use]
pub fn qualifying_data(ueid: &Ueid) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(LABEL);
    hash.update(ueid.as_str());
    hash.finalize().into()
}

// === impl TagRequest ===

impl TagRequest {
    /// Reads the form of [`TagRequest::to_value`]; members beside it are for people.
    ///
    /// # Errors
    ///
    /// [`ClaimError`].
    pub fn from_value(value: &Value) -> Result<Self, ClaimError> {
        let claims = Claims::of(value)?;
        let bytes =
            |name| claims.required(name, "hexadecimal", |value| hex::decode(value.as_str()?));
        Ok(Self {
            ueid: claims.required("ueid", "a ueid", |value| Ueid::parse(value.as_str()?))?,
            ak_public: bytes("ak_public")?,
            certificate: SignedAttest {
                message: bytes("message")?,
                signature: bytes("signature")?,
            },
        })
    }

    /// The request as JSON, bytes in hexadecimal.
    #[must_use]
    pub fn to_value(&self) -> Value {
        json!({
            "ueid": self.ueid.as_str(),
            "ak_public": hex::encode(&self.ak_public),
            "message": hex::encode(&self.certificate.message),
            "signature": hex::encode(&self.certificate.signature),
        })
    }

    /// Verifies that the AK in the request certified the tag counter for this request.
    ///
    /// Whether the AK is that of the TPM `ueid` is for the caller to know, from the enrolment.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub fn verify(&self) -> Result<CertifiedCounter, RequestError> {
        let ak = AkPublic::parse(&self.ak_public).map_err(|error| RequestError::Key {
            reason: error.to_string(),
        })?;
        let expected = |expected| RequestError::Certificate { expected };
        let attest = (self.certificate.verify(&ak))
            .or(Err(expected("a signature by the attestation key")))?;
        if attest.extra_data != qualifying_data(&self.ueid) {
            return Err(expected("a certificate for this TPM's request"));
        }
        let Attested::Nv(certified) = attest.attested else {
            return Err(expected("a certificate over an NV index"));
        };
        let counter: Option<[u8; COUNTER_BYTES]> = certified.contents.as_array().copied();
        match counter.filter(|_| certified.offset == 0 && is_counter(&certified.name)) {
            Some(bytes) => Ok(CertifiedCounter {
                ueid: self.ueid.clone(),
                ak_name: ak.name().clone(),
                counter: u64::from_be_bytes(bytes),
            }),
            None => Err(expected("a certificate over the tag counter")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{FakeTpm, nv_public};
    use proptest::prelude::*;

    fn request_of(tpm: &FakeTpm, certificate: SignedAttest) -> TagRequest {
        TagRequest {
            ueid: tpm.ueid.clone(),
            ak_public: tpm.ak_public(),
            certificate,
        }
    }

    fn request() -> TagRequest {
        let tpm = FakeTpm::new(1);
        let slot = tpm.tag_counter(7, &qualifying_data(&tpm.ueid));
        request_of(&tpm, slot.certificate)
    }

    #[test]
    fn says_where_the_counter_stands() {
        let verified = request().verify().expect("genuine");
        assert_eq!(verified.counter, 7);
        assert_eq!(verified.ueid, FakeTpm::new(1).ueid);
        assert_eq!(verified.ak_name, *FakeTpm::new(1).ak().name());
        assert_eq!(TagRequest::from_value(&request().to_value()), Ok(request()));
    }

    #[test]
    fn believes_only_the_counter_itself_for_this_request() {
        let tpm = FakeTpm::new(1);
        let extra = qualifying_data(&tpm.ueid);
        let seven = 7_u64.to_be_bytes();
        let plain = nv_public(super::super::slot::COUNTER_INDEX, 0x2206_0004, 8);
        for (certificate, expected) in [
            (
                tpm.tag_counter(7, &[0; 32]).certificate,
                "a certificate for this TPM's request",
            ),
            (
                tpm.nv_slot(plain, &seven, &extra).certificate,
                "a certificate over the tag counter",
            ),
            (
                tpm.tag_slot(&seven, &extra).certificate,
                "a certificate over the tag counter",
            ),
            (
                tpm.signed(tpm.quote_message(&extra)),
                "a certificate over an NV index",
            ),
            (
                FakeTpm::new(2).tag_counter(7, &extra).certificate,
                "a signature by the attestation key",
            ),
        ] {
            let refused = request_of(&tpm, certificate).verify();
            assert_eq!(refused, Err(RequestError::Certificate { expected }));
        }
        let other = TagRequest {
            ueid: FakeTpm::new(2).ueid,
            ..request()
        };
        other.verify().expect_err("another TPM's");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn a_changed_bit_is_refused_or_shows_in_the_name(
            part in 0_usize..3, place in any::<prop::sample::Index>(), bit in 0_u8..8,
        ) {
            let mut changed = request();
            let bytes = match part {
                0 => &mut changed.ak_public,
                1 => &mut changed.certificate.message,
                _ => &mut changed.certificate.signature,
            };
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            // Attributes of the key that do not matter change its name, which the caller compares.
            let genuine = FakeTpm::new(1).ak().name().clone();
            prop_assert!(changed.verify().map_or(true, |it| it.ak_name != genuine));
        }

        #[test]
        fn no_value_makes_it_panic(text in "\\PC{0,40}|[0-9a-f]{0,80}") {
            let value = json!({ "ueid": text, "ak_public": text, "message": text, "signature": text });
            prop_assert!(TagRequest::from_value(&value).is_err());
        }
    }
}
