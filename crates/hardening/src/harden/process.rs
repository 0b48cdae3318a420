//! Identity, capabilities and limits of the process.

use portcullis_gate::{Code, Rule, quote};
use serde_json::{Map, Value, json};

use super::purpose::Purpose;
use super::user_namespace::UserNamespace;
use super::{Context, devices};
use crate::capability::{CapabilitySet, CapabilitySets};
use crate::facts::{AppArmor, Rlimit, SANDBOX_PROFILE};
use crate::oci_config::{text, texts};
use crate::path::lies_in_proc;
use crate::profile::{RootUser, Unset};
use crate::review::{Review, is_set, take_array};

/// The score of a process that nobody adjusted.
const NO_OOM_SCORE: i64 = 0;
/// The `RLIMIT_NICE` that lets a process lower its nice value to 0: the limit is 20 minus it.
const NICE_LIMIT_OF_0: u64 = 20;

/// Refuses what only a privileged container has, before anything else, so that the first reason
/// says what is wrong and not the first of forty consequences.
pub(super) fn refuse_privileged(
    process: &Map<String, Value>,
    linux: &Map<String, Value>,
    review: &mut Review<'_>,
) {
    let (requested, _) = requested_capabilities(process);
    if requested.union().is_all() {
        review.refuse(
            Code::PrivilegedDenied,
            "/process/capabilities",
            "the capabilities of an ordinary container",
            "all capabilities",
        );
    } else if devices::allows_every_device(linux) {
        review.refuse(
            Code::PrivilegedDenied,
            "/linux/resources/devices",
            "a list of devices",
            "access to every device",
        );
    }
}

pub(super) fn harden(
    process: &mut Map<String, Value>,
    linux: &Map<String, Value>,
    purpose: Purpose,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    if context.profile.rules().process.no_new_privileges {
        let reason = "a setuid file would give rights";
        review.under(Rule::NoNewPrivileges, process, |process, review| {
            review.set(process, "/process", "noNewPrivileges", true, reason);
        });
    }
    review.asking(Rule::NonRoot, |review| {
        refuse_root(process, linux, context, review);
    });
    review.under(Rule::Capabilities, process, |process, review| {
        harden_capabilities(process, context, review);
    });
    review.under(Rule::Rlimits, process, |process, review| {
        harden_rlimits(process, context, review);
    });
    review.asking(Rule::Scheduling, |review| {
        refuse_priority_limits(process, review);
        refuse_scheduling(process, "/process", Code::SchedulerDenied, review);
    });
    if refuses_terminal(context) {
        review.asking(Rule::Terminal, |review| {
            refuse_terminal(process, "/process", Code::OciFieldDenied, review);
        });
    }
    review.asking(Rule::OomScore, |review| {
        refuse_oom_score(process, context, review);
    });
    review.asking(Rule::WorkingDirectory, |review| {
        refuse_working_directory(process, "/process", review);
    });
    review.under(Rule::LsmLabels, process, |process, review| {
        give_label(process, purpose, context, review);
        refuse_labels(process, purpose, context, review);
    });
}

fn refuse_oom_score(process: &Map<String, Value>, context: Context<'_>, review: &mut Review<'_>) {
    let minimum = context.profile.rules().process.oom_score_adj_min;
    let score = process
        .get("oomScoreAdj")
        .and_then(Value::as_i64)
        .unwrap_or(NO_OOM_SCORE);
    if score < i64::from(minimum) {
        let expected = format!("at least {minimum}");
        review.refuse(
            Code::OomScoreDenied,
            "/process/oomScoreAdj",
            expected,
            score.to_string(),
        );
    }
}

/// A descriptor of the runtime that leaks to `/proc/self/fd` could be a way to the host
/// (CVE-2024-21626).
pub(crate) fn refuse_working_directory(
    process: &Map<String, Value>,
    parent: &str,
    review: &mut Review<'_>,
) {
    let cwd = text(process, "cwd");
    if !cwd.starts_with('/') || lies_in_proc(cwd) {
        let pointer = format!("{parent}/cwd");
        let expected = "an absolute path outside /proc";
        review.refuse(Code::WorkingDirectoryDenied, pointer, expected, quote(cwd));
    }
}

