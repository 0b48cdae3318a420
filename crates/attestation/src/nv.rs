//! An NV index's public area: what the index is and who may write it.

use crate::pcr::HashAlg;
use crate::tpm_name::TpmName;
use crate::wire::{Reader, StructureError};

/// TPMA_NV_WRITTEN: the index was written at least once. Part of the name.
const WRITTEN: u32 = 1 << 29;

/// A decoded TPM2B_NV_PUBLIC.
///
/// # Source
///
/// TPM 2.0 Library, part 2, "TPMS_NV_PUBLIC".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvPublic {
    /// The index.
    pub index: u32,
    /// Its attributes, as the TPM numbers them.
    pub attributes: u32,
    /// Size of its contents in bytes.
    pub size_bytes: u16,
    name: TpmName,
}

// === impl NvPublic ===

impl NvPublic {
    /// Decodes a TPM2B_NV_PUBLIC, as TPM2_NV_ReadPublic returns it.
    ///
    /// # Errors
    ///
    /// [`StructureError`], also for an index whose name is a SHA-1.
    pub fn parse(bytes: &[u8]) -> Result<Self, StructureError> {
        let mut outer = Reader::new("TPM2B_NV_PUBLIC", bytes);
        let area = outer.sized("nvPublic", bytes.len())?;
        outer.end()?;

        let mut reader = Reader::new("TPMS_NV_PUBLIC", area);
        let index = reader.u32("nvIndex")?;
        let id = reader.u16("nameAlg")?;
        let name = HashAlg::from_tpm_id(id)
            .and_then(|algorithm| TpmName::of_public_area(algorithm, area))
            .ok_or_else(|| {
                reader.unexpected("nameAlg", "SHA-256 or stronger", format!("{id:#06x}"))
            })?;
        let attributes = reader.u32("attributes")?;
        reader.sized("authPolicy", 64)?;
        let size_bytes = reader.u16("dataSize")?;
        reader.end()?;
        Ok(Self {
            index,
            attributes,
            size_bytes,
            name,
        })
    }

    /// The name, which covers index, attributes, policy and size.
    #[must_use]
    pub const fn name(&self) -> &TpmName {
        &self.name
    }

    /// Whether the index was ever written.
    #[must_use]
    pub const fn is_written(&self) -> bool {
        self.attributes & WRITTEN != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::sized;
    use crate::hex;
    use proptest::prelude::*;

    /// Index 0x01c10110, SHA-256, attributes 0x22060008, no policy, 48 bytes.
    const PUBLIC: &str = "000e01c10110000b2206000800000030";

    #[test]
    fn reads_the_asset_tag_index() {
        let public = NvPublic::parse(&hex::decode(PUBLIC).expect("hex")).expect("valid");
        assert_eq!((public.index, public.size_bytes), (0x01c1_0110, 48));
        assert!(public.is_written());
    }

    #[test]
    fn attributes_are_part_of_the_name() {
        let written = NvPublic::parse(&hex::decode(PUBLIC).expect("hex")).expect("valid");
        let unwritten = PUBLIC.replace("2206", "0206");
        let unwritten = NvPublic::parse(&hex::decode(&unwritten).expect("hex")).expect("valid");
        assert!(!unwritten.is_written());
        assert_ne!(written.name(), unwritten.name());
    }

    #[test]
    fn refuses_a_name_by_sha_1_and_every_cut() {
        let sha1 = hex::decode(&PUBLIC.replace("000b", "0004")).expect("hex");
        NvPublic::parse(&sha1).expect_err("SHA-1");
        let whole = hex::decode(PUBLIC).expect("hex");
        for length in 0..whole.len() {
            NvPublic::parse(&whole[..length]).expect_err("cut");
        }
        NvPublic::parse(&[&whole[..], &[0]].concat()).expect_err("longer");
        NvPublic::parse(&sized(&[&whole[2..], &[0]].concat())).expect_err("longer inside");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(public) = NvPublic::parse(&bytes) {
                prop_assert_eq!(&public.index.to_be_bytes(), &bytes[2..6]);
            }
        }
    }
}
