//! AR4SI: what a verdict says about each aspect of a host, and what tier that is.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// How far a statement goes, by the letter of EAR and AR4SI.
///
/// There is no order on purpose: `None` means *nothing could be said*, so no comparison may take
/// it for trust. Ask [`TrustTier::is_affirming`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrustTier {
    /// Nothing could be said: no claim, a malfunction, or unexpected evidence.
    None,
    /// The verifier vouches for it.
    Affirming,
    /// The verifier warns.
    Warning,
    /// The verifier speaks against it.
    Contraindicated,
}

/// An aspect that AR4SI speaks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// Is this the host it says it is?
    InstanceIdentity,
    /// Is its configuration approved?
    Configuration,
    /// Are the programs it booted and runs approved?
    Executables,
    /// Is its file system as expected?
    FileSystem,
    /// Is its hardware genuine?
    Hardware,
    /// Is memory hidden from outside the environment? A TPM cannot know.
    RuntimeOpaque,
    /// Is stored data hidden from others?
    StorageOpaque,
    /// Is the data it works on from a good source? A TPM cannot know.
    SourcedData,
}

/// Value of one claim, -128 to 127; which tier it is follows from ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimValue(i8);

/// The claims of one appraisal. A claim that is absent says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustVector(BTreeMap<Claim, ClaimValue>);

// === impl TrustTier ===

impl TrustTier {
    /// All tiers.
    pub const ALL: [Self; 4] = [
        Self::None,
        Self::Affirming,
        Self::Warning,
        Self::Contraindicated,
    ];

    /// The name in JSON claims.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Affirming => "affirming",
            Self::Warning => "warning",
            Self::Contraindicated => "contraindicated",
        }
    }

    /// Reads the name in JSON claims.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == text)
    }

    /// Whether the verifier vouches. The only test of trust.
    #[must_use]
    pub const fn is_affirming(self) -> bool {
        matches!(self, Self::Affirming)
    }

    /// The more cautious of two: contraindicated before warning before none before affirming.
    #[must_use]
    pub const fn worse(self, other: Self) -> Self {
        if self.caution() >= other.caution() {
            self
        } else {
            other
        }
    }

    /// Whether this tier promises more than `other`. `None` promises nothing.
    #[must_use]
    pub const fn is_better_than(self, other: Self) -> bool {
        !matches!(self, Self::None) && self.caution() < other.caution()
    }

    const fn caution(self) -> u8 {
        match self {
            Self::Affirming => 0,
            Self::None => 1,
            Self::Warning => 2,
            Self::Contraindicated => 3,
        }
    }
}

impl fmt::Display for TrustTier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

// === impl Claim ===

impl Claim {
    /// All claims, in AR4SI's order.
    pub const ALL: [Self; 8] = [
        Self::InstanceIdentity,
        Self::Configuration,
        Self::Executables,
        Self::FileSystem,
        Self::Hardware,
        Self::RuntimeOpaque,
        Self::StorageOpaque,
        Self::SourcedData,
    ];

    /// The name in a trust vector.
    ///
    /// # Source
    ///
    /// draft-ietf-rats-ar4si, "Trustworthiness Claims".
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InstanceIdentity => "instance-identity",
            Self::Configuration => "configuration",
            Self::Executables => "executables",
            Self::FileSystem => "file-system",
            Self::Hardware => "hardware",
            Self::RuntimeOpaque => "runtime-opaque",
            Self::StorageOpaque => "storage-opaque",
            Self::SourcedData => "sourced-data",
        }
    }

    /// Reads the name in a trust vector.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|claim| claim.as_str() == text)
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

// === impl ClaimValue ===

impl ClaimValue {
    /// Genuine, recognised, approved: the plain affirming value of every claim.
    pub const APPROVED: Self = Self(2);
    /// Executables: what booted is approved, run time was not appraised.
    pub const BOOT_APPROVED: Self = Self(3);
    /// Executables: what booted is approved, something that ran since is not known.
    pub const UNRECOGNIZED_RUNTIME: Self = Self(33);
    /// Executables: what booted is not approved.
    pub const UNSUPPORTABLE: Self = Self(96);
    /// Instance identity: nobody endorsed this TPM.
    pub const UNRECOGNIZED: Self = Self(97);
    /// Any claim: a signature or hash did not verify.
    pub const CRYPTO_FAILED: Self = Self(99);

