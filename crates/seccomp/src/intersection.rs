//! One section that answers every call as two sections stacked would: with the stricter answer.

mod cover;

use std::collections::{BTreeMap, BTreeSet};

use portcullis_hardening::{Condition, Conjunction};
use serde_json::{Map, Value, json};

use crate::abi::Abi;
use crate::action::{Action, Verdict};
use crate::diagram::{Complex, Diagrams, Function, Node};
use crate::filter::{Filter, stricter};
use crate::section::{Circumstances, Section};
use crate::witness::Call;
use cover::Cover;

/// The flag that leaves speculation as it is; without `flags` the runtimes set it.
const SPEC_ALLOW: &str = "SECCOMP_FILTER_FLAG_SPEC_ALLOW";

/// A section and what it had to be made stricter in.
#[derive(Debug, Clone, PartialEq)]
pub struct Intersection {
    /// In the form of `linux.seccomp`.
    pub section: Value,
    /// Empty if the section is exact.
    pub notes: Vec<Note>,
}

/// Where a section is stricter than the two it was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The call has one answer for all arguments although both would permit some of it.
    CallDenied {
        /// A call that both permit, or ask about.
        lost: Call,
    },
    /// The architecture is left out although both have it.
    ArchitectureDropped {
        /// Which.
        abi: Abi,
        /// A call for which no rules were found that hold there, too.
        differs: Call,
    },
}

/// Why two sections have no intersection that could be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IntersectionError {
    /// A call's rules are too many.
    #[error("cannot intersect call {}: {source}", portcullis_gate::quote(call))]
    Call {
        /// Its name.
        call: String,
        /// Why.
        source: Complex,
    },
    /// The section that was written does not answer as it should; a defect of this crate.
    #[error("cannot prove the intersection: it answers {call} otherwise")]
    Unproven {
        /// A call for which it does not.
        call: String,
    },
    /// Both ask a supervisor, and not the same one.
    #[error("cannot intersect two sections that ask two supervisors")]
    Supervisors,
    /// The section would be stricter than the two, and that was not asked for.
    #[error("cannot write the intersection as OCI rules: {}", notes(.0))]
    Inexact(Vec<Note>),
}

fn notes(notes: &[Note]) -> String {
    let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
    notes.join("; ")
}

/// Two sections on their way to one.
struct Meeting<'a> {
    first: Filter<'a>,
    second: Filter<'a>,
    native: Abi,
    default: Action,
    /// Calls that pass, or are stopped, whatever their arguments.
    plain: BTreeMap<(bool, u32), Vec<&'a str>>,
    conditional: Vec<Value>,
    notes: Vec<Note>,
}

/// The intersection of two sections on a processor whose own ABI is `native`. Where OCI rules cannot
/// express it, `tighten` says whether less may pass than both permit, with a note for each case.
///
/// # Errors
///
/// [`IntersectionError`] if it cannot be computed, or cannot be expressed and may not be tightened.
pub fn intersect(
    first: &Section,
    second: &Section,
    native: Abi,
    tighten: bool,
) -> Result<Intersection, IntersectionError> {
    let mut meeting = Meeting {
        first: Filter::new(first),
        second: Filter::new(second),
        native,
        default: first.default.stricter(second.default),
        plain: BTreeMap::new(),
        conditional: Vec::new(),
        notes: Vec::new(),
    };
    let of = |call: &str, source| IntersectionError::Call {
        call: call.to_owned(),
        source,
    };
    for name in meeting.calls(native) {
        meeting.take(name).map_err(|source| of(name, source))?;
    }
    let listener = meeting.listener()?;
    let abis = meeting.common_abis(&listener)?;
    let section = meeting.section(&abis, &listener);
    if meeting.notes.is_empty() || tighten {
        Ok(Intersection {
            section,
            notes: meeting.notes,
        })
    } else {
        Err(IntersectionError::Inexact(meeting.notes))
    }
}

// === impl Meeting ===

