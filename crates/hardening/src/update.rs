//! New resource limits for a running container.

use portcullis_gate::Refusals;
use serde_json::{Map, Value};

use crate::baseline::Baseline;
use crate::change::Change;

/// Resources within the bounds of their container.
#[derive(Debug, Clone, PartialEq)]
pub struct ClampedUpdate {
    /// The `linux.resources` object to give to the runtime.
    pub resources: Map<String, Value>,
    /// What was edited.
    pub changes: Vec<Change>,
}

/// Clamps an update of resources to the ceilings of its container.
///
/// # Errors
///
/// What would loosen the container.
pub fn clamp_update(
    _resources_json: &[u8],
    _baseline: &Baseline,
) -> Result<ClampedUpdate, Refusals> {
    Err(portcullis_gate::Refusal::new(portcullis_gate::Code::UpdateDenied, "x", "x", "x").into())
}
