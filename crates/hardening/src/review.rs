//! What one pass over a document finds: edits and refusals.

use std::fmt::Display;

use portcullis_gate::record::{AuditedRecord, ChangeRecord};
use portcullis_gate::{Code, Refusal, Refusals, Rule, RuleMode, RuleModes};
use serde_json::{Map, Value};

use crate::change::Change;

/// What would have been edited and refused, had every rule been enforced.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Audited {
    /// Edits that were not made.
    pub changes: Vec<Change>,
    /// Reasons that stopped nothing.
    pub refusals: Vec<Refusal>,
}

/// Collects edits and refusals, so that all of them are reported together.
#[derive(Debug)]
pub(crate) struct Review<'a> {
    /// What the document is, in front of each pointer.
    document: &'static str,
    modes: &'a RuleModes,
    /// The rule that is being looked at.
    rule: Option<Rule>,
    changes: Vec<Change>,
    refusals: Vec<Refusal>,
    audited: Audited,
}

// === impl Audited ===

impl Audited {
    /// Adds these findings to those that a record has already.
    pub fn add_to(&self, record: &mut AuditedRecord) {
        record.note(&self.refusals);
        record
            .changes
            .extend(self.changes.iter().map(ChangeRecord::from));
    }
}

// === impl Review ===

impl<'a> Review<'a> {
    pub(crate) fn of(document: &'static str, modes: &'a RuleModes) -> Self {
        Self {
            document,
            modes,
            rule: None,
            changes: Vec::new(),
            refusals: Vec::new(),
            audited: Audited::default(),
        }
    }

    /// Holds `target` to `rule` as its mode says: in audit a copy of it, of which only the findings
    /// are kept.
    pub(crate) fn under<T: Clone>(
        &mut self,
        rule: Rule,
        target: &mut T,
        judge: impl FnOnce(&mut T, &mut Self),
    ) {
        match self.modes.of(rule) {
            RuleMode::Off => {}
            RuleMode::Enforce => {
                self.rule = Some(rule);
                judge(target, self);
                self.rule = None;
            }
            RuleMode::Audit => {
                let mut aside = Self::of(self.document, self.modes);
                aside.rule = Some(rule);
                judge(&mut target.clone(), &mut aside);
                self.audited.changes.append(&mut aside.changes);
                self.audited.refusals.append(&mut aside.refusals);
            }
        }
    }

    /// Holds to `rule` in any mode: for the part of it that the gate itself rests on.
    pub(crate) fn always(&mut self, rule: Rule, judge: impl FnOnce(&mut Self)) {
        self.rule = Some(rule);
        judge(self);
        self.rule = None;
    }

    /// [`Self::under`] for a rule that edits nothing.
    pub(crate) fn asking(&mut self, rule: Rule, judge: impl FnOnce(&mut Self)) {
        self.under(rule, &mut (), |(), review| judge(review));
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
        let refusal = Refusal::new(code, subject, expected, found);
        self.refusals.push(refusal.under(self.rule));
    }

    /// Notes an edit.
    pub(crate) fn change(
        &mut self,
        pointer: impl Into<String>,
        from: impl Into<Value>,
        to: impl Into<Value>,
        reason: &str,
    ) {
        let change = Change::new(pointer, from, to, reason, self.rule);
        self.changes.push(change);
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

    /// The edits, if nothing was refused, and what audit found.
    pub(crate) fn finish(self) -> Result<(Vec<Change>, Audited), Refusals> {
        match Refusals::from_vec(self.refusals) {
            Some(refusals) => Err(refusals),
            None => Ok((self.changes, self.audited)),
        }
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
