//! The decision itself: pinned keys, node policy and a snapshot in; permitted or not out.
//!
//! The steps come in the order of their trust. Nothing of a verdict is believed before its
//! signature; nothing is compared with a verdict that is stale or of another boot, so the first
//! three steps end the decision. The others each add their reasons.

mod boot;
mod drift;
mod fuse;
mod latch;
mod pcrs;
mod tag;
mod vector;
mod withheld;

pub use drift::drift;

use std::collections::BTreeMap;

use portcullis_attestation::hex;
use portcullis_attestation::jwk::TrustedKeys;
use portcullis_attestation::verdict::{self, Verdict, VerdictDefect, VerdictError};
use sha2::{Digest as _, Sha256};

use crate::seen::Replay;
use crate::time::Life;
use crate::{
    Code, Decision, LaunchPolicy, LaunchRequest, Moment, Permit, Refusal, Refusals, Requirement,
    Snapshot, Unavailable, quote,
};

/// Decides one launch.
///
/// `snapshot` is the agent's answer, or why there is none. A verdict that a pinned verifier signed
/// and that is in date is noted in `moment.seen`, whatever else is found. Every input that is missing, stale or
/// contradictory ends in a refusal with a code of its own; see `docs/refusals.md`.
///
/// # Source
/// RFC 9334, section 8.4 and 10; the claims are those of draft-ietf-rats-ear-04.
pub fn decide(
    policy: &LaunchPolicy,
    keys: &TrustedKeys,
    request: &LaunchRequest,
    snapshot: Result<&Snapshot, &Unavailable>,
    moment: &mut Moment,
) -> Decision {
    let snapshot = match snapshot {
        Ok(snapshot) => snapshot,
        Err(unavailable) => return Refusals::from(unavailable.refusal()).into(),
    };
    if snapshot.verdict.is_none()
        && let Some(refusals) = withheld::refusals(&quote(&request.node), &snapshot.withheld)
    {
        return refusals.into();
    }
    let (token, verdict) = match verified_verdict(keys, request, snapshot) {
        Ok(verified) => verified,
        Err(refusal) => return Refusals::from(refusal).into(),
    };
    let now = moment.now();
    let first_seen = moment.seen.first_seen(&verdict).unwrap_or(now);
    if let Some(refusal) = Life::of(&verdict, first_seen).refusal(policy, now) {
        return withheld::unrenewed(refusal, &snapshot.withheld).into();
    }
    if let Err(replay) = moment.seen.note(&verdict, now) {
        return Refusals::from(replayed(request, &verdict, replay)).into();
    }
    let moment: &Moment = moment;
    let live = &snapshot.live;
    if let Some(refusal) = boot::refusal(&request.node, &verdict.host, live, moment)
        .or_else(|| fuse::refusal(policy, &request.node, token, live))
    {
        return Refusals::from(refusal).into();
    }

    let mut refusals: Vec<Refusal> = latch::refusal(&request.node, &verdict.host)
        .into_iter()
        .collect();
    let attested = &verdict.host.pcrs;
    let short = pcrs::uncovered(&request.node, policy.pcrs, &verdict.host);
    refusals.extend(short);
    refusals.extend(pcrs::refusals(&request.node, attested, &live.pcrs));
    let tags = match tag::verified(policy, keys, &verdict.host, snapshot, moment) {
        Ok(tags) => tags,
        Err(refusal) => {
            refusals.push(refusal);
            tag::Tags::Unverified
        }
    };
    refusals.extend(vector::refusals(policy, &verdict));
    refusals.extend(placement(policy, request, &tags));

    match Refusals::from_vec(refusals) {
        Some(refusals) => refusals.into(),
        None => Decision::Permitted(Permit {
            verdict_iat: verdict.issued_at_s,
            verdict_exp: verdict.expires_s,
            verdict_seq: verdict.host.sequence,
            verdict_max_age_s: verdict.host.max_age_s,
            verdict_first_seen: first_seen,
            verdict_sha256: hex::encode(&Sha256::digest(token.as_bytes())),
            boot_state: verdict.host.boot_state,
            ueid: verdict.host.ueid,
            tags: tags.into_map(),
        }),
    }
}

/// The verdict, if there is one and a pinned verifier signed it about this node.
fn verified_verdict<'a>(
    keys: &TrustedKeys,
    request: &LaunchRequest,
    snapshot: &'a Snapshot,
) -> Result<(&'a str, Verdict), Refusal> {
    let subject = || subject(request);
    let token = snapshot
        .verdict
        .as_deref()
        .ok_or_else(|| Refusal::new(Code::VerdictMissing, subject(), "one", "none"))?;
    let verdict = verdict::verify(token, keys).map_err(|error| unfit(subject(), &error))?;
    if let Some(found) = verdict
        .host
        .node_name
        .as_deref()
        .filter(|name| *name != request.node)
    {
        let found = format!("node {}", quote(found));
        let expected = format!("node {}", quote(&request.node));
        return Err(Refusal::new(
            Code::VerdictSubjectMismatch,
            subject(),
            expected,
            found,
        ));
    }
    Ok((token, verdict))
}

