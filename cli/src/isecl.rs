//! Asset tag certificates of Intel SecL: X.509, one extension for each tag, all of one OID.
//!
//! RFC 5280 forbids an extension to occur twice, so readers of X.509 refuse these certificates;
//! this one reads them and nothing more general. What it needs of X.509 it checks to the letter,
//! and it believes nothing before the signature of the given authority verified.
//!
//! # Source
//!
//! Intel SecL-DC 5.1, tag certificate creator; RFC 5280, 4.1; RFC 8017, 8.2.2 (RSASSA-PKCS1-v1_5).

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use sha2::{Digest as _, Sha384};

use crate::der::{Der, DerError, Element, tag};

/// 2.5.4.789.1: one tag.
const TAG: [u8; 5] = [0x55, 0x04, 0x86, 0x15, 0x01];
/// 2.5.4.3: commonName.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
/// 1.2.840.113549.1.1.1: rsaEncryption.
const RSA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.113549.1.1.12: sha384WithRSAEncryption.
const SHA384_RSA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c];
/// DigestInfo of a SHA-384 up to the digest (RFC 8017, 9.2, note 1).
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05,
    0x00, 0x04, 0x30,
];
/// Size of the authority's modulus in bytes: 2048 to 8192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// Size of its exponent; 65537 has three.
const EXPONENT_BYTES: usize = 4;
/// Extensions that are read.
const EXTENSIONS: usize = 256;

/// A tag certificate, taken apart and not verified.
#[derive(Debug)]
pub(crate) struct Certificate<'a> {
    signed: &'a [u8],
    signature: &'a [u8],
    is_sha384_rsa: bool,
    issuer: &'a [u8],
    subject: &'a [u8],
    not_before: Element<'a>,
    not_after: Element<'a>,
    common_name: Option<&'a str>,
    key: Option<RsaKey<'a>>,
    tags: Vec<(&'a str, &'a str)>,
}

/// An RSA public key.
#[derive(Debug)]
struct RsaKey<'a> {
    modulus: &'a [u8],
    exponent: &'a [u8],
}

/// What a verified tag certificate says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TagCertificate {
    /// The host's SMBIOS UUID, which anybody with root can change.
    pub(crate) hardware_uuid: String,
    /// The pairs, in the certificate's order.
    pub(crate) tags: Vec<(String, String)>,
    /// First second of validity, since 1970.
    pub(crate) not_before_s: u64,
    /// Last second of validity.
    pub(crate) not_after_s: u64,
}

/// Why a certificate is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("cannot read certificate")]
    Der(#[from] DerError),
    #[error("cannot verify certificate: it is not signed with RSA and SHA-384")]
    Algorithm,
    #[error("cannot verify certificate: the authority's key is not RSA of 2048 to 8192 bits")]
    Key,
    #[error("cannot verify certificate: another authority issued it")]
    Issuer,
    #[error("cannot verify certificate: the signature is not by the authority's key")]
    Signature,
    #[error("cannot use certificate: its subject has no common name")]
    Name,
    #[error("cannot use certificate: it holds no tag")]
    Empty,
}

// === impl Certificate ===

impl<'a> Certificate<'a> {
    /// Takes a DER certificate apart.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, DerError> {
        let mut file = Der::new(bytes);
        let mut outer = file.expect(tag::SEQUENCE, "certificate")?.inside();
        file.end("certificate")?;
        let signed = outer.expect(tag::SEQUENCE, "tbsCertificate")?;
        let algorithm = outer.expect(tag::SEQUENCE, "signatureAlgorithm")?;
        let signature = bits(outer.expect(tag::BIT_STRING, "signatureValue")?)?;
        outer.end("certificate")?;

        let mut inner = signed.inside();
        inner.optional(tag::VERSION, "version")?;
        inner.expect(tag::INTEGER, "serialNumber")?;
        let inner_algorithm = inner.expect(tag::SEQUENCE, "signature")?;
        let issuer = inner.expect(tag::SEQUENCE, "issuer")?;
        let mut validity = inner.expect(tag::SEQUENCE, "validity")?.inside();
        let not_before = validity.next("notBefore")?;
        let not_after = validity.next("notAfter")?;
        validity.end("validity")?;
        let subject = inner.expect(tag::SEQUENCE, "subject")?;
        let key = inner.expect(tag::SEQUENCE, "subjectPublicKeyInfo")?;
        // The unique identifiers are of no use here, and nobody writes them.
        let extensions = inner.optional(tag::EXTENSIONS, "extensions")?;
        inner.end("tbsCertificate")?;

