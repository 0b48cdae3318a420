//! What hardening found in one container: each edit, each refusal, each that was only audited.

use portcullis_gate::{Refusal, Rule};
use portcullis_hardening::{Change, Hardened};
use serde_json::{Map, Value, json};

use crate::paint::{bad, caution, good, plain};
use crate::table::{Cell, Table};
use crate::tree::put;
use crate::workload::Origins;

/// From this width on, in columns, there is room for the standards beside each finding.
const WIDE: usize = 130;
/// Heading of the standards.
const REFERENCES: &str = "asked for by";

/// What becomes of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    Refused,
    WouldRefuse,
    Stripped,
    Changed,
    Added,
    WouldChange,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub(crate) action: Action,
    pub(crate) rule: Option<Rule>,
    /// Name of the refusal's code; empty for an edit.
    pub(crate) code: &'static str,
    /// Pointer into the configuration.
    pub(crate) pointer: String,
    /// Pointer into the manifest, if the configuration was made of one and has such a field.
    pub(crate) manifest_pointer: Option<String>,
    /// What is there, or what an edit takes away.
    before: Value,
    /// What would have been accepted, or what an edit puts there.
    after: Value,
    /// Why, as a half sentence; for a refusal what to do.
    reason: String,
}

/// The pointer in the subject of a refusal: `config.json /root/path`.
pub(crate) fn pointer_of(refusal: &Refusal) -> &str {
    let subject = refusal.subject.as_str();
    subject
        .split_once(' ')
        .map_or("", |(_, pointer)| pointer)
        .trim()
}

/// The standards behind `rule`, as an object.
pub(crate) fn references_json(rule: Rule) -> Value {
    let references = rule.references();
    let mut all = Map::new();
    for (name, text) in [
        ("sp800_190", references.sp800_190),
        ("pss", references.pss),
        ("cis_docker", references.cis_docker),
        ("cis_kubernetes", references.cis_kubernetes),
    ] {
        let parts: Vec<&str> = text.split(", ").filter(|part| !part.is_empty()).collect();
        all.insert(name.to_owned(), json!(parts));
    }
    Value::Object(all)
}

/// The standards behind `rule`, on one line.
pub(crate) fn references_text(rule: Rule) -> String {
    let references = rule.references();
    [
        ("SP 800-190 ", references.sp800_190),
        ("PSS ", references.pss),
        ("CIS Docker ", references.cis_docker),
        ("CIS Kubernetes ", references.cis_kubernetes),
    ]
    .into_iter()
    .filter(|(_, text)| !text.is_empty())
    .map(|(name, text)| format!("{name}{text}"))
    .collect::<Vec<_>>()
    .join("; ")
}

/// All findings about one container, the gravest first.
pub(crate) fn findings(
    result: &Result<Hardened, portcullis_gate::Refusals>,
    origins: &Origins,
) -> Vec<Finding> {
    let mut all = Vec::new();
    match result {
        Err(refusals) => {
            let refused = refusals
                .iter()
                .map(|it| Finding::of_refusal(it, false, origins));
            all.extend(refused);
        }
        Ok(hardened) => {
            let audited = &hardened.audited;
            let would = |it| Finding::of_refusal(it, true, origins);
            all.extend(audited.refusals.iter().map(would));
            let made = |it| Finding::of_change(it, false, origins);
            all.extend(hardened.changes.iter().map(made));
            let would = |it| Finding::of_change(it, true, origins);
            all.extend(audited.changes.iter().map(would));
        }
    }
    all.sort_by_key(|finding| finding.action);
    all
}

/// The findings as a table; the standards are a column of it where there is room for one.
pub(crate) fn table(findings: &[Finding], width: usize) -> String {
    let mut headings = vec!["what", "rule", "field", "from -> to"];
    let is_wide = width >= WIDE;
    if is_wide {
        headings.push(REFERENCES);
    }
    let mut table = Table::new(&headings);
    for finding in findings {
        let mut cells = finding.cells();
        if is_wide {
            let references = finding.rule.map(references_text);
            cells.push(Cell::new(references.unwrap_or_default()));
        }
        table.add(cells);
    }
    table.render(width)
}

/// The standards behind the rules of `findings`, as a table; empty where they are a column already.
pub(crate) fn references<'a>(findings: impl Iterator<Item = &'a Finding>, width: usize) -> String {
    let mut rules: Vec<Rule> = findings.filter_map(|finding| finding.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    if width >= WIDE || rules.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["rule", REFERENCES]);
    for rule in rules {
        table.add(vec![Cell::new(rule.id()), Cell::new(references_text(rule))]);
    }
    format!("\n{}", table.render(width))
}

// === impl Action ===

impl Action {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::WouldRefuse => "would refuse",
            Self::Stripped => "stripped",
            Self::Changed => "changed",
            Self::Added => "added",
            Self::WouldChange => "would change",
        }
    }

    /// The word for programs.
    fn id(self) -> String {
        self.as_str().replace(' ', "-")
    }

    fn cell(self) -> Cell {
        let paint: fn(&str) -> String = match self {
            Self::Refused => bad,
            Self::WouldRefuse | Self::WouldChange => caution,
            Self::Added => good,
            Self::Stripped | Self::Changed => str::to_owned,
        };
        Cell::painted(self.as_str(), paint)
    }

    /// What an edit is.
    fn of(change: &Change) -> Self {
        match (&change.from, &change.to) {
            (Value::Null, _) => Self::Added,
            (_, Value::Null) => Self::Stripped,
            _ if change.rule == Some(Rule::Capabilities) => Self::Stripped,
            _ => Self::Changed,
        }
    }
}

