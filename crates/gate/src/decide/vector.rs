//! Whether the verdict says enough good, and nothing bad, about the host.

use portcullis_attestation::trust::TrustTier;
use portcullis_attestation::verdict::Verdict;

use crate::{Code, LaunchPolicy, Refusal};

/// Compares the trust vector with what the node policy requires.
///
/// Claims that a TPM cannot support are pruned first. Anything contraindicated refuses, asked for
/// or not; a claim that is asked for must be affirming, and an absent one is not.
pub(super) fn refusals(policy: &LaunchPolicy, verdict: &Verdict) -> Vec<Refusal> {
    let vector = verdict.host.vector.pruned();
    let mut refusals: Vec<Refusal> = vector
        .iter()
        .filter(|(_, value)| value.tier() == TrustTier::Contraindicated)
        .map(|(claim, value)| {
            Refusal::new(
                Code::VectorContraindicated,
                format!("claim '{claim}' of the verdict"),
                "not contraindicated",
                format!("contraindicated ({})", value.get()),
            )
        })
        .collect();
    for claim in policy.required.iter().copied() {
        let tier = vector.tier(claim);
        if tier.is_affirming() || tier == TrustTier::Contraindicated {
            continue;
        }
        let found = vector.value(claim).map_or_else(
            || "absent".to_owned(),
            |value| format!("{tier} ({})", value.get()),
        );
        refusals.push(Refusal::new(
            Code::VectorWarning,
            format!("claim '{claim}' of the verdict"),
            "affirming",
            found,
        ));
    }
    if refusals.is_empty() {
        refusals.extend(unexplained(verdict));
    }
    refusals
}

/// A status that is less than affirming where no claim says why: a verifier may think less of the
/// whole, or of another part, than of the host's claims. A warning that comes from a claim which
/// the node policy does not require is explained by it.
fn unexplained(verdict: &Verdict) -> Option<Refusal> {
    let warned = verdict.host.vector.worst() == TrustTier::Warning;
    let parts = [
        ("verdict", verdict.status),
        ("host in the verdict", verdict.host.status),
    ];
    parts.into_iter().find_map(|(part, status)| {
        let code = match status {
            TrustTier::Affirming => return None,
            TrustTier::Warning if warned => return None,
            TrustTier::Warning | TrustTier::None => Code::VectorWarning,
            TrustTier::Contraindicated => Code::VectorContraindicated,
        };
        let subject = format!("status of the {part}");
        Some(Refusal::new(code, subject, "affirming", status.to_string()))
    })
}
