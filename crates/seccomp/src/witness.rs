//! One call as an example.

use std::fmt;

use serde_json::{Value, json};

use crate::abi::Abi;
use crate::diagram::{Arguments, Diagrams, Function, bit_at};
use crate::syscall;

/// A call that shows what was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The ABI it is made by.
    pub abi: Abi,
    /// Its name; `None` for a number that has none.
    pub name: Option<String>,
    /// The six arguments.
    pub arguments: [u64; 6],
    /// How many of them matter.
    pub shown: usize,
}

// === impl Call ===

impl Call {
    /// A call with `arguments`, of which those that `functions` look at matter.
    pub(crate) fn new(
        abi: Abi,
        name: Option<&str>,
        arguments: Arguments,
        diagrams: &Diagrams,
        functions: &[Function],
    ) -> Self {
        let looks_at = |index: usize| {
            functions
                .iter()
                .any(|function| diagrams.depends_on(*function, |bit| bit_at(bit).0 == index))
        };
        let shown = (0..arguments.len()).rev().find(|index| looks_at(*index));
        Self {
            abi,
            name: name.map(str::to_owned),
            arguments,
            shown: shown.map_or(0, |last| last.saturating_add(1)),
        }
    }

    /// The number; `None` if it is not known here.
    pub fn number(&self) -> Option<u32> {
        match &self.name {
            Some(name) => syscall::number(self.abi, name),
            None => syscall::last_number(self.abi)?.checked_add(1),
        }
    }

    /// The call for programs.
    pub fn to_json(&self) -> Value {
        json!({
            "architecture": self.abi.oci(),
            "name": self.name,
            "number": self.number(),
            "args": self.arguments,
            "call": self.to_string(),
        })
    }
}

impl fmt::Display for Call {
    /// `socket(0x26, 0x5, …)`: the arguments up to the last one that matters.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.number()) {
            // From outside: it must not be able to write to a terminal.
            (Some(name), _) => write!(formatter, "{}(", name.escape_debug())?,
            (None, Some(number)) => write!(formatter, "call {number}(")?,
            (None, None) => formatter.write_str("any other call(")?,
        }
        for argument in self.arguments.iter().take(self.shown) {
            match argument {
                0..=9 => write!(formatter, "{argument}, ")?,
                _ => write!(formatter, "{argument:#x}, ")?,
            }
        }
        formatter.write_str("…)")
    }
}
