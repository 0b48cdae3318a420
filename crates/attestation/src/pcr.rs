//! Platform configuration registers: index, bank, selection and values.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::hex;

/// Registers of one bank; a PC Client TPM has 24.
const COUNT: u8 = 24;

/// Index of a PCR, 0 to 23.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PcrIndex(u8);

/// A hash algorithm, which also names a bank of PCRs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HashAlg {
    /// SHA-1, 20 bytes. Only to name a bank; nothing is ever verified with it.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
    /// SHA-512, 64 bytes.
    Sha512,
}

/// Which PCRs of one bank a quote or a verdict covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PcrSelection {
    bank: HashAlg,
    bits: u32,
}

/// Values of PCRs of one bank, each as long as the bank's digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrValues {
    bank: HashAlg,
    values: BTreeMap<PcrIndex, Vec<u8>>,
}

/// A value that does not fit its bank.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot accept a value of {found_bytes} bytes for PCR {pcr} ({bank}), which has {expected_bytes}"
)]
pub struct PcrLength {
    /// The register.
    pub pcr: PcrIndex,
    /// The bank.
    pub bank: HashAlg,
    /// Size of the bank's digest in bytes.
    pub expected_bytes: usize,
    /// Size of the value in bytes.
    pub found_bytes: usize,
}

// === impl PcrIndex ===

impl PcrIndex {
    /// The register `index`; `None` above 23.
    #[must_use]
    pub const fn new(index: u8) -> Option<Self> {
        if index < COUNT {
            Some(Self(index))
        } else {
            None
        }
    }

    /// Reads decimal digits without sign or leading zero, as claims spell it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let index = Self::new(text.parse().ok()?)?;
        (index.to_string() == text).then_some(index)
    }

    /// The number, 0 to 23.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// All 24 registers, ascending.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..COUNT).map(Self)
    }
}

impl fmt::Display for PcrIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

// === impl HashAlg ===

impl HashAlg {
    /// Every algorithm known here.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name used in claims and configuration, such as `sha256`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Reads the name that [`HashAlg::as_str`] gives.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
    }

    /// The TPM's number for the algorithm.
    ///
    /// # Source
    ///
    /// TCG Algorithm Registry, "TPM_ALG_ID".
    #[must_use]
    pub const fn tpm_id(self) -> u16 {
        match self {
            Self::Sha1 => 0x0004,
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
            Self::Sha512 => 0x000d,
        }
    }

    /// The algorithm with the TPM's number `id`.
    #[must_use]
    pub fn from_tpm_id(id: u16) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.tpm_id() == id)
    }

    /// Size of a digest in bytes.
    #[must_use]
    pub const fn digest_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for HashAlg {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

// === impl PcrSelection ===

impl PcrSelection {
    /// The given registers of `bank`; order and repetition do not matter.
    #[must_use]
    pub fn new(bank: HashAlg, pcrs: impl IntoIterator<Item = PcrIndex>) -> Self {
        let bits = pcrs.into_iter().fold(0, |bits, pcr| bits | bit(pcr));
        Self { bank, bits }
    }

    /// Reads the TPM's bitmap, least significant bit of the first byte = PCR 0.
    ///
    /// `None` if the bitmap is longer than four bytes or names a register above 23.
    ///
    /// # Source
    ///
    /// TPM 2.0 Library, part 2, "TPMS_PCR_SELECTION".
    #[must_use]
    pub fn from_bitmap(bank: HashAlg, bitmap: &[u8]) -> Option<Self> {
        let mut bytes = [0; 4];
        bytes.get_mut(..bitmap.len())?.copy_from_slice(bitmap);
        let bits = u32::from_le_bytes(bytes);
        (bits >> COUNT == 0).then_some(Self { bank, bits })
    }

    /// The TPM's bitmap of three bytes.
    #[must_use]
    pub const fn bitmap(self) -> [u8; 3] {
        let [first, second, third, _] = self.bits.to_le_bytes();
        [first, second, third]
    }

    /// The bank.
    #[must_use]
    pub const fn bank(self) -> HashAlg {
        self.bank
    }

    /// Whether `pcr` is selected.
    #[must_use]
    pub const fn contains(self, pcr: PcrIndex) -> bool {
        self.bits & bit(pcr) != 0
    }

    /// The selected registers, ascending.
    pub fn iter(self) -> impl Iterator<Item = PcrIndex> {
        PcrIndex::all().filter(move |pcr| self.contains(*pcr))
    }

    /// Number of selected registers.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.bits.count_ones()
    }

    /// Whether no register is selected.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// Whether every register of `other`, which must be of the same bank, is selected here.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.bank == other.bank && other.bits & !self.bits == 0
    }
}

