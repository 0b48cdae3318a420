//! Whether the host is still as a verdict says, without a launch that would ask.

use portcullis_attestation::verdict::HostVerdict;

use super::{boot, pcrs, tag};
use crate::{LiveState, Refusal};

/// What differs between the host of `verdict` and a live reading of it: that of which every launch
/// is refused, in the same words. Empty if the verdict still holds.
///
/// In another boot nothing else is compared, as in a launch. Age, signature and node policy are not
/// looked at, nor is the tag's document: they do not come out of the TPM.
pub fn drift(node: &str, verdict: &HostVerdict, live: &LiveState) -> Vec<Refusal> {
    if let Some(refusal) = boot::live_refusal(node, verdict, live) {
        return vec![refusal];
    }
    let mut differences = pcrs::refusals(node, &verdict.pcrs, &live.pcrs);
    differences.extend(tag::slot_refusal(verdict.tag.as_ref(), live.tag.as_ref()));
    differences
}