        Ok(Self {
            signed: signed.whole,
            signature,
            // Both must say the same, or one of them is not what was signed.
            is_sha384_rsa: algorithm.whole == inner_algorithm.whole
                && is_algorithm(algorithm, &SHA384_RSA)?,
            issuer: issuer.whole,
            subject: subject.whole,
            not_before,
            not_after,
            common_name: common_name(subject)?,
            key: rsa_key(key)?,
            tags: match extensions {
                Some(extensions) => tags(extensions)?,
                None => Vec::new(),
            },
        })
    }

    /// Verifies the certificate with that of the authority, which is trusted as it is.
    pub(crate) fn verify(&self, authority: &Self) -> Result<TagCertificate, CertificateError> {
        if !self.is_sha384_rsa {
            return Err(CertificateError::Algorithm);
        }
        if self.issuer != authority.subject {
            return Err(CertificateError::Issuer);
        }
        let key = authority.key.as_ref().ok_or(CertificateError::Key)?;
        if !key.verifies(self.signed, self.signature)? {
            return Err(CertificateError::Signature);
        }
        if self.tags.is_empty() {
            return Err(CertificateError::Empty);
        }
        let time = |element| seconds(element).ok_or(DerError { what: "validity" });
        Ok(TagCertificate {
            hardware_uuid: self.common_name.ok_or(CertificateError::Name)?.to_owned(),
            tags: (self.tags.iter())
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            not_before_s: time(self.not_before)?,
            not_after_s: time(self.not_after)?,
        })
    }
}

impl RsaKey<'_> {
    /// RSASSA-PKCS1-v1_5 with SHA-384: the encoded message is made anew and compared as a whole,
    /// so nothing of it is parsed.
    fn verifies(&self, message: &[u8], signature: &[u8]) -> Result<bool, CertificateError> {
        let size = self.modulus.len();
        if !MODULUS_BYTES.contains(&size)
            || self.exponent.len() > EXPONENT_BYTES
            || self.exponent.last().is_none_or(|byte| byte & 1 == 0)
            || self.exponent == [1]
        {
            return Err(CertificateError::Key);
        }
        if signature.len() != size {
            return Ok(false);
        }
        let modulus = BoxedUint::from_be_slice_vartime(self.modulus);
        let number = BoxedUint::from_be_slice_vartime(signature);
        if number >= modulus {
            return Ok(false);
        }
        let modulus: Option<Odd<BoxedUint>> = Odd::new(modulus).into();
        let modulus = modulus.ok_or(CertificateError::Key)?;
        let exponent = BoxedUint::from_be_slice_vartime(self.exponent);
        let parameters = BoxedMontyParams::new_vartime(modulus);
        let recovered = BoxedMontyForm::new(number, &parameters)
            .pow(&exponent)
            .retrieve()
            .to_be_bytes();

        let digest = Sha384::digest(message);
        let padding = size.saturating_sub(3 + DIGEST_INFO.len() + digest.len());
        let mut expected = vec![0x00, 0x01];
        expected.resize(2 + padding, 0xff);
        expected.push(0x00);
        expected.extend(DIGEST_INFO);
        expected.extend(digest);
        // The number may be held in more bytes than the modulus has.
        let spare = recovered.len().saturating_sub(size);
        Ok(recovered.get(spare..) == Some(&expected[..]))
    }
}

fn bits<'a>(element: Element<'a>) -> Result<&'a [u8], DerError> {
    let what = "bit string";
    let whole_bytes = element.contents.split_first();
    match whole_bytes {
        Some((0, bytes)) => Ok(bytes),
        _ => Err(DerError { what }),
    }
}

/// Whether an AlgorithmIdentifier names `oid` with the parameter NULL.
fn is_algorithm(element: Element<'_>, oid: &[u8]) -> Result<bool, DerError> {
    let what = "algorithm";
    let mut inside = element.inside();
    let found = inside.expect(tag::OID, what)?;
    let null = [0x05, 0x00];
    let is_null = !inside.is_empty() && inside.next(what)?.whole == null && inside.is_empty();
    Ok(found.contents == oid && is_null)
}