const fn bit(pcr: PcrIndex) -> u32 {
    1 << pcr.0
}

/// `0,1,7`, without the bank.
impl fmt::Display for PcrSelection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, pcr) in self.iter().enumerate() {
            if position > 0 {
                formatter.write_str(",")?;
            }
            pcr.fmt(formatter)?;
        }
        Ok(())
    }
}

// === impl PcrValues ===

impl PcrValues {
    /// No values yet.
    #[must_use]
    pub const fn new(bank: HashAlg) -> Self {
        Self {
            bank,
            values: BTreeMap::new(),
        }
    }

    /// Sets the value of `pcr`, replacing an earlier one.
    ///
    /// # Errors
    ///
    /// [`PcrLength`] if `value` is not as long as the bank's digest.
    pub fn insert(&mut self, pcr: PcrIndex, value: Vec<u8>) -> Result<(), PcrLength> {
        let expected_bytes = self.bank.digest_bytes();
        if value.len() != expected_bytes {
            let found_bytes = value.len();
            return Err(PcrLength {
                pcr,
                bank: self.bank,
                expected_bytes,
                found_bytes,
            });
        }
        self.values.insert(pcr, value);
        Ok(())
    }

    /// Takes out the value of `pcr`, if it is there.
    pub fn remove(&mut self, pcr: PcrIndex) {
        self.values.remove(&pcr);
    }

    /// The bank.
    #[must_use]
    pub const fn bank(&self) -> HashAlg {
        self.bank
    }

    /// The value of `pcr`, if it is there.
    #[must_use]
    pub fn value(&self, pcr: PcrIndex) -> Option<&[u8]> {
        self.values.get(&pcr).map(Vec::as_slice)
    }

    /// Registers and values, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (PcrIndex, &[u8])> {
        self.values
            .iter()
            .map(|(pcr, value)| (*pcr, value.as_slice()))
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The registers that have a value.
    #[must_use]
    pub fn selection(&self) -> PcrSelection {
        PcrSelection::new(self.bank, self.values.keys().copied())
    }

