//! What may help a `config.json` that is refused.

use portcullis_gate::{Code, Refusal, Refusals, Rule};
use portcullis_hardening::NamespaceKind;
use serde_json::{Value, json};

use super::{Edit, Step};
use crate::findings::pointer_of;
use crate::workload::escaped;

/// A user that owns nothing, and is in every image's reach by its number.
pub(super) const NOBODY: u32 = 65_534;
/// Memory that a small service needs, in bytes: something to begin with.
const MEMORY_BYTES: u64 = 256 << 20;
/// Ids of a user namespace: as many as the kubelet gives, above those of the host.
const IDS: u64 = 65_536;

/// All steps that may help with `refusals` about `config`.
pub(crate) fn propose(config: &Value, refusals: &Refusals) -> Vec<Step> {
    let proposed = refusals.iter().map(|refusal| for_refusal(config, refusal));
    proposed.flatten().collect()
}

fn one(edit: Edit) -> Vec<Step> {
    vec![vec![edit]]
}

fn for_refusal(config: &Value, refusal: &Refusal) -> Vec<Step> {
    let pointer = pointer_of(refusal);
    let Some(rule) = refusal.rule else {
        return unclear(config, refusal.code, pointer);
    };
    match rule {
        Rule::Privileged | Rule::Capabilities | Rule::Devices
            if pointer == "/process/capabilities" =>
        {
            capabilities(config)
        }
        Rule::Privileged | Rule::Devices => elements(config, pointer),
        Rule::NonRoot if pointer == "/process/user" => one(Edit::set("/process/user/uid", NOBODY)),
        Rule::NonRoot | Rule::UserNamespace => user_namespace(config),
        Rule::Scheduling => one(Edit::remove(scheduling(pointer))),
        Rule::Terminal => one(Edit::set(pointer, false)),
        Rule::OomScore => one(Edit::set(pointer, 0)),
        Rule::WorkingDirectory => one(Edit::set(pointer, "/")),
        Rule::LsmLabels if pointer == "/process/selinuxLabel" => {
            one(Edit::set(pointer, "system_u:system_r:container_t:s0"))
        }
        Rule::LsmLabels => one(Edit::set(pointer, "cri-containerd.apparmor.d")),
        Rule::RootFilesystem => one(Edit::set(pointer, "rootfs")),
        Rule::HostNamespaces if pointer == "/linux/namespaces" => missing_namespaces(config),
        Rule::MountSources => one(Edit::remove(parent(pointer))),
        Rule::MountPropagation if pointer == "/linux/rootfsPropagation" => {
            one(Edit::set(pointer, "rslave"))
        }
        Rule::MountPropagation => options(config, pointer),
        Rule::Sysctls | Rule::Annotations => entries(config, pointer),
        Rule::CgroupSettings if pointer.ends_with("/unified") => entries(config, pointer),
        Rule::MemoryLimit => one(Edit::set(pointer, MEMORY_BYTES)),
        Rule::Hooks => one(Edit::remove(pointer.trim_end_matches("/args"))),
        Rule::HostNamespaces | Rule::MountTypes | Rule::HostSettings | Rule::CgroupSettings => {
            one(Edit::remove(pointer))
        }
        _ => Vec::new(),
    }
}

/// What is refused whatever the rules say, because it could be read in two ways.
fn unclear(config: &Value, code: Code, pointer: &str) -> Vec<Step> {
    match code {
        Code::MountDenied if pointer.ends_with("/options") => options(config, pointer),
        Code::MountDenied | Code::OciFieldDenied | Code::OciConfigMalformed
            if !pointer.is_empty() =>
        {
            one(Edit::remove(pointer))
        }
        _ => Vec::new(),
    }
}

fn parent(pointer: &str) -> &str {
    pointer.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The whole of what a setting about scheduling is part of.
fn scheduling(pointer: &str) -> &str {
    match pointer {
        "/process/scheduler/policy" | "/process/ioPriority/class" => parent(pointer),
        other => other,
    }
}

/// Each capability, out of all sets.
fn capabilities(config: &Value) -> Vec<Step> {
    let sets = config.pointer("/process/capabilities");
    let sets = sets.and_then(Value::as_object);
    let mut steps: Vec<(&str, Step)> = Vec::new();
    for (set, names) in sets.into_iter().flatten() {
        let names = names.as_array().into_iter().flatten().enumerate();
        for (index, name) in names.filter_map(|(index, name)| Some((index, name.as_str()?))) {
            let edit = Edit::remove(format!("/process/capabilities/{set}/{index}"));
            match steps.iter_mut().find(|(known, _)| *known == name) {
                Some((_, step)) => step.push(edit),
                None => steps.push((name, vec![edit])),
            }
        }
    }
    steps.into_iter().map(|(_, step)| step).collect()
}

/// Each element of the list at `pointer`.
pub(super) fn elements(document: &Value, pointer: &str) -> Vec<Step> {
    let items = document.pointer(pointer).and_then(Value::as_array);
    let count = items.map_or(0, Vec::len);
    let remove = |index| vec![Edit::remove(format!("{pointer}/{index}"))];
    (0..count).map(remove).collect()
}

/// Each entry of the object at `pointer`.
fn entries(config: &Value, pointer: &str) -> Vec<Step> {
    let map = config.pointer(pointer).and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .map(|(key, _)| vec![Edit::remove(format!("{pointer}/{}", escaped(key)))])
        .collect()
}

/// Each option of a mount; one that shares is followed by one that only receives.
fn options(config: &Value, pointer: &str) -> Vec<Step> {
    let options = config.pointer(pointer).and_then(Value::as_array);
    let mut steps = Vec::new();
    for (index, option) in options.into_iter().flatten().enumerate() {
        let pointer = format!("{pointer}/{index}");
        steps.push(match option.as_str() {
            Some("rshared") => vec![Edit::set(pointer, "rslave")],
            Some("shared") => vec![Edit::set(pointer, "slave")],
            _ => vec![Edit::remove(pointer)],
        });
    }
    steps
}

fn missing_namespaces(config: &Value) -> Vec<Step> {
    let present = config
        .pointer("/linux/namespaces")
        .and_then(Value::as_array);
    let has = |kind: NamespaceKind| {
        let mut present = present.into_iter().flatten();
        present.any(|it| it["type"] == kind.as_str())
    };
    let base = match present {
        Some(_) => Vec::new(),
        None => vec![Edit::set("/linux/namespaces", json!([]))],
    };
    NamespaceKind::ALL
        .into_iter()
        .filter(|kind| *kind != NamespaceKind::User && !has(*kind))
        .map(|kind| {
            let mut step = base.clone();
            let namespace = json!({"type": kind.as_str()});
            step.push(Edit::set("/linux/namespaces/-", namespace));
            step
        })
        .collect()
}

/// A user namespace of its own, with ids that are none of the host's.
fn user_namespace(config: &Value) -> Vec<Step> {
    let ids = json!([{"containerID": 0, "hostID": IDS, "size": IDS}]);
    let present = config
        .pointer("/linux/namespaces")
        .and_then(Value::as_array);
    let place = present.and_then(|all| all.iter().position(|it| it["type"] == "user"));
    let namespace = json!({"type": "user"});
    let pointer = match place {
        Some(index) => format!("/linux/namespaces/{index}"),
        None => "/linux/namespaces/-".to_owned(),
    };
    vec![vec![
        Edit::set(pointer, namespace),
        Edit::set("/linux/uidMappings", ids.clone()),
        Edit::set("/linux/gidMappings", ids),
    ]]
}
