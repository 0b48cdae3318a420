//! The strict parser: limits, then one tree without duplicate keys.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::scan::{self, Fault};

/// Bytes of a key or number that an error shows; the rest is cut.
const QUOTE_LIMIT: usize = 64;

/// What a document may be at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size of the input in bytes.
    pub max_bytes: usize,
    /// Objects and arrays inside each other; a scalar has depth 0. The parser's own ceiling is
    /// 127, whatever stands here.
    pub max_depth: usize,
}

/// Why a document is refused. Every text is one line and names the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The input is larger than the limit.
    #[error("cannot accept JSON of {size_bytes} bytes, more than {limit_bytes}")]
    Size {
        /// Size of the input.
        size_bytes: usize,
        /// [`Limits::max_bytes`].
        limit_bytes: usize,
    },
    /// The input is not UTF-8.
    #[error("cannot read JSON that is not UTF-8 at line {line} column {column}")]
    Encoding {
        /// Line of the first wrong byte, from 1.
        line: usize,
        /// Column of it in bytes, from 1.
        column: usize,
    },
    /// Objects and arrays are nested too deeply.
    #[error("cannot accept JSON nested deeper than {limit} at line {line} column {column}")]
    Depth {
        /// [`Limits::max_depth`].
        limit: usize,
        /// Line of the bracket that goes too deep, from 1.
        line: usize,
        /// Column of it in bytes, from 1.
        column: usize,
    },
    /// A number would be another one after reading and writing.
    #[error("cannot keep number {number} unchanged at line {line} column {column}")]
    Number {
        /// The number as it stands in the input, cut to 64 bytes.
        number: String,
        /// Line of its first digit, from 1.
        line: usize,
        /// Column of it in bytes, from 1.
        column: usize,
    },
    /// One object holds a key twice.
    #[error("cannot accept key '{key}' twice in one object at line {line} column {column}")]
    DuplicateKey {
        /// The key, escaped and cut to 64 bytes.
        key: String,
        /// Line where the second one ends, from 1.
        line: usize,
        /// Column of it in bytes, from 1.
        column: usize,
    },
    /// The input is not JSON, or something follows it.
    #[error("cannot parse JSON: {reason} at line {line} column {column}")]
    Syntax {
        /// What the parser met; never a piece of the input.
        reason: String,
        /// Line of the place, from 1.
        line: usize,
        /// Column of it in bytes, from 1 (0 at the start of a line).
        column: usize,
    },
}

/// Parses one JSON document that every reader must understand alike.
///
/// Refuses duplicate keys in any object, bytes after the document, input that is not UTF-8, and
/// numbers that do not survive reading and writing. Does not refuse keys that differ only in
/// case: which of them collide depends on the schema, see [`crate::fold`].
///
/// # Errors
///
/// [`JsonError`], one variant for each reason.
pub fn parse(input: &[u8], limits: Limits) -> Result<Value, JsonError> {
    if input.len() > limits.max_bytes {
        return Err(JsonError::Size {
            size_bytes: input.len(),
            limit_bytes: limits.max_bytes,
        });
    }
    let text = str::from_utf8(input).map_err(|cause| {
        let (line, column) = place(input, cause.valid_up_to());
        JsonError::Encoding { line, column }
    })?;
    scan::scan(input, limits.max_depth).map_err(|fault| describe(input, &fault, limits))?;

    let duplicate = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Tree {
        duplicate: &duplicate,
    }
    .deserialize(&mut deserializer)
    .and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|cause| {
        let (line, column) = (cause.line(), cause.column());
        match duplicate.take() {
            Some(key) => JsonError::DuplicateKey { key, line, column },
            None => JsonError::Syntax {
                reason: reason(&cause),
                line,
                column,
            },
        }
    })
}

fn describe(input: &[u8], fault: &Fault, limits: Limits) -> JsonError {
    match *fault {
        Fault::Depth { offset } => {
            let (line, column) = place(input, offset);
            JsonError::Depth {
                limit: limits.max_depth,
                line,
                column,
            }
        }
        Fault::Number { offset, length } => {
            let (line, column) = place(input, offset);
            let shown = length.min(QUOTE_LIMIT);
            let token = input.get(offset..).and_then(|rest| rest.get(..shown));
            let number = String::from_utf8_lossy(token.unwrap_or_default()).into_owned();
            JsonError::Number {
                number,
                line,
                column,
            }
        }
    }
}

/// The parser's words without the place, which the error carries itself.
fn reason(cause: &serde_json::Error) -> String {
    let text = cause.to_string();
    text.split_once(" at line ")
        .map_or_else(|| text.clone(), |(reason, _)| reason.to_owned())
}

/// Line and column, both from 1, of a byte.
fn place(input: &[u8], offset: usize) -> (usize, usize) {
    let before = input.get(..offset).unwrap_or(input);
    let line = before
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        .saturating_add(1);
    let column = before
        .iter()
        .rev()
        .take_while(|byte| **byte != b'\n')
        .count()
        .saturating_add(1);
    (line, column)
}

/// Outside text for an error: no control character, at most [`QUOTE_LIMIT`] bytes.
fn quoted(text: &str) -> String {
    let mut shown = String::new();
    for escaped in text
        .chars()
        .map(|character| character.escape_debug().to_string())
    {
        if shown.len().saturating_add(escaped.len()) > QUOTE_LIMIT {
            shown.push('…');
            break;
        }
        shown.push_str(&escaped);
    }
    shown
}

/// Builds a [`Value`] and remembers the key that stood twice.
#[derive(Clone, Copy)]
struct Tree<'a> {
    duplicate: &'a RefCell<Option<String>>,
}

// === impl Tree ===

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if object.contains_key(&key) {
                self.duplicate.replace(Some(quoted(&key)));
                return Err(A::Error::custom("duplicate key"));
            }
            let value = members.next_value_seed(self)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests;
