//! The modes of rules: of the node, and of namespaces.

use portcullis_gate::{Rule, RuleMode, RuleModes};

use crate::reader::{Reader, Section};
use crate::tree::{Table, Value};

/// The node's own.
pub(super) fn node(reader: &mut Reader, root: &Table) -> RuleModes {
    let section = reader.section(root, "rules", "rules.");
    modes(reader, section).into_iter().collect()
}

/// Those of one `[[namespace]]`: only the rules that it speaks of.
pub(super) fn namespace(reader: &mut Reader, section: Section<'_>) -> Vec<(Rule, RuleMode)> {
    let expected = "a table of rules, '{ non-root = \"enforce\" }'";
    let table = reader.optional(section, "rules", expected, |value| match value {
        Value::Table(table) => Some(table),
        _ => None,
    });
    let Some(table) = table else {
        return Vec::new();
    };
    reader.unknown_in(table, Rule::IDS);
    modes(reader, Section::new("namespace.rules.", table))
}

fn modes(reader: &mut Reader, section: Section<'_>) -> Vec<(Rule, RuleMode)> {
    let mut modes = Vec::new();
    for rule in Rule::ALL {
        let expected = if rule.may_be_loosened() {
            "'enforce', 'audit' or 'off'"
        } else {
            "'enforce', because the gate itself rests on this rule"
        };
        let mode = reader.text(section, rule.id(), expected, |text| {
            let mode = RuleMode::from_name(text)?;
            (rule.may_be_loosened() || mode == RuleMode::Enforce).then_some(mode)
        });
        modes.extend(mode.map(|mode| (*rule, mode)));
    }
    modes
}
