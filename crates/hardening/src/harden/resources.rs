//! Limits of the control group.

use portcullis_gate::{Code, Rule, quote};
use serde_json::{Map, Value};

use super::Context;
use super::purpose::Purpose;
use crate::review::{Review, take_object};

const PARENT: &str = "/linux/resources";
/// Memory of a pod sandbox, in bytes, where a limit is required. Its process only waits; what takes
/// most is the OCI runtime's own start.
const SANDBOX_MEMORY: i64 = 64 << 20;
/// Share of processor time of a pod sandbox, where one is required: the least that the kernel knows.
const SANDBOX_CPU_SHARES: u64 = 2;

pub(super) fn harden(
    linux: &mut Map<String, Value>,
    purpose: Purpose,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    let mut resources = take_object(linux, "resources");
    review.under(Rule::PidsLimit, &mut resources, |resources, review| {
        harden_pids(resources, context, review);
    });
    review.under(Rule::MemoryLimit, &mut resources, |resources, review| {
        harden_memory(resources, purpose, context, review);
    });
    review.under(Rule::CpuLimit, &mut resources, |resources, review| {
        harden_cpu(resources, purpose, context, review);
    });
    review.asking(Rule::Scheduling, |review| {
        refuse_real_time(&resources, PARENT, Code::SchedulerDenied, review);
    });
    review.asking(Rule::CgroupSettings, |review| {
        refuse_settings(&resources, context, review);
    });
    linux.insert("resources".to_owned(), Value::Object(resources));
}

fn refuse_settings(resources: &Map<String, Value>, context: Context<'_>, review: &mut Review<'_>) {
    refuse_oom_exemption(resources, PARENT, Code::ResourceDenied, review);
    let allowed = &context.profile.rules().resources.unified;
    let unified = resources.get("unified").and_then(Value::as_object);
    for key in unified
        .into_iter()
        .flat_map(Map::keys)
        .filter(|key| !allowed.contains(*key))
    {
        let pointer = format!("{PARENT}/unified");
        review.refuse(
            Code::ResourceDenied,
            pointer,
            "a key of the profile",
            quote(key),
        );
    }
}

fn harden_pids(resources: &mut Map<String, Value>, context: Context<'_>, review: &mut Review<'_>) {
    let rules = &context.profile.rules().resources;
    let mut pids = take_object(resources, "pids");
    let asked = pids
        .get("limit")
        .and_then(Value::as_i64)
        .filter(|limit| *limit > 0);
    let (limit, reason) = match asked {
        None => (rules.pids_default, "nothing would stop a fork bomb"),
        Some(limit) => (
            limit.min(rules.pids_max),
            "more processes than the profile allows",
        ),
    };
    review.set(&mut pids, "/linux/resources/pids", "limit", limit, reason);
    resources.insert("pids".to_owned(), Value::Object(pids));
}

fn harden_memory(
    resources: &mut Map<String, Value>,
    purpose: Purpose,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    let memory = resources.get("memory").and_then(Value::as_object);
    let limit = memory
        .and_then(|it| it.get("limit"))
        .and_then(Value::as_i64)
        .unwrap_or(0);
    if context.profile.rules().resources.memory_limit_required && limit <= 0 {
        let parent = format!("{PARENT}/memory");
        match purpose {
            // Whoever claims to be one without need gets the limit all the same.
            Purpose::PodSandbox => {
                let mut memory = take_object(resources, "memory");
                let reason = "a pod sandbox cannot ask for a limit";
                review.set(&mut memory, &parent, "limit", SANDBOX_MEMORY, reason);
                resources.insert("memory".to_owned(), Value::Object(memory));
            }
            Purpose::Work => {
                let pointer = format!("{parent}/limit");
                review.refuse(Code::ResourceExcess, pointer, "a limit in bytes", "none");
            }
        }
    }
}

/// A share counts as well as a quota: with one, nobody takes the processor from all others.
///
/// # Source
///
/// CIS Docker Benchmark 1.6, 5.12.
fn harden_cpu(
    resources: &mut Map<String, Value>,
    purpose: Purpose,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    if !context.profile.rules().resources.cpu_limit_required {
        return;
    }
    let cpu = resources.get("cpu");
    let is_set = |key: &str| {
        let number = cpu.and_then(|it| it.get(key)).and_then(Value::as_i64);
        number.is_some_and(|number| number > 0)
    };
    if is_set("quota") || is_set("shares") {
        return;
    }
    let parent = format!("{PARENT}/cpu");
    match purpose {
        Purpose::PodSandbox => {
            let mut cpu = take_object(resources, "cpu");
            let reason = "a pod sandbox cannot ask for a share";
            review.set(&mut cpu, &parent, "shares", SANDBOX_CPU_SHARES, reason);
            resources.insert("cpu".to_owned(), Value::Object(cpu));
        }
        Purpose::Work => {
            let expected = "a quota or shares of processor time";
            review.refuse(Code::ResourceExcess, parent, expected, "neither");
        }
    }
}

/// Refuses to keep the OOM killer away: a full group would then stop instead of dying.
pub(crate) fn refuse_oom_exemption(
    resources: &Map<String, Value>,
    parent: &str,
    code: Code,
    review: &mut Review<'_>,
) {
    let memory = resources.get("memory");
    let exempt = memory
        .and_then(|it| it.get("disableOOMKiller"))
        .and_then(Value::as_bool);
    if exempt == Some(true) {
        review.refuse(
            code,
            format!("{parent}/memory/disableOOMKiller"),
            "false",
            "true",
        );
    }
}

/// Refuses real-time processor time.
pub(crate) fn refuse_real_time(
    resources: &Map<String, Value>,
    parent: &str,
    code: Code,
    review: &mut Review<'_>,
) {
    let runtime = resources
        .get("cpu")
        .and_then(|it| it.get("realtimeRuntime"));
    let runtime = runtime.and_then(Value::as_i64).unwrap_or(0);
    if runtime != 0 {
        let pointer = format!("{parent}/cpu/realtimeRuntime");
        review.refuse(code, pointer, "no real-time class", format!("{runtime} µs"));
    }
}
