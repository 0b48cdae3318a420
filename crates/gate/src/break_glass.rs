//! Whether a break-glass token helps a launch that would be refused, and if not, why not.
//!
//! A token is one more thing that may let a launch go on; it can refuse nothing. Whether it was
//! used before is not known here: whoever keeps the claims looks after that, last of all.

use std::time::Duration;

use portcullis_attestation::break_glass::{BreakGlass, Grant};
use portcullis_attestation::ueid::Ueid;

use crate::{Code, Kind, Refusal, Refusals, Rule, quote};

/// What node policy says about tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakGlassPolicy {
    /// Whether any counts.
    pub allow: bool,
    /// Whether those count, too, that waive the host's verdict.
    pub allow_host_trust: bool,
    /// Longest validity of a token that counts. Whole seconds count.
    pub max_lifetime: Duration,
}

/// A token as it was found, verified or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its file, for people.
    pub file: String,
    /// What it says, or why nobody knows.
    pub token: Result<BreakGlass, String>,
}

/// What can be said of a token without a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// It waits for its launch.
    Open,
    /// It was used.
    Used,
    /// Its time has not come.
    Premature,
    /// Its time is over.
    Expired,
    /// It is for another node.
    Foreign,
    /// Node policy does not let it count.
    Disallowed,
    /// It is not one that a pinned key signed.
    Unverified,
}

/// The launch, as far as tokens are about it. Names that nobody vouches for are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launching<'a> {
    /// Name of this node.
    pub node: &'a str,
    /// Its TPM, if a verdict that counts says so.
    pub ueid: Option<&'a Ueid>,
    /// The policy namespace.
    pub namespace: &'a str,
    /// The pod.
    pub pod: Option<&'a str>,
    /// The container's name in the pod, or its id where there is no pod; none for the sandbox.
    pub container: Option<&'a str>,
    /// Digest of its image.
    pub image: Option<&'a str>,
}

/// What a launch would need waived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need<'a> {
    /// These rules.
    Rules(&'a [Rule]),
    /// That the host proves what it is.
    HostTrust,
}

/// Why a token does not help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hindrance {
    /// The token, as people know it.
    name: String,
    expected: String,
    found: String,
    /// How far it got: a token for another pod is farther away than one that is over.
    nearness: Nearness,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Unreadable,
    Node,
    Namespace,
    Container,
    // From here on it is a token for this launch.
    Grant,
    Image,
    Ueid,
    Policy,
    Lifetime,
    Premature,
    Expired,
    Rules,
    Used,
}

/// The rules that `refusals` are about; `None` if one of them is about something else, or about
/// what the gate itself rests on, which no token waives.
#[must_use]
pub fn rules_of(refusals: &Refusals) -> Option<Vec<Rule>> {
    let mut rules = Vec::new();
    for refusal in refusals.iter() {
        let rule = refusal.rule.filter(|_| refusal.kind() == Kind::Refused)?;
        rule.may_be_loosened().then_some(())?;
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    Some(rules)
}

/// Whether the gate's `refusals` are only about what the host has not proven. A fault is not, and
/// neither is a quarantine: somebody meant that. Nor is an agent that does not answer: it would not
/// keep the record either, and the token would be used for nothing.
///
/// A quarantine is seen here only if the gate got as far as the PCR that says so; whoever calls this
/// looks after it in another place, too.
#[must_use]
pub fn are_of_host(refusals: &Refusals) -> bool {
    refusals
        .iter()
        .all(|refusal| is_of_host(refusal.code) && refusal.kind() != Kind::Fault)
}

/// Whether `code` says that the host has not proven what it is. The list is of what may be waived,
/// so that a new code is not.
const fn is_of_host(code: Code) -> bool {
    matches!(
        code,
        // The TPM is the host's.
        Code::TpmTimeout
            | Code::TpmBusy
            | Code::TpmSessionsExhausted
            | Code::TpmUnreachable
            | Code::TpmError
            | Code::TpmAnswerMalformed
            // The verdict.
            | Code::VerdictMissing
            | Code::VerdictWithheld
            | Code::VerdictMalformed
            | Code::VerdictClaimsDuplicated
            | Code::VerdictDialectsMixed
            | Code::VerdictBindingMissing
            | Code::VerdictStatusContradicted
            | Code::VerdictAlgorithmRefused
            | Code::VerdictSignatureInvalid
            | Code::VerdictProfileUnknown
            | Code::VerdictPremature
            | Code::VerdictExpired
            | Code::VerdictReplayed
            | Code::VerdictLatched
            | Code::VerdictSubjectMismatch
            | Code::VerdictPcrBankMismatch
            | Code::VerdictPcrsIncomplete
            | Code::ClockRolledBack
            // The live state against it.
            | Code::HostRebooted
            | Code::HostResumed
            | Code::PcrDrift
            | Code::PcrSelectionMismatch
            | Code::BootFuseBlown
            | Code::VectorWarning
            | Code::VectorContraindicated
            // The tag.
            | Code::AssetTagMissing
            | Code::AssetTagTampered
            | Code::AssetTagReplayed
            | Code::AssetTagMalformed
            | Code::AssetTagSignatureInvalid
            | Code::AssetTagSubjectMismatch
            | Code::AssetTagExpired
            | Code::AssetTagMismatch
            // Why there is no verdict.
            | Code::EvidenceMalformed
            | Code::NonceMismatch
            | Code::AkUnknown
            | Code::QuoteSignatureInvalid
            | Code::QuoteSelectionShort
            | Code::PcrBankMissing
            | Code::PcrMismatch
            | Code::PcrUncovered
            | Code::EventLogMissing
            | Code::EventLogMalformed
            | Code::EventLogMismatch
            | Code::EventUnexpected
            | Code::EventMissing
            | Code::SecureBootOff
            | Code::SecureBootKeyUnknown
            | Code::KeylimeFailed
            | Code::ImaListMissing
            | Code::ImaListMalformed
            | Code::ImaListMismatch
            | Code::ImaFileUnknown
            | Code::ImaViolation
            | Code::ReferenceValuesMissing
            | Code::ReferenceValuesUndersigned
    )
}

/// The tokens among `found` that waive what `launching` needs at `now_s` (seconds since 1970), in
/// their order, and the hindrance of the one that is nearest to it.
#[must_use]
pub fn fitting<'f>(
    found: &'f [Found],
    policy: &BreakGlassPolicy,
    launching: &Launching<'_>,
    need: Need<'_>,
    now_s: u64,
) -> (Vec<&'f BreakGlass>, Option<Hindrance>) {
    let mut fitting = Vec::new();
    let mut nearest: Option<Hindrance> = None;
    for one in found {
        let hindrance = match &one.token {
            Err(reason) => Hindrance {
                name: quote(&one.file),
                expected: "a token signed by a key that is pinned for policies".to_owned(),
                found: reason.clone(),
                nearness: Nearness::Unreadable,
            },
            Ok(token) => match judge(token, policy, launching, need, now_s) {
                Ok(()) => {
                    fitting.push(token);
                    continue;
                }
                Err(hindrance) => hindrance,
            },
        };
        if nearest
            .as_ref()
            .is_none_or(|nearest| hindrance.nearness > nearest.nearness)
        {
            nearest = Some(hindrance);
        }
    }
    (fitting, nearest)
}