// === capabilities ===

/// The requested sets, and the first name that is no capability.
pub(crate) fn requested_capabilities(
    process: &Map<String, Value>,
) -> (CapabilitySets, Option<&str>) {
    let mut unknown = None;
    let sets = process.get("capabilities").and_then(Value::as_object);
    let mut read = |key| {
        let mut set = CapabilitySet::EMPTY;
        for name in sets.into_iter().flat_map(|sets| texts(sets, key)) {
            match CapabilitySet::of_name(name) {
                Some(one) => set = set.union(one),
                None => unknown = unknown.or(Some(name)),
            }
        }
        set
    };
    let sets = CapabilitySets {
        bounding: read("bounding"),
        effective: read("effective"),
        inheritable: read("inheritable"),
        permitted: read("permitted"),
        ambient: read("ambient"),
    };
    (sets, unknown)
}

/// All five sets as OCI writes them; a set that is left out could be filled by a runtime.
pub(crate) fn write_capabilities(sets: &CapabilitySets) -> Value {
    let names = |set: CapabilitySet| set.names().collect::<Vec<_>>();
    json!({
        "bounding": names(sets.bounding),
        "effective": names(sets.effective),
        "inheritable": names(sets.inheritable),
        "permitted": names(sets.permitted),
        "ambient": names(sets.ambient),
    })
}

fn harden_capabilities(
    process: &mut Map<String, Value>,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    let rules = &context.profile.rules().capabilities;
    let keep = context
        .profile
        .active(context.relaxations)
        .fold(rules.keep, |keep, relaxation| {
            keep.union(relaxation.capabilities)
        });
    let (requested, unknown) = requested_capabilities(process);
    let excess = requested.union().difference(keep.union(rules.strip));
    let found = match unknown {
        Some(name) => Some(quote(name)),
        None => (!excess.is_empty()).then(|| excess.to_string()),
    };
    if let Some(found) = found {
        let expected = if keep.is_empty() {
            format!("no capability in profile '{}'", context.profile.name())
        } else {
            format!(
                "the {} capabilities of profile '{}'",
                keep.names().count(),
                context.profile.name()
            )
        };
        review.refuse(
            Code::CapabilityExcess,
            "/process/capabilities",
            expected,
            found,
        );
        return;
    }
    let kept = requested.clamped(&CapabilitySets::uniform(keep));
    let written = write_capabilities(&kept);
    if process.get("capabilities") != Some(&written) {
        // The same rights in another spelling are nothing that a reader needs to know about.
        if requested != kept {
            review.change(
                "/process/capabilities",
                requested.union().to_string(),
                kept.union().to_string(),
                "runtime callers give capabilities that nobody asked for",
            );
        }
        process.insert("capabilities".to_owned(), written);
    }
}

// === identity ===

fn refuse_root(
    process: &Map<String, Value>,
    linux: &Map<String, Value>,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    let rules = &context.profile.rules().process;
    let uid = uid(process);
    // An exec may take another uid than the container, so every range counts, not only the one
    // that the uid of the process lies in.
    let guarded =
        rules.root_user == RootUser::Refuse || (rules.exec_as_root == RootUser::Refuse && uid != 0);
    let namespace = UserNamespace::of(linux, context.facts);
    if guarded && let Some(low) = namespace.low_mapping(rules.mapped_uid_min) {
        let expected = format!("ranges of host ids from {}", rules.mapped_uid_min);
        review.refuse(Code::RootUserDenied, low.pointer, expected, low.found);
    }
    if rules.root_user == RootUser::Permit || uid != 0 {
        return;
    }
    if !namespace.maps_root(rules.mapped_uid_min) {
        let expected = format!(
            "a uid other than 0, or 0 mapped to {} or above",
            rules.mapped_uid_min
        );
        review.refuse(Code::RootUserDenied, "/process/user", expected, "uid 0");
    }
}

