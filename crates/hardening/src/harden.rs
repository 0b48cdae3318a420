//! Hardening of a whole configuration.

use portcullis_gate::{Code, Refusal, Refusals};

use crate::baseline::Baseline;
use crate::change::Change;
use crate::facts::HostFacts;
use crate::oci_config::OciConfig;
use crate::profile::Profile;
use crate::relaxation::Relaxations;

/// A configuration that may start.
#[derive(Debug, Clone, PartialEq)]
pub struct Hardened {
    /// What to give to the runtime.
    pub config: OciConfig,
    /// What was edited, in the order of the fields.
    pub changes: Vec<Change>,
    /// The bounds of later requests.
    pub baseline: Baseline,
}

/// Hardens `config` as `profile` says.
///
/// Never adds a right, and changes nothing in a configuration that it returned before. Does not
/// look at the host: `facts` must have been gathered for this very configuration.
///
/// # Errors
///
/// Everything that was asked for and is not allowed, the most telling reason first.
pub fn harden(
    _config: OciConfig,
    _profile: &Profile,
    _facts: &HostFacts,
    _relaxations: &Relaxations,
) -> Result<Hardened, Refusals> {
    Err(Refusal::new(Code::OciFieldDenied, "x", "x", "x").into())
}
