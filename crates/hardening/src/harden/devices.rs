//! Devices: nodes that are made, and what the device controller lets pass.

use portcullis_gate::{Code, quote};
use serde_json::{Map, Value, json};

use super::Context;
use crate::oci_config::text;
use crate::path::{is_within, normal};
use crate::profile::DeviceRule;
use crate::review::{Review, take_object};

/// The device as a rule of the controller or a node names it; `None` stands for all.
type Numbers = (Option<i64>, Option<i64>);

pub(super) fn harden(linux: &mut Map<String, Value>, context: Context<'_>, review: &mut Review) {
    refuse_nodes(linux, context, review);
    harden_controller(linux, context, review);
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

fn covered(rules: &[DeviceRule], kind: &str, (major, minor): Numbers) -> bool {
    rules.iter().any(|rule| rule.covers(kind, major, minor))
}

fn describe(kind: &str, (major, minor): Numbers) -> String {
    let number = |it: Option<i64>| it.map_or_else(|| "*".to_owned(), |it| it.to_string());
    format!("{} {}:{}", quote(kind), number(major), number(minor))
}

fn refuse_nodes(linux: &Map<String, Value>, context: Context<'_>, review: &mut Review) {
    let nodes = linux.get("devices").and_then(Value::as_array);
    for (index, node) in nodes
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .enumerate()
    {
        let path = text(node, "path");
        // OCI has `u` for an unbuffered character device.
        let kind = if text(node, "type") == "u" {
            "c"
        } else {
            text(node, "type")
        };
        let beneath_dev = normal(path).is_some_and(|path| is_within(&path, "/dev"));
        if !beneath_dev || !covered(&context.profile.rules().devices.keep, kind, numbers(node)) {
            let pointer = format!("/linux/devices/{index}");
            let found = format!("{} at {}", describe(kind, numbers(node)), quote(path));
            review.refuse(
                Code::DeviceDenied,
                pointer,
                "a device of the profile",
                found,
            );
        }
    }
}

fn harden_controller(linux: &mut Map<String, Value>, context: Context<'_>, review: &mut Review) {
    let rules = &context.profile.rules().devices;
    for (index, rule) in requested(linux)
        .enumerate()
        .filter(|(_, rule)| is_allow(rule))
    {
        let (kind, numbers) = (text(rule, "type"), numbers(rule));
        if !covered(&rules.keep, kind, numbers) && !covered(&rules.strip, kind, numbers) {
            let pointer = format!("/linux/resources/devices/{index}");
            let found = describe(kind, numbers);
            review.refuse(
                Code::DeviceDenied,
                pointer,
                "a device of the profile",
                found,
            );
        }
    }
    let mut written = vec![json!({"allow": false, "access": "rwm"})];
    written.extend(rules.keep.iter().map(|rule| {
        let mut allow = json!({
            "allow": true, "type": rule.kind.to_string(), "major": rule.major, "access": rule.access,
        });
        if let (Some(minor), Some(allow)) = (rule.minor, allow.as_object_mut()) {
            allow.insert("minor".to_owned(), minor.into());
        }
        allow
    }));
    let written = Value::Array(written);
    let mut resources = take_object(linux, "resources");
    if resources.get("devices") != Some(&written) {
        let before = resources
            .get("devices")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        review.change(
            "/linux/resources/devices",
            format!("{before} rules"),
            format!("none but the {} of the profile", rules.keep.len()),
            "everything that is not listed is denied first",
        );
        resources.insert("devices".to_owned(), written);
    }
    linux.insert("resources".to_owned(), Value::Object(resources));
}
