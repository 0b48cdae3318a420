//! What one pass over a document finds: edits and refusals.

use std::fmt::Display;

use portcullis_gate::{Code, Refusal, Refusals};
use serde_json::{Map, Value};

use crate::change::Change;

/// Collects edits and refusals, so that all of them are reported together.
#[derive(Debug)]
pub(crate) struct Review {
    /// What the document is, in front of each pointer.
    document: &'static str,
    changes: Vec<Change>,
    refusals: Vec<Refusal>,
}

// === impl Review ===

impl Review {
    pub(crate) const fn of(document: &'static str) -> Self {
        Self {
            document,
            changes: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// Notes that the value at `pointer` stands against the start.
    pub(crate) fn refuse(
        &mut self,
        code: Code,
        pointer: impl Display,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        let subject = format!("{} {pointer}", self.document);
        self.refusals
            .push(Refusal::new(code, subject, expected, found));
    }

    /// Notes an edit.
    pub(crate) fn change(
        &mut self,
        pointer: impl Into<String>,
        from: impl Into<Value>,
        to: impl Into<Value>,
        reason: &str,
    ) {
        self.changes.push(Change::new(pointer, from, to, reason));
    }

    /// Sets `key` of `map`, which stands at `parent`, and notes it unless it was so already.
    pub(crate) fn set(
        &mut self,
        map: &mut Map<String, Value>,
        parent: &str,
        key: &str,
        to: impl Into<Value>,
        reason: &str,
    ) {
        let to = to.into();
        if map.get(key) == Some(&to) {
            return;
        }
        let from = map
            .insert(key.to_owned(), to.clone())
            .unwrap_or(Value::Null);
        self.change(format!("{parent}/{key}"), from, to, reason);
    }

    /// Takes `key` out of `map`, which stands at `parent`, and notes it if it held something.
    pub(crate) fn remove(
        &mut self,
        map: &mut Map<String, Value>,
        parent: &str,
        key: &str,
        reason: &str,
    ) {
        match map.remove(key) {
            None | Some(Value::Null) => {}
            Some(from) => self.change(format!("{parent}/{key}"), from, Value::Null, reason),
        }
    }

    /// The edits, if nothing was refused.
    pub(crate) fn finish(self) -> Result<Vec<Change>, Refusals> {
        Refusals::from_vec(self.refusals).map_or(Ok(self.changes), Err)
    }
}

/// Takes the object at `key` out of `map`, to be put back after the edit; empty if there is none.
pub(crate) fn take_object(map: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match map.remove(key) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// Takes the array at `key` out of `map`, to be put back after the edit; empty if there is none.
pub(crate) fn take_array(map: &mut Map<String, Value>, key: &str) -> Vec<Value> {
    match map.remove(key) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// True if `key` holds something: not absent, null, or empty.
pub(crate) fn is_set(map: &Map<String, Value>, key: &str) -> bool {
    match map.get(key) {
        None | Some(Value::Null) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(object)) => !object.is_empty(),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Bool(_) | Value::Number(_)) => true,
    }
}