impl<'a> Meeting<'a> {
    /// Every call that one of the two names, and every one that the ABI has.
    fn calls(&self, abi: Abi) -> BTreeSet<&'a str> {
        let mut calls = self.first.calls(abi);
        calls.extend(self.second.calls(abi));
        calls.extend(self.first.names());
        calls.extend(self.second.names());
        calls
    }

    /// The stricter answer of the two.
    fn meet(&self, diagrams: &mut Diagrams, abi: Abi, name: &str) -> Result<Function, Complex> {
        let first = self.first.answer(diagrams, abi, self.native, name)?;
        let second = self.second.answer(diagrams, abi, self.native, name)?;
        diagrams.combine(first, second, stricter)
    }

    /// Makes entries for one call.
    ///
    /// A name that the processor's own ABI does not have may be a call of another one that both
    /// serve; its rules are made as if it were a call of 64-bit arguments, and checked later.
    fn take(&mut self, name: &'a str) -> Result<(), Complex> {
        let mut diagrams = Diagrams::default();
        let abi = self.representative(name);
        let answer = self.meet(&mut diagrams, abi, name)?;
        if let Node::End(value) = diagrams.node(answer) {
            if value != self.default.return_value() {
                let passes = Action::from_return_value(value) == Action::ALLOW;
                self.plain.entry((!passes, value)).or_default().push(name);
            }
            return Ok(());
        }
        let pool = self.comparisons(name);
        let cover = Cover::new(&pool, self.default.return_value());
        match cover.rules(&mut diagrams, answer)? {
            Some(rules) => {
                let entries = rules.iter().map(|(conditions, value)| {
                    entry(&[name], conditions, Action::from_return_value(*value))
                });
                self.conditional.extend(entries);
            }
            None => self.deny(&diagrams, abi, name, answer),
        }
        Ok(())
    }

    /// The ABI by which the rules for a call are made.
    fn representative(&self, name: &str) -> Abi {
        if !crate::syscall::lacks(self.native, name) {
            return self.native;
        }
        let second = self.second.section.abis_on(self.native);
        let first = self.first.section.abis_on(self.native);
        let has = |abi: &&Abi| !crate::syscall::lacks(**abi, name);
        first
            .intersection(&second)
            .find(has)
            .copied()
            .unwrap_or(self.native)
    }

    /// Gives a call one answer that permits nothing which `answer` denies.
    fn deny(&mut self, diagrams: &Diagrams, abi: Abi, name: &'a str, answer: Function) {
        let default = self.default.return_value();
        if self.default.verdict() != Verdict::Denied {
            let strictest = diagrams.ends(answer).into_iter().fold(default, stricter);
            self.plain.entry((true, strictest)).or_default().push(name);
        }
        let permitted = |value| Action::from_return_value(value).verdict() != Verdict::Denied;
        let arguments = diagrams
            .witness(answer, permitted)
            .or_else(|| diagrams.witness(answer, |value| value != default));
        let lost =
            arguments.map(|arguments| Call::new(abi, Some(name), arguments, diagrams, &[answer]));
        self.notes
            .extend(lost.map(|lost| Note::CallDenied { lost }));
    }

    /// The comparisons with which either section judges a call.
    fn comparisons(&self, name: &str) -> Vec<Condition> {
        let rules = self.first.rules(name).iter().chain(self.second.rules(name));
        let mut all: Vec<Condition> = rules
            .flat_map(|rule| rule.conditions.iter().copied())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The supervisor, if one is asked.
    fn listener(&self) -> Result<Option<String>, IntersectionError> {
        let asked = |value: &u32| Action::from_return_value(*value).notifies();
        let entries = self.conditional.iter();
        let asks = self.plain.keys().any(|(_, value)| asked(value))
            || entries
                .filter_map(|entry| entry.get("action"))
                .any(|action| action == "SCMP_ACT_NOTIFY");
        let (first, second) = (self.first.section, self.second.section);
        match (&first.listener, &second.listener) {
            _ if !asks => Ok(None),
            (Some(one), Some(other)) if one != other => Err(IntersectionError::Supervisors),
            (Some(path), _) | (None, Some(path)) => Ok(Some(path.clone())),
            (None, None) => Ok(None),
        }
    }

    /// The ABIs that both serve and for which the entries are right; a note for each other one.
    fn common_abis(
        &mut self,
        listener: &Option<String>,
    ) -> Result<BTreeSet<Abi>, IntersectionError> {
        let first = self.first.section.abis_on(self.native);
        let second = self.second.section.abis_on(self.native);
        let mut common: BTreeSet<Abi> = first.intersection(&second).copied().collect();
        let written = self.section(&common, listener);
        let circumstances = Circumstances {
            native: self.native,
            capabilities: BTreeSet::new(),
        };
        // What was just written can be read.
        let Ok(written) = Section::read(&written, &circumstances) else {
            return Ok(BTreeSet::from([self.native]));
        };
        let written = Filter::new(&written);
        for abi in common.clone() {
            if let Some(differs) = self.first_difference(&written, abi)? {
                if abi == self.native {
                    let call = differs.to_string();
                    return Err(IntersectionError::Unproven { call });
                }
                common.remove(&abi);
                self.notes.push(Note::ArchitectureDropped { abi, differs });
            }
        }
        Ok(common)
    }

    /// A call of `abi` that `written` answers otherwise than the stricter of the two; of a call
    /// that is denied on purpose, otherwise than more strictly.
    fn first_difference(
        &self,
        written: &Filter<'_>,
        abi: Abi,
    ) -> Result<Option<Call>, IntersectionError> {
        let denied: BTreeSet<&str> = self.notes.iter().filter_map(Note::denied).collect();
        for name in self.calls(abi).into_iter().chain([""]) {
            let differs = self.differs(written, abi, name, denied.contains(name));
            let differs = differs.map_err(|source| IntersectionError::Call {
                call: name.to_owned(),
                source,
            })?;
            if differs.is_some() {
                return Ok(differs);
            }
        }
        Ok(None)
    }

    fn differs(
        &self,
        written: &Filter<'_>,
        abi: Abi,
        name: &str,
        may_be_stricter: bool,
    ) -> Result<Option<Call>, Complex> {
        let mut diagrams = Diagrams::default();
        let wanted = self.meet(&mut diagrams, abi, name)?;
        let found = written.answer(&mut diagrams, abi, self.native, name)?;
        let verdict = |value| Action::from_return_value(value).verdict();
        let differs = diagrams.combine(wanted, found, |wanted, found| {
            u32::from(if may_be_stricter {
                verdict(found) > verdict(wanted)
            } else {
                found != wanted
            })
        })?;
        let arguments = diagrams.witness(differs, |value| value == 1);
        let name = Some(name).filter(|name| !name.is_empty());
        Ok(arguments.map(|it| Call::new(abi, name, it, &diagrams, &[differs])))
    }

    fn section(&self, abis: &BTreeSet<Abi>, listener: &Option<String>) -> Value {
        let mut section = Map::new();
        write(
            self.default,
            &mut section,
            "defaultAction",
            "defaultErrnoRet",
        );
        let mut names = vec![self.native.oci()];
        names.extend(
            abis.iter()
                .filter(|abi| **abi != self.native)
                .map(|abi| abi.oci()),
        );
        section.insert("architectures".to_owned(), json!(names));
        let (first, second) = (&self.first.section.flags, &self.second.section.flags);
        if let Some(flags) = flags(first.as_ref(), second.as_ref()) {
            section.insert("flags".to_owned(), json!(flags));
        }
        if let Some(path) = listener {
            section.insert("listenerPath".to_owned(), json!(path));
        }
        let plain = self.plain.iter();
        let mut entries: Vec<Value> = plain
            .map(|((_, value), names)| entry(names, &[], Action::from_return_value(*value)))
            .collect();
        entries.extend(self.conditional.iter().cloned());
        section.insert("syscalls".to_owned(), Value::Array(entries));
        Value::Object(section)
    }
}

