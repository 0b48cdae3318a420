//! Events that a quote proves, held against the rules of a boot state.

use super::measured::Replayed;
use super::secure_boot;
use crate::event_log::Event;
use crate::finding::Finding;
use crate::hex;
use crate::pcr::{HashAlg, PcrIndex, PcrValues};
use crate::reference::{EventRules, PcrRules, Step};

/// Findings about one PCR; what comes after the first few differences follows from them.
const MAX_FINDINGS: usize = 4;
/// Characters of a text that a finding shows.
const TEXT_LIMIT: usize = 200;
/// Of those, before the first character that differs.
const CONTEXT: usize = 24;

/// What is not as the rules have it. PCRs that are not quoted are somebody else's finding.
pub(super) fn findings(
    rules: &EventRules,
    state: &str,
    quoted: &PcrValues,
    log: &Replayed<'_>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (pcr, rule) in &rules.pcrs {
        let Some(value) = quoted.value(*pcr) else {
            continue;
        };
        match log.proven(*pcr, value) {
            Ok(events) => {
                findings.extend(Ruled::new(rules.bank, *pcr, state).explain(rule, &events));
            }
            Err(finding) => findings.push(finding),
        }
    }
    if let Some(rule) = &rules.secure_boot {
        findings.extend(secure_boot::findings(rule, rules, quoted, log));
    }
    findings
}

/// Where the events leave a sequence.
struct Stop<'a> {
    /// How many events fit.
    events: usize,
    /// The steps that could have come next.
    expected: Vec<&'a Step>,
    /// What is left of the sequence, from the step that had to come next.
    rest: &'a [Step],
}

/// Follows `steps` as far as `events` go along; `None` if all of both are used up.
///
/// All ways through optional steps are followed at once, so none is taken too early.
fn follow<'a>(steps: &'a [Step], bank: HashAlg, events: &[&Event<'_>]) -> Option<Stop<'a>> {
    let mut places = vec![0];
    reach(steps, &mut places);
    for (count, event) in events.iter().enumerate() {
        let digest = event.digest(bank).unwrap_or_default();
        let mut next: Vec<usize> = places
            .iter()
            .filter(|place| steps.get(**place).is_some_and(|step| step.allows(digest)))
            .map(|place| place.saturating_add(1))
            .collect();
        if next.is_empty() {
            return Some(Stop::at(steps, &places, count));
        }
        reach(steps, &mut next);
        places = next;
    }
    if places.last() == Some(&steps.len()) {
        return None;
    }
    Some(Stop::at(steps, &places, events.len()))
}

/// Adds the places that are reached by leaving out optional steps; keeps them in order, once each.
fn reach(steps: &[Step], places: &mut Vec<usize>) {
    let mut reached: Vec<usize> = Vec::new();
    for place in places.iter().copied() {
        let mut place = place;
        if reached.last().is_none_or(|last| *last < place) {
            reached.push(place);
        }
        while steps.get(place).is_some_and(|step| step.optional) {
            place = place.saturating_add(1);
            if reached.last().is_none_or(|last| *last < place) {
                reached.push(place);
            }
        }
    }
    *places = reached;
}

// === impl Stop ===

impl<'a> Stop<'a> {
    fn at(steps: &'a [Step], places: &[usize], events: usize) -> Self {
        let furthest = places.last().copied().unwrap_or_default();
        Self {
            events,
            expected: places
                .iter()
                .filter_map(|place| steps.get(*place))
                .collect(),
            rest: steps.get(furthest..).unwrap_or_default(),
        }
    }
}

/// One PCR under rules, for the texts of findings.
struct Ruled<'a> {
    bank: HashAlg,
    pcr: PcrIndex,
    state: &'a str,
}

// === impl Ruled ===

impl<'a> Ruled<'a> {
    const fn new(bank: HashAlg, pcr: PcrIndex, state: &'a str) -> Self {
        Self { bank, pcr, state }
    }

