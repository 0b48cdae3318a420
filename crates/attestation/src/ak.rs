//! The attestation key's public area.

use crate::jwk::PublicKey;
use crate::pcr::HashAlg;
use crate::tpm_name::TpmName;
use crate::wire::{Reader, StructureError, padded};

const ALG_ECC: u16 = 0x0023;
const ALG_NULL: u16 = 0x0010;
const ALG_ECDSA: u16 = 0x0018;
const CURVE_P256: u16 = 0x0003;

/// fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign: the private half was made in
/// this TPM and cannot leave it, and it signs only what the TPM itself made.
const REQUIRED: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 18;
/// decrypt: a key that also decrypts is a storage key.
const FORBIDDEN: u32 = 1 << 17;

/// Public half of a restricted ECDSA key on P-256 that lives in one TPM.
///
/// Says only that *if* a TPM holds the private half, it keeps these promises. That a genuine TPM
/// does is what an endorsement in the reference values says about [`AkPublic::name`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AkPublic {
    key: PublicKey,
    name: TpmName,
}

// === impl AkPublic ===

impl AkPublic {
    /// Decodes a TPM2B_PUBLIC.
    ///
    /// # Errors
    ///
    /// [`StructureError`], also if the key could be exported, could sign data from outside the
    /// TPM, or was not made inside it.
    ///
    /// # Source
    ///
    /// TPM 2.0 Library, part 2, "TPMT_PUBLIC", "TPMA_OBJECT", "TPMS_ECC_PARMS".
    pub fn parse(bytes: &[u8]) -> Result<Self, StructureError> {
        let mut outer = Reader::new("TPM2B_PUBLIC", bytes);
        let area = outer.sized("publicArea", bytes.len())?;
        outer.end()?;

        let mut reader = Reader::new("TPMT_PUBLIC", area);
        reader.constant("type", ALG_ECC, "ECC (0x0023)")?;
        reader.constant("nameAlg", HashAlg::Sha256.tpm_id(), "SHA-256 (0x000b)")?;
        let attributes = reader.u32("objectAttributes")?;
        if attributes & REQUIRED != REQUIRED || attributes & FORBIDDEN != 0 {
            let expected = "fixedTPM, fixedParent, sensitiveDataOrigin, restricted and sign, \
                            without decrypt";
            let found = format!("{attributes:#010x}");
            return Err(reader.unexpected("objectAttributes", expected, found));
        }
        reader.sized("authPolicy", 64)?;
        reader.constant("symmetric", ALG_NULL, "none (0x0010)")?;
        reader.constant("scheme", ALG_ECDSA, "ECDSA (0x0018)")?;
        reader.constant(
            "scheme.hashAlg",
            HashAlg::Sha256.tpm_id(),
            "SHA-256 (0x000b)",
        )?;
        reader.constant("curveID", CURVE_P256, "P-256 (0x0003)")?;
        reader.constant("kdf", ALG_NULL, "none (0x0010)")?;
        let x = padded(reader.sized("unique.x", 32)?);
        let y = padded(reader.sized("unique.y", 32)?);
        let key = x
            .zip(y)
            .and_then(|(x, y)| PublicKey::from_coordinates(x, y));
        let Some(key) = key else {
            let found = "a point off the curve".to_owned();
            return Err(reader.unexpected("unique", "a point on P-256", found));
        };
        reader.end()?;
        let Some(name) = TpmName::of_public_area(HashAlg::Sha256, area) else {
            return Err(Reader::new("TPMT_PUBLIC", area).unexpected(
                "nameAlg",
                "SHA-256 (0x000b)",
                "another".to_owned(),
            ));
        };
        Ok(Self { key, name })
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The key's TPM name.
    #[must_use]
    pub const fn name(&self) -> &TpmName {
        &self.name
    }
}

#[cfg(test)]
mod tests;
