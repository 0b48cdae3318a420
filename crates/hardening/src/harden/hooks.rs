//! Hooks and annotations: two ways to change what the runtime does.

use portcullis_gate::{Code, quote};
use serde_json::{Map, Value, json};

use super::Context;
use crate::oci_config::text;
use crate::review::{Review, is_set, take_object};

/// What a hook finds if its configuration gives no environment. Without one the runtimes let it
/// inherit theirs, and CVE-2025-23266 came in through `LD_PRELOAD`.
const HOOK_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn harden(spec: &mut Map<String, Value>, context: Context<'_>, review: &mut Review) {
    refuse_annotations(spec, context, review);
    if !is_set(spec, "hooks") {
        return;
    }
    let mut hooks = take_object(spec, "hooks");
    for (stage, list) in &mut hooks {
        let Some(list) = list.as_array_mut() else {
            continue;
        };
        for (index, hook) in list.iter_mut().enumerate() {
            let Some(hook) = hook.as_object_mut() else {
                continue;
            };
            let path = text(hook, "path");
            let mut allowed = context.profile.rules().hooks.allow.iter();
            if !allowed.any(|rule| rule.path == path && rule.stages.contains(stage)) {
                let pointer = format!("/hooks/{stage}/{index}");
                review.refuse(
                    Code::HookDenied,
                    pointer,
                    "a hook of the profile",
                    quote(path),
                );
            }
            if !is_set(hook, "env") {
                let parent = format!("/hooks/{stage}/{index}");
                let reason = "a hook would inherit the environment of the runtime";
                review.set(hook, &parent, "env", json!([HOOK_PATH]), reason);
            }
        }
    }
    spec.insert("hooks".to_owned(), Value::Object(hooks));
}

fn refuse_annotations(spec: &Map<String, Value>, context: Context<'_>, review: &mut Review) {
    let prefixes = &context.profile.rules().annotations.refuse;
    let annotations = spec.get("annotations").and_then(Value::as_object);
    for key in annotations.into_iter().flat_map(Map::keys) {
        if let Some(prefix) = prefixes
            .iter()
            .find(|prefix| key.starts_with(prefix.as_str()))
        {
            let expected = format!("no annotation '{prefix}…'");
            review.refuse(Code::AnnotationDenied, "/annotations", expected, quote(key));
        }
    }
}
