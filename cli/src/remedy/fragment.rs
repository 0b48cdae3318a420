//! Edits of a manifest as a fragment of it, to be merged by `kubectl patch`.

use serde_json::{Map, Value, json};

use super::Step;
use super::edit::{Edit, applied};
use crate::tree::{part, put};

/// Lists whose elements are merged by a key of theirs; all others are replaced as a whole.
///
/// # Source
///
/// Kubernetes API, `patchMergeKey` of the types of a pod specification.
const MERGED: [(&str, &str); 6] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("volumes", "name"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
];

/// The strategic merge patch that makes the edits of `steps` in the object at `base` of
/// `document`.
pub(crate) fn fragment(document: &Value, base: &str, steps: &[Step]) -> Value {
    let after = applied(document, steps);
    let mut whole = Value::Object(Map::new());
    for edit in steps.iter().flatten() {
        let Some(path) = edit.pointer().strip_prefix(base) else {
            continue;
        };
        let path: Vec<&str> = path.split('/').skip(1).collect();
        let before = document.pointer(base).unwrap_or(&Value::Null);
        let after = after.pointer(base).unwrap_or(&Value::Null);
        let removed = matches!(edit, Edit::Remove { .. });
        merge(&mut whole, &path, before, after, removed);
    }
    whole
}

/// Puts what the edit at `path` does into `target`, an object.
fn merge(target: &mut Value, path: &[&str], before: &Value, after: &Value, removed: bool) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    let name = key.replace("~1", "/").replace("~0", "~");
    let (before, after) = (at(before, &name), at(after, &name));
    if rest.is_empty() {
        let value = if removed { Value::Null } else { after.clone() };
        put(target, &name, value);
        return;
    }
    let Some(items) = before.as_array() else {
        merge(part(target, &name, json!({})), rest, before, after, removed);
        return;
    };
    let merged = MERGED.iter().find(|(list, _)| *list == name);
    let index = rest.first().and_then(|index| index.parse::<usize>().ok());
    let (Some((_, by)), Some(element)) = (merged, index.and_then(|index| items.get(index))) else {
        put(target, &name, after.clone());
        return;
    };
    let id = at(element, by);
    let Some(list) = part(target, &name, json!([])).as_array_mut() else {
        return;
    };
    let place = list.iter().position(|it| at(it, by) == id);
    let place = place.unwrap_or_else(|| {
        list.push(json!({*by: id}));
        list.len().saturating_sub(1)
    });
    let Some(slot) = list.get_mut(place) else {
        return;
    };
    let rest = rest.get(1..).unwrap_or_default();
    if rest.is_empty() {
        put(slot, "$patch", "delete");
        return;
    }
    let mut left = after.as_array().into_iter().flatten();
    let after = left.find(|it| at(it, by) == id).unwrap_or(&Value::Null);
    merge(slot, rest, element, after, removed);
}

fn at<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&Value::Null)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What the API server does with such a patch.
    pub(crate) fn merged(target: &Value, patch: &Value, key: &str) -> Value {
        match (target, patch) {
            (_, Value::Object(patch)) => {
                let mut target = target.as_object().cloned().unwrap_or_default();
                for (key, value) in patch {
                    if value.is_null() {
                        target.remove(key);
                    } else {
                        let before = target.get(key).cloned().unwrap_or_default();
                        target.insert(key.clone(), merged(&before, value, key));
                    }
                }
                Value::Object(target)
            }
            (Value::Array(target), Value::Array(patch)) => {
                let Some((_, by)) = MERGED.iter().find(|(list, _)| *list == key) else {
                    return Value::Array(patch.clone());
                };
                let mut target = target.clone();
                for element in patch {
                    let place = target.iter().position(|it| it[by] == element[by]).unwrap();
                    if element["$patch"] == "delete" {
                        target.remove(place);
                    } else {
                        target[place] = merged(&target[place], element, "");
                    }
                }
                Value::Array(target)
            }
            _ => patch.clone(),
        }
    }

    #[test]
    fn a_fragment_merges_to_what_the_edits_make() {
        let document = json!({"items": [{"metadata": {"annotations": {"a/b": "1"}}, "spec": {
            "hostPID": true,
            "securityContext": {"sysctls": [{"name": "a"}, {"name": "b"}]},
            "containers": [
                {"name": "one", "volumeMounts": [{"mountPath": "/x"}, {"mountPath": "/y"}]},
                {"name": "two", "securityContext": {"capabilities": {"add": ["A", "B"]}}},
            ],
            "volumes": [{"name": "v", "hostPath": {"path": "/etc"}}],
        }}]});
        let spec = "/items/0/spec";
        let steps = vec![
            vec![Edit::set(format!("{spec}/hostPID"), false)],
            vec![Edit::remove(format!("{spec}/securityContext/sysctls/0"))],
            vec![Edit::remove(format!("{spec}/containers/0/volumeMounts/1"))],
            vec![Edit::set(
                format!("{spec}/containers/0/securityContext/runAsUser"),
                7,
            )],
            vec![Edit::remove(format!(
                "{spec}/containers/1/securityContext/capabilities/add/0"
            ))],
            vec![
                Edit::remove(format!("{spec}/volumes/0/hostPath")),
                Edit::set(format!("{spec}/volumes/0/emptyDir"), json!({})),
            ],
            vec![Edit::remove("/items/0/metadata/annotations/a~1b")],
        ];
        let patch = fragment(&document, "/items/0", &steps);
        assert_eq!(
            patch,
            json!({"metadata": {"annotations": {"a/b": null}}, "spec": {
                "hostPID": false,
                "securityContext": {"sysctls": [{"name": "b"}]},
                "containers": [
                    {"name": "one", "securityContext": {"runAsUser": 7},
                     "volumeMounts": [{"mountPath": "/y", "$patch": "delete"}]},
                    {"name": "two", "securityContext": {"capabilities": {"add": ["B"]}}},
                ],
                "volumes": [{"name": "v", "hostPath": null, "emptyDir": {}}],
            }})
        );
        let expected = applied(&document, &steps);
        let object = merged(&document["items"][0], &patch, "");
        assert_eq!(object, expected["items"][0]);
    }
}
