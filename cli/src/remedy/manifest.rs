//! What may help a pod that is refused.

use portcullis_gate::{Refusal, Refusals, Rule};
use serde_json::Value;

use super::config::{NOBODY, elements};
use super::{Edit, Step};
use crate::findings::pointer_of;
use crate::workload::{PodPlace, Subject};

/// Memory that a small service needs: something to begin with.
const MEMORY: &str = "256Mi";

/// All steps that may help with `refusals` about `subject` of the pod at `place` of `document`.
pub(crate) fn propose(
    document: &Value,
    place: &PodPlace,
    subject: &Subject,
    refusals: &Refusals,
) -> Vec<Step> {
    let proposed = refusals
        .iter()
        .map(|refusal| for_refusal(document, place, subject, refusal));
    proposed.flatten().collect()
}

fn for_refusal(
    document: &Value,
    place: &PodPlace,
    subject: &Subject,
    refusal: &Refusal,
) -> Vec<Step> {
    let pointer = pointer_of(refusal);
    let said = format!("{} {}", refusal.expected, refusal.found);
    let Some(origin) = subject.origins.of(pointer, &said) else {
        return Vec::new();
    };
    let one = |edit: Edit| vec![vec![edit]];
    let set = |value: Value| one(Edit::set(origin, value));
    let Some(rule) = refusal.rule else {
        // A mount at a place that cannot be.
        return one(Edit::remove(mount_of(origin)));
    };
    match rule {
        Rule::Privileged | Rule::Capabilities | Rule::Devices
            if origin.ends_with("/privileged") =>
        {
            set(false.into())
        }
        Rule::Privileged | Rule::Capabilities if origin.ends_with("/add") => {
            elements(document, origin)
        }
        Rule::NonRoot if pointer == "/process/user" => set(NOBODY.into()),
        Rule::NonRoot | Rule::UserNamespace => {
            one(Edit::set(format!("{}/spec/hostUsers", place.pod), false))
        }
        Rule::HostNamespaces | Rule::Terminal => set(false.into()),
        Rule::WorkingDirectory => set("/".into()),
        Rule::LsmLabels if pointer == "/process/selinuxLabel" => {
            one(Edit::set(format!("{origin}/type"), "container_t"))
        }
        Rule::LsmLabels => one(Edit::set(
            origin,
            serde_json::json!({"type": "RuntimeDefault"}),
        )),
        Rule::MountSources => volume(document, place, origin),
        Rule::MountTypes => one(Edit::remove(mount_of(origin))),
        Rule::MountPropagation => set("HostToContainer".into()),
        Rule::Devices | Rule::Sysctls | Rule::Annotations => one(Edit::remove(origin)),
        Rule::MemoryLimit => set(MEMORY.into()),
        _ => Vec::new(),
    }
}

/// The mount that a field of it belongs to.
fn mount_of(pointer: &str) -> &str {
    let mut end = pointer;
    while let Some((parent, _)) = end.rsplit_once('/') {
        if parent.ends_with("/volumeMounts") {
            return end;
        }
        end = parent;
    }
    pointer
}

/// A volume of the pod's own in place of what the host has.
fn volume(document: &Value, place: &PodPlace, origin: &str) -> Vec<Step> {
    let volumes = format!("{}/spec/volumes/", place.pod);
    let index = origin
        .strip_prefix(&volumes)
        .and_then(|rest| rest.split('/').next());
    let Some(volume) = index.map(|index| format!("{volumes}{index}")) else {
        return Vec::new();
    };
    let kinds = document.pointer(&volume).and_then(Value::as_object);
    let mut step: Step = kinds
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key != "name")
        .map(|(key, _)| Edit::remove(format!("{volume}/{key}")))
        .collect();
    step.push(Edit::set(
        format!("{volume}/emptyDir"),
        serde_json::json!({}),
    ));
    vec![step]
}
