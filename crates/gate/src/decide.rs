//! The decision itself: pinned keys, node policy and a snapshot in, permitted or not out.

use portcullis_attestation::jwk::TrustedKeys;

use crate::{
    Code, Decision, LaunchPolicy, LaunchRequest, Moment, Refusal, Refusals, Snapshot, Unavailable,
};

/// Decides one launch.
///
/// `snapshot` is the agent's answer, or why there is none.
pub fn decide(
    policy: &LaunchPolicy,
    keys: &TrustedKeys,
    request: &LaunchRequest,
    snapshot: Result<&Snapshot, &Unavailable>,
    moment: &Moment,
) -> Decision {
    let _ = (policy, keys, moment);
    match snapshot {
        Err(unavailable) => Decision::from(Refusals::from(unavailable.refusal())),
        Ok(_) => Decision::from(Refusals::from(Refusal::new(
            Code::VerdictMissing,
            format!("verdict of node {}", crate::quote(&request.node)),
            "one",
            "none",
        ))),
    }
}
