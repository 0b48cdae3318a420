//! One edit that hardening made.

use portcullis_gate::Rule;
use portcullis_gate::record::ChangeRecord;
use serde_json::Value;

/// One edit: where, what it was, what it is now, and why.
///
/// Never holds arguments or environment of the process.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// JSON pointer (RFC 6901) into the configuration, or into the process or resources of a
    /// clamped request.
    pub pointer: String,
    /// The former value; null if there was none. Long values are given in words.
    pub from: Value,
    /// The new value; null if the field was taken out.
    pub to: Value,
    /// Why, as a half sentence.
    pub reason: String,
    /// The rule that asks for it; none for what only brings a document into order.
    pub rule: Option<Rule>,
}

impl Change {
    pub(crate) fn new(
        pointer: impl Into<String>,
        from: impl Into<Value>,
        to: impl Into<Value>,
        reason: impl Into<String>,
        rule: Option<Rule>,
    ) -> Self {
        Self {
            pointer: pointer.into(),
            from: from.into(),
            to: to.into(),
            reason: reason.into(),
            rule,
        }
    }
}

impl From<&Change> for ChangeRecord {
    fn from(change: &Change) -> Self {
        Self {
            pointer: change.pointer.clone(),
            from: change.from.clone(),
            to: change.to.clone(),
            reason: change.reason.clone(),
            rule: change.rule.map(|rule| rule.id().to_owned()),
        }
    }
}

/// Canonical JSON of a map: keys sorted, no white space.
pub(crate) fn canonical_bytes(map: &serde_json::Map<String, Value>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32 << 10);
    // A map with string keys cannot fail to serialise, and a vector takes every write.
    match serde_json::to_writer(&mut bytes, map) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}
