//! How fresh a verdict must be.

use portcullis_attestation::verdict::Verdict;

use crate::{Code, FirstSeen, LaunchPolicy, Refusal};

/// The times of a verdict, in Unix seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    /// When it was issued.
    pub(crate) iat: u64,
    /// First second after its end.
    pub(crate) exp: u64,
    /// Age in seconds that its issuer does not want exceeded.
    pub(crate) max_age_s: Option<u64>,
    /// When a relying party of this host first saw it.
    pub(crate) first_seen: FirstSeen,
}

// === impl Life ===

impl Life {
    /// The times of `verdict`.
    pub(crate) const fn of(verdict: &Verdict, first_seen: FirstSeen) -> Self {
        Self {
            iat: verdict.issued_at_s,
            exp: verdict.expires_s,
            max_age_s: verdict.host.max_age_s,
            first_seen,
        }
    }

    /// Why a verdict with these times is not fresh at `moment`; `None` if it is.
    ///
    /// The wall clock says whether it is from the future. How old it is, the clock that nobody can
    /// set says too: time that has passed since the first sight is not undone by setting back.
    pub(crate) fn refusal(self, policy: &LaunchPolicy, moment: FirstSeen) -> Option<Refusal> {
        let skew = policy.clock_skew.as_secs();
        let wall = moment.unix_s;
        let least = self.first_seen.at_least(moment.boottime_ms);
        // Clocks run apart a little without anybody's doing.
        let is_set_back = least > wall.saturating_add(skew);
        if self.iat > wall.saturating_add(skew) {
            if is_set_back && self.iat <= least.saturating_add(skew) {
                return Some(set_back(least, wall));
            }
            return Some(untimely(
                Code::VerdictPremature,
                format!("issued at most {skew} s ahead of this node's clock"),
                format!("{} s ahead", self.iat.saturating_sub(wall)),
            ));
        }
        let stale = self.stale(policy, wall.max(least))?;
        if is_set_back && self.stale(policy, wall).is_none() {
            return Some(set_back(least, wall));
        }
        Some(stale)
    }

    /// Why it is too old at `now`, in seconds since 1970; `None` if it is not.
    fn stale(self, policy: &LaunchPolicy, now: u64) -> Option<Refusal> {
        let expired = |expected, found| Some(untimely(Code::VerdictExpired, expected, found));
        let age = now.saturating_sub(self.iat);
        let configured = policy.max_verdict_age.as_secs();
        if age > configured {
            let expected = format!("at most {configured} s old ('max_verdict_age=')");
            return expired(expected, format!("{age} s"));
        }
        if let Some(limit) = self.max_age_s.filter(|limit| age > *limit) {
            let expected = format!("at most {limit} s old, as its issuer asks");
            return expired(expected, format!("{age} s"));
        }
        if self.exp <= now {
            let found = format!("{} s past it", now.saturating_sub(self.exp));
            return expired("an end ('exp') in the future".to_owned(), found);
        }
        None
    }
}

fn untimely(code: Code, expected: String, found: String) -> Refusal {
    Refusal::new(code, "verdict of this node", expected, found)
}

fn set_back(least: u64, wall: u64) -> Refusal {
    Refusal::new(
        Code::ClockRolledBack,
        "clock of this node",
        format!("{least} or later, by the time since the verdict was first seen"),
        format!("{wall}"),
    )
}