fn judge(
    token: &BreakGlass,
    policy: &BreakGlassPolicy,
    launching: &Launching<'_>,
    need: Need<'_>,
    now_s: u64,
) -> Result<(), Hindrance> {
    judge_names(token, launching)?;
    let no = |nearness, expected, found| Err(Hindrance::of(token, nearness, expected, found));
    match (&token.grant, need) {
        (Grant::Rules(_), Need::HostTrust) => {
            let expected = "a token with 'host_trust'".to_owned();
            return no(
                Nearness::Grant,
                expected,
                "one that waives rules".to_owned(),
            );
        }
        (Grant::HostTrust, Need::Rules(_)) => {
            let expected = "a token that waives rules".to_owned();
            return no(
                Nearness::Grant,
                expected,
                "one with 'host_trust'".to_owned(),
            );
        }
        (Grant::Rules(_), Need::Rules(_)) | (Grant::HostTrust, Need::HostTrust) => {}
    }
    if let Some(image) = &token.image
        && launching.image != Some(image)
        && !is_its_sandbox(token, launching)
    {
        let found = format!("image {}", said(launching.image));
        return no(Nearness::Image, format!("image {image}"), found);
    }
    if let Some(ueid) = &token.ueid
        && launching.ueid != Some(ueid)
    {
        let found = launching.ueid.map_or("none", Ueid::as_str);
        let (expected, found) = (format!("TPM {ueid}"), format!("TPM {found}"));
        return no(Nearness::Ueid, expected, found);
    }
    judge_policy(token, policy, now_s)?;
    if let (Grant::Rules(waived), Need::Rules(needed)) = (&token.grant, need)
        && let Some(other) = needed
            .iter()
            .find(|rule| !waived.iter().any(|waived| waived == rule.id()))
    {
        let expected = format!("a token that waives '{other}' too");
        let found = format!("'{}'", waived.join("', '"));
        return no(Nearness::Rules, expected, found);
    }
    Ok(())
}

/// Whether the token is for this node, namespace, pod and container.
fn judge_names(token: &BreakGlass, launching: &Launching<'_>) -> Result<(), Hindrance> {
    let same = |nearness, what: &str, wanted: &str, found: Option<&str>| {
        if found == Some(wanted) {
            return Ok(());
        }
        let expected = format!("{what} {}", quote(wanted));
        let found = format!("{what} {}", said(found));
        Err(Hindrance::of(token, nearness, expected, found))
    };
    same(Nearness::Node, "node", &token.node, Some(launching.node))?;
    let namespace = Some(launching.namespace);
    same(
        Nearness::Namespace,
        "namespace",
        &token.namespace,
        namespace,
    )?;
    match &token.pod {
        Some(pod) => same(Nearness::Container, "pod", pod, launching.pod)?,
        // It is for a container id, and no pod's container of that name.
        None if launching.pod.is_some() => {
            let found = format!("pod {}", said(launching.pod));
            let expected = "a container of no pod".to_owned();
            return Err(Hindrance::of(token, Nearness::Container, expected, found));
        }
        None => {}
    }
    match &token.container {
        Some(container) if !is_its_sandbox(token, launching) => same(
            Nearness::Container,
            "container",
            container,
            launching.container,
        ),
        Some(_) | None => Ok(()),
    }
}

