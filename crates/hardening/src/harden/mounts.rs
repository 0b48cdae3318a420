//! Mounts: their type, their place, their options, and where bind mounts come from.

use portcullis_gate::{Code, Rule, quote};
use serde_json::{Map, Value};

use super::user_namespace::UserNamespace;
use super::{Context, tmpfs};
use crate::facts::MountSource;
use crate::oci_config::{is_bind, text, texts};
use crate::path::{is_within, normal};
use crate::profile::NoExec;
use crate::review::{Review, is_set, take_array};

/// Options that say how mounts travel between this mount and its copies.
const PROPAGATION: [&str; 8] = [
    "private",
    "rprivate",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
    "shared",
    "rshared",
];

/// What one mount is, as far as the rules ask.
#[derive(Clone, Copy)]
struct Mount<'a> {
    index: usize,
    /// `bind`, or the type.
    kind: &'a str,
    destination: &'a str,
    source: Option<&'a MountSource>,
}

pub(super) fn harden(
    spec: &mut Map<String, Value>,
    process: &Map<String, Value>,
    linux: &Map<String, Value>,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    let mapped = UserNamespace::of(linux, context.facts).maps_mounts();
    let mut mounts = take_array(spec, "mounts");
    for (index, mount) in mounts.iter_mut().enumerate() {
        let Some(mount) = mount.as_object_mut() else {
            continue;
        };
        let pointer = format!("/mounts/{index}");
        let Some(destination) = normal(text(mount, "destination")) else {
            let found = quote(text(mount, "destination"));
            let expected = "an absolute destination without '..'";
            review.refuse(Code::MountDenied, pointer, expected, found);
            continue;
        };
        let kind = if is_bind(mount) {
            "bind"
        } else {
            text(mount, "type")
        }
        .to_owned();
        let source = context.facts.mount_sources.get(&index);
        let judged = Mount {
            index,
            kind: &kind,
            destination: &destination,
            source,
        };
        review.asking(Rule::MountTypes, |review| {
            refuse_type(judged, context, review);
        });
        review.asking(Rule::MountSources, |review| {
            refuse_source(judged, mount, review);
        });
        refuse_unclear(judged, mount, mapped, review);
        review.asking(Rule::MountPropagation, |review| {
            refuse_shared(judged, mount, review);
        });
        review.under(Rule::MountOptions, mount, |mount, review| {
            harden_options(judged, mount, context, review);
        });
    }
    if context.profile.rules().root.read_only {
        review.under(Rule::ReadOnlyRoot, &mut mounts, |mounts, review| {
            tmpfs::add(mounts, process, context, review);
        });
    }
    spec.insert("mounts".to_owned(), Value::Array(mounts));
}

fn refuse_type(mount: Mount<'_>, context: Context<'_>, review: &mut Review<'_>) {
    let pointer = format!("/mounts/{}", mount.index);
    if !context.profile.rules().mounts.types.contains(mount.kind) {
        let found = quote(mount.kind);
        review.refuse(
            Code::MountDenied,
            pointer,
            "a mount type of the profile",
            found,
        );
        return;
    }
    // A second /proc or /sys would carry no masks, and one on top would hide them.
    let destination = mount.destination;
    let (fits, place) = match mount.kind {
        "proc" => (destination == "/proc", "/proc"),
        "sysfs" => (destination == "/sys", "/sys"),
        "cgroup" | "cgroup2" => (destination == "/sys/fs/cgroup", "/sys/fs/cgroup"),
        "devpts" | "mqueue" => (is_within(destination, "/dev"), "a place in /dev"),
        _ => {
            let kernel = ["/proc", "/sys"]
                .iter()
                .any(|it| is_within(destination, it));
            (
                destination != "/" && !kernel,
                "a place outside /proc and /sys, not the root",
            )
        }
    };
    if !fits {
        let expected = format!("{} at {place}", mount.kind);
        review.refuse(Code::MountDenied, pointer, expected, quote(destination));
    }
}

fn refuse_source(mount: Mount<'_>, map: &Map<String, Value>, review: &mut Review<'_>) {
    if mount.kind != "bind" {
        return;
    }
    let source = quote(text(map, "source"));
    let found = match mount.source {
        Some(
            MountSource::Allowed | MountSource::KubeletVolume { .. } | MountSource::SandboxFile,
        ) => return,
        None => format!("{source}, which was not examined"),
        Some(MountSource::Denied { what }) => format!("{source}, which touches {}", quote(what)),
        Some(MountSource::Socket) => format!("socket {source}"),
        Some(MountSource::BlockDevice) => format!("block device {source}"),
        Some(MountSource::CharacterDevice) => format!("character device {source}"),
        Some(MountSource::Unlisted) => source,
    };
    let expected = "a volume, or a path of 'mounts.allow='";
    review.refuse(
        Code::MountDenied,
        format!("/mounts/{}/source", mount.index),
        expected,
        found,
    );
}

