//! Ids, capabilities, `no_new_privs` and the number of filters, from `/proc/PID/status`.
//!
//! # Source
//!
//! `proc_pid_status(5)`; `capabilities(7)`, "Transformation of capabilities during execve()".

use serde_json::{Map, Value};

use super::{Differences, Held};
use crate::capability::{CapabilitySet, CapabilitySets};
use crate::facts::IdRange;
use crate::harden::process::requested_capabilities;
use crate::oci_config::OciConfig;

/// What `/proc/PID/status` says of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeldCredentials {
    /// Real, effective, saved and file system uid, as the host numbers them.
    pub uids: [u64; 4],
    /// The same of the gid.
    pub gids: [u64; 4],
    /// Supplementary groups, as the host numbers them.
    pub groups: Vec<u64>,
    /// The five sets.
    pub capabilities: CapabilitySets,
    /// `NoNewPrivs`
    pub no_new_privileges: bool,
    /// True if it is in seccomp's filter mode.
    pub filtered: bool,
    /// `Seccomp_filters`; `None` before Linux 5.9.
    pub filters: Option<u32>,
}

// === impl HeldCredentials ===

impl HeldCredentials {
    /// Reads the text of `/proc/PID/status`; `None` if it lacks a line that every kernel since
    /// 4.10 writes.
    #[must_use]
    pub fn parse(status: &str) -> Option<Self> {
        let line = |name: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        let ids = |name: &str| -> Option<[u64; 4]> {
            let numbers = line(name)?.split_whitespace().map(str::parse);
            let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().ok()?;
            numbers.try_into().ok()
        };
        let set = |name: &str| {
            let bits = u64::from_str_radix(line(name)?.trim(), 16).ok()?;
            Some(CapabilitySet::from_bits(bits))
        };
        let groups = line("Groups")?.split_whitespace().map(str::parse);
        let number = |name: &str| line(name)?.trim().parse::<u32>().ok();
        Some(Self {
            uids: ids("Uid")?,
            gids: ids("Gid")?,
            groups: groups.collect::<Result<_, _>>().ok()?,
            capabilities: CapabilitySets {
                bounding: set("CapBnd")?,
                effective: set("CapEff")?,
                inheritable: set("CapInh")?,
                permitted: set("CapPrm")?,
                ambient: set("CapAmb")?,
            },
            no_new_privileges: number("NoNewPrivs")? == 1,
            // 2 is the filter mode; 1, the strict mode, knows no filters.
            filtered: number("Seccomp")? == 2,
            filters: number("Seccomp_filters"),
        })
    }
}

pub(super) fn compare(config: &OciConfig, held: &Held, differences: &mut Differences) {
    let process = config.as_map().get("process").and_then(Value::as_object);
    let Some(process) = process else {
        return differences.push("/process", "a process", "none in config.json");
    };
    let no_new_privileges = process.get("noNewPrivileges") == Some(&Value::Bool(true));
    let has = &held.credentials;
    differences.unless(
        has.no_new_privileges || !no_new_privileges,
        "/process/noNewPrivileges",
        true,
        has.no_new_privileges,
    );
    compare_ids(process, held, no_new_privileges, differences);
    if process.get("capabilities").is_some_and(Value::is_object) {
        let (promised, _unknown) = requested_capabilities(process);
        let is_root = config.uid() == 0;
        let gains = is_root || !no_new_privileges;
        compare_capabilities(&promised, &has.capabilities, gains, differences);
    }
    compare_filters(config, held, differences);
}

fn compare_ids(
    process: &Map<String, Value>,
    held: &Held,
    no_new_privileges: bool,
    differences: &mut Differences,
) {
    let user = process.get("user").and_then(Value::as_object);
    let number = |key: &str| user.and_then(|it| it.get(key)?.as_u64()).unwrap_or(0);
    // A setuid file may have changed all but the real id, if nothing forbids it.
    let fixed = if no_new_privileges { 4 } else { 1 };
    let has = &held.credentials;
    for (key, maps, ids) in [
        ("uid", &held.ids.uids, &has.uids),
        ("gid", &held.ids.gids, &has.gids),
    ] {
        let inside = number(key);
        let on_host = on_host(maps, inside);
        let other = ids.iter().take(fixed).find(|id| Some(**id) != on_host);
        if let Some(other) = other {
            let expected =
                on_host.map_or_else(|| "one that is mapped".to_owned(), |id| id.to_string());
            differences.push(&format!("/process/user/{key}"), expected, other.to_string());
        }
    }
    let further = user.and_then(|it| it.get("additionalGids")?.as_array());
    let allowed: Vec<u64> = further
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .chain([number("gid")])
        .filter_map(|gid| on_host(&held.ids.gids, gid))
        .collect();
    if let Some(group) = has.groups.iter().find(|group| !allowed.contains(*group)) {
        let subject = "/process/user/additionalGids";
        differences.push(subject, "no other group", format!("group {group}"));
    }
}

/// The number that the host has for the id `inside`.
fn on_host(maps: &[IdRange], inside: u64) -> Option<u64> {
    maps.iter().find_map(|range| {
        let offset = inside.checked_sub(range.inside)?;
        (offset < range.count).then(|| range.host.checked_add(offset))?
    })
}

/// No set may hold more than was promised. `gains`: execve gives the program rights of its own,
/// because of uid 0 or of a file's capabilities, up to the bounding set.
fn compare_capabilities(
    promised: &CapabilitySets,
    has: &CapabilitySets,
    gains: bool,
    differences: &mut Differences,
) {
    let after_execve = if gains {
        promised
            .bounding
            .union(promised.inheritable)
            .union(promised.ambient)
    } else {
        promised.ambient
    };
    for (name, ceiling, has) in [
        ("bounding", promised.bounding, has.bounding),
        ("inheritable", promised.inheritable, has.inheritable),
        ("ambient", promised.ambient, has.ambient),
        ("permitted", after_execve, has.permitted),
        ("effective", after_execve, has.effective),
    ] {
        let subject = format!("/process/capabilities/{name}");
        differences.unless(has.is_subset(ceiling), &subject, ceiling, has);
    }
}

/// One filter more than its runtime's for a configuration with a seccomp section. What it says is
/// compared by whoever can read it.
fn compare_filters(config: &OciConfig, held: &Held, differences: &mut Differences) {
    let section = config
        .as_map()
        .get("linux")
        .and_then(|it| it.get("seccomp"));
    let own = u32::from(section.is_some_and(Value::is_object));
    let expected = held.inherited_filters.saturating_add(own);
    let has = &held.credentials;
    match has.filters {
        Some(count) => differences.unless(
            count >= expected,
            "/linux/seccomp",
            format_args!("{expected} filters in the kernel"),
            count,
        ),
        None => differences.unless(
            has.filtered || expected == 0,
            "/linux/seccomp",
            "a filter in the kernel",
            "none",
        ),
    }
}
