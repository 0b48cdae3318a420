//! A filter as the kernel holds it, against the section that it was made from.
//!
//! Between the two stand a runtime and a library, and both have had defects that made a filter
//! weaker than its section (opencontainers/runc#2735, GHSA-4q85-33p6-j5g6). The program is run over
//! every number that a call has, with arguments on both sides of each condition: what the section
//! denies, it must deny. It may deny more, as a library does that lacks a name.
//!
//! It reads sections as this project's hardening writes them: names that are allowed, or answered
//! with an errno, and a default that denies.

use std::collections::BTreeMap;
use std::fmt;

use portcullis_hardening::{Comparison, Condition, Conjunction, alternatives};
use serde_json::{Map, Value};

use crate::action::{Action, Verdict};
use crate::bpf::{CallData, Instruction, run};
use crate::convention::{self, Convention, X32};

/// Beyond the last call of any convention, and some more.
const NUMBERS: u32 = 512;

/// Why a filter is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Weaker {
    /// A call passes that the section denies.
    Passes {
        /// The calling convention, as OCI names it.
        convention: &'static str,
        /// Its number.
        number: u32,
        /// Its name, if it has one.
        name: Option<&'static str>,
        /// The registers.
        arguments: [u64; 6],
    },
    /// The program does something that no filter does.
    Unreadable,
    /// The section is not one that the hardening writes.
    Section,
}

/// What a section says of one name.
#[derive(Default)]
struct Rule {
    /// One of these must hold for the call to pass.
    alternatives: Vec<Conjunction>,
}

impl fmt::Display for Weaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passes {
                convention,
                number,
                name,
                arguments,
            } => {
                match name {
                    Some(name) => write!(f, "{name}(")?,
                    None => write!(f, "call {number}(")?,
                }
                let [first, second, third, ..] = arguments;
                write!(
                    f,
                    "{first:#x}, {second:#x}, {third:#x}, …) of {convention} passes"
                )
            }
            Self::Unreadable => f.write_str("a program that is no filter"),
            Self::Section => f.write_str("a section that cannot be compared"),
        }
    }
}

impl std::error::Error for Weaker {}

/// Holds `program` against `section`, the value of `linux.seccomp`, for this machine's processor.
///
/// # Errors
///
/// [`Weaker`], for the first call found.
pub fn verify_loaded(section: &Map<String, Value>, program: &[Instruction]) -> Result<(), Weaker> {
    let rules = rules(section).ok_or(Weaker::Section)?;
    let listed = section.get("architectures").and_then(Value::as_array);
    let nothing = BTreeMap::new();
    for (index, convention) in convention::ALL.iter().enumerate() {
        let is_listed = || {
            let mut names = listed.into_iter().flatten();
            names.any(|name| name.as_str() == Some(convention.oci))
        };
        // libseccomp serves the processor's own convention always.
        let rules = if index == 0 || is_listed() {
            &rules
        } else {
            &nothing
        };
        verify_convention(convention, rules, program)?;
    }
    // No section of ours lists x32.
    for number in (X32..X32 + NUMBERS).filter(|_| cfg!(target_arch = "x86_64")) {
        let call = CallData {
            arch: convention::X86_64,
            number,
            arguments: [0; 6],
        };
        if !denies(program, &call)? {
            return Err(weaker("SCMP_ARCH_X32", None, &call));
        }
    }
    Ok(())
}

fn verify_convention(
    convention: &'static Convention,
    rules: &BTreeMap<&str, Rule>,
    program: &[Instruction],
) -> Result<(), Weaker> {
    let mut calls = convention.calls.iter().peekable();
    for number in 0..NUMBERS {
        let name = calls
            .next_if(|(known, _)| *known == number)
            .map(|(_, name)| name);
        let rule = name.and_then(|name| rules.get(name));
        for arguments in points(rule) {
            let may_pass = rule.is_some_and(|rule| rule.passes(arguments));
            let call = CallData {
                arch: convention.audit_arch,
                number,
                arguments,
            };
            if !may_pass && !denies(program, &call)? {
                return Err(weaker(convention.oci, name, &call));
            }
        }
    }
    Ok(())
}