fn refuse_shared(mount: Mount<'_>, map: &Map<String, Value>, review: &mut Review<'_>) {
    let pointer = format!("/mounts/{}/options", mount.index);
    for option in texts(map, "options").filter(|it| matches!(*it, "shared" | "rshared")) {
        let expected = "private or slave propagation";
        review.refuse(Code::PropagationDenied, &pointer, expected, quote(option));
    }
}

/// Refuses what a runtime or the kernel could read in two ways, whatever the rules say.
fn refuse_unclear(
    mount: Mount<'_>,
    map: &Map<String, Value>,
    mapped: bool,
    review: &mut Review<'_>,
) {
    let pointer = format!("/mounts/{}/options", mount.index);
    for field in ["uidMappings", "gidMappings"] {
        // runc 1.2 and later make a mapped mount of them, as of the options.
        if is_set(map, field) && !mapped {
            let pointer = format!("/mounts/{}/{field}", mount.index);
            let expected = "mapped ids only with a user namespace whose ids are known";
            review.refuse(Code::MountDenied, pointer, expected, "a mapping");
        }
    }
    for option in texts(map, "options") {
        let name = option.split('=').next().unwrap_or_default();
        if option.contains(',') || name == "remount" {
            // One text that a runtime or the kernel could read as several options.
            let expected = "one mount option in each text";
            review.refuse(Code::MountDenied, &pointer, expected, quote(option));
        } else if matches!(name, "idmap" | "ridmap") && !mapped {
            let expected = "mapped ids only with a user namespace whose ids are known";
            review.refuse(Code::MountDenied, &pointer, expected, quote(option));
        }
    }
}

// === options ===

/// The options that `mount` must carry.
fn required(mount: Mount<'_>, read_only: bool, context: Context<'_>) -> Vec<&'static str> {
    let rules = &context.profile.rules().mounts;
    let within = |directory| is_within(mount.destination, directory);
    match mount.kind {
        "proc" | "mqueue" => vec!["nosuid", "noexec", "nodev"],
        "sysfs" | "cgroup" | "cgroup2" => vec!["nosuid", "noexec", "nodev", "ro"],
        "devpts" => vec!["nosuid", "noexec"],
        "tmpfs" if mount.destination == "/dev" => vec!["nosuid", "noexec"],
        "tmpfs" if within("/dev") => vec!["nosuid", "noexec", "nodev"],
        _ => {
            let mut options = vec!["nosuid", "nodev"];
            let data = match mount.source {
                Some(MountSource::KubeletVolume { settings }) => *settings,
                Some(MountSource::SandboxFile) => true,
                _ => false,
            };
            if rules.noexec == NoExec::All && !tmpfs::may_execute(mount.destination, context)
                || data
                || within("/dev")
            {
                options.push("noexec");
            }
            // Nothing is mounted beneath a file, and crun 1.8 makes recursive changes to directories
            // only. Nor is anything beneath what a pod sandbox is given.
            let is_file = context.facts.file_mounts.contains(&mount.index);
            let has_beneath = !is_file && !matches!(mount.source, Some(MountSource::SandboxFile));
            if mount.kind == "bind" && read_only && rules.recursive_read_only && has_beneath {
                options.push("rro");
            }
            options
        }
    }
}

/// The options that `option` turns off.
fn opposites(option: &str) -> &'static [&'static str] {
    match option {
        "nosuid" => &["suid", "rsuid"],
        "nodev" => &["dev", "rdev"],
        "noexec" => &["exec", "rexec"],
        "ro" | "rro" => &["rw", "rrw"],
        _ => &[],
    }
}

fn harden_options(
    mount: Mount<'_>,
    map: &mut Map<String, Value>,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    let before: Vec<String> = texts(map, "options").map(str::to_owned).collect();
    // The last of two opposites wins in the runtimes; a bind that is read-only in any reading
    // becomes read-only in all of them.
    let read_only = before.iter().any(|it| matches!(it.as_str(), "ro" | "rro"));
    let mut options = before.clone();
    for option in required(mount, read_only, context) {
        options.retain(|it| !opposites(option).contains(&it.as_str()));
        if !options.iter().any(|it| it == option) {
            options.push(option.to_owned());
        }
    }
    let propagates = options.iter().any(|it| PROPAGATION.contains(&it.as_str()));
    if mount.kind == "bind" && !propagates {
        options.push("rprivate".to_owned());
    }
    if options != before {
        let pointer = format!("/mounts/{}/options", mount.index);
        let reason = "a mount brings no setuid files, devices or programs that nobody needs";
        review.change(pointer, before, options.clone(), reason);
        map.insert("options".to_owned(), options.into());
    }
}
