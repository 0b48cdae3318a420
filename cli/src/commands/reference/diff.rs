//! `portcullis reference diff`

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_attestation::jws::{Typ, Unverified};
use portcullis_attestation::reference::ReferenceValues;
use serde_json::{Map, Value, json};

use crate::documents::Capture;
use crate::failure::{EXIT_REFUSED, Failure};
use crate::files;
use crate::paint::{bad, good, plain};
use crate::report::Report;

/// Characters of a value that are shown; `--output json` has all.
const VALUE_WIDTH: usize = 24;

/// Show what differs between two documents of reference values, or captures.
///
/// Compares what they say, whoever signed them: 'reference show' verifies. Ends with 0 if they
/// approve the same, with 1 if not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis reference diff debian-12.jws debian-12-next.jws
  portcullis reference diff debian-12.jws captured.json --output json")]
pub(crate) struct DiffArguments {
    /// The one.
    old: PathBuf,
    /// The other.
    new: PathBuf,
}

#[derive(Debug, thiserror::Error)]
enum DiffError {
    #[error("cannot read '{}': {reason}", path.display())]
    Document { path: PathBuf, reason: String },
}

/// One place in which they differ.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    /// JSON pointer; boot states and TPMs stand under their names.
    pointer: String,
    old: Option<Value>,
    new: Option<Value>,
}

pub(crate) fn run(arguments: &DiffArguments) -> Result<Report, Failure> {
    let old = flat(&read(&arguments.old)?);
    let new = flat(&read(&arguments.new)?);
    let differences = differences(&old, &new);
    let mut text = String::new();
    for difference in &differences {
        let place = plain(&difference.pointer);
        let line = match (&difference.old, &difference.new) {
            (None, Some(new)) => good(&format!("+ {place}  {}", shown(new))),
            (Some(old), None) => bad(&format!("- {place}  {}", shown(old))),
            (old, new) => {
                let value = |value: &Option<Value>| value.as_ref().map(shown).unwrap_or_default();
                format!("~ {place}  {} -> {}", value(old), value(new))
            }
        };
        text.push_str(&line);
        text.push('\n');
    }
    if differences.is_empty() {
        text.push_str("They approve the same.\n");
    }
    let list: Vec<Value> = differences
        .iter()
        .map(|one| json!({ "pointer": one.pointer, "old": one.old, "new": one.new }))
        .collect();
    Ok(Report {
        text,
        exit: if differences.is_empty() {
            0
        } else {
            EXIT_REFUSED
        },
        json: json!({ "differences": list }),
    })
}

/// The claims of a signed document, or a capture.
fn read(path: &Path) -> Result<Value, Failure> {
    let text = files::read_text(path)?;
    if text.trim_start().starts_with('{') {
        return Ok(Capture::read(path)?.to_value());
    }
    let failed = |reason: String| {
        Failure::usage(DiffError::Document {
            path: path.to_path_buf(),
            reason,
        })
    };
    let claims = Unverified::parse(text.trim(), Typ::Reference)
        .and_then(|token| token.payload())
        .map_err(|error| failed(error.to_string()))?;
    ReferenceValues::from_claims(&claims)
        .map(|values| values.to_claims())
        .map_err(|error| failed(error.to_string()))
}

/// Every leaf by its pointer.
fn flat(claims: &Value) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    let named = |list: &str, name: &str| {
        let items = claims.get(list).and_then(Value::as_array);
        let key = |item: &Value| {
            let name = item.get(name).and_then(Value::as_str);
            name.unwrap_or_default().to_owned()
        };
        let members: Map<String, Value> = items
            .into_iter()
            .flatten()
            .map(|item| (key(item), item.clone()))
            .collect();
        Value::Object(members)
    };
    walk("/boot_states", &named("boot_states", "name"), &mut leaves);
    walk("/tpms", &named("tpms", "ueid"), &mut leaves);
    for name in ["iss", "seq", "min_seq", "nbf", "exp"] {
        if let Some(value) = claims.get(name) {
            leaves.insert(format!("/{name}"), value.clone());
        }
    }
    leaves
}

fn walk(pointer: &str, value: &Value, leaves: &mut BTreeMap<String, Value>) {
    let below = |name: &str| {
        let name = name.replace('~', "~0").replace('/', "~1");
        format!("{pointer}/{name}")
    };
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                walk(&below(name), value, leaves);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, value) in items.iter().enumerate() {
                walk(&below(&index.to_string()), value, leaves);
            }
        }
        Value::Object(_) | Value::Array(_) => {}
        leaf => {
            leaves.insert(pointer.to_owned(), leaf.clone());
        }
    }
}

fn differences(old: &BTreeMap<String, Value>, new: &BTreeMap<String, Value>) -> Vec<Difference> {
    let pointers: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    pointers
        .into_iter()
        .filter(|pointer| old.get(*pointer) != new.get(*pointer))
        .map(|pointer| Difference {
            pointer: pointer.clone(),
            old: old.get(pointer).cloned(),
            new: new.get(pointer).cloned(),
        })
        .collect()
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => plain(text),
        other => other.to_string(),
    };
    let cut: String = text.chars().take(VALUE_WIDTH).collect();
    if cut.len() < text.len() {
        format!("{cut}…")
    } else {
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(name: &str, pcr7: &str) -> Value {
        json!({ "name": name, "pcrs": { "sha256": { "7": pcr7 } } })
    }

    #[test]
    fn states_are_compared_by_name_and_not_by_place() {
        let old = json!({ "boot_states": [state("a", "00"), state("b", "01")], "tpms": [] });
        let new = json!({ "boot_states": [state("c", "02"), state("b", "03")], "tpms": [] });
        let found = differences(&flat(&old), &flat(&new));
        let pointers: Vec<&str> = found.iter().map(|one| one.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            [
                "/boot_states/a/name",
                "/boot_states/a/pcrs/sha256/7",
                "/boot_states/b/pcrs/sha256/7",
                "/boot_states/c/name",
                "/boot_states/c/pcrs/sha256/7",
            ]
        );
        assert_eq!(found[2].old, Some(json!("01")));
        assert_eq!(found[2].new, Some(json!("03")));
        assert_eq!(differences(&flat(&old), &flat(&old)), []);
    }

    #[test]
    fn names_cannot_make_a_pointer_ambiguous() {
        let claims = json!({ "boot_states": [state("a/b~c", "00")], "tpms": [] });
        assert!(flat(&claims).contains_key("/boot_states/a~1b~0c/pcrs/sha256/7"));
    }
}
