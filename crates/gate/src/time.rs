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
        let refuse = |code, expected, found| {
            Some(Refusal::new(code, "verdict of this node", expected, found))
        };
        let skew = policy.clock_skew.as_secs();
        let now = moment.unix_s;
        if self.iat > now.saturating_add(skew) {
            return refuse(
                Code::VerdictPremature,
                format!("issued at most {skew} s ahead of this node's clock"),
                format!("{} s ahead", self.iat.saturating_sub(now)),
            );
        }
        let now = now.max(self.first_seen.at_least(moment.boottime_ms));
        let age = now.saturating_sub(self.iat);
        let configured = policy.max_verdict_age.as_secs();
        if age > configured {
            return refuse(
                Code::VerdictExpired,
                format!("at most {configured} s old ('max_verdict_age=')"),
                format!("{age} s"),
            );
        }
        if let Some(limit) = self.max_age_s.filter(|limit| age > *limit) {
            return refuse(
                Code::VerdictExpired,
                format!("at most {limit} s old, as its issuer asks"),
                format!("{age} s"),
            );
        }
        if self.exp <= now {
            return refuse(
                Code::VerdictExpired,
                "an end ('exp') in the future".to_owned(),
                format!("{} s past it", now.saturating_sub(self.exp)),
            );
        }
        None
    }
}