fn rsa_key(element: Element<'_>) -> Result<Option<RsaKey<'_>>, DerError> {
    let what = "subjectPublicKeyInfo";
    let mut inside = element.inside();
    let algorithm = inside.expect(tag::SEQUENCE, what)?;
    let key = inside.expect(tag::BIT_STRING, what)?;
    inside.end(what)?;
    if !is_algorithm(algorithm, &RSA)? {
        return Ok(None);
    }
    let mut outer = Der::new(bits(key)?);
    let mut numbers = outer.expect(tag::SEQUENCE, what)?.inside();
    outer.end(what)?;
    let mut number = || numbers.next(what)?.unsigned().ok_or(DerError { what });
    let (modulus, exponent) = (number()?, number()?);
    numbers.end(what)?;
    Ok(Some(RsaKey { modulus, exponent }))
}

/// The one common name of a Name; `None` if there is none, or more than one.
fn common_name(name: Element<'_>) -> Result<Option<&str>, DerError> {
    let what = "subject";
    let mut found = None;
    let mut sets = name.inside();
    while !sets.is_empty() {
        let mut pairs = sets.expect(tag::SET, what)?.inside();
        while !pairs.is_empty() {
            let mut pair = pairs.expect(tag::SEQUENCE, what)?.inside();
            let oid = pair.expect(tag::OID, what)?;
            let value = pair.next(what)?;
            pair.end(what)?;
            if oid.contents == COMMON_NAME && found.replace(value).is_some() {
                return Ok(None);
            }
        }
    }
    Ok(found.and_then(|value| value.text()))
}

fn tags(extensions: Element<'_>) -> Result<Vec<(&str, &str)>, DerError> {
    let what = "extensions";
    let mut outer = extensions.inside();
    let mut list = outer.expect(tag::SEQUENCE, what)?.inside();
    outer.end(what)?;
    let mut tags = Vec::new();
    for _ in 0..EXTENSIONS {
        if list.is_empty() {
            return Ok(tags);
        }
        let mut extension = list.expect(tag::SEQUENCE, what)?.inside();
        let oid = extension.expect(tag::OID, what)?;
        extension.optional(tag::BOOLEAN, what)?;
        let value = extension.expect(tag::OCTET_STRING, what)?;
        extension.end(what)?;
        if oid.contents == TAG {
            tags.push(pair(value)?);
        }
    }
    Err(DerError { what })
}

/// SEQUENCE { name, value }.
fn pair(value: Element<'_>) -> Result<(&str, &str), DerError> {
    let what = "tag";
    let mut outer = value.inside();
    let mut inside = outer.expect(tag::SEQUENCE, what)?.inside();
    outer.end(what)?;
    let mut text = || inside.next(what)?.text().ok_or(DerError { what });
    let pair = (text()?, text()?);
    inside.end(what)?;
    Ok(pair)
}

/// UTCTime or GeneralizedTime, in the forms of RFC 5280, in seconds since 1970.
fn seconds(element: Element<'_>) -> Option<u64> {
    let text = str::from_utf8(element.contents).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let text = match (element.tag, text.len()) {
        (tag::GENERALIZED_TIME, 14) => text.to_owned(),
        (tag::UTC_TIME, 12) if text < "50" => format!("20{text}"),
        (tag::UTC_TIME, 12) => format!("19{text}"),
        _ => return None,
    };
    let part = |from, to| text.get(from..to);
    let time = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?
    );
    let time: jiff::Timestamp = time.parse().ok()?;
    u64::try_from(time.as_second()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_those_of_rfc_5280() {
        let at = |tag, text: &'static str| {
            seconds(Element {
                tag,
                contents: text.as_bytes(),
                whole: &[],
            })
        };
        assert_eq!(at(tag::UTC_TIME, "700101000001Z"), Some(1));
        assert_eq!(at(tag::UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(
            at(tag::GENERALIZED_TIME, "20500101000000Z"),
            Some(2_524_608_000)
        );
        for (tag, text) in [
            (tag::UTC_TIME, "500101000000Z"), // 1950
            (tag::UTC_TIME, "20500101000000Z"),
            (tag::GENERALIZED_TIME, "500101000000Z"),
            (tag::UTC_TIME, "700101000001"),
            (tag::UTC_TIME, "701301000001Z"),
            (tag::UTC_TIME, "7001+1000001Z"),
            (tag::OCTET_STRING, "700101000001Z"),
        ] {
            assert_eq!(at(tag, text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(
                prop_oneof![Just(0x30), Just(0xa3), Just(0x03), Just(0x82), 0..16_u8, any::<u8>()],
                0..200,
            ),
        ) {
            prop_assert!(Certificate::parse(&bytes).is_err());
        }
    }
}