    /// SHA-256 over all values, concatenated in ascending order of index.
    ///
    /// A quote with an AK that hashes with SHA-256 over the same selection signs this value,
    /// whatever the bank.
    ///
    /// # Source
    ///
    /// TPM 2.0 Library, part 2, "TPMS_QUOTE_INFO".
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for value in self.values.values() {
            hash.update(value);
        }
        hash.finalize().into()
    }

    /// Reads `{"0": "<hex>", …}` as reference values and verdicts hold it.
    ///
    /// `None` if an index, a digit or a length is wrong.
    #[must_use]
    pub fn from_claim(
        bank: HashAlg,
        claim: &serde_json::Map<String, serde_json::Value>,
    ) -> Option<Self> {
        let mut values = Self::new(bank);
        for (index, value) in claim {
            values
                .insert(PcrIndex::parse(index)?, hex::decode(value.as_str()?)?)
                .ok()?;
        }
        Some(values)
    }

    /// Writes `{"0": "<hex>", …}`.
    #[must_use]
    pub fn to_claim(&self) -> serde_json::Map<String, serde_json::Value> {
        self.iter()
            .map(|(pcr, value)| (pcr.to_string(), hex::encode(value).into()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn pcr(index: u8) -> PcrIndex {
        PcrIndex::new(index).expect("0 to 23")
    }

    #[test]
    fn index_23_is_the_last() {
        assert!(PcrIndex::new(23).is_some());
        assert!(PcrIndex::new(24).is_none());
    }

    #[test]
    fn an_index_has_one_spelling() {
        assert_eq!(PcrIndex::parse("7"), Some(pcr(7)));
        for text in ["07", "+7", "-0", "24", "", " 7", "7.0"] {
            assert_eq!(PcrIndex::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_bitmap_reads_back() {
        let selection = PcrSelection::new(HashAlg::Sha256, [pcr(14), pcr(0), pcr(8)]);
        assert_eq!(selection.bitmap(), [0x01, 0x41, 0x00]);
        assert_eq!(selection.to_string(), "0,8,14");
        assert_eq!(
            PcrSelection::from_bitmap(HashAlg::Sha256, &[0x01, 0x41]),
            Some(selection)
        );
        assert_eq!(
            PcrSelection::from_bitmap(HashAlg::Sha256, &[1, 0x41, 0, 0]),
            Some(selection)
        );
    }

    #[test]
    fn a_bitmap_beyond_pcr_23_is_refused() {
        assert!(PcrSelection::from_bitmap(HashAlg::Sha256, &[0, 0, 0x80]).is_some());
        assert!(PcrSelection::from_bitmap(HashAlg::Sha256, &[0, 0, 0, 1]).is_none());
        assert!(PcrSelection::from_bitmap(HashAlg::Sha256, &[0; 5]).is_none());
    }

    #[test]
    fn a_selection_covers_only_the_same_bank() {
        let wide = PcrSelection::new(HashAlg::Sha256, [pcr(0), pcr(7)]);
        let narrow = PcrSelection::new(HashAlg::Sha256, [pcr(7)]);
        assert!(wide.covers(narrow) && wide.covers(wide));
        assert!(!narrow.covers(wide));
        assert!(!wide.covers(PcrSelection::new(HashAlg::Sha384, [pcr(7)])));
    }

    #[test]
    fn a_value_of_the_wrong_length_is_refused() {
        let mut values = PcrValues::new(HashAlg::Sha256);
        values.insert(pcr(0), vec![0; 32]).expect("32 bytes");
        let refused = values.insert(pcr(1), vec![0; 31]).expect_err("31 bytes");
        assert_eq!(
            refused.to_string(),
            "cannot accept a value of 31 bytes for PCR 1 (sha256), which has 32"
        );
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_insertion() {
        let mut one = PcrValues::new(HashAlg::Sha256);
        let mut other = one.clone();
        for index in [3, 1, 2] {
            one.insert(pcr(index), vec![index; 32]).expect("32 bytes");
        }
        for index in [1, 2, 3] {
            other.insert(pcr(index), vec![index; 32]).expect("32 bytes");
        }
        assert_eq!(one.digest(), other.digest());
    }

    #[test]
    fn a_claim_with_a_wrong_index_digit_or_length_is_refused() {
        let value = "ab".repeat(32);
        let reads = |claim: serde_json::Value| {
            PcrValues::from_claim(HashAlg::Sha256, claim.as_object().expect("object"))
        };
        assert!(reads(json!({"0": value, "23": value})).is_some());
        assert_eq!(reads(json!({"24": value})), None);
        assert_eq!(reads(json!({"00": value})), None);
        assert_eq!(reads(json!({"0": value.to_uppercase()})), None);
        assert_eq!(reads(json!({"0": "ab".repeat(31)})), None);
        assert_eq!(reads(json!({"0": 5})), None);
    }

    proptest! {
        #[test]
        fn a_claim_reads_back(indices in prop::collection::btree_set(0_u8..24, 0..24)) {
            let mut values = PcrValues::new(HashAlg::Sha384);
            for index in &indices {
                values.insert(pcr(*index), vec![*index; 48]).expect("48 bytes");
            }
            prop_assert_eq!(values.selection().count() as usize, indices.len());
            prop_assert_eq!(PcrValues::from_claim(HashAlg::Sha384, &values.to_claim()), Some(values));
        }
    }
}
