//! Findings about what all entries together do to one call.

use portcullis_hardening::Comparison;

use super::{Finding, LintError, Rule};
use crate::abi::Abi;
use crate::action::{Action, ENOSYS, Verdict};
use crate::diagram::{Complex, Diagrams, Function, Node, bit_at};
use crate::filter::Filter;
use crate::section::Entry;
use crate::syscall::{self, TRIED_FIRST};
use crate::witness::Call;

/// One call of one ABI, and the functions that were made for it.
struct Judged<'a> {
    filter: &'a Filter<'a>,
    abi: Abi,
    name: &'a str,
    diagrams: Diagrams,
    answer: Function,
    contested: Function,
}

/// Findings for the calls of the processor's own ABI.
pub(super) fn findings(filter: &Filter<'_>, native: Abi) -> Result<Vec<Finding>, LintError> {
    let mut found = Vec::new();
    for name in filter.calls(native) {
        let judged = Judged::new(filter, native, name).and_then(Judged::findings);
        found.extend(judged.map_err(|source| LintError {
            call: name.to_owned(),
            source,
        })?);
    }
    found.extend(fallbacks(filter, native));
    Ok(found)
}

/// Calls that libraries try first, and do without only if the answer is `ENOSYS`.
fn fallbacks(filter: &Filter<'_>, native: Abi) -> Option<Finding> {
    let breaks = |name: &&&str| {
        let rules = filter.rules(name);
        let plain = rules.iter().find(|rule| rule.is_plain(64));
        let answer = plain.map_or(filter.section.default, |rule| rule.action);
        let conditional = plain.is_none() && !rules.is_empty();
        let denied = answer.verdict() == Verdict::Denied && answer != Action::errno(ENOSYS);
        denied && !conditional && syscall::number(native, name).is_some()
    };
    let calls: Vec<&str> = TRIED_FIRST.iter().filter(breaks).copied().collect();
    let text = "C libraries and the Go runtime try them first and fall back on older ones only if \
                the answer is ENOSYS (38)";
    let place = format!("{}/syscalls", filter.section.pointer);
    (!calls.is_empty()).then(|| Finding::new(Rule::FallbackBroken, place, text).about(calls))
}

// === impl Judged ===

impl<'a> Judged<'a> {
    fn new(filter: &'a Filter<'a>, abi: Abi, name: &'a str) -> Result<Self, Complex> {
        let mut diagrams = Diagrams::default();
        let decision = filter.decide(&mut diagrams, abi, abi, name, |_| true)?;
        Ok(Self {
            filter,
            abi,
            name,
            diagrams,
            answer: decision.answer,
            contested: decision.contested,
        })
    }

    fn findings(mut self) -> Result<Vec<Finding>, Complex> {
        let mut found = Vec::new();
        if !self.filter.rules(self.name).is_empty() {
            found.extend(self.without_effect()?);
            found.extend(self.conflict());
            found.extend(self.wide()?);
            found.extend(self.open_ended());
            found.extend(self.merged_ranges());
        }
        Ok(found)
    }

    fn call(&self, arguments: [u64; 6]) -> Call {
        let functions = [self.answer, self.contested];
        Call::new(
            self.abi,
            Some(self.name),
            arguments,
            &self.diagrams,
            &functions,
        )
    }

