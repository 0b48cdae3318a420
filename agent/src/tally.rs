//! What was recorded of exceptions and of rules in audit, counted for the metrics.
//!
//! Label values come out of records, and each is a time series for ever: rules are those that this
//! version knows, and of names only so many are told apart.

use std::collections::BTreeMap;

use portcullis_gate::Rule;
use portcullis_gate::record::{LaunchRecord, Operation, Outcome};

/// How many names of relaxations have a count of their own.
const NAMES_LIMIT: usize = 32;
/// Longest such name, in bytes.
const NAME_LIMIT_BYTES: usize = 64;
/// What everything beyond that is counted as.
const OTHER: &str = "other";

/// Counts since the agent started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Containers that went ahead with a relaxation, by its name.
    pub(crate) relaxed: BTreeMap<String, u64>,
    /// Findings of rules in audit, by the rule's id.
    pub(crate) audited: BTreeMap<&'static str, u64>,
}

// === impl Tally ===

impl Tally {
    /// Counts what `record` tells.
    pub(crate) fn count(&mut self, record: &LaunchRecord) {
        let is_new = matches!(record.operation, Operation::Create | Operation::Hook);
        if is_new && record.decision == Outcome::Permitted {
            for name in &record.relaxations {
                let label = self.label(name);
                add_one(self.relaxed.entry(label).or_default());
            }
        }
        for rule in record.audited.rules() {
            let id = Rule::from_id(rule).map_or(OTHER, Rule::id);
            add_one(self.audited.entry(id).or_default());
        }
    }

    /// The name, if it is one that a label can hold as it is and if there is room for it.
    fn label(&self, name: &str) -> String {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let fits = (1..=NAME_LIMIT_BYTES).contains(&name.len()) && name.bytes().all(is_plain);
        let has_room = self.relaxed.contains_key(name) || self.relaxed.len() < NAMES_LIMIT;
        let label = if fits && has_room { name } else { OTHER };
        label.to_owned()
    }
}

const fn add_one(count: &mut u64) {
    *count = count.saturating_add(1);
}

#[cfg(test)]
mod tests {
    use portcullis_gate::record::{ChangeRecord, ContainerRecord};
    use portcullis_gate::{Code, RecordId, Refusal};
    use serde_json::Value;

    use super::*;

    fn record(operation: Operation, relaxations: &[&str]) -> LaunchRecord {
        let id = RecordId([0; 4]);
        let mut record = LaunchRecord::new(id, operation, "w7", ContainerRecord::default());
        record.relaxations = relaxations.iter().map(|name| (*name).to_owned()).collect();
        record
    }

    #[test]
    fn only_containers_that_went_ahead_have_used_a_relaxation() {
        let mut tally = Tally::default();
        tally.count(&record(Operation::Create, &["tmp-exec", "abi32"]));
        tally.count(&record(Operation::Hook, &["tmp-exec"]));
        tally.count(&record(Operation::Exec, &["tmp-exec"]));
        let mut refused = record(Operation::Create, &["tmp-exec"]);
        refused.decision = Outcome::Refused;
        tally.count(&refused);
        let expected = [("abi32".to_owned(), 1), ("tmp-exec".to_owned(), 2)];
        assert_eq!(tally.relaxed, expected.into());
    }

    #[test]
    fn findings_count_by_rule_whatever_was_asked_for() {
        let mut tally = Tally::default();
        let mut exec = record(Operation::Exec, &[]);
        let found = Refusal::new(Code::ExecDenied, "s", "e", "f").under(Some(Rule::NonRoot));
        exec.audited.note(&[found.clone(), found]);
        exec.audited.changes.push(ChangeRecord {
            pointer: "/x".to_owned(),
            from: Value::Null,
            to: Value::Null,
            reason: "why".to_owned(),
            rule: Some("of-a-newer-version".to_owned()),
        });
        tally.count(&exec);
        assert_eq!(tally.audited, [("non-root", 2), (OTHER, 1)].into());
    }

    #[test]
    fn label_values_are_bounded_in_number_and_form() {
        let mut tally = Tally::default();
        for number in 0..100 {
            tally.count(&record(Operation::Create, &[&format!("name-{number}")]));
        }
        assert_eq!(tally.relaxed.len(), NAMES_LIMIT + 1);
        assert_eq!(tally.relaxed.get(OTHER), Some(&68));
        tally.count(&record(
            Operation::Create,
            &["name-0", "a\"b", "", &"x".repeat(65)],
        ));
        assert_eq!(tally.relaxed.get("name-0"), Some(&2));
        assert_eq!(tally.relaxed.get(OTHER), Some(&71));
    }
}
