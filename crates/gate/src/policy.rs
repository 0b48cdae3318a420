//! The relying party's rules about verdicts and tags, merged for one launch.

use std::time::Duration;

use portcullis_attestation::pcr::PcrSelection;
use portcullis_attestation::trust::Claim;

use crate::Requirement;

/// What a node asks of its verdict and its tags before it starts anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchPolicy {
    /// Oldest verdict that is accepted, counted from its issue. Whole seconds count.
    pub max_verdict_age: Duration,
    /// How far the verifier's clock may run ahead of this one. Whole seconds count.
    pub clock_skew: Duration,
    /// Bank and PCRs that a verdict must be about, at least.
    pub pcrs: PcrSelection,
    /// Claims of the trust vector that must be affirming.
    pub required: Vec<Claim>,
    /// Whether a host whose TPM has no boot fuse starts nothing. One that has a fuse is held to it
    /// in any case.
    pub boot_fuse: bool,
    /// What the node policy asks of the host's tags.
    pub require_tags: Requirement,
    /// What the policies of the namespace ask of the host's tags; all of them must be met.
    pub namespace_require_tags: Vec<NamespaceDemand>,
}

/// The tag requirement of one namespace policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceDemand {
    /// The policy's name pattern, for the refusal.
    pub pattern: String,
    /// What it asks.
    pub requirement: Requirement,
}