    /// Any value.
    #[must_use]
    pub const fn new(value: i8) -> Self {
        Self(value)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i8 {
        self.0
    }

    /// The tier whose range the value is in.
    ///
    /// # Source
    ///
    /// draft-ietf-rats-ar4si, "Trustworthiness Tiers".
    #[must_use]
    pub const fn tier(self) -> TrustTier {
        match self.0 {
            -1..=1 => TrustTier::None,
            2..=31 | -32..=-2 => TrustTier::Affirming,
            32..=95 | -96..=-33 => TrustTier::Warning,
            96..=127 | -128..=-97 => TrustTier::Contraindicated,
        }
    }
}

// === impl TrustVector ===

impl TrustVector {
    /// Sets a claim, replacing an earlier value.
    pub fn set(&mut self, claim: Claim, value: ClaimValue) {
        self.0.insert(claim, value);
    }

    /// The value of a claim, if it is there.
    #[must_use]
    pub fn value(&self, claim: Claim) -> Option<ClaimValue> {
        self.0.get(&claim).copied()
    }

    /// The tier of a claim; `None` if it is absent.
    #[must_use]
    pub fn tier(&self, claim: Claim) -> TrustTier {
        self.value(claim).map_or(TrustTier::None, ClaimValue::tier)
    }

    /// Claims and values, in AR4SI's order.
    pub fn iter(&self) -> impl Iterator<Item = (Claim, ClaimValue)> {
        self.0.iter().map(|(claim, value)| (*claim, *value))
    }

    /// The most cautious tier of all claims; `None` for an empty vector.
    #[must_use]
    pub fn worst(&self) -> TrustTier {
        self.0
            .values()
            .map(|value| value.tier())
            .reduce(TrustTier::worse)
            .unwrap_or(TrustTier::None)
    }

    /// The vector without what a TPM attester cannot support.
    ///
    /// Runtime-opaque and sourced-data do not apply to a TPM and go altogether; an affirmation of
    /// the file system goes, while a complaint about it stays.
    ///
    /// # Source
    ///
    /// draft-ietf-rats-ar4si, table of claims by attester type.
    #[must_use]
    pub fn pruned(&self) -> Self {
        let supported = |(claim, value): &(Claim, ClaimValue)| match claim {
            Claim::RuntimeOpaque | Claim::SourcedData => false,
            Claim::FileSystem => !value.tier().is_affirming(),
            _ => true,
        };
        Self(self.iter().filter(supported).collect())
    }

    /// Reads `{"executables": 3, …}`.
    ///
    /// `None` if a name is unknown (a claim that is not understood cannot be weighed) or a value
    /// is not a whole number from -128 to 127.
    #[must_use]
    pub fn from_claim(claim: &Map<String, Value>) -> Option<Self> {
        let mut vector = Self::default();
        for (name, value) in claim {
            let value = i8::try_from(value.as_i64()?).ok()?;
            vector.set(Claim::parse(name)?, ClaimValue(value));
        }
        Some(vector)
    }

