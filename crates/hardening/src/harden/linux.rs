//! Paths, kernel parameters, system calls and the rest of `linux`.

use portcullis_gate::{Code, quote};
use serde_json::{Map, Value};

use super::Context;
use crate::oci_config::text;
use crate::review::{Review, is_set, take_array};

/// Fields that no profile allows: network devices of the host, another clock, cache allocation of
/// the host, another kernel personality.
const REFUSED: [&str; 4] = ["netDevices", "timeOffsets", "intelRdt", "personality"];

pub(super) fn harden(linux: &mut Map<String, Value>, context: Context<'_>, review: &mut Review) {
    for field in REFUSED.into_iter().filter(|field| is_set(linux, field)) {
        review.refuse(
            Code::OciFieldDenied,
            format!("/linux/{field}"),
            "no such field",
            "one",
        );
    }
    refuse_sysctls(linux, context, review);
    refuse_propagation(linux, review);
    refuse_cgroups_path(linux, review);
    harden_paths(linux, context, review);
    harden_seccomp(linux, context, review);
}

fn refuse_sysctls(linux: &Map<String, Value>, context: Context<'_>, review: &mut Review) {
    let allowed = &context.profile.rules().sysctl.allow;
    let asked = linux.get("sysctl").and_then(Value::as_object);
    for key in asked.into_iter().flat_map(Map::keys) {
        // The kernel takes slashes for dots.
        if !allowed.contains(key) && !allowed.contains(&key.replace('/', ".")) {
            let expected = "a kernel parameter of the profile";
            review.refuse(Code::SysctlDenied, "/linux/sysctl", expected, quote(key));
        }
    }
}

fn refuse_propagation(linux: &Map<String, Value>, review: &mut Review) {
    let propagation = text(linux, "rootfsPropagation");
    let quiet = [
        "",
        "private",
        "rprivate",
        "slave",
        "rslave",
        "unbindable",
        "runbindable",
    ];
    if !quiet.contains(&propagation) {
        let pointer = "/linux/rootfsPropagation";
        review.refuse(
            Code::PropagationDenied,
            pointer,
            "private or slave",
            quote(propagation),
        );
    }
}

fn refuse_cgroups_path(linux: &Map<String, Value>, review: &mut Review) {
    let path = text(linux, "cgroupsPath");
    if path.split('/').any(|name| name == "..") {
        let pointer = "/linux/cgroupsPath";
        review.refuse(
            Code::OciFieldDenied,
            pointer,
            "a path that does not go up",
            quote(path),
        );
    }
}

// === paths ===

fn harden_paths(linux: &mut Map<String, Value>, context: Context<'_>, review: &mut Review) {
    let rules = &context.profile.rules().paths;
    let thermal = rules
        .thermal_throttle
        .then_some(&context.facts.cpu_thermal_paths);
    let masked = rules.masked.iter().chain(thermal.into_iter().flatten());
    let reason = "shows the host, its kernel or its hardware";
    extend_paths(linux, "maskedPaths", masked, reason, review);
    let reason = "changes the host";
    extend_paths(
        linux,
        "readonlyPaths",
        rules.read_only.iter(),
        reason,
        review,
    );
}

/// Adds what is missing at the end: what was asked for is never taken out.
fn extend_paths<'a>(
    linux: &mut Map<String, Value>,
    key: &str,
    wanted: impl Iterator<Item = &'a String>,
    reason: &str,
    review: &mut Review,
) {
    let mut paths = take_array(linux, key);
    let present: Vec<&str> = paths.iter().filter_map(Value::as_str).collect();
    let added: Vec<Value> = wanted
        .filter(|path| !present.contains(&path.as_str()))
        .map(|path| path.as_str().into())
        .collect();
    if !added.is_empty() {
        review.change(
            format!("/linux/{key}/-"),
            Value::Null,
            added.clone(),
            reason,
        );
        paths.extend(added);
    }
    linux.insert(key.to_owned(), Value::Array(paths));
}

// === seccomp ===

fn harden_seccomp(linux: &mut Map<String, Value>, context: Context<'_>, review: &mut Review) {
    let relaxations = context.profile.active(context.relaxations);
    let brought = linux.get("seccomp").and_then(Value::as_object);
    let section = context.profile.seccomp().section(relaxations, brought);
    if brought == Some(&section) {
        return;
    }
    let entries = |section: &Map<String, Value>| {
        let entries = section
            .get("syscalls")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        format!("{} and {entries} entries", text(section, "defaultAction"))
    };
    let from = brought.map_or(Value::Null, |it| entries(it).into());
    let to = format!(
        "list of profile '{}': {}",
        context.profile.name(),
        entries(&section)
    );
    review.change(
        "/linux/seccomp",
        from,
        to,
        "only calls that the profile lists",
    );
    linux.insert("seccomp".to_owned(), Value::Object(section));
}
