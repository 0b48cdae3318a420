//! How fresh a verdict must be.

use crate::{Code, LaunchPolicy, Refusal};

/// Why a verdict with these times is not fresh at `now`; `None` if it is. All in Unix seconds.
pub(crate) fn refusal(policy: &LaunchPolicy, iat: u64, exp: u64, now: u64) -> Option<Refusal> {
    let refuse =
        |code, expected, found| Some(Refusal::new(code, "verdict of this node", expected, found));
    let skew = policy.clock_skew.as_secs();
    if iat > now.saturating_add(skew) {
        return refuse(
            Code::VerdictPremature,
            format!("issued at most {skew} s ahead of this node's clock"),
            format!("{} s ahead", iat.saturating_sub(now)),
        );
    }
    let (age, limit) = (now.saturating_sub(iat), policy.max_verdict_age.as_secs());
    if age > limit {
        return refuse(
            Code::VerdictExpired,
            format!("at most {limit} s old ('max_verdict_age=')"),
            format!("{age} s"),
        );
    }
    if exp <= now {
        return refuse(
            Code::VerdictExpired,
            "an end ('exp') in the future".to_owned(),
            format!("{} s past it", now.saturating_sub(exp)),
        );
    }
    None
}