/// The flags of both, with the one that loosens only if both have it; `None` where neither section
/// has flags.
fn flags(
    first: Option<&BTreeSet<String>>,
    second: Option<&BTreeSet<String>>,
) -> Option<BTreeSet<String>> {
    if first.is_none() && second.is_none() {
        return None;
    }
    let default = BTreeSet::from([SPEC_ALLOW.to_owned()]);
    let (first, second) = (first.unwrap_or(&default), second.unwrap_or(&default));
    let in_both = |flag: &&String| first.contains(*flag) && second.contains(*flag);
    let all = first.union(second);
    let kept = all.filter(|flag| flag.as_str() != SPEC_ALLOW || in_both(flag));
    Some(kept.cloned().collect())
}

fn write(action: Action, into: &mut Map<String, Value>, name: &str, errno: &str) {
    into.insert(name.to_owned(), action.name().unwrap_or_default().into());
    if let Some(data) = action.data() {
        into.insert(errno.to_owned(), data.into());
    }
}

fn entry(names: &[&str], conditions: &[Condition], action: Action) -> Value {
    let mut entry = Map::new();
    entry.insert("names".to_owned(), json!(names));
    write(action, &mut entry, "action", "errnoRet");
    if !conditions.is_empty() {
        let args: Conjunction = conditions.to_vec();
        let args: Vec<Value> = args.into_iter().map(Condition::to_oci).collect();
        entry.insert("args".to_owned(), Value::Array(args));
    }
    Value::Object(entry)
}

// === impl Note ===

impl Note {
    /// The call that is denied.
    fn denied(&self) -> Option<&str> {
        match self {
            Self::CallDenied { lost } => lost.name.as_deref(),
            Self::ArchitectureDropped { .. } => None,
        }
    }

    /// The note for programs.
    pub fn to_json(&self) -> Value {
        let (kind, call) = match self {
            Self::CallDenied { lost } => ("call-denied", lost),
            Self::ArchitectureDropped { differs, .. } => ("architecture-dropped", differs),
        };
        json!({"note": kind, "text": self.to_string(), "witness": call.to_json()})
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CallDenied { lost } => write!(
                formatter,
                "{lost} and others of this call would need more than {} rules",
                cover::RULES_LIMIT
            ),
            Self::ArchitectureDropped { abi, differs } => {
                write!(
                    formatter,
                    "the rules for {differs} cannot hold for {abi}, too"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests;