    /// What differs from the sequence that the events follow furthest; nothing if they follow one
    /// to its end.
    fn explain(&self, rules: &PcrRules, events: &[&Event<'_>]) -> Vec<Finding> {
        let mut furthest: Option<Stop<'_>> = None;
        for steps in &rules.any_of {
            let Some(stop) = follow(steps, self.bank, events) else {
                return Vec::new();
            };
            if furthest
                .as_ref()
                .is_none_or(|best| stop.events > best.events)
            {
                furthest = Some(stop);
            }
        }
        let Some(stop) = furthest else {
            return vec![self.missing(&[])];
        };
        let rest = events.get(stop.events..).unwrap_or_default();
        let findings = self.one_by_one(rest, stop.rest);
        if !findings.is_empty() {
            return findings;
        }
        match rest.first() {
            Some(event) => vec![self.unexpected(event, &stop.expected)],
            None => vec![self.missing(&stop.expected)],
        }
    }

    /// Where as many events are left as steps, one stands in the place of each other: those that
    /// differ. Else nothing: it cannot be told which belongs to which.
    fn one_by_one(&self, events: &[&Event<'_>], steps: &[Step]) -> Vec<Finding> {
        if events.len() != steps.len() {
            return Vec::new();
        }
        events
            .iter()
            .zip(steps)
            .filter(|(event, step)| {
                let digest = event.digest(self.bank).unwrap_or_default();
                !step.allows(digest)
            })
            .map(|(event, step)| self.unexpected(event, &[step]))
            .take(MAX_FINDINGS)
            .collect()
    }

    fn unexpected(&self, event: &Event<'_>, expected: &[&Step]) -> Finding {
        let note = expected.iter().find_map(|step| step.note.as_deref());
        let digest = hex::encode(event.digest(self.bank).unwrap_or_default());
        let found = match (event.checked(self.bank), event.hint()) {
            (Some(checked), _) => format!("{digest} '{}'", excerpt(&checked.describe(), note)),
            (None, Some(hint)) => {
                format!("{digest}, by its unproven label '{}'", excerpt(&hint, None))
            }
            (None, None) => digest,
        };
        Finding::new(
            "event-unexpected",
            format!(
                "event {} ({}) of PCR {} ({})",
                event.number, event.kind, self.pcr, self.bank
            ),
            self.expected(expected, event),
            found,
        )
    }

    fn missing(&self, expected: &[&Step]) -> Finding {
        Finding::new(
            "event-missing",
            format!("end of the events of PCR {} ({})", self.pcr, self.bank),
            format!(
                "{} by boot state '{}'",
                steps_text(expected, None),
                self.state
            ),
            "no further event",
        )
    }

    fn expected(&self, steps: &[&Step], event: &Event<'_>) -> String {
        let beside = event.checked(self.bank).map(|checked| checked.describe());
        let steps = steps_text(steps, beside.as_deref());
        format!("{steps} by boot state '{}'", self.state)
    }
}

/// `9c01… 'linux /vmlinuz quiet' or one of 2 others`.
fn steps_text(steps: &[&Step], beside: Option<&str>) -> String {
    let mut digests = steps.iter().flat_map(|step| &step.digests);
    let Some(first) = digests.next() else {
        return "no further event".to_owned();
    };
    let mut text = hex::encode(first);
    if let Some(note) = steps.first().and_then(|step| step.note.as_deref()) {
        text.push_str(&format!(" '{}'", excerpt(note, beside)));
    }
    match digests.count() {
        0 => {}
        1 => text.push_str(" or one other"),
        others => text.push_str(&format!(" or one of {others} others")),
    }
    text
}

/// At most [`TEXT_LIMIT`] characters of `text`, escaped; of a longer one those around the first
/// that differs from `beside`, since long command lines are alike at their beginnings.
fn excerpt(text: &str, beside: Option<&str>) -> String {
    let count = text.chars().count();
    if count <= TEXT_LIMIT {
        return text.escape_debug().take(TEXT_LIMIT).collect();
    }
    let alike = beside.map_or(0, |beside| {
        let pairs = text.chars().zip(beside.chars());
        pairs.take_while(|(one, other)| one == other).count()
    });
    let from = alike
        .saturating_sub(CONTEXT)
        .min(count.saturating_sub(TEXT_LIMIT));
    let shown: String = text
        .chars()
        .skip(from)
        .flat_map(char::escape_debug)
        .take(TEXT_LIMIT)
        .collect();
    let before = if from > 0 { "…" } else { "" };
    let after = if from.saturating_add(TEXT_LIMIT) < count {
        "…"
    } else {
        ""
    };
    format!("{before}{shown}{after}")
}

#[cfg(test)]
mod tests;