fn subject(request: &LaunchRequest) -> String {
    format!("verdict of node {}", quote(&request.node))
}

fn replayed(request: &LaunchRequest, verdict: &Verdict, replay: Replay) -> Refusal {
    let (seq, iat) = (verdict.host.sequence, verdict.issued_at_s);
    let (expected, found) = match replay {
        Replay::Older(newest) => (
            format!(
                "seq {} of {} or later, as seen before",
                newest.seq, newest.iat
            ),
            format!("seq {seq} of {iat}"),
        ),
        Replay::Twin => (
            "one verdict of each number".to_owned(),
            format!("another one with seq {seq}"),
        ),
        Replay::Nonce => (
            "a nonce of its own".to_owned(),
            format!("seq {seq} with the nonce of the one before"),
        ),
    };
    Refusal::new(Code::VerdictReplayed, subject(request), expected, found)
}

fn unfit(subject: String, error: &VerdictError) -> Refusal {
    let (code, expected) = match error.defect() {
        VerdictDefect::Signature => (
            Code::VerdictSignatureInvalid,
            "a signature by a key that is pinned for verdicts",
        ),
        VerdictDefect::Algorithm => (Code::VerdictAlgorithmRefused, "a signature by ES256"),
        VerdictDefect::Malformed => (Code::VerdictMalformed, "a readable EAR about this host"),
        VerdictDefect::Duplicate => (Code::VerdictClaimsDuplicated, "every name once"),
        VerdictDefect::Mixed => (Code::VerdictDialectsMixed, "the names of one draft"),
        VerdictDefect::Unbound => (
            Code::VerdictBindingMissing,
            "claims that bind it to one host",
        ),
        VerdictDefect::Contradiction => (
            Code::VerdictStatusContradicted,
            "a status no better than its parts",
        ),
        VerdictDefect::Profile => (Code::VerdictProfileUnknown, "a profile of the allow-list"),
    };
    Refusal::new(code, subject, expected, innermost(error))
}

/// What the deepest cause says; the errors around it only repeat what was being done.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// What node, namespace and pod ask of the tags, each on its own: one satisfied does not help
/// another.
fn placement(policy: &LaunchPolicy, request: &LaunchRequest, tags: &tag::Tags) -> Vec<Refusal> {
    let node = std::iter::once(("node policy".to_owned(), &policy.require_tags));
    let namespaces = policy.namespace_require_tags.iter().map(|demand| {
        (
            format!("policy of namespaces {}", quote(&demand.pattern)),
            &demand.requirement,
        )
    });
    let pod = request
        .require_tags
        .iter()
        .map(|requirement| ("pod".to_owned(), requirement));
    node.chain(namespaces)
        .chain(pod)
        .filter_map(|(by, requirement)| unplaced(&request.node, &by, requirement, tags))
        .collect()
}

fn unplaced(node: &str, by: &str, requirement: &Requirement, tags: &tag::Tags) -> Option<Refusal> {
    if requirement.is_empty() {
        return None;
    }
    let subject = format!("tags of node {}", quote(node));
    let asked = |expected: &dyn std::fmt::Display| format!("{expected} as the {by} asks");
    match tags {
        tag::Tags::Verified(tags) => {
            let unmet: Vec<String> = requirement.unmet(tags).map(ToString::to_string).collect();
            let keys = requirement.unmet(tags).map(crate::requirement::Term::key);
            (!unmet.is_empty()).then(|| {
                let expected = asked(&unmet.join(","));
                Refusal::new(Code::AssetTagMismatch, subject, expected, held(tags, keys))
            })
        }
        tag::Tags::Absent => Some(Refusal::new(
            Code::AssetTagMissing,
            subject,
            asked(requirement),
            "no asset tag",
        )),
        // The tag's own refusal says why; what it claims is not worth comparing.
        tag::Tags::Unverified => None,
    }
}

/// What `tags` hold under `keys`, for the reader of a refusal.
fn held<'a>(tags: &BTreeMap<String, String>, keys: impl Iterator<Item = &'a str>) -> String {
    let mut parts: Vec<String> = keys
        .map(|key| match tags.get(key) {
            Some(value) => format!("{key}={value}"),
            None => format!("no '{key}'"),
        })
        .collect();
    parts.dedup();
    parts.join(", ")
}

#[cfg(test)]
mod tests;
