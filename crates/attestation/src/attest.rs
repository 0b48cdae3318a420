//! What an AK signed: a quote of PCRs, or the contents of an NV index.

use crate::ak::AkPublic;
use crate::clock::ClockInfo;
use crate::jwk::SignatureInvalid;
use crate::pcr::{HashAlg, PcrSelection};
use crate::tpm_name::TpmName;
use crate::wire::{Reader, StructureError, padded};

/// Size of a whole TPMS_ATTEST; the largest NV contents are 2 KiB.
pub const MAX_BYTES: usize = 4096;

/// `TPM_GENERATED_VALUE`: a restricted key refuses to sign outside data that begins with it, so
/// its presence proves that the TPM itself made the structure.
const GENERATED: u32 = 0xff54_4347;
const ST_ATTEST_NV: u16 = 0x8014;
const ST_ATTEST_QUOTE: u16 = 0x8018;
const ALG_ECDSA: u16 = 0x0018;
/// Algorithm and digest of the largest hash.
const NAME_BYTES: usize = 66;
const STRUCTURE: &str = "TPMS_ATTEST";

/// A structure and the AK's signature over it, both as they came from the TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAttest {
    /// TPMS_ATTEST, at most [`MAX_BYTES`].
    pub message: Vec<u8>,
    /// TPMT_SIGNATURE, ECDSA with SHA-256.
    pub signature: Vec<u8>,
}

/// A decoded TPMS_ATTEST.
///
/// # Source
///
/// TPM 2.0 Library, part 2, "TPMS_ATTEST".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attest {
    /// Qualified name of the AK: covers its place in the hierarchy.
    pub qualified_signer: Vec<u8>,
    /// The caller's qualifying data.
    pub extra_data: Vec<u8>,
    /// The TPM's clock at the time of signing.
    pub clock: ClockInfo,
    /// The TPM's own firmware.
    pub firmware_version: u64,
    /// What was attested.
    pub attested: Attested,
}

/// What a TPMS_ATTEST is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attested {
    /// A quote.
    Quote(Quote),
    /// NV contents.
    Nv(NvContents),
}

/// PCRs as they were when the TPM signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// Which PCRs.
    pub selection: PcrSelection,
    /// SHA-256 over their concatenated values.
    pub pcr_digest: [u8; 32],
}

/// Contents of an NV index as they were when the TPM signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvContents {
    /// Name of the index.
    pub name: TpmName,
    /// Where in the index the contents begin, in bytes.
    pub offset: u16,
    /// The bytes.
    pub contents: Vec<u8>,
}

