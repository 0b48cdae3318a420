//! Devices: nodes that are made, and what the device controller lets pass.

use portcullis_gate::{Code, Rule, quote};
use serde_json::{Map, Value, json};

use super::Context;
use crate::oci_config::text;
use crate::path::{is_within, normal};
use crate::profile::DeviceRule;
use crate::review::{Review, take_object};

/// Most rules that are kept. Callers give a dozen; each is compared with the others.
const RULES_LIMIT: usize = 256;

/// The device as a rule of the controller or a node names it; `None` stands for all.
type Numbers = (Option<i64>, Option<i64>);

pub(super) fn harden(
    linux: &mut Map<String, Value>,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    review.under(Rule::Devices, linux, |linux, review| {
        refuse_nodes(linux, context, review);
        harden_controller(linux, context, review);
    });
}

/// True if a rule lets every device pass, as it is for privileged containers.
pub(super) fn allows_every_device(linux: &Map<String, Value>) -> bool {
    requested(linux).any(|rule| {
        is_allow(rule) && matches!(text(rule, "type"), "" | "a") && numbers(rule) == (None, None)
    })
}

fn requested(linux: &Map<String, Value>) -> impl Iterator<Item = &Map<String, Value>> {
    let rules = linux
        .get("resources")
        .and_then(|it| it.get("devices"))
        .and_then(Value::as_array);
    rules.into_iter().flatten().filter_map(Value::as_object)
}

fn is_allow(rule: &Map<String, Value>) -> bool {
    rule.get("allow").and_then(Value::as_bool).unwrap_or(false)
}

/// Major and minor; absent and negative numbers stand for all.
fn numbers(map: &Map<String, Value>) -> Numbers {
    let number = |key| {
        map.get(key)
            .and_then(Value::as_i64)
            .filter(|number| *number >= 0)
    };
    (number("major"), number("minor"))
}

fn covers(rule: &DeviceRule, kind: &str, (major, minor): Numbers) -> bool {
    rule.covers(kind, major, minor)
}

fn describe(kind: &str, (major, minor): Numbers) -> String {
    let number = |it: Option<i64>| it.map_or_else(|| "*".to_owned(), |it| it.to_string());
    format!("{} {}:{}", quote(kind), number(major), number(minor))
}

fn refuse_nodes(linux: &Map<String, Value>, context: Context<'_>, review: &mut Review<'_>) {
    let keep = &context.profile.rules().devices.keep;
    let nodes = linux.get("devices").and_then(Value::as_array);
    let mut excess = Excess::default();
    for node in nodes.into_iter().flatten().filter_map(Value::as_object) {
        let path = text(node, "path");
        // OCI has `u` for an unbuffered character device.
        let kind = if text(node, "type") == "u" {
            "c"
        } else {
            text(node, "type")
        };
        let beneath_dev = normal(path).is_some_and(|path| is_within(&path, "/dev"));
        if !beneath_dev || !keep.iter().any(|rule| covers(rule, kind, numbers(node))) {
            excess.add(|| format!("{} at {}", describe(kind, numbers(node)), quote(path)));
        }
    }
    excess.refuse("/linux/devices", review);
}

/// Devices beyond the profile, as one refusal: a privileged container has a hundred of them.
#[derive(Default)]
struct Excess {
    first: Option<String>,
    more: usize,
}

impl Excess {
    fn add(&mut self, describe: impl FnOnce() -> String) {
        match self.first {
            None => self.first = Some(describe()),
            Some(_) => self.more = self.more.saturating_add(1),
        }
    }

    fn refuse(self, pointer: &str, review: &mut Review<'_>) {
        let Some(first) = self.first else { return };
        let found = if self.more == 0 {
            first
        } else {
            format!("{first} and {} more", self.more)
        };
        review.refuse(Code::DeviceDenied, pointer, "devices of the profile", found);
    }
}

fn harden_controller(
    linux: &mut Map<String, Value>,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    let rules = &context.profile.rules().devices;
    let mut allowed: Vec<Value> = Vec::new();
    let mut excess = Excess::default();
    for rule in requested(linux) {
        let (kind, numbers) = (text(rule, "type"), numbers(rule));
        if !is_allow(rule) {
            allowed.retain(|kept| !overlaps(kept, kind, numbers));
        } else if let Some(keep) = rules.keep.iter().find(|keep| covers(keep, kind, numbers)) {
            let kept = narrowed(keep, rule);
            if allowed.len() >= RULES_LIMIT {
                excess.add(|| format!("more than {RULES_LIMIT} rules"));
                break;
            }
            if !allowed.contains(&kept) {
                allowed.push(kept);
            }
        } else if !rules.strip.iter().any(|strip| covers(strip, kind, numbers)) {
            excess.add(|| describe(kind, numbers));
        }
    }
    excess.refuse("/linux/resources/devices", review);
    let mut written = vec![json!({"allow": false, "access": "rwm"})];
    written.append(&mut allowed);
    let mut resources = take_object(linux, "resources");
    let before = resources
        .get("devices")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    if resources.get("devices").and_then(Value::as_array) != Some(&written) {
        let from = format!("{before} rules");
        let to = format!(
            "all denied, then {} allowed",
            written.len().saturating_sub(1)
        );
        let reason = "only the devices of the profile, and none can be made";
        review.change("/linux/resources/devices", from, to, reason);
        resources.insert("devices".to_owned(), Value::Array(written));
    }
    linux.insert("resources".to_owned(), Value::Object(resources));
}

/// The part of `rule` that `keep`, which covers it, lets pass.
fn narrowed(keep: &DeviceRule, rule: &Map<String, Value>) -> Value {
    let mut kept = rule.clone();
    let asked = text(rule, "access");
    let access: String = keep
        .access
        .chars()
        .filter(|it| asked.contains(*it))
        .collect();
    kept.insert("access".to_owned(), access.into());
    Value::Object(kept)
}

/// True if a denial of `kind` and `numbers` could concern the allowed devices of `kept`.
fn overlaps(kept: &Value, kind: &str, (major, minor): Numbers) -> bool {
    let Some(kept) = kept.as_object() else {
        return true;
    };
    let (kept_major, kept_minor) = numbers(kept);
    let meets =
        |one: Option<i64>, other: Option<i64>| one.is_none() || other.is_none() || one == other;
    (matches!(kind, "" | "a") || kind == text(kept, "type"))
        && meets(major, kept_major)
        && meets(minor, kept_minor)
}
