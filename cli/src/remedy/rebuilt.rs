//! A configuration that is refused as one was of which only the refusals are left.
//!
//! A record holds no configuration, because there are secrets in its environment. What is built
//! here has the faults that the record names and nothing else; whoever uses it first sees that it is
//! refused with the same words.

use portcullis_hardening::{CapabilitySet, NamespaceKind};
use serde_json::{Value, json};

use super::Edit;
use super::edit::applied;

/// A refusal as a record has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Recorded {
    pub(crate) code: String,
    /// Id of the rule; empty if there is none.
    pub(crate) rule: String,
    pub(crate) pointer: String,
    pub(crate) expected: String,
    pub(crate) found: String,
}

/// A configuration with the faults of `recorded`; `None` if one of them does not say enough.
pub(crate) fn config(recorded: &[Recorded]) -> Option<Value> {
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 65534, "gid": 65534}, "args": ["/program"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "mounts": [],
        "linux": {"namespaces": [
            {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
            {"type": "network"}, {"type": "cgroup"},
        ], "resources": {"memory": {"limit": 1 << 26}}},
    });
    for refusal in recorded {
        let step = fault(&config, refusal)?;
        config = applied(&config, &[step]);
    }
    Some(config)
}

/// The first text in ticks.
fn quoted(text: &str) -> Option<&str> {
    let inside = text.split('\'').nth(1)?;
    // What was cut or escaped is not what was there.
    let whole = !inside.contains(['…', '\\']);
    whole.then_some(inside)
}

fn one(edit: Edit) -> Option<Vec<Edit>> {
    Some(vec![edit])
}

/// The edits that put the fault of `refusal` into `config`.
fn fault(config: &Value, refusal: &Recorded) -> Option<Vec<Edit>> {
    let (pointer, found) = (refusal.pointer.as_str(), refusal.found.as_str());
    let bounding = "/process/capabilities/bounding";
    match refusal.rule.as_str() {
        "privileged" if pointer == "/process/capabilities" => {
            let all: Vec<&str> = CapabilitySet::from_bits(u64::MAX).names().collect();
            one(Edit::set(bounding, json!(all)))
        }
        "privileged" => one(Edit::set(
            pointer,
            json!([{"allow": true, "access": "rwm"}]),
        )),
        "capabilities" => {
            // All of them were named before.
            if config.pointer(bounding).is_some() {
                return Some(Vec::new());
            }
            let names = found.split([' ', ',', '\'']);
            let names: Vec<&str> = names.filter(|name| name.starts_with("CAP_")).collect();
            (!names.is_empty() && !found.contains('…'))
                .then(|| vec![Edit::set(bounding, json!(names))])
        }
        "non-root" if pointer == "/process/user" => one(Edit::set("/process/user/uid", 0)),
        "oom-score" => one(Edit::set(pointer, found.parse::<i64>().ok()?)),
        "working-directory" | "root-filesystem" | "lsm-labels" => {
            one(Edit::set(pointer, quoted(found)?))
        }
        "scheduling" if pointer.ends_with("/nice") => {
            one(Edit::set(pointer, found.parse::<i64>().ok()?))
        }
        "scheduling" if pointer.ends_with("/policy") || pointer.ends_with("/class") => {
            one(Edit::set(pointer, quoted(found)?))
        }
        "terminal" => one(Edit::set(pointer, true)),
        "sysctls" | "annotations" | "cgroup-settings" if quoted(found).is_some() => {
            let key = crate::workload::escaped(quoted(found)?);
            one(Edit::set(format!("{pointer}/{key}"), "1"))
        }
        "cgroup-settings" => one(Edit::set(pointer, true)),
        "host-settings" => one(Edit::set(pointer, json!({"x": 1}))),
        "memory-limit" => one(Edit::remove("/linux/resources/memory")),
        "mount-propagation" if pointer == "/linux/rootfsPropagation" => {
            one(Edit::set(pointer, quoted(found)?))
        }
        "mount-sources" => mount(config, pointer, found),
        "host-namespaces" => namespace(config, refusal),
        _ => None,
    }
}

/// A bind of what was found, at the place in `mounts` that the pointer names.
fn mount(config: &Value, pointer: &str, found: &str) -> Option<Vec<Edit>> {
    let index: usize = pointer
        .strip_prefix("/mounts/")?
        .strip_suffix("/source")?
        .parse()
        .ok()?;
    let bind = |source: &str| {
        json!({
            "destination": format!("/mnt/{index}"), "type": "bind", "source": source,
            "options": ["rbind", "rprivate"],
        })
    };
    let there = config
        .pointer("/mounts")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    let mut edits = Vec::new();
    for place in there..index {
        let filler =
            json!({"destination": format!("/mnt/{place}"), "type": "tmpfs", "source": "tmpfs"});
        edits.push(Edit::set("/mounts/-", filler));
    }
    let last = if there > index {
        format!("/mounts/{index}")
    } else {
        "/mounts/-".to_owned()
    };
    edits.push(Edit::set(last, bind(quoted(found)?)));
    Some(edits)
}

/// A namespace of the host: left out, or joined at the place that the pointer names.
fn namespace(config: &Value, refusal: &Recorded) -> Option<Vec<Edit>> {
    let named = |kind: &&NamespaceKind| refusal.expected.contains(&format!("{kind} namespace"));
    let kind = *NamespaceKind::ALL.iter().find(named)?;
    let all = config.pointer("/linux/namespaces")?.as_array()?;
    let place = all
        .iter()
        .position(|it| it.get("type") == Some(&kind.as_str().into()))?;
    let mut all = all.clone();
    let Some(rest) = refusal.pointer.strip_prefix("/linux/namespaces/") else {
        all.remove(place);
        return one(Edit::set("/linux/namespaces", all));
    };
    let index: usize = rest.strip_suffix("/path")?.parse().ok()?;
    if index >= all.len() {
        return None;
    }
    all.swap(place, index);
    let path = format!("/proc/1/ns/{}", kind.proc_name());
    *all.get_mut(index)? = json!({"type": kind.as_str(), "path": path});
    one(Edit::set("/linux/namespaces", all))
}
