//! The keys that the OCI runtime specification knows, at every level, and the check against them.
//!
//! Go matches keys without regard to case, so `"Process"` next to `"process"` means one thing to
//! runc and another to crun. [`conform`] refuses a key that folds to a known key without being
//! it, and a value of another type than the specification gives, because readers differ on those
//! too. Unknown keys pass: a newer specification may define them.

mod spec;

use std::fmt;

use portcullis_json::fold;
use serde_json::Value;

pub(crate) use spec::{PROCESS, RESOURCES, SECCOMP, SPEC};

/// What the specification says about a value. Null counts as absent everywhere.
#[derive(Debug)]
pub(crate) enum Node {
    /// An object with known keys.
    Object(&'static [(&'static str, &'static Self)]),
    /// An object whose keys are free; each value as given.
    Map(&'static Self),
    /// An array.
    List(&'static Self),
    /// A string.
    Text,
    /// true or false.
    Flag,
    /// A whole number within these bounds.
    Whole(i64, u64),
    /// Anything.
    Any,
}

/// The first place at which a document does not conform.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// JSON pointer to the object or value.
    pub pointer: String,
    /// What should stand there.
    pub expected: String,
    /// What stands there; outside text unquoted.
    pub found: Found,
}

/// What was found instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A key in another spelling.
    Key(String),
    /// A value of this type.
    Type(&'static str),
    /// A number out of bounds.
    Number(String),
}

/// A pointer under construction, on the stack: nothing is allocated unless a fault is found.
#[derive(Clone, Copy)]
struct Place<'a> {
    parent: Option<&'a Self>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

/// Compares `value` with `node` at every level.
///
/// # Errors
///
/// The first [`Fault`], in document order of sorted keys.
pub(crate) fn conform(value: &Value, node: &Node) -> Result<(), Fault> {
    walk(
        value,
        node,
        &Place {
            parent: None,
            step: Step::Root,
        },
    )
}

fn walk(value: &Value, node: &Node, place: &Place<'_>) -> Result<(), Fault> {
    match (node, value) {
        (_, Value::Null)
        | (Node::Any, _)
        | (Node::Text, Value::String(_))
        | (Node::Flag, Value::Bool(_)) => Ok(()),
        (Node::Object(known), Value::Object(map)) => {
            for (key, child) in map {
                match known.iter().find(|(name, _)| name == key) {
                    Some((_, node)) => walk(child, node, &place.then(Step::Key(key)))?,
                    None => refuse_other_spelling(key, known, place)?,
                }
            }
            Ok(())
        }
        (Node::Map(node), Value::Object(map)) => map
            .iter()
            .try_for_each(|(key, child)| walk(child, node, &place.then(Step::Key(key)))),
        (Node::List(node), Value::Array(items)) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| walk(item, node, &place.then(Step::Index(index)))),
        (Node::Whole(min, max), Value::Number(number)) => {
            let fits = match (number.as_i64(), number.as_u64()) {
                (Some(signed), None) => signed >= *min,
                (_, Some(unsigned)) => unsigned <= *max,
                (None, None) => false,
            };
            if fits {
                return Ok(());
            }
            Err(Fault {
                pointer: place.to_string(),
                expected: format!("a whole number from {min} to {max}"),
                found: Found::Number(number.to_string()),
            })
        }
        (expected, found) => Err(Fault {
            pointer: place.to_string(),
            expected: expected.noun().to_owned(),
            found: Found::Type(type_of(found)),
        }),
    }
}

fn refuse_other_spelling(
    key: &str,
    known: &[(&str, &Node)],
    place: &Place<'_>,
) -> Result<(), Fault> {
    let folded = fold(key);
    match known.iter().find(|(name, _)| fold(name) == folded) {
        None => Ok(()),
        Some((name, _)) => Err(Fault {
            pointer: place.to_string(),
            expected: format!("key '{name}'"),
            found: Found::Key(key.to_owned()),
        }),
    }
}

const fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

// === impl Node ===

impl Node {
    const fn noun(&self) -> &'static str {
        match self {
            Self::Object(_) | Self::Map(_) => "an object",
            Self::List(_) => "an array",
            Self::Text => "a string",
            Self::Flag => "true or false",
            Self::Whole(..) => "a whole number",
            Self::Any => "any value",
        }
    }

    /// The keys of an object node.
    pub(crate) const fn keys(&self) -> &'static [(&'static str, &'static Self)] {
        match self {
            Self::Object(known) => known,
            _ => &[],
        }
    }
}

// === impl Fault ===

impl Fault {
    /// The subject of a refusal: the document and the place in it.
    pub(crate) fn subject(&self, document: &str) -> String {
        format!("{document} {}", self.pointer).trim_end().to_owned()
    }
}

// === impl Place ===

impl<'a> Place<'a> {
    const fn then(&'a self, step: Step<'a>) -> Self {
        Self {
            parent: Some(self),
            step,
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Key(key) => write!(f, "/{}", key.replace('~', "~0").replace('/', "~1")),
            Step::Index(index) => write!(f, "/{index}"),
        }
    }
}

// === impl Found ===

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "key {}", portcullis_gate::quote(key)),
            Self::Type(noun) => f.write_str(noun),
            Self::Number(number) => f.write_str(number),
        }
    }
}

#[cfg(test)]
mod tests;