/// Why something signed is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// The signature cannot be read.
    #[error("cannot read signature of AK")]
    SignatureFormat(#[source] StructureError),
    /// The signature is not the AK's.
    #[error("cannot verify signature of AK {ak}")]
    Signature {
        /// The AK.
        ak: TpmName,
        /// The check that failed.
        #[source]
        cause: SignatureInvalid,
    },
    /// What was signed cannot be read.
    #[error("cannot read what AK signed")]
    Message(#[source] StructureError),
}

// === impl SignedAttest ===

impl SignedAttest {
    /// Verifies the signature over the bytes as received, then decodes them.
    ///
    /// Says nothing about freshness: compare [`Attest::extra_data`].
    ///
    /// # Errors
    ///
    /// [`AttestError`].
    pub fn verify(&self, ak: &AkPublic) -> Result<Attest, AttestError> {
        let signature = parse_signature(&self.signature).map_err(AttestError::SignatureFormat)?;
        ak.key()
            .verify(&self.message, &signature)
            .map_err(|cause| AttestError::Signature {
                ak: ak.name().clone(),
                cause,
            })?;
        Attest::parse(&self.message).map_err(AttestError::Message)
    }
}

/// Decodes a TPMT_SIGNATURE of ECDSA with SHA-256 into r ‖ s, 32 bytes each.
///
/// # Errors
///
/// [`StructureError`].
pub fn parse_signature(bytes: &[u8]) -> Result<[u8; 64], StructureError> {
    let mut reader = Reader::new("TPMT_SIGNATURE", bytes);
    reader.constant("sigAlg", ALG_ECDSA, "ECDSA (0x0018)")?;
    reader.constant("hash", HashAlg::Sha256.tpm_id(), "SHA-256 (0x000b)")?;
    let mut signature = [0; 64];
    for (half, field) in signature.chunks_mut(32).zip(["signatureR", "signatureS"]) {
        let number = reader.sized(field, 32)?;
        half.copy_from_slice(&padded(number).unwrap_or_default());
    }
    reader.end()?;
    Ok(signature)
}

// === impl Attest ===

impl Attest {
    /// Decodes a TPMS_ATTEST of a quote or of NV contents.
    ///
    /// Gives no trust: the signature is [`SignedAttest::verify`]'s business.
    ///
    /// # Errors
    ///
    /// [`StructureError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, StructureError> {
        let mut reader = Reader::new(STRUCTURE, bytes);
        if bytes.len() > MAX_BYTES {
            let found = format!("{} bytes", bytes.len());
            return Err(reader.unexpected("size", "at most 4096 bytes", found));
        }
        let magic = reader.u32("magic")?;
        if magic != GENERATED {
            let found = format!("{magic:#010x}");
            return Err(reader.unexpected("magic", "TPM_GENERATED_VALUE", found));
        }
        let kind = reader.u16("type")?;
        let qualified_signer = reader.sized("qualifiedSigner", NAME_BYTES)?.to_vec();
        let extra_data = reader.sized("extraData", NAME_BYTES)?.to_vec();
        let clock = ClockInfo {
            clock_ms: reader.u64("clock")?,
            reset_count: reader.u32("resetCount")?,
            restart_count: reader.u32("restartCount")?,
            safe: match reader.u8("safe")? {
                0 => false,
                1 => true,
                other => return Err(reader.unexpected("safe", "0 or 1", other.to_string())),
            },
        };
        let firmware_version = reader.u64("firmwareVersion")?;
        let attested = match kind {
            ST_ATTEST_QUOTE => Attested::Quote(quote(&mut reader)?),
            ST_ATTEST_NV => Attested::Nv(nv_contents(&mut reader)?),
            other => {
                let found = format!("{other:#06x}");
                return Err(reader.unexpected("type", "a quote or NV contents", found));
            }
        };
        reader.end()?;
        Ok(Self {
            qualified_signer,
            extra_data,
            clock,
            firmware_version,
            attested,
        })
    }
}

fn quote(reader: &mut Reader<'_>) -> Result<Quote, StructureError> {
    // One bank: a verdict speaks of one, and a second one would go unappraised.
    let banks = reader.u32("pcrSelect.count")?;
    if banks != 1 {
        return Err(reader.unexpected("pcrSelect.count", "one bank", banks.to_string()));
    }
    let id = reader.u16("pcrSelect.hash")?;
    let Some(bank) = HashAlg::from_tpm_id(id) else {
        return Err(reader.unexpected("pcrSelect.hash", "a hash known here", format!("{id:#06x}")));
    };
    let length = reader.u8("pcrSelect.sizeofSelect")?;
    let bitmap = reader.bytes("pcrSelect.pcrSelect", usize::from(length))?;
    let Some(selection) = PcrSelection::from_bitmap(bank, bitmap) else {
        let found = format!("{bitmap:02x?}");
        return Err(reader.unexpected("pcrSelect.pcrSelect", "PCR 0 to 23", found));
    };
    let digest = reader.sized("pcrDigest", HashAlg::Sha256.digest_bytes())?;
    let Ok(pcr_digest) = digest.try_into() else {
        return Err(reader.unexpected("pcrDigest", "32 bytes", digest.len().to_string()));
    };
    Ok(Quote {
        selection,
        pcr_digest,
    })
}

fn nv_contents(reader: &mut Reader<'_>) -> Result<NvContents, StructureError> {
    let name = reader.sized("indexName", NAME_BYTES)?;
    let Some(name) = TpmName::from_bytes(name) else {
        return Err(reader.unexpected("indexName", "a TPM name", format!("{} bytes", name.len())));
    };
    let offset = reader.u16("offset")?;
    let contents = reader.sized("nvContents", MAX_BYTES)?.to_vec();
    Ok(NvContents {
        name,
        offset,
        contents,
    })
}

#[cfg(test)]
mod tests;