fn weaker(convention: &'static str, name: Option<&'static str>, call: &CallData) -> Weaker {
    Weaker::Passes {
        convention,
        number: call.number,
        name,
        arguments: call.arguments,
    }
}

fn denies(program: &[Instruction], call: &CallData) -> Result<bool, Weaker> {
    let value = run(program, call).ok_or(Weaker::Unreadable)?;
    Ok(Action::from_return_value(value).verdict() == Verdict::Denied)
}

/// What may pass, by name; `None` if the section is of another form.
fn rules(section: &Map<String, Value>) -> Option<BTreeMap<&str, Rule>> {
    let mut rules: BTreeMap<&str, Rule> = BTreeMap::new();
    if section.get("defaultAction")?.as_str()? != "SCMP_ACT_ERRNO" {
        return None;
    }
    for entry in section.get("syscalls")?.as_array()? {
        let conditions = entry.get("args").and_then(Value::as_array);
        let conditions = conditions.map_or(&[][..], Vec::as_slice);
        match entry.get("action")?.as_str()? {
            "SCMP_ACT_ALLOW" => {}
            // With conditions it would be an exception from what other entries allow.
            "SCMP_ACT_ERRNO" if conditions.is_empty() => continue,
            _ => return None,
        }
        let own = alternatives(conditions)?;
        for name in entry.get("names")?.as_array()? {
            let rule = rules.entry(name.as_str()?).or_default();
            rule.alternatives.extend(own.iter().cloned());
        }
    }
    Some(rules)
}

// === impl Rule ===

impl Rule {
    fn passes(&self, arguments: [u64; 6]) -> bool {
        self.alternatives
            .iter()
            .any(|all| all.iter().all(|condition| holds(condition, arguments)))
    }
}

fn holds(condition: &Condition, arguments: [u64; 6]) -> bool {
    let index = usize::try_from(condition.index).ok();
    let argument = index.and_then(|index| arguments.get(index));
    argument.is_some_and(|argument| condition.comparison.holds(*argument))
}

/// Arguments to try: none set, all set, and for each alternative some that satisfy it, with one
/// register after the other just beside what it must be.
fn points(rule: Option<&Rule>) -> Vec<[u64; 6]> {
    let mut points = vec![[0; 6], [u64::MAX; 6]];
    for conditions in rule.into_iter().flat_map(|rule| &rule.alternatives) {
        let mut satisfied = [0; 6];
        for condition in conditions {
            set(&mut satisfied, condition.index, pivot(condition.comparison));
        }
        for condition in conditions {
            let pivot = pivot(condition.comparison);
            for beside in [
                pivot.wrapping_sub(1),
                pivot.wrapping_add(1),
                pivot ^ 1 << 31,
                pivot ^ 1 << 32,
                !pivot,
                0,
                u64::MAX,
            ] {
                let mut point = satisfied;
                set(&mut point, condition.index, beside);
                points.push(point);
            }
        }
        points.push(satisfied);
    }
    points
}

fn set(arguments: &mut [u64; 6], index: u64, value: u64) {
    if let Some(place) = usize::try_from(index)
        .ok()
        .and_then(|it| arguments.get_mut(it))
    {
        *place = value;
    }
}

/// The value at which the answer changes.
const fn pivot(comparison: Comparison) -> u64 {
    match comparison {
        Comparison::NotEqual(value)
        | Comparison::Less(value)
        | Comparison::LessOrEqual(value)
        | Comparison::Equal(value)
        | Comparison::GreaterOrEqual(value)
        | Comparison::Greater(value)
        | Comparison::Masked { value, .. } => value,
    }
}

#[cfg(test)]
mod tests;