    /// Writes `{"executables": 3, …}`.
    #[must_use]
    pub fn to_claim(&self) -> Map<String, Value> {
        self.iter()
            .map(|(claim, value)| (claim.as_str().to_owned(), value.0.into()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn vector(claims: &Value) -> Option<TrustVector> {
        TrustVector::from_claim(claims.as_object().expect("object"))
    }

    /// draft-ietf-rats-ar4si, "Trustworthiness Tiers": four tiers in seven ranges that leave no
    /// value out and none in two.
    #[test]
    fn every_value_has_exactly_the_tier_of_its_range() {
        let ranges = [
            (-128..=-97, TrustTier::Contraindicated),
            (-96..=-33, TrustTier::Warning),
            (-32..=-2, TrustTier::Affirming),
            (-1..=1, TrustTier::None),
            (2..=31, TrustTier::Affirming),
            (32..=95, TrustTier::Warning),
            (96..=127, TrustTier::Contraindicated),
        ];
        let mut seen = 0;
        for (range, tier) in ranges {
            for value in range {
                assert_eq!(ClaimValue::new(value).tier(), tier, "{value}");
                seen += 1;
            }
        }
        assert_eq!(seen, 256, "each value once");
    }

    /// The values with a meaning of their own in the draft's sections on the claims.
    #[test]
    fn the_values_used_here_have_the_tier_the_draft_gives_them() {
        for (value, number, tier) in [
            (ClaimValue::APPROVED, 2, TrustTier::Affirming),
            (ClaimValue::BOOT_APPROVED, 3, TrustTier::Affirming),
            (ClaimValue::UNRECOGNIZED_RUNTIME, 33, TrustTier::Warning),
            (ClaimValue::UNSUPPORTABLE, 96, TrustTier::Contraindicated),
            (ClaimValue::UNRECOGNIZED, 97, TrustTier::Contraindicated),
            (ClaimValue::CRYPTO_FAILED, 99, TrustTier::Contraindicated),
        ] {
            assert_eq!((value.get(), value.tier()), (number, tier));
        }
    }

    #[test]
    fn none_is_not_trust() {
        assert!(!TrustTier::None.is_affirming());
        assert_eq!(TrustTier::None.worse(TrustTier::Affirming), TrustTier::None);
        assert!(TrustTier::Affirming.is_better_than(TrustTier::None));
        for tier in TrustTier::ALL {
            assert!(
                !TrustTier::None.is_better_than(tier),
                "none promises more than {tier}"
            );
        }
        assert_eq!(TrustVector::default().worst(), TrustTier::None);
        assert_eq!(
            TrustVector::default().tier(Claim::Hardware),
            TrustTier::None
        );
    }

    #[test]
    fn the_worst_claim_decides() {
        let mixed = vector(&json!({"executables": 3, "hardware": 32, "configuration": 0}));
        assert_eq!(mixed.expect("valid").worst(), TrustTier::Warning);
    }

    #[test]
    fn a_vector_that_cannot_be_weighed_is_refused() {
        assert!(vector(&json!({"executables": 127, "hardware": -128})).is_some());
        assert_eq!(vector(&json!({"executables": 128})), None);
        assert_eq!(vector(&json!({"executables": -129})), None);
        assert_eq!(vector(&json!({"executables": 2.0})), None);
        assert_eq!(vector(&json!({"executables": "2"})), None);
        assert_eq!(vector(&json!({"Executables": 2})), None);
        assert_eq!(vector(&json!({"vibes": 2})), None);
    }

    #[test]
    fn what_a_tpm_cannot_support_is_pruned() {
        let full = vector(&json!({
            "runtime-opaque": 96, "sourced-data": 2, "file-system": 2, "executables": 96
        }));
        let pruned = full.expect("valid").pruned();
        assert_eq!(
            pruned.iter().collect::<Vec<_>>(),
            [(Claim::Executables, ClaimValue(96))]
        );
    }

    #[test]
    fn pruning_keeps_a_complaint_about_the_file_system() {
        let pruned = vector(&json!({"file-system": 96})).expect("valid").pruned();
        assert_eq!(pruned.worst(), TrustTier::Contraindicated);
    }

    proptest! {
        #[test]
        fn a_vector_reads_back(values in prop::collection::btree_map(0_usize..8, any::<i8>(), 0..8)) {
            let mut vector = TrustVector::default();
            for (index, value) in values {
                vector.set(Claim::ALL[index], ClaimValue(value));
            }
            prop_assert_eq!(TrustVector::from_claim(&vector.to_claim()), Some(vector));
        }

        #[test]
        fn the_worst_is_one_of_the_claims_and_none_is_worse(values in prop::collection::btree_map(0_usize..8, any::<i8>(), 1..8)) {
            let mut vector = TrustVector::default();
            for (index, value) in values {
                vector.set(Claim::ALL[index], ClaimValue(value));
            }
            let rank = |tier| [TrustTier::Affirming, TrustTier::None, TrustTier::Warning, TrustTier::Contraindicated]
                .iter()
                .position(|one| *one == tier);
            let tiers: Vec<_> = vector.iter().map(|(_, value)| value.tier()).collect();
            prop_assert!(tiers.contains(&vector.worst()));
            for tier in tiers {
                prop_assert!(rank(tier) <= rank(vector.worst()));
            }
        }

        #[test]
        fn pruning_never_adds_and_never_drops_a_supported_complaint(values in prop::collection::btree_map(0_usize..8, any::<i8>(), 0..8)) {
            let mut vector = TrustVector::default();
            for (index, value) in values {
                vector.set(Claim::ALL[index], ClaimValue(value));
            }
            let pruned = vector.pruned();
            for (claim, value) in vector.iter() {
                let kept = pruned.value(claim);
                prop_assert!(
                    kept.is_none() || !matches!(claim, Claim::RuntimeOpaque | Claim::SourcedData)
                );
                prop_assert!(kept.is_none() || kept == Some(value));
                if !matches!(claim, Claim::RuntimeOpaque | Claim::SourcedData)
                    && value.tier() == TrustTier::Contraindicated
                {
                    prop_assert_eq!(kept, Some(value));
                }
            }
        }
    }
}