    fn entry(&self, index: usize) -> Option<&'a Entry> {
        self.filter.section.entries.get(index)
    }

    /// Entries whose rules for this call change nothing. Of two that do the same the later one is
    /// named, so that what is left still does it.
    fn without_effect(&mut self) -> Result<Vec<Finding>, Complex> {
        let filter = self.filter;
        let rules = filter.rules(self.name);
        let mut entries: Vec<usize> = rules.iter().map(|rule| rule.entry).collect();
        entries.dedup();
        let mut dropped = Vec::new();
        let mut found = Vec::new();
        for entry in entries.into_iter().rev() {
            let counts = |index: usize| {
                let own = rules.get(index).map(|rule| rule.entry);
                own.is_none_or(|own| own != entry && !dropped.contains(&own))
            };
            let (name, abi) = (self.name, self.abi);
            let without = filter.decide(&mut self.diagrams, abi, abi, name, counts)?;
            if without.answer == self.answer {
                dropped.push(entry);
                found.extend(self.no_effect(entry)?);
            }
        }
        Ok(found)
    }

    fn no_effect(&mut self, index: usize) -> Result<Option<Finding>, Complex> {
        let Some(entry) = self.entry(index) else {
            return Ok(None);
        };
        let rules = self.filter.rules(self.name);
        let plain = rules.iter().find(|rule| rule.is_plain(64));
        let own = || rules.iter().filter(|rule| rule.entry == index);
        if let Some(plain) = plain.filter(|plain| plain.action != entry.action) {
            let mut witness = None;
            for rule in own() {
                let holds = self.diagrams.conjunction(&rule.conditions, 64, 1, 0)?;
                let arguments = self.diagrams.witness(holds, |value| value == 1);
                let call = |arguments| {
                    Call::new(
                        self.abi,
                        Some(self.name),
                        arguments,
                        &self.diagrams,
                        &[holds],
                    )
                };
                witness = witness.or(arguments.map(call));
            }
            let by = self.entry(plain.entry).map_or("", |by| by.pointer.as_str());
            let text = format!(
                "it says {}, but {by} says {} without conditions, and libseccomp lets that one \
                 stand",
                entry.action, plain.action
            );
            let finding = Finding::new(Rule::RuleLost, &entry.pointer, text).about([self.name]);
            return Ok(Some(finding.shown_by(witness)));
        }
        let text = "other entries already do this; it can go";
        Ok(Some(
            Finding::new(Rule::DeadRule, &entry.pointer, text).about([self.name]),
        ))
    }

    /// A call for which rules with different actions hold.
    fn conflict(&mut self) -> Option<Finding> {
        let arguments = self.diagrams.witness(self.contested, |value| value == 1)?;
        let holding: Vec<usize> = self
            .filter
            .rules(self.name)
            .iter()
            .filter(|rule| {
                rule.conditions.iter().all(|condition| {
                    let index = usize::try_from(condition.index).unwrap_or(usize::MAX);
                    let argument = arguments.get(index).copied().unwrap_or_default();
                    condition.comparison.holds(argument)
                })
            })
            .map(|rule| rule.entry)
            .collect();
        let entry = self.entry(*holding.last()?)?;
        let first = self.entry(*holding.first()?)?;
        let text = format!(
            "it says {}, {} says {}, and both hold: libseccomp refuses that, or takes one of them, \
             depending on its version",
            entry.action, first.pointer, first.action
        );
        let finding = Finding::new(Rule::ConflictingRules, &entry.pointer, text).about([self.name]);
        Some(finding.shown_by(Some(self.call(arguments))))
    }

    /// Comparisons of upper halves that the kernel does not look at.
    fn wide(&mut self) -> Result<Option<Finding>, Complex> {
        let narrow = syscall::narrow_arguments(self.name);
        let upper = |bit: u16| {
            let (argument, weight) = bit_at(bit);
            narrow
                .checked_shr(u32::try_from(argument).unwrap_or(u32::MAX))
                .unwrap_or(0)
                & 1
                == 1
                && weight > u64::from(u32::MAX)
        };
        if !self.diagrams.depends_on(self.answer, upper) {
            return Ok(None);
        }
        let small = self.diagrams.with_cleared(self.answer, &upper)?;
        let passes_by = self.diagrams.combine(self.answer, small, |wide, small| {
            let verdict = |value| Action::from_return_value(value).verdict();
            u32::from(verdict(wide) > verdict(small))
        })?;
        let entry = self
            .filter
            .rules(self.name)
            .iter()
            .find(|rule| {
                rule.conditions.iter().any(|condition| {
                    let index = u32::try_from(condition.index).unwrap_or(u32::MAX);
                    let own = narrow.checked_shr(index).unwrap_or(0) & 1 == 1;
                    let masked = Comparison::Masked { mask: 0, value: 0 };
                    own && match condition.comparison {
                        Comparison::Masked { mask, .. } => mask > u64::from(u32::MAX),
                        other => other != masked,
                    }
                })
            })
            .and_then(|rule| self.entry(rule.entry));
        let pointer = entry.map_or_else(String::new, |entry| format!("{}/args", entry.pointer));
        if let Some(arguments) = self.diagrams.witness(passes_by, |value| value == 1) {
            let text = "64 bits are compared, the kernel takes 32: with a bit set in the upper half \
                        a call passes that is denied without it; compare with \
                        'SCMP_CMP_MASKED_EQ' under 4294967295";
            let finding = Finding::new(Rule::WideCompareBypass, pointer, text).about([self.name]);
            return Ok(Some(finding.shown_by(Some(self.call(arguments)))));
        }
        let differs = self
            .diagrams
            .combine(self.answer, small, |wide, small| u32::from(wide != small))?;
        let arguments = self.diagrams.witness(differs, |value| value == 1);
        let text = "64 bits are compared, the kernel takes 32: a call is denied for a bit in the \
                    upper half that has no meaning; compare with 'SCMP_CMP_MASKED_EQ' under \
                    4294967295";
        let finding = Finding::new(Rule::WideCompare, pointer, text).about([self.name]);
        Ok(Some(finding.shown_by(arguments.map(|it| self.call(it)))))
    }

    /// Several rules, one with a range: libseccomp before 2.6.1 merges them wrongly.
    fn merged_ranges(&self) -> Option<Finding> {
        let rules = self.filter.rules(self.name);
        let alternatives = rules.len() > 1 && !rules.iter().any(|rule| rule.is_plain(64));
        let last = rules.iter().rev().find(|rule| rule.is_open_ended());
        let entry = last
            .filter(|_| alternatives)
            .and_then(|it| self.entry(it.entry))?;
        let text = "libseccomp before 2.6.1 may compile several rules for one call to something \
                    else where one has a range or 'not equal' (GHSA-4q85-33p6-j5g6)";
        let pointer = format!("{}/args", entry.pointer);
        Some(Finding::new(Rule::MergedRanges, pointer, text).about([self.name]))
    }

    /// Rules that permit a call for whatever a comparison leaves open.
    fn open_ended(&self) -> Vec<Finding> {
        let depends = matches!(self.diagrams.node(self.answer), Node::Bit { .. });
        let mut found = Vec::new();
        for rule in self.filter.rules(self.name).iter().filter(|_| depends) {
            if rule.is_open_ended() && rule.action.verdict() == Verdict::Permitted {
                let text = "a range or 'not equal' permits what nobody named, also what a later \
                            kernel adds; name the values that may pass";
                let pointer = self
                    .entry(rule.entry)
                    .map(|it| format!("{}/args", it.pointer));
                let pointer = pointer.unwrap_or_default();
                found.push(Finding::new(Rule::OpenEndedCompare, pointer, text).about([self.name]));
            }
        }
        found.dedup();
        found
    }
}
