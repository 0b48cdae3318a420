//! Why the agent has no verdict: its verifier gave none, or its TPM did not sign one.
//!
//! What the agent says about that is not signed. It only ever adds words to a refusal that comes
//! anyway, so it need not be.

use crate::snapshot::Reason;
use crate::{Code, Refusal, Refusals};

/// The refusal of a launch for which there is no verdict but `reasons`; `None` without a reason.
///
/// First comes what the operator has to know first: that the host is in quarantine, that the
/// verdict is withheld, or that the agent gave it up because the host changed. No verifier finds
/// the last of itself.
pub(super) fn refusals(node: &str, reasons: &[Reason]) -> Option<Refusals> {
    let first = reasons.first()?;
    let mut refusals: Vec<Refusal> = reasons.iter().filter_map(refusal).collect();
    let heads = [
        Code::HostQuarantined,
        Code::TpmSessionsExhausted,
        Code::VerdictWithheld,
        Code::HostRebooted,
        Code::HostResumed,
        Code::PcrDrift,
    ];
    let head = heads
        .into_iter()
        .find_map(|code| refusals.iter().position(|refusal| refusal.code == code));
    let head = match head {
        Some(position) => refusals.remove(position),
        None => Refusal::new(
            Code::VerdictWithheld,
            format!("verdict of node {node}"),
            "one, of a host in an approved state",
            format!("none: {} {}", first.code, first.subject),
        ),
    };
    refusals.insert(0, head);
    Refusals::from_vec(refusals)
}

/// What to say of a verdict that is out of date while the agent cannot have a newer one signed: the
/// cause first, because attesting again does not help before it is gone.
pub(super) fn unrenewed(stale: Refusal, reasons: &[Reason]) -> Refusals {
    let cause = reasons
        .iter()
        .filter_map(refusal)
        .find(|cause| cause.code == Code::TpmSessionsExhausted)
        .filter(|_| stale.code == Code::VerdictExpired);
    let Some(cause) = cause else {
        return stale.into();
    };
    let mut refusals = Refusals::from(cause);
    refusals.push(stale);
    refusals
}

/// The reason as a refusal; `None` if a newer agent gave it a code that is not known here.
fn refusal(reason: &Reason) -> Option<Refusal> {
    Code::from_name(&reason.code)
        .map(|code| Refusal::new(code, &reason.subject, &reason.expected, &reason.found))
}
