//! Hooks and annotations: two ways to change what the runtime does.

use portcullis_gate::{Code, Rule, quote};
use serde_json::{Map, Value, json};

use super::Context;
use crate::facts::HostFacts;
use crate::oci_config::{text, texts};
use crate::profile::HookRule;
use crate::review::{Review, is_set, take_object};

/// The whole environment of a hook. Without one the runtimes let it inherit theirs, and
/// CVE-2025-23266 came in through `LD_PRELOAD`.
const HOOK_PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
/// How many annotations are named that were taken out.
const STRIPPED_SHOWN: usize = 16;
/// The longest time that a hook may hold up a container, in seconds.
const TIMEOUT_MAX_S: i64 = 120;

pub(super) fn harden(spec: &mut Map<String, Value>, context: Context<'_>, review: &mut Review<'_>) {
    if is_set(spec, "annotations") {
        let mut annotations = take_object(spec, "annotations");
        review.under(
            Rule::Annotations,
            &mut annotations,
            |annotations, review| {
                harden_annotations(annotations, context, review);
            },
        );
        spec.insert("annotations".to_owned(), Value::Object(annotations));
    }
    if is_set(spec, "hooks") {
        review.under(Rule::Hooks, spec, |spec, review| {
            harden_hooks(spec, context, review);
        });
    }
}

fn harden_hooks(spec: &mut Map<String, Value>, context: Context<'_>, review: &mut Review<'_>) {
    let mut hooks = take_object(spec, "hooks");
    for (stage, list) in &mut hooks {
        let Some(list) = list.as_array_mut() else {
            continue;
        };
        for (index, hook) in list.iter_mut().enumerate() {
            let Some(hook) = hook.as_object_mut() else {
                continue;
            };
            let parent = format!("/hooks/{stage}/{index}");
            judge(hook, stage, &parent, context, review);
        }
    }
    spec.insert("hooks".to_owned(), Value::Object(hooks));
}

fn judge(
    hook: &mut Map<String, Value>,
    stage: &str,
    parent: &str,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    let path = text(hook, "path");
    let allowed = &context.profile.rules().hooks.allow;
    let mut allowed = allowed
        .iter()
        .filter(|rule| rule.path == path && rule.stages.contains(stage))
        .peekable();
    // What it is told is part of what it does.
    let is_told = |rule: &&HookRule| {
        let args = rule.args.iter().map(String::as_str);
        texts(hook, "args").eq(args)
    };
    if allowed.peek().is_none() {
        let found = quote(path);
        review.refuse(Code::HookDenied, parent, "a hook of the profile", found);
    } else {
        let mut told = allowed.filter(is_told).peekable();
        if told.peek().is_none() {
            let pointer = format!("{parent}/args");
            let expected = "the arguments that the profile gives";
            review.refuse(Code::HookDenied, pointer, expected, "others");
        } else if let Err(found) = known_program(told, context.facts) {
            let expected = "a program with the SHA-256 that the profile gives";
            review.refuse(Code::HookDenied, format!("{parent}/path"), expected, found);
        }
    }
    let env = json!([HOOK_PATH]);
    if hook.get("env") != Some(&env) {
        let from = match hook.insert("env".to_owned(), env) {
            None | Some(Value::Null) => Value::Null,
            // Its values may be secret.
            Some(_) => "others".into(),
        };
        let reason = "a hook is steered by its environment, or inherits that of the runtime";
        review.change(format!("{parent}/env"), from, HOOK_PATH, reason);
    }
    let timeout_s = hook.get("timeout").and_then(Value::as_i64).unwrap_or(0);
    if !(1..=TIMEOUT_MAX_S).contains(&timeout_s) {
        let reason = "a hook would hold up the runtime for ever";
        review.set(hook, parent, "timeout", TIMEOUT_MAX_S, reason);
    }
}

/// Whether the program is what one of `rules`, all about its path, wants it to be; what it is if not.
fn known_program<'a>(
    rules: impl Iterator<Item = &'a HookRule>,
    facts: &HostFacts,
) -> Result<(), String> {
    let mut found = Err("one that nobody looked at".to_owned());
    for rule in rules {
        let wanted = &rule.sha256.0;
        if wanted.is_empty() {
            return Ok(());
        }
        let Some(file) = facts.hooks.iter().find(|file| file.path == rule.path) else {
            continue;
        };
        match &file.sha256 {
            Ok(digest) if digest == wanted => return Ok(()),
            Ok(digest) => found = Err(digest.clone()),
            Err(why) => found = Err(quote(why)),
        }
    }
    found
}

/// Refuses what steers a runtime, because somebody asked for it, and strips what nobody knows: a
/// runtime may come to act on it.
fn harden_annotations(
    annotations: &mut Map<String, Value>,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    let rules = &context.profile.rules().annotations;
    let mut stripped = Vec::new();
    annotations.retain(|key, _| {
        if let Some(prefix) = rules.refusing(key) {
            let expected = format!("no annotation '{prefix}…'");
            review.refuse(Code::AnnotationDenied, "/annotations", expected, quote(key));
            return true;
        }
        let kept = rules.allows(key);
        if !kept {
            stripped.push(quote(key));
        }
        kept
    });
    // Names only: values may be as long as a manifest, and hold as much.
    if !stripped.is_empty() {
        let more = stripped.len().saturating_sub(STRIPPED_SHOWN);
        stripped.truncate(STRIPPED_SHOWN);
        if more > 0 {
            stripped.push(format!("{more} more"));
        }
        let reason = "the profile does not know them, and a runtime may act on them";
        review.change("/annotations", stripped, Value::Null, reason);
    }
}