/// The uid of the process; the runtimes take 0 if there is none.
pub(crate) fn uid(process: &Map<String, Value>) -> u64 {
    id(process, "uid")
}

/// The number at `key` of the user, 0 if there is none.
pub(super) fn id(process: &Map<String, Value>, key: &str) -> u64 {
    process
        .get("user")
        .and_then(|user| user.get(key))
        .and_then(Value::as_u64)
        .unwrap_or(0)
}

// === limits ===

/// Reads an element of `rlimits`.
pub(crate) fn rlimit(entry: &Value) -> Option<(&str, Rlimit)> {
    let number = |key| entry.get(key).and_then(Value::as_u64).unwrap_or(0);
    let name = entry.get("type")?.as_str()?;
    Some((
        name,
        Rlimit {
            soft: number("soft"),
            hard: number("hard"),
        },
    ))
}

pub(crate) fn write_rlimit(name: &str, limit: Rlimit) -> Value {
    json!({"type": name, "soft": limit.soft, "hard": limit.hard})
}

fn harden_rlimits(process: &mut Map<String, Value>, context: Context<'_>, review: &mut Review<'_>) {
    let most = context.profile.rules().process.nofile_max;
    let mut limits = take_array(process, "rlimits");
    let none = Rlimit { soft: 0, hard: 0 };
    let capped = |limit: Rlimit| {
        let hard = limit.hard.min(most);
        Rlimit {
            soft: limit.soft.min(hard),
            hard,
        }
    };
    let (mut has_core, mut has_nofile) = (false, false);
    for (index, entry) in limits.iter_mut().enumerate() {
        let Some((name, limit)) = rlimit(entry) else {
            continue;
        };
        let (wanted, reason) = match name {
            "RLIMIT_CORE" => {
                has_core = true;
                (none, "a core file holds the secrets of its process")
            }
            "RLIMIT_NOFILE" => {
                has_nofile = true;
                (capped(limit), "more open files than the profile allows")
            }
            _ => continue,
        };
        if limit != wanted {
            let written = write_rlimit(name, wanted);
            let pointer = format!("/process/rlimits/{index}");
            review.change(pointer, std::mem::take(entry), written.clone(), reason);
            *entry = written;
        }
    }
    if !has_core {
        let written = write_rlimit("RLIMIT_CORE", none);
        let reason = "a core file holds the secrets of its process";
        review.change("/process/rlimits/-", Value::Null, written.clone(), reason);
        limits.push(written);
    }
    if let (false, Some(inherited)) = (has_nofile, context.facts.inherited_nofile) {
        let written = write_rlimit("RLIMIT_NOFILE", capped(inherited));
        let reason = "what would be inherited, within the profile";
        review.change("/process/rlimits/-", Value::Null, written.clone(), reason);
        limits.push(written);
    }
    process.insert("rlimits".to_owned(), Value::Array(limits));
}

/// Refuses the limits with which a process gives itself what [`refuse_scheduling`] refuses: no
/// capability is needed below them.
///
/// # Source
///
/// `getrlimit(2)`, `RLIMIT_RTPRIO` and `RLIMIT_NICE`; `sched(7)`, "Privileges and resource limits".
fn refuse_priority_limits(process: &Map<String, Value>, review: &mut Review<'_>) {
    let limits = process.get("rlimits").and_then(Value::as_array);
    for (index, entry) in limits.into_iter().flatten().enumerate() {
        let Some((name, limit)) = rlimit(entry) else {
            continue;
        };
        let most = match name {
            "RLIMIT_RTPRIO" => 0,
            "RLIMIT_NICE" => NICE_LIMIT_OF_0,
            _ => continue,
        };
        let asked = limit.hard.max(limit.soft);
        if asked > most {
            let pointer = format!("/process/rlimits/{index}");
            let expected = format!("{name} of at most {most}");
            review.refuse(Code::SchedulerDenied, pointer, expected, asked.to_string());
        }
    }
}

