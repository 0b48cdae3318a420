//! What becomes of an opinion of Keylime's and of our own appraisal: a verdict, or none.
//!
//! Keylime says whether a node's boot and run time are as its policies want; our own evidence says
//! which TPM, which boot and which PCR values that is about. A verdict needs both.

use std::time::Duration;

use portcullis_attestation::appraisal::Appraisal;
use portcullis_attestation::finding::Finding;
use portcullis_attestation::trust::{Claim, ClaimValue};

use crate::opinion::{Opinion, Scope};

/// How far Keylime's clock may be ahead of ours, in seconds.
const SKEW_S: u64 = 30;
/// AR4SI: "no claim".
const NOTHING_SAID: ClaimValue = ClaimValue::new(0);

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Sign a verdict about this, for so many seconds.
    Issue {
        /// The appraisal, with Keylime's opinion in it.
        appraisal: Box<Appraisal>,
        /// At least 1.
        lifetime_s: u64,
    },
    /// Sign nothing: the verdict that is out runs out.
    Nothing {
        /// Why.
        reason: String,
    },
}

/// Puts Keylime's opinion and our appraisal of the node's evidence together, at `now_s` seconds
/// since 1970. `knows_boot_states` says whether our reference values name boot states: then Keylime
/// does not decide about the boot.
pub(crate) fn weigh(
    opinion: &Opinion,
    mut appraisal: Appraisal,
    knows_boot_states: bool,
    max_age: Duration,
    now_s: u64,
) -> Outcome {
    match opinion {
        Opinion::Silent { word } => nothing(format!("Keylime says '{word}'")),
        // Evidence that proves nothing has no node to speak about.
        _ if appraisal.state.is_none() => nothing("the evidence is not genuine".to_owned()),
        Opinion::Speaks { event } => {
            appraisal
                .vector
                .set(Claim::Executables, ClaimValue::UNSUPPORTABLE);
            appraisal.findings.insert(
                0,
                Finding {
                    code: "keylime-failed",
                    subject: "attestation by Keylime".to_owned(),
                    expected: "PASS".to_owned(),
                    found: event.clone(),
                },
            );
            issue(appraisal, max_age.as_secs())
        }
        Opinion::Vouches { at_s, .. } if *at_s > now_s.saturating_add(SKEW_S) => {
            nothing(format!("Keylime's last success, {at_s}, is in the future"))
        }
        Opinion::Vouches {
            at_s,
            patience,
            scope,
        } => {
            let end_s = at_s.saturating_add(patience.as_secs());
            let left_s = end_s.saturating_sub(now_s).min(max_age.as_secs());
            if left_s == 0 {
                return nothing(format!("Keylime's last success, {at_s}, is too old"));
            }
            vouch(&mut appraisal, *scope, knows_boot_states);
            issue(appraisal, left_s)
        }
    }
}

/// Says of the executables what both together know.
fn vouch(appraisal: &mut Appraisal, scope: Scope, knows_boot_states: bool) {
    let booted = if knows_boot_states {
        appraisal.boot_state.is_some()
    } else {
        // "No reference values" is no fault where Keylime holds them.
        appraisal
            .findings
            .retain(|finding| finding.code != "reference-values-missing");
        scope.boot
    };
    let value = match (booted, scope.runtime) {
        (true, true) => ClaimValue::APPROVED,
        (true, false) => ClaimValue::BOOT_APPROVED,
        (false, _) if knows_boot_states => ClaimValue::UNSUPPORTABLE,
        // What runs may be known, but not what booted: PCRs 0 to 9 were not looked at.
        (false, _) => NOTHING_SAID,
    };
    appraisal.vector.set(Claim::Executables, value);
}

fn issue(mut appraisal: Appraisal, lifetime_s: u64) -> Outcome {
    appraisal.status = appraisal.vector.worst();
    Outcome::Issue {
        appraisal: Box::new(appraisal),
        lifetime_s: lifetime_s.max(1),
    }
}

const fn nothing(reason: String) -> Outcome {
    Outcome::Nothing { reason }
}

#[cfg(test)]
mod tests;
