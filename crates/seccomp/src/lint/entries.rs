//! Findings about one entry by itself.

use portcullis_hardening::Condition;

use super::{Finding, Rule, whole};
use crate::abi::Abi;
use crate::action::Verdict;
use crate::diagram::{Diagrams, Node};
use crate::section::{Entry, Section};
use crate::syscall::{self, Known, MULTIPLEXERS};
use crate::witness::Call;

/// Conditions of an entry that crun reads.
const CRUN_CONDITIONS: usize = 6;

pub(super) fn findings(section: &Section, native: Abi, index: usize) -> Vec<Finding> {
    let Some(entry) = section.entries.get(index) else {
        return Vec::new();
    };
    let at = |key: &str| format!("{}/{key}", entry.pointer);
    let mut found = Vec::new();
    found.extend(whole::kills_thread(
        entry.action,
        &entry.action_name,
        at("action"),
    ));
    found.extend(whole::errno_unusable(
        entry.action,
        entry.errno,
        at("errnoRet"),
    ));
    if entry.names.is_empty() {
        found.push(Finding::new(
            Rule::NoCalls,
            at("names"),
            "the entry names no calls",
        ));
    }
    if entry.action == section.default {
        let text = format!(
            "it says {}, which is the default; runtimes leave it out",
            entry.action
        );
        found.push(Finding::new(Rule::SameAsDefault, &entry.pointer, text));
    }
    if entry.action.notifies() && entry.names.iter().any(|name| name == "write") {
        let text = "runc refuses to ask a supervisor about 'write'";
        found.push(Finding::new(Rule::NotifyUnusable, at("names"), text).about(["write"]));
    }
    found.extend(names(section, native, entry));
    found.extend(multiplexers(native, entry));
    found.extend(conditions(native, entry));
    found
}

fn names(section: &Section, native: Abi, entry: &Entry) -> Vec<Finding> {
    let at = format!("{}/names", entry.pointer);
    let mut found = Vec::new();
    // Where the calls of a listed ABI are not known here, a name may be one of them.
    let listed = section.abis_on(native);
    let of_none = |name: &str| listed.iter().all(|abi| syscall::lacks(*abi, name));
    for name in &entry.names {
        let quoted = portcullis_gate::quote(name);
        if syscall::look_up(native, name) == Known::Nowhere {
            let text = "no ABI of Linux has this call; runtimes leave it out";
            let text = format!("{quoted}: {text}");
            found.push(Finding::new(Rule::UnknownCall, &at, text).about([name]));
        } else if of_none(name) {
            let text = "the listed architectures do not have these calls; runtimes leave them out";
            found.push(Finding::new(Rule::ForeignCall, &at, text).about([name]));
        }
    }
    found
}

fn multiplexers(native: Abi, entry: &Entry) -> Option<Finding> {
    let passes = entry.action.verdict() == Verdict::Permitted;
    let hands_on = |name: &&String| MULTIPLEXERS.contains(&name.as_str());
    let calls: Vec<&String> = entry.names.iter().filter(hands_on).collect();
    let known = calls
        .iter()
        .any(|name| syscall::look_up(native, name) != Known::Nowhere);
    let text = "what they are asked for is not seen by this filter, so its other rules do not hold \
                for it";
    let at = format!("{}/names", entry.pointer);
    (passes && known).then(|| {
        let names = calls.into_iter().map(String::as_str);
        Finding::new(Rule::Multiplexer, at, text).about(names)
    })
}

fn conditions(native: Abi, entry: &Entry) -> Vec<Finding> {
    let at = format!("{}/args", entry.pointer);
    let mut found = Vec::new();
    for index in &entry.masked_away {
        let text = "'valueTwo' has bits that the mask 'value' does not have; libseccomp takes them \
                    away, and compares without them";
        let place = format!("{at}/{index}");
        found.push(Finding::new(Rule::MaskedAway, place, text).about(&entry.names));
    }
    for (index, condition) in entry.conditions.iter().enumerate() {
        let (rule, text) = match always(condition) {
            Some(true) => (Rule::AlwaysHolds, "it holds for every argument"),
            Some(false) => (Rule::NeverHolds, "it holds for no argument"),
            None => continue,
        };
        let place = format!("{at}/{index}");
        found.push(Finding::new(rule, place, text).about(&entry.names));
    }
    if entry.conditions.len() > CRUN_CONDITIONS {
        let text = format!("crun reads the first {CRUN_CONDITIONS} conditions only, runc all");
        found.push(Finding::new(Rule::ConditionsDropped, &at, text).about(&entry.names));
    }
    if entry.rules.len() > 1 {
        let text = "an argument stands twice, so runc and crun make a rule of each condition: one \
                    that holds is enough";
        let finding = Finding::new(Rule::ConditionsBecomeOr, &at, text).about(&entry.names);
        found.push(finding.shown_by(only_as_or(native, entry)));
    }
    found
}

/// Whether a condition holds for every argument or for none; `None` if it depends.
fn always(condition: &Condition) -> Option<bool> {
    let mut diagrams = Diagrams::default();
    // One comparison has at most 64 nodes.
    let function = diagrams.conjunction(&[*condition], 64, 1, 0).ok()?;
    match diagrams.node(function) {
        Node::End(value) => Some(value == 1),
        Node::Bit { .. } => None,
    }
}

/// A call that one of the conditions matches, but not all.
fn only_as_or(native: Abi, entry: &Entry) -> Option<Call> {
    let mut diagrams = Diagrams::default();
    let mut all = diagrams.constant(1).ok()?;
    let mut any = diagrams.constant(0).ok()?;
    for condition in &entry.conditions {
        let own = diagrams.conjunction(&[*condition], 64, 1, 0).ok()?;
        all = diagrams.combine(all, own, |one, other| one & other).ok()?;
        any = diagrams.combine(any, own, |one, other| one | other).ok()?;
    }
    let only = diagrams.combine(any, all, |any, all| any & !all).ok()?;
    let arguments = diagrams.witness(only, |value| value == 1)?;
    let name = entry.names.first()?;
    Some(Call::new(native, Some(name), arguments, &diagrams, &[only]))
}
