//! What the filter of a section answers, as libseccomp compiles it.
//!
//! # Source
//!
//! libseccomp 2.5.4 and 2.6.0, `src/db.c`, `db_rule_add`: of several rules for one call
//!
//! - one without conditions takes the place of all with conditions, whichever came first, and
//!   whatever their actions;
//! - of several without conditions the first one stays;
//! - the others are alternatives.
//!
//! Where alternatives with different actions hold together, libseccomp refuses the filter or
//! takes one of them, depending on its version and on how they are written. Here the strictest
//! is taken, and [`Decision::contested`] says where.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_hardening::{Comparison, Condition};

use crate::abi::Abi;
use crate::action::Action;
use crate::diagram::{Complex, Diagrams, Function};
use crate::section::Section;
use crate::syscall;

/// No rule matches; no return value of the kernel.
const NO_MATCH: u32 = u32::MAX;

/// A rule for one call.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// Index of its entry.
    pub(crate) entry: usize,
    /// What must hold.
    pub(crate) conditions: Vec<Condition>,
    pub(crate) action: Action,
}

/// A section, sorted by call.
#[derive(Debug)]
pub(crate) struct Filter<'a> {
    pub(crate) section: &'a Section,
    rules: BTreeMap<&'a str, Vec<Rule>>,
}

/// What happens to one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decision {
    /// The return value, by arguments.
    pub(crate) answer: Function,
    /// 1 where rules with different actions hold.
    pub(crate) contested: Function,
}

// === impl Filter ===

impl<'a> Filter<'a> {
    pub(crate) fn new(section: &'a Section) -> Self {
        let mut rules: BTreeMap<&str, Vec<Rule>> = BTreeMap::new();
        for (index, entry) in section.entries.iter().enumerate() {
            // The runtimes leave out what does what happens anyway.
            if entry.action == section.default {
                continue;
            }
            for name in &entry.names {
                let own = entry.rules.iter().map(|conditions| Rule {
                    entry: index,
                    conditions: conditions.clone(),
                    action: entry.action,
                });
                rules.entry(name).or_default().extend(own);
            }
        }
        Self { section, rules }
    }

    /// The names for which there are rules.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.rules.keys().copied()
    }

    /// The calls of `abi` to ask about: all that are known, or those that are named here.
    pub(crate) fn calls(&self, abi: Abi) -> BTreeSet<&'a str> {
        let known: BTreeSet<&str> = syscall::names(abi);
        if known.is_empty() {
            self.names().collect()
        } else {
            known
        }
    }

    /// The rules for a call.
    pub(crate) fn rules(&self, name: &str) -> &[Rule] {
        self.rules.get(name).map_or(&[], Vec::as_slice)
    }

    /// What happens to the call `name` of `abi`, with the rules that `counts` accepts.
    pub(crate) fn decide(
        &self,
        diagrams: &mut Diagrams,
        abi: Abi,
        native: Abi,
        name: &str,
        counts: impl Fn(usize) -> bool,
    ) -> Result<Decision, Complex> {
        let nowhere = diagrams.constant(0)?;
        let constant = |diagrams: &mut Diagrams, action: Action| {
            Ok(Decision {
                answer: diagrams.constant(action.return_value())?,
                contested: nowhere,
            })
        };
        if !self.section.abis_on(native).contains(&abi) {
            return constant(diagrams, Action::KILL_THREAD);
        }
        if syscall::lacks(abi, name) {
            return constant(diagrams, self.section.default);
        }
        let bits = abi.argument_bits();
        let rules = || {
            let numbered = self.rules(name).iter().enumerate();
            numbered.filter(|(index, _)| counts(*index))
        };
        if let Some((_, rule)) = rules().find(|(_, rule)| rule.is_plain(bits)) {
            return constant(diagrams, rule.action);
        }
        let mut matched = diagrams.constant(NO_MATCH)?;
        let mut contested = nowhere;
        for (_, rule) in rules() {
            let value = rule.action.return_value();
            let own = diagrams.conjunction(&rule.conditions, bits, value, NO_MATCH)?;
            let both = diagrams.combine(matched, own, |one, other| {
                u32::from(one != NO_MATCH && other != NO_MATCH && one != other)
            })?;
            contested = diagrams.combine(contested, both, |one, other| one | other)?;
            matched = diagrams.combine(matched, own, |one, other| match (one, other) {
                (NO_MATCH, value) | (value, NO_MATCH) => value,
                (one, other) => stricter(one, other),
            })?;
        }
        let default = self.section.default.return_value();
        let answer = diagrams.map(matched, |value| match value {
            NO_MATCH => default,
            value => value,
        })?;
        Ok(Decision { answer, contested })
    }

    /// [`Self::decide`] with all rules.
    pub(crate) fn answer(
        &self,
        diagrams: &mut Diagrams,
        abi: Abi,
        native: Abi,
        name: &str,
    ) -> Result<Function, Complex> {
        let decision = self.decide(diagrams, abi, native, name, |_| true)?;
        Ok(decision.answer)
    }
}

/// The answers of a section to one call.
#[derive(Debug)]
pub struct Answers {
    diagrams: Diagrams,
    answer: Function,
}

// === impl Answers ===

impl Answers {
    /// The answers of `section` to the call `name` of `abi`, on a processor whose own ABI is
    /// `native`.
    ///
    /// # Errors
    ///
    /// [`Complex`] if its rules make too many cases.
    pub fn new(section: &Section, native: Abi, abi: Abi, name: &str) -> Result<Self, Complex> {
        let mut diagrams = Diagrams::default();
        let answer = Filter::new(section).answer(&mut diagrams, abi, native, name)?;
        Ok(Self { diagrams, answer })
    }

    /// The answer to a call with `arguments`.
    pub fn to(&self, arguments: &[u64; 6]) -> Action {
        Action::from_return_value(self.diagrams.value(self.answer, arguments))
    }
}

/// The stricter of two return values.
pub(crate) fn stricter(one: u32, other: u32) -> u32 {
    let (one, other) = (
        Action::from_return_value(one),
        Action::from_return_value(other),
    );
    one.stricter(other).return_value()
}

// === impl Rule ===

impl Rule {
    /// True if libseccomp makes no comparison of it: it has none, or none with a bit to look at.
    pub(crate) fn is_plain(&self, bits: u16) -> bool {
        let seen = u64::MAX >> (64 - bits.min(64));
        self.conditions.iter().all(|condition| {
            matches!(condition.comparison, Comparison::Masked { mask, .. } if mask & seen == 0)
        })
    }

    /// True if it has a range or "not equal".
    pub(crate) fn is_open_ended(&self) -> bool {
        !self.conditions.iter().all(|condition| {
            matches!(
                condition.comparison,
                Comparison::Equal(_) | Comparison::Masked { .. }
            )
        })
    }
}

#[cfg(test)]
mod tests;