/// Without its sandbox no container of a pod starts, so a token for one is for the other too.
const fn is_its_sandbox(token: &BreakGlass, launching: &Launching<'_>) -> bool {
    token.pod.is_some() && launching.container.is_none()
}

fn said(name: Option<&str>) -> String {
    name.map_or_else(|| "none".to_owned(), quote)
}

/// What node policy and the clock say.
fn judge_policy(
    token: &BreakGlass,
    policy: &BreakGlassPolicy,
    now_s: u64,
) -> Result<(), Hindrance> {
    let no = |nearness, expected, found| Err(Hindrance::of(token, nearness, expected, found));
    if !policy.allow {
        let expected = "'break_glass.allow = true' on the node".to_owned();
        return no(Nearness::Policy, expected, "false".to_owned());
    }
    if token.grant == Grant::HostTrust && !policy.allow_host_trust {
        let expected = "'break_glass.allow_host_trust = true' on the node".to_owned();
        return no(Nearness::Policy, expected, "false".to_owned());
    }
    let most = policy.max_lifetime.as_secs();
    if token.lifetime_s() > most {
        let found = format!("{} s", token.lifetime_s());
        return no(
            Nearness::Lifetime,
            format!("a life of at most {most} s"),
            found,
        );
    }
    if let Some(early) = token.not_before_s.checked_sub(now_s).filter(|s| *s > 0) {
        let expected = "a token that counts now".to_owned();
        return no(
            Nearness::Premature,
            expected,
            format!("one that counts in {early} s"),
        );
    }
    if now_s >= token.expires_s {
        let late = now_s.saturating_sub(token.expires_s);
        let expected = "a token that counts now".to_owned();
        return no(
            Nearness::Expired,
            expected,
            format!("one that expired {late} s ago"),
        );
    }
    Ok(())
}

// === impl TokenState ===

impl TokenState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Open,
        Self::Used,
        Self::Premature,
        Self::Expired,
        Self::Foreign,
        Self::Disallowed,
        Self::Unverified,
    ];

    /// The word for it, as in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Used => "used",
            Self::Premature => "premature",
            Self::Expired => "expired",
            Self::Foreign => "foreign",
            Self::Disallowed => "disallowed",
            Self::Unverified => "unverified",
        }
    }
}

// === impl Found ===

impl Found {
    /// How the token stands on the node called `node` at `now_s`, in seconds since 1970.
    #[must_use]
    pub fn state(
        &self,
        policy: &BreakGlassPolicy,
        node: &str,
        now_s: u64,
        was_used: bool,
    ) -> TokenState {
        let Ok(token) = &self.token else {
            return TokenState::Unverified;
        };
        if token.node != node {
            return TokenState::Foreign;
        }
        if was_used {
            return TokenState::Used;
        }
        match judge_policy(token, policy, now_s).map_err(|hindrance| hindrance.nearness) {
            Ok(()) => TokenState::Open,
            Err(Nearness::Premature) => TokenState::Premature,
            Err(Nearness::Expired) => TokenState::Expired,
            Err(_) => TokenState::Disallowed,
        }
    }
}

// === impl Hindrance ===

impl Hindrance {
    fn of(token: &BreakGlass, nearness: Nearness, expected: String, found: String) -> Self {
        Self {
            name: token.id.short().to_owned(),
            expected,
            found,
            nearness,
        }
    }

    /// The token was used before, by `whom`.
    #[must_use]
    pub fn used(token: &BreakGlass, by_whom: &str) -> Self {
        let expected = "a token that was not used".to_owned();
        Self::of(
            token,
            Nearness::Used,
            expected,
            format!("one used by {by_whom}"),
        )
    }

    /// Adds it to why a launch is refused: as a reason of its own, and, if the token is one for
    /// this launch, in the line that whoever put it there will read.
    #[must_use]
    pub fn told(self, refusals: Refusals) -> Refusals {
        let mut refusals: Vec<Refusal> = refusals.into_iter().collect();
        if self.nearness >= Nearness::Grant
            && let Some(first) = refusals.first_mut()
        {
            first.remedy = format!(
                "break-glass token {} does not help: expected {}, found {}",
                self.name, self.expected, self.found
            );
        }
        let subject = format!("break-glass token {}", self.name);
        let own = Refusal::new(Code::BreakGlassUnusable, subject, self.expected, self.found);
        refusals.push(own.clone());
        // Never empty: one was just added.
        Refusals::from_vec(refusals).unwrap_or_else(|| own.into())
    }
}

#[cfg(test)]
mod tests;
