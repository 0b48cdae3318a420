//! The answer to one launch.

use std::collections::BTreeMap;

use portcullis_attestation::ueid::Ueid;

use crate::time::Life;
use crate::{FirstSeen, LaunchPolicy, Refusals};

/// Whether a launch may go ahead. There is no fourth answer, and no default one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// Every check ran and said yes.
    Permitted(Permit),
    /// A check said no.
    Refused(Refusals),
    /// A check could not run; nothing starts.
    Undecided(Refusals),
}

/// What a permitted launch rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    /// When the verdict was issued, in seconds since 1970.
    pub verdict_iat: u64,
    /// When it ends, in seconds since 1970.
    pub verdict_exp: u64,
    /// The verifier's sequence number.
    pub verdict_seq: u64,
    /// Age in seconds that its issuer does not want exceeded.
    pub verdict_max_age_s: Option<u64>,
    /// When a relying party of this host first saw it.
    pub verdict_first_seen: FirstSeen,
    /// SHA-256 of the verdict as it was received, in hex.
    pub verdict_sha256: String,
    /// Name of the approved boot state, if the verifier named one.
    pub boot_state: Option<String>,
    /// Identity of the TPM.
    pub ueid: Ueid,
    /// The verified tags of this host.
    pub tags: BTreeMap<String, String>,
}

// === impl Decision ===

impl From<Refusals> for Decision {
    /// Undecided only if every reason is: one check that said no is a no.
    fn from(refusals: Refusals) -> Self {
        if refusals
            .iter()
            .all(|refusal| refusal.kind() == crate::Kind::Undecided)
        {
            Self::Undecided(refusals)
        } else {
            Self::Refused(refusals)
        }
    }
}

// === impl Permit ===

impl Permit {
    /// Whether the verdict is still fresh at `now`: the cheap check between create and start.
    ///
    /// # Errors
    /// The refusal `verdict-expired` or, if the clock was set back, `clock-rolled-back`.
    pub fn still_fresh(&self, policy: &LaunchPolicy, now: FirstSeen) -> Result<(), Refusals> {
        let life = Life {
            iat: self.verdict_iat,
            exp: self.verdict_exp,
            max_age_s: self.verdict_max_age_s,
            first_seen: self.verdict_first_seen,
        };
        life.refusal(policy, now)
            .map_or(Ok(()), |refusal| Err(refusal.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::Decision;
    use crate::{Code, Refusal, Refusals};

    #[test]
    fn one_no_among_undecided_checks_is_a_no() {
        let reason = |code| Refusal::new(code, "x", "y", "z");
        let mut refusals = Refusals::from(reason(Code::TpmTimeout));
        refusals.push(reason(Code::RecordFailed));
        assert!(matches!(
            Decision::from(refusals.clone()),
            Decision::Undecided(_)
        ));
        refusals.push(reason(Code::PcrDrift));
        assert!(matches!(Decision::from(refusals), Decision::Refused(_)));
    }
}
