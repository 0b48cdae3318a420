//! Paths, kernel parameters, system calls and the rest of `linux`.

use portcullis_gate::{Code, Rule, quote};
use serde_json::{Map, Value};

use super::Context;
use crate::oci_config::text;
use crate::review::{Review, is_set, take_array};

/// Fields that no profile allows: network devices of the host, another clock, cache allocation of
/// the host, another kernel personality.
const REFUSED: [&str; 4] = ["netDevices", "timeOffsets", "intelRdt", "personality"];

pub(super) fn harden(
    linux: &mut Map<String, Value>,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    review.asking(Rule::HostSettings, |review| {
        refuse_host_settings(linux, review);
    });
    review.asking(Rule::Sysctls, |review| {
        refuse_sysctls(linux, context, review);
    });
    review.asking(Rule::MountPropagation, |review| {
        refuse_propagation(linux, review);
    });
    refuse_cgroups_path(linux, review);
    review.under(Rule::MaskedPaths, linux, |linux, review| {
        mask(linux, context, review);
    });
    review.under(Rule::ReadOnlyPaths, linux, |linux, review| {
        let paths = context.profile.rules().paths.read_only.iter();
        extend_paths(linux, "readonlyPaths", paths, "changes the host", review);
    });
    review.under(Rule::Seccomp, linux, |linux, review| {
        harden_seccomp(linux, context, review);
    });
}

fn refuse_host_settings(linux: &Map<String, Value>, review: &mut Review<'_>) {
    for field in REFUSED.into_iter().filter(|field| is_set(linux, field)) {
        let pointer = format!("/linux/{field}");
        review.refuse(Code::OciFieldDenied, pointer, "no such field", "one");
    }
}

fn refuse_sysctls(linux: &Map<String, Value>, context: Context<'_>, review: &mut Review<'_>) {
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

fn refuse_propagation(linux: &Map<String, Value>, review: &mut Review<'_>) {
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

fn refuse_cgroups_path(linux: &Map<String, Value>, review: &mut Review<'_>) {
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

fn mask(linux: &mut Map<String, Value>, context: Context<'_>, review: &mut Review<'_>) {
    let rules = &context.profile.rules().paths;
    let thermal = rules
        .thermal_throttle
        .then_some(&context.facts.cpu_thermal_paths);
    let masked = rules.masked.iter().chain(thermal.into_iter().flatten());
    let reason = "shows the host, its kernel or its hardware";
    extend_paths(linux, "maskedPaths", masked, reason, review);
}

/// Adds what is missing at the end: what was asked for is never taken out.
fn extend_paths<'a>(
    linux: &mut Map<String, Value>,
    key: &str,
    wanted: impl Iterator<Item = &'a String>,
    reason: &str,
    review: &mut Review<'_>,
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

fn harden_seccomp(linux: &mut Map<String, Value>, context: Context<'_>, review: &mut Review<'_>) {
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