// === impl Finding ===

impl Finding {
    fn of_refusal(refusal: &Refusal, audited: bool, origins: &Origins) -> Self {
        let pointer = pointer_of(refusal);
        let said = format!("{} {}", refusal.expected, refusal.found);
        Self {
            action: if audited {
                Action::WouldRefuse
            } else {
                Action::Refused
            },
            rule: refusal.rule,
            code: refusal.code.as_str(),
            pointer: pointer.to_owned(),
            manifest_pointer: origins.of(pointer, &said).map(str::to_owned),
            before: refusal.found.as_str().into(),
            after: refusal.expected.as_str().into(),
            reason: refusal.remedy.clone(),
        }
    }

    fn of_change(change: &Change, audited: bool, origins: &Origins) -> Self {
        // What is put into a list came from nowhere, and its place is another one's.
        let is_new = change.from.is_null() && change.pointer.starts_with("/mounts/");
        let origin = origins.of(&change.pointer, "").filter(|_| !is_new);
        Self {
            action: if audited {
                Action::WouldChange
            } else {
                Action::of(change)
            },
            rule: change.rule,
            code: "",
            pointer: change.pointer.clone(),
            manifest_pointer: origin.map(str::to_owned),
            before: change.from.clone(),
            after: change.to.clone(),
            reason: change.reason.clone(),
        }
    }

    /// True if something is, or would be, refused.
    pub(crate) const fn is_refusal(&self) -> bool {
        matches!(self.action, Action::Refused | Action::WouldRefuse)
    }

    pub(crate) fn to_json(&self) -> Value {
        let (before, after) = if self.is_refusal() {
            ("found", "expected")
        } else {
            ("from", "to")
        };
        let why = if self.is_refusal() {
            "remedy"
        } else {
            "reason"
        };
        let mut object = json!({
            "action": self.action.id(),
            "rule": self.rule.map(Rule::id),
            "references": self.rule.map(references_json),
            "pointer": self.pointer,
            "manifest_pointer": self.manifest_pointer,
        });
        put(&mut object, before, self.before.clone());
        put(&mut object, after, self.after.clone());
        put(&mut object, why, self.reason.as_str());
        if self.is_refusal() {
            put(&mut object, "code", self.code);
        }
        object
    }

    fn cells(&self) -> Vec<Cell> {
        let field = match &self.manifest_pointer {
            Some(manifest) => format!("{} ({})", plain(manifest), plain(&self.pointer)),
            None => plain(&self.pointer),
        };
        let values = if self.is_refusal() {
            format!("{}; expected {}", short(&self.before), short(&self.after))
        } else {
            difference(&self.before, &self.after)
        };
        let rule = match self.rule {
            Some(rule) => rule.id().to_owned(),
            None => self.code.to_owned(),
        };
        vec![
            self.action.cell(),
            Cell::new(rule),
            Cell::new(field),
            Cell::new(values),
        ]
    }
}

/// What an edit does, on a few lines of a narrow column.
fn difference(before: &Value, after: &Value) -> String {
    let (Value::Array(one), Value::Array(other)) = (before, after) else {
        return format!("{} -> {}", short(before), short(after));
    };
    let added = other.iter().filter(|it| !one.contains(it));
    let gone = one.iter().filter(|it| !other.contains(it));
    let added = added.map(|it| format!("+{}", short(it)));
    let gone = gone.map(|it| format!("-{}", short(it)));
    added.chain(gone).collect::<Vec<_>>().join(" ")
}

/// A value in a few words.
fn short(value: &Value) -> String {
    const LIMIT: usize = 72;
    let text = |value: &Value, key: &str| value.get(key).map(short).unwrap_or_default();
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => plain(text),
        Value::Array(items) if items.len() > 3 => format!("{} entries", items.len()),
        // A mount, a limit, a namespace.
        Value::Object(map) if map.contains_key("destination") => {
            format!("{} at {}", text(value, "type"), text(value, "destination"))
        }
        Value::Object(map) if map.contains_key("hard") => {
            format!("{} {}", text(value, "type"), text(value, "hard"))
        }
        Value::Object(map) if map.len() == 1 && map.contains_key("type") => text(value, "type"),
        value => plain(&value.to_string()),
    };
    if text.chars().count() <= LIMIT {
        return text;
    }
    text.chars().take(LIMIT).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use portcullis_gate::{Code, Refusals};

    use super::*;

    #[test]
    fn a_refusal_names_rule_field_and_standards() {
        let refusal = Refusal::new(
            Code::CapabilityExcess,
            "config.json /process/capabilities",
            "no capability",
            "CAP_SYS_ADMIN",
        );
        let result = Err(Refusals::from(refusal.under(Some(Rule::Capabilities))));
        let found = findings(&result, &Origins::default());
        assert_eq!(
            found[0].to_json(),
            json!({
                "action": "refused", "rule": "capabilities", "code": "capability-excess",
                "pointer": "/process/capabilities", "manifest_pointer": null,
                "found": "CAP_SYS_ADMIN", "expected": "no capability",
                "remedy": "drop it in securityContext.capabilities",
                "references": {
                    "sp800_190": ["4.4.3"], "pss": ["Capabilities"], "cis_docker": ["5.4"],
                    "cis_kubernetes": ["5.2.8", "5.2.9"],
                },
            })
        );
    }
}
