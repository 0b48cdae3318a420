//! The two spellings of EAR claims.

use serde_json::{Map, Value};

/// Which draft's claim names a token uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// draft-ietf-rats-ear-04: `ear_status`.
    Draft04,
    /// Before that draft: `ear.status`, as Veraison and Trustee still issue it.
    Dotted,
}

/// Claim names of one dialect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    pub(super) profile: &'static str,
    pub(super) verifier_id: &'static str,
    pub(super) status: &'static str,
    pub(super) vector: &'static str,
    pub(super) policy: &'static str,
    pub(super) attester_claims: &'static str,
    pub(super) verifier_claims: &'static str,
}

const DRAFT_04: Names = Names {
    profile: "tag:ietf.org,2026:rats/ear#04",
    verifier_id: "ear_verifier_id",
    status: "ear_status",
    vector: "ear_trustworthiness_vector",
    policy: "ear_appraisal_policy_ids",
    attester_claims: "ear_attester_claims",
    verifier_claims: "ear_verifier_claims",
};

const DOTTED: Names = Names {
    profile: "tag:github.com,2023:veraison/ear",
    verifier_id: "ear.verifier-id",
    status: "ear.status",
    vector: "ear.trustworthiness-vector",
    policy: "ear.appraisal-policy-id",
    attester_claims: "ear.veraison.annotated-evidence",
    verifier_claims: "ear.veraison.policy-claims",
};

/// Claims that are spelled differently and not read here; they still betray a mixture.
const UNREAD: [&str; 3] = [
    "ear_raw_evidence",
    "ear.raw-evidence",
    "ear_device_topology",
];

// === impl Dialect ===

impl Dialect {
    /// Both dialects.
    pub const ALL: [Self; 2] = [Self::Draft04, Self::Dotted];

    /// The value of the top-level claim `eat_profile`.
    #[must_use]
    pub const fn profile(self) -> &'static str {
        self.names().profile
    }

    pub(super) fn of_profile(profile: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|dialect| dialect.profile() == profile)
    }

    pub(super) const fn names(self) -> Names {
        match self {
            Self::Draft04 => DRAFT_04,
            Self::Dotted => DOTTED,
        }
    }

    /// A claim in `members` that belongs to the other dialect.
    pub(super) fn intruder(self, members: &Map<String, Value>) -> Option<&'static str> {
        let (other, prefix) = match self {
            Self::Draft04 => (DOTTED, "ear."),
            Self::Dotted => (DRAFT_04, "ear_"),
        };
        let known = other
            .all()
            .into_iter()
            .chain(UNREAD)
            .find(|name| name.starts_with(prefix) && members.contains_key(*name));
        known.or_else(|| {
            members
                .keys()
                .any(|name| name.starts_with(prefix))
                .then_some(prefix)
        })
    }
}

// === impl Names ===

impl Names {
    const fn all(self) -> [&'static str; 6] {
        [
            self.verifier_id,
            self.status,
            self.vector,
            self.policy,
            self.attester_claims,
            self.verifier_claims,
        ]
    }
}
