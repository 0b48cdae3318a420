//! The bounds of later requests, read from a hardened configuration.

use serde_json::{Map, Value};

use super::Context;
use super::process::{refuses_terminal, requested_capabilities, rlimit, uid};
use super::user_namespace::UserNamespace;
use crate::baseline::{Baseline, CpuCeiling, ResourceCeilings};
use crate::oci_config::text;
use crate::profile::RootUser;

/// What the kernel takes if a quota comes without a period, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;

/// Files of the unified hierarchy that limit, in bytes.
const UNIFIED_LIMITS: [&str; 2] = ["memory.high", "memory.swap.max"];

/// A number of bytes as the unified hierarchy writes it; `u64::MAX` for `max`. The kernel also
/// takes suffixes, which nobody needs.
pub(crate) fn unified_bytes(text: &str) -> Option<u64> {
    match text {
        "max" => Some(u64::MAX),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

pub(super) fn of(
    process: &Map<String, Value>,
    linux: &Map<String, Value>,
    context: Context<'_>,
) -> Baseline {
    let profile = context.profile;
    let rules = profile.rules();
    let uid = uid(process);
    let rlimits = process.get("rlimits").and_then(Value::as_array);
    let score = process.get("oomScoreAdj").and_then(Value::as_i64);
    Baseline {
        profile: profile.name().to_owned(),
        capabilities: requested_capabilities(process).0,
        stripped: rules.capabilities.strip,
        no_new_privileges: process
            .get("noNewPrivileges")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        apparmor_profile: text(process, "apparmorProfile").to_owned(),
        selinux_label: text(process, "selinuxLabel").to_owned(),
        rlimits: rlimits
            .into_iter()
            .flatten()
            .filter_map(rlimit)
            .map(|(name, limit)| (name.to_owned(), limit))
            .collect(),
        oom_score_adj: score.and_then(|score| i32::try_from(score).ok()),
        uid: u32::try_from(uid).unwrap_or(u32::MAX),
        root_permitted: uid == 0
            || rules.process.exec_as_root == RootUser::Permit
            || UserNamespace::of(linux, context.facts).maps_root(rules.process.mapped_uid_min),
        terminal_refused: refuses_terminal(context),
        ceilings: ceilings(linux.get("resources").and_then(Value::as_object)),
        unified: rules.resources.unified.clone(),
        cgroups_path: text(linux, "cgroupsPath").to_owned(),
        modes: context.modes.clone(),
    }
}

fn ceilings(resources: Option<&Map<String, Value>>) -> ResourceCeilings {
    let Some(resources) = resources else {
        return ResourceCeilings::default();
    };
    let number = |part: &str, key: &str| resources.get(part).and_then(|it| it.get(key));
    let limit = |part, key| {
        number(part, key)
            .and_then(Value::as_i64)
            .filter(|limit| *limit > 0)
    };
    let period = number("cpu", "period")
        .and_then(Value::as_u64)
        .filter(|period| *period > 0);
    let words = |key: &str| {
        let list = number("cpu", key).and_then(Value::as_str);
        list.filter(|list| !list.is_empty()).map(str::to_owned)
    };
    // What cannot be read allows nothing.
    let unified = |key: &str| {
        let value = number("unified", key).and_then(Value::as_str);
        value.map(|value| unified_bytes(value).unwrap_or(0))
    };
    let reservation = number("memory", "reservation").and_then(Value::as_u64);
    let hugepages = resources.get("hugepageLimits").and_then(Value::as_array);
    ResourceCeilings {
        memory_bytes: limit("memory", "limit"),
        swap_bytes: limit("memory", "swap"),
        pids: limit("pids", "limit"),
        cpu: limit("cpu", "quota").map(|quota_us| CpuCeiling {
            quota_us,
            period_us: period.unwrap_or(CPU_PERIOD_US),
            burst_us: number("cpu", "burst").and_then(Value::as_u64).unwrap_or(0),
        }),
        cpus: words("cpus"),
        mems: words("mems"),
        unified: UNIFIED_LIMITS
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), unified(key).filter(|it| *it != u64::MAX)?)))
            .collect(),
        memory_min_bytes: unified("memory.min").unwrap_or(0),
        memory_low_bytes: unified("memory.low").or(reservation).unwrap_or(0),
        hugepages: hugepages
            .into_iter()
            .flatten()
            .filter_map(|it| {
                let size = it.get("pageSize")?.as_str()?;
                Some((size.to_owned(), it.get("limit")?.as_u64()?))
            })
            .collect(),
    }
}
