//! Edits of a JSON document, as RFC 6902 has them.

use std::cmp::Reverse;

use serde_json::{Map, Value, json};

use super::Step;

/// One edit. Its pointer is one into the document before any edit; `-` at its end adds to a list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Edit {
    /// Puts a value, in place of what is there if there is something.
    Set { pointer: String, value: Value },
    /// Takes a value away.
    Remove { pointer: String },
}

// === impl Edit ===

impl Edit {
    pub(crate) fn set(pointer: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Set {
            pointer: pointer.into(),
            value: value.into(),
        }
    }

    pub(crate) fn remove(pointer: impl Into<String>) -> Self {
        Self::Remove {
            pointer: pointer.into(),
        }
    }

    pub(crate) fn pointer(&self) -> &str {
        match self {
            Self::Set { pointer, .. } | Self::Remove { pointer } => pointer,
        }
    }
}

/// The operations of a patch (RFC 6902) that makes all edits of `steps` in `document`, in an order in
/// which no removal moves what a later one names, with the objects on the way that are missing.
pub(crate) fn patch(document: &Value, steps: &[Step]) -> Vec<Value> {
    let mut document = document.clone();
    let mut operations = Vec::new();
    for edit in ordered(steps) {
        match edit {
            Edit::Set { pointer, value } => {
                for parent in missing_parents(&document, pointer) {
                    let empty = Value::Object(Map::new());
                    put(&mut document, &parent, empty.clone());
                    operations.push(json!({"op": "add", "path": parent, "value": empty}));
                }
                let op = match document.pointer(pointer) {
                    Some(_) => "replace",
                    None => "add",
                };
                put(&mut document, pointer, value.clone());
                operations.push(json!({"op": op, "path": pointer, "value": value}));
            }
            Edit::Remove { pointer } => {
                if take(&mut document, pointer) {
                    operations.push(json!({"op": "remove", "path": pointer}));
                }
            }
        }
    }
    operations
}

/// `document` with all edits of `steps`.
pub(crate) fn applied(document: &Value, steps: &[Step]) -> Value {
    let mut document = document.clone();
    for edit in ordered(steps) {
        match edit {
            Edit::Set { pointer, value } => {
                for parent in missing_parents(&document, pointer) {
                    put(&mut document, &parent, Value::Object(Map::new()));
                }
                put(&mut document, pointer, value.clone());
            }
            Edit::Remove { pointer } => {
                take(&mut document, pointer);
            }
        }
    }
    document
}

/// Removals last, and of those in one list the last element first.
fn ordered(steps: &[Step]) -> Vec<&Edit> {
    let mut edits: Vec<&Edit> = Vec::new();
    for edit in steps.iter().flatten() {
        if !edits.contains(&edit) {
            edits.push(edit);
        }
    }
    let key = |edit: &&Edit| match edit {
        Edit::Set { .. } => None,
        Edit::Remove { pointer } => {
            let step = |step: &str| (step.parse::<usize>().unwrap_or(0), step.to_owned());
            Some(Reverse(pointer.split('/').map(step).collect::<Vec<_>>()))
        }
    };
    edits.sort_by_cached_key(key);
    edits
}

/// Pointers to the objects above `pointer` that are not there, the highest first.
fn missing_parents(document: &Value, pointer: &str) -> Vec<String> {
    let mut missing = Vec::new();
    let mut parent = pointer;
    while let Some((above, _)) = parent.rsplit_once('/') {
        let there = document.pointer(above);
        if above.is_empty() || there.is_some_and(|it| it.is_object() || it.is_array()) {
            break;
        }
        missing.push(above.to_owned());
        parent = above;
    }
    missing.reverse();
    missing
}

fn unescaped(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

fn put(document: &mut Value, pointer: &str, value: Value) {
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        *document = value;
        return;
    };
    match document.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.insert(unescaped(key), value);
        }
        Some(Value::Array(items)) => match key.parse().ok().and_then(|it: usize| items.get_mut(it))
        {
            Some(item) => *item = value,
            None => items.push(value),
        },
        _ => {}
    }
}

/// True if something was taken away.
fn take(document: &mut Value, pointer: &str) -> bool {
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        return false;
    };
    match document.pointer_mut(parent) {
        Some(Value::Object(map)) => map.remove(&unescaped(key)).is_some(),
        Some(Value::Array(items)) => match key.parse::<usize>() {
            Ok(index) if index < items.len() => {
                items.remove(index);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Applies a patch by the letter of RFC 6902.
    pub(crate) fn apply_patch(document: &Value, operations: &[Value]) -> Value {
        let mut document = document.clone();
        for operation in operations {
            let path = operation["path"].as_str().unwrap();
            match operation["op"].as_str().unwrap() {
                "remove" => assert!(take(&mut document, path), "{operation}"),
                "replace" => {
                    assert!(document.pointer(path).is_some(), "{operation}");
                    put(&mut document, path, operation["value"].clone());
                }
                "add" => {
                    let (parent, key) = path.rsplit_once('/').unwrap();
                    let parent = document.pointer(parent).expect("a parent");
                    assert!(parent.is_object() || key == "-", "{operation}");
                    put(&mut document, path, operation["value"].clone());
                }
                other => panic!("{other}"),
            }
        }
        document
    }

    #[test]
    fn removals_do_not_move_what_others_name() {
        let document = json!({"a": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "b/c": {"d": 1}});
        let steps = vec![
            vec![Edit::remove("/a/2"), Edit::remove("/a/10")],
            vec![Edit::set("/a/3", "x"), Edit::remove("/a/0")],
            vec![
                Edit::set("/n/e/w", 1),
                Edit::set("/b~1c/d", 2),
                Edit::set("/a/-", 12),
            ],
            vec![Edit::remove("/not/there")],
        ];
        let expected = json!({
            "a": [1, "x", 4, 5, 6, 7, 8, 9, 11, 12], "b/c": {"d": 2}, "n": {"e": {"w": 1}},
        });
        assert_eq!(applied(&document, &steps), expected);
        let operations = patch(&document, &steps);
        assert_eq!(apply_patch(&document, &operations), expected);
        assert!(!operations.iter().any(|it| it["path"] == "/not/there"));
    }
}