/// Refuses real-time classes, of the processor and of the disk, and a place before others.
pub(crate) fn refuse_scheduling(
    process: &Map<String, Value>,
    parent: &str,
    code: Code,
    review: &mut Review<'_>,
) {
    let nested = |key: &str, name: &str| {
        process
            .get(key)
            .and_then(|it| it.get(name))
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let policy = nested("scheduler", "policy");
    let ordinary = ["", "SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE", "SCHED_ISO"];
    if !ordinary.contains(&policy) {
        let pointer = format!("{parent}/scheduler/policy");
        review.refuse(code, pointer, "no real-time class", quote(policy));
    }
    let nice = process
        .get("scheduler")
        .and_then(|it| it.get("nice"))
        .and_then(Value::as_i64)
        .unwrap_or(0);
    if nice < 0 {
        let pointer = format!("{parent}/scheduler/nice");
        review.refuse(code, pointer, "0 or above", nice.to_string());
    }
    let class = nested("ioPriority", "class");
    if !["", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"].contains(&class) {
        let pointer = format!("{parent}/ioPriority/class");
        review.refuse(code, pointer, "no real-time class", quote(class));
    }
}

/// True if no process may have a terminal. The system call list cannot take `TIOCSTI` out of
/// `ioctl`, since it only says what passes.
pub(super) const fn refuses_terminal(context: Context<'_>) -> bool {
    context.facts.legacy_tiocsti && context.profile.rules().process.refuse_legacy_terminal
}

pub(crate) fn refuse_terminal(
    process: &Map<String, Value>,
    parent: &str,
    code: Code,
    review: &mut Review<'_>,
) {
    if process.get("terminal").and_then(Value::as_bool) == Some(true) {
        let expected = "no terminal while dev.tty.legacy_tiocsti is not 0";
        review.refuse(code, format!("{parent}/terminal"), expected, "true");
    }
}

// === labels ===

/// CRI has no profile for a pod sandbox, and containerd gives it none.
fn give_label(
    process: &mut Map<String, Value>,
    purpose: Purpose,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    let missing = text(process, "apparmorProfile").is_empty();
    let required = context.profile.rules().lsm.apparmor_unset == Unset::Refuse;
    let is_loaded = context.facts.apparmor == AppArmor::WithSandboxProfile;
    if purpose == Purpose::PodSandbox && is_loaded && missing && required {
        let reason = "a pod sandbox cannot ask for an AppArmor profile";
        let name = SANDBOX_PROFILE;
        review.set(process, "/process", "apparmorProfile", name, reason);
    }
}

fn refuse_labels(
    process: &Map<String, Value>,
    purpose: Purpose,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    let rules = &context.profile.rules().lsm;
    if context.facts.apparmor != AppArmor::Off {
        let label = text(process, "apparmorProfile");
        let missing = label.is_empty() && rules.apparmor_unset == Unset::Refuse;
        if missing || label == "unconfined" {
            let found = if missing {
                "none".to_owned()
            } else {
                quote(label)
            };
            let expected = match purpose {
                Purpose::PodSandbox if missing => {
                    "an AppArmor profile, or 'portcullis-sandbox' loaded on this host"
                }
                _ => "an AppArmor profile",
            };
            let pointer = "/process/apparmorProfile";
            review.refuse(Code::LsmLabelDenied, pointer, expected, found);
        }
    }
    if context.facts.selinux {
        let label = text(process, "selinuxLabel");
        let kind = label.split(':').nth(2).unwrap_or_default();
        let missing = !is_set(process, "selinuxLabel");
        if (missing && rules.selinux_unset == Unset::Refuse)
            || (!missing && !rules.selinux_types.contains(kind))
        {
            let found = if missing {
                "none".to_owned()
            } else {
                quote(label)
            };
            let pointer = "/process/selinuxLabel";
            review.refuse(
                Code::LsmLabelDenied,
                pointer,
                "a label of a container type",
                found,
            );
        }
    }
}
