//! What in a section means something else than it reads, or nothing at all.

mod calls;
mod entries;
mod rule;
mod whole;

use serde_json::{Value, json};

use crate::abi::Abi;
use crate::diagram::Complex;
use crate::filter::Filter;
use crate::section::Section;
use crate::witness::Call;

pub use rule::Rule;

/// Something to look at in a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing it is.
    pub rule: Rule,
    /// JSON pointer to where it stands.
    pub pointer: String,
    /// The calls concerned.
    pub calls: Vec<String>,
    /// What is wrong, with the values.
    pub text: String,
    /// A call that shows it.
    pub witness: Option<Call>,
}

/// A call whose rules are too many to be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot judge call {}: {source}", portcullis_gate::quote(call))]
pub struct LintError {
    /// Its name.
    pub call: String,
    /// Why.
    pub source: Complex,
}

/// What is to be said about a section on a processor whose own ABI is `native`, in the order of the
/// document.
///
/// # Errors
///
/// [`LintError`] if the rules of a call make too many cases; nothing is said then.
pub fn lint(section: &Section, native: Abi) -> Result<Vec<Finding>, LintError> {
    let filter = Filter::new(section);
    let mut findings = whole::findings(section, native);
    for index in 0..section.entries.len() {
        findings.extend(entries::findings(section, native, index));
    }
    findings.extend(calls::findings(&filter, native)?);
    let findings = merged(findings);
    Ok(in_order(section, findings))
}

/// One finding for all calls of an entry about which the same is said.
fn merged(findings: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        let same = merged.iter_mut().find(|it| {
            it.rule == finding.rule && it.pointer == finding.pointer && it.text == finding.text
        });
        match same {
            Some(known) => known.calls.extend(finding.calls),
            None => merged.push(finding),
        }
    }
    merged
}

fn in_order(section: &Section, mut findings: Vec<Finding>) -> Vec<Finding> {
    let place = |finding: &Finding| {
        let within = |pointer: &str| {
            let rest = finding.pointer.strip_prefix(pointer);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let entry = section.entries.iter().position(|it| within(&it.pointer));
        entry.map_or(0, |index| index.saturating_add(1))
    };
    findings.sort_by_key(place);
    findings
}

// === impl Finding ===

impl Finding {
    fn new(rule: Rule, pointer: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            rule,
            pointer: pointer.into(),
            calls: Vec::new(),
            text: text.into(),
            witness: None,
        }
    }

    fn about(mut self, calls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.calls.extend(calls.into_iter().map(Into::into));
        self
    }

    fn shown_by(mut self, witness: Option<Call>) -> Self {
        self.witness = witness;
        self
    }

    /// The finding for programs.
    pub fn to_json(&self) -> Value {
        json!({
            "rule": self.rule.as_str(),
            "pointer": self.pointer,
            "calls": self.calls,
            "text": self.text,
            "witness": self.witness.as_ref().map(Call::to_json),
        })
    }
}

#[cfg(test)]
mod tests;
