//! What one section permits that another does not.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::abi::Abi;
use crate::action::{Action, Verdict};
use crate::diagram::{Complex, Diagrams, Function};
use crate::filter::Filter;
use crate::section::Section;
use crate::witness::Call;

/// In which way two sections differ about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// The first one permits more, or asks where the second one denies.
    FirstPermits,
    /// The second one does.
    SecondPermits,
    /// Both deny, both permit or both ask, but not in the same way.
    OtherAnswer,
}

/// A call about which two sections differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// In which way.
    pub direction: Direction,
    /// The call with the smallest arguments for which they do.
    pub witness: Call,
    /// The first section's answer to it.
    pub first: Action,
    /// The second section's answer to it.
    pub second: Action,
}

/// A call whose rules are too many to be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot compare call {}: {source}", portcullis_gate::quote(call))]
pub struct DifferenceError {
    /// Its name.
    pub call: String,
    /// Why.
    pub source: Complex,
}

/// All differences of two sections on a processor whose own ABI is `native`: for each call, and
/// each direction in which it differs, one.
///
/// # Errors
///
/// [`DifferenceError`] if the rules of a call make too many cases; nothing is said then.
pub fn differences(
    first: &Section,
    second: &Section,
    native: Abi,
) -> Result<Vec<Difference>, DifferenceError> {
    let (one, other) = (Filter::new(first), Filter::new(second));
    let abis: BTreeSet<Abi> = first
        .abis_on(native)
        .union(&second.abis_on(native))
        .copied()
        .collect();
    let mut found = Vec::new();
    for abi in abis {
        let mut calls: BTreeSet<&str> = one.calls(abi);
        calls.extend(other.calls(abi));
        for name in calls.into_iter().map(Some).chain([None]) {
            let differs = call_differences(&one, &other, abi, native, name);
            found.extend(differs.map_err(|source| DifferenceError {
                call: name.unwrap_or_default().to_owned(),
                source,
            })?);
        }
    }
    found.sort_by(|left, right| {
        let key = |it: &Difference| (it.direction, it.witness.abi, it.witness.name.is_none());
        key(left).cmp(&key(right))
    });
    Ok(found)
}

/// How two sections differ about one call; `None` is a call that has no name.
fn call_differences(
    one: &Filter<'_>,
    other: &Filter<'_>,
    abi: Abi,
    native: Abi,
    name: Option<&str>,
) -> Result<Vec<Difference>, Complex> {
    let mut diagrams = Diagrams::default();
    // No rule has the empty name.
    let asked = name.unwrap_or_default();
    let first = one.answer(&mut diagrams, abi, native, asked)?;
    let second = other.answer(&mut diagrams, abi, native, asked)?;
    compare(&mut diagrams, first, second, |arguments, diagrams| {
        Call::new(abi, name, arguments, diagrams, &[first, second])
    })
}

fn compare(
    diagrams: &mut Diagrams,
    first: Function,
    second: Function,
    call: impl Fn([u64; 6], &Diagrams) -> Call,
) -> Result<Vec<Difference>, Complex> {
    if first == second {
        return Ok(Vec::new());
    }
    let directions = [
        Direction::FirstPermits,
        Direction::SecondPermits,
        Direction::OtherAnswer,
    ];
    let differs = diagrams.combine(first, second, |one, other| {
        let direction = direction(one, other);
        let number = directions.iter().position(|it| Some(*it) == direction);
        number.map_or(0, |number| {
            u32::try_from(number).unwrap_or(0).saturating_add(1)
        })
    })?;
    let mut found = Vec::new();
    for (number, direction) in (1..).zip(directions) {
        if let Some(arguments) = diagrams.witness(differs, |value| value == number) {
            let answer = |function| Action::from_return_value(diagrams.value(function, &arguments));
            found.push(Difference {
                direction,
                first: answer(first),
                second: answer(second),
                witness: call(arguments, diagrams),
            });
        }
    }
    Ok(found)
}

fn direction(first: u32, second: u32) -> Option<Direction> {
    let verdict = |value| -> Verdict { Action::from_return_value(value).verdict() };
    match verdict(first).cmp(&verdict(second)) {
        std::cmp::Ordering::Greater => Some(Direction::FirstPermits),
        std::cmp::Ordering::Less => Some(Direction::SecondPermits),
        std::cmp::Ordering::Equal => (first != second).then_some(Direction::OtherAnswer),
    }
}

// === impl Direction ===

impl Direction {
    /// For programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstPermits => "first-permits",
            Self::SecondPermits => "second-permits",
            Self::OtherAnswer => "other-answer",
        }
    }
}

// === impl Difference ===

impl Difference {
    /// The difference for programs.
    pub fn to_json(&self) -> Value {
        json!({
            "direction": self.direction.as_str(),
            "witness": self.witness.to_json(),
            "first": self.first.to_string(),
            "second": self.second.to_string(),
        })
    }
}

#[cfg(test)]
mod tests;
