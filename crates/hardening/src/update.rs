//! New resource limits for a running container.

mod id_list;

use portcullis_gate::{Code, Refusal, Refusals, Rule, quote};
use portcullis_json::Limits;
use serde_json::{Map, Value};

use crate::baseline::{Baseline, ResourceCeilings};
use crate::change::{Change, canonical_bytes};
use crate::harden::baseline::unified_bytes;
use crate::harden::resources::{refuse_oom_exemption, refuse_real_time};
use crate::oci_config::text;
use crate::review::{Audited, Review};
use crate::schema::{self, RESOURCES};

/// An update with every field set has about 2 KiB.
const LIMITS: Limits = Limits {
    max_bytes: 1 << 20,
    max_depth: 16,
};
/// Parts of an update that go on to the runtime. crun would apply `devices`; the block layer,
/// RDMA and network classes are the host's.
const KEPT: [&str; 5] = ["cpu", "hugepageLimits", "memory", "pids", "unified"];

/// Resources within the bounds of their container.
#[derive(Debug, Clone, PartialEq)]
pub struct ClampedUpdate {
    /// The `linux.resources` object to give to the runtime.
    pub resources: Map<String, Value>,
    /// What was edited.
    pub changes: Vec<Change>,
    /// What rules in audit would have edited and refused.
    pub audited: Audited,
}

/// Clamps an update of resources to the ceilings of its container.
///
/// A ceiling is the limit that the container was created with. What had no limit may be given
/// one; what had one may be lowered, not raised and not lifted. Memory that the host keeps for a
/// container is never more than it was created with. Weights (`cpu.shares`, `io.weight`) have no
/// ceiling: they only divide what the group above has. What is against a rule that the container was
/// not held to when it was created stops no update either.
///
/// # Errors
///
/// `resources-malformed` as for [`crate::OciConfig::parse`], `update-denied` for what would
/// loosen the container.
///
/// # Source
///
/// OCI runtime-spec, "Control groups".
pub fn clamp_update(resources_json: &[u8], baseline: &Baseline) -> Result<ClampedUpdate, Refusals> {
    let mut resources = parse(resources_json)?;
    let mut review = Review::of("update", &baseline.modes);

    let dropped: Vec<String> = resources
        .keys()
        .filter(|key| !KEPT.contains(&key.as_str()))
        .cloned()
        .collect();
    for key in dropped {
        review.remove(&mut resources, "", &key, "not a limit of this container");
    }
    if resources
        .get("pids")
        .and_then(|it| it.get("limit"))
        .and_then(Value::as_i64)
        == Some(0)
    {
        review.remove(
            &mut resources,
            "",
            "pids",
            "runtimes differ on what 0 means",
        );
    }
    let ceilings = &baseline.ceilings;
    refuse_loosening(&resources, ceilings, &mut review);
    review.under(Rule::CpuLimit, &mut resources, |resources, review| {
        clamp_processor_time(resources, ceilings, review);
    });
    review.under(Rule::CgroupSettings, &mut resources, |resources, review| {
        clamp_places(resources, ceilings, review);
        refuse_huge_pages(resources, ceilings, review);
        refuse_protection(resources, ceilings, review);
        refuse_oom_exemption(resources, "", Code::UpdateDenied, review);
        refuse_unified(resources, baseline, review);
    });
    review.asking(Rule::Scheduling, |review| {
        refuse_real_time(&resources, "", Code::UpdateDenied, review);
    });

    let (changes, audited) = review.finish()?;
    Ok(ClampedUpdate {
        resources,
        changes,
        audited,
    })
}

fn parse(resources_json: &[u8]) -> Result<Map<String, Value>, Refusals> {
    let malformed = |subject: String, expected: String, found: String| {
        Refusals::from(Refusal::new(
            Code::ResourcesMalformed,
            subject,
            expected,
            found,
        ))
    };
    let subject = "resources of an update".to_owned();
    let value = portcullis_json::parse(resources_json, LIMITS).map_err(|cause| {
        let expected = "JSON that all readers read alike".to_owned();
        malformed(subject.clone(), expected, cause.to_string())
    })?;
    schema::conform(&value, &RESOURCES).map_err(|fault| {
        malformed(
            fault.subject("update"),
            fault.expected,
            fault.found.to_string(),
        )
    })?;
    match value {
        Value::Object(resources) => Ok(resources),
        _ => Err(malformed(
            subject,
            "an object".to_owned(),
            "null".to_owned(),
        )),
    }
}

fn refuse_loosening(
    resources: &Map<String, Value>,
    ceilings: &ResourceCeilings,
    review: &mut Review<'_>,
) {
    let number = |part: &str, key: &str| resources.get(part).and_then(|it| it.get(key));
    for (rule, part, key, ceiling) in [
        (Rule::MemoryLimit, "memory", "limit", ceilings.memory_bytes),
        (Rule::MemoryLimit, "memory", "swap", ceilings.swap_bytes),
        (Rule::PidsLimit, "pids", "limit", ceilings.pids),
    ] {
        let asked = number(part, key).and_then(Value::as_i64);
        if let (Some(asked), Some(ceiling)) = (asked, ceiling)
            && is_above(asked, ceiling)
        {
            let pointer = format!("/{part}/{key}");
            let expected = format!("at most {ceiling}");
            review.asking(rule, |review| {
                review.refuse(Code::UpdateDenied, pointer, expected, asked.to_string());
            });
        }
    }
}

fn refuse_huge_pages(
    resources: &Map<String, Value>,
    ceilings: &ResourceCeilings,
    review: &mut Review<'_>,
) {
    let asked = resources.get("hugepageLimits").and_then(Value::as_array);
    for (index, asked) in asked.into_iter().flatten().enumerate() {
        let size = asked
            .get("pageSize")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let limit = asked.get("limit").and_then(Value::as_u64).unwrap_or(0);
        if let Some(ceiling) = ceilings
            .hugepages
            .get(size)
            .filter(|ceiling| limit > **ceiling)
        {
            let pointer = format!("/hugepageLimits/{index}");
            review.refuse(
                Code::UpdateDenied,
                pointer,
                format!("at most {ceiling}"),
                limit.to_string(),
            );
        }
    }
}

/// -1 lifts a limit, 0 leaves it as it is.
const fn is_above(asked: i64, ceiling: i64) -> bool {
    asked > ceiling || asked < 0
}

/// The share of one processor counts, so quota and period are judged together and written
/// together. A runtime would take a part that is left out from the update before, and two updates
/// of one part each would pass what neither of them shows. A part that is absent or 0 is that of
/// the ceiling.
fn clamp_processor_time(
    resources: &mut Map<String, Value>,
    ceilings: &ResourceCeilings,
    review: &mut Review<'_>,
) {
    let Some(ceiling) = ceilings.cpu else { return };
    let Some(cpu) = resources.get_mut("cpu").and_then(Value::as_object_mut) else {
        return;
    };
    let burst = cpu.get("burst").and_then(Value::as_u64).unwrap_or(0);
    if burst > ceiling.burst_us {
        let expected = format!("at most {} µs", ceiling.burst_us);
        review.refuse(
            Code::UpdateDenied,
            "/cpu/burst",
            expected,
            format!("{burst} µs"),
        );
    }
    let quota = cpu
        .get("quota")
        .and_then(Value::as_i64)
        .filter(|quota| *quota != 0);
    let period = cpu
        .get("period")
        .and_then(Value::as_u64)
        .filter(|period| *period != 0);
    if quota.is_none() && period.is_none() {
        return;
    }
    let quota = quota.unwrap_or(ceiling.quota_us);
    let period = period.unwrap_or(ceiling.period_us);
    let share = |quota: i64, period: u64| i128::from(quota).saturating_mul(i128::from(period));
    if quota < 0 || share(quota, ceiling.period_us) > share(ceiling.quota_us, period) {
        let expected = format!(
            "at most {} µs in {} µs",
            ceiling.quota_us, ceiling.period_us
        );
        let found = format!("{quota} µs in {period} µs");
        review.refuse(Code::UpdateDenied, "/cpu/quota", expected, found);
    }
    let reason = "quota and period count together";
    review.set(cpu, "/cpu", "quota", quota, reason);
    review.set(cpu, "/cpu", "period", period, reason);
}

/// Processors and memory nodes.
fn clamp_places(
    resources: &mut Map<String, Value>,
    ceilings: &ResourceCeilings,
    review: &mut Review<'_>,
) {
    let Some(cpu) = resources.get_mut("cpu").and_then(Value::as_object_mut) else {
        return;
    };
    for (key, ceiling) in [("cpus", &ceilings.cpus), ("mems", &ceilings.mems)] {
        let Some(ceiling) = ceiling else { continue };
        let asked = text(cpu, key);
        if asked.is_empty() {
            review.remove(cpu, "/cpu", key, "runtimes differ on what nothing means");
        } else if !id_list::is_within(asked, ceiling) {
            let expected = format!("among {}", quote(ceiling));
            let pointer = format!("/cpu/{key}");
            review.refuse(Code::UpdateDenied, pointer, expected, quote(asked));
        }
    }
}

/// Refuses to keep more memory for the container than it was created with.
fn refuse_protection(
    resources: &Map<String, Value>,
    ceilings: &ResourceCeilings,
    review: &mut Review<'_>,
) {
    // The runtimes write it to `memory.low`.
    let asked = resources.get("memory").and_then(|it| it.get("reservation"));
    let asked = asked.and_then(Value::as_i64).unwrap_or(0);
    let most = ceilings.memory_low_bytes;
    if u64::try_from(asked).map_or(true, |asked| asked > most) {
        let expected = format!("at most {most}");
        let pointer = "/memory/reservation";
        review.refuse(Code::UpdateDenied, pointer, expected, asked.to_string());
    }
}

fn refuse_unified(resources: &Map<String, Value>, baseline: &Baseline, review: &mut Review<'_>) {
    let ceilings = &baseline.ceilings;
    let unified = resources.get("unified").and_then(Value::as_object);
    for (key, value) in unified.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let most = match key.as_str() {
            "memory.min" => Some(&ceilings.memory_min_bytes),
            "memory.low" => Some(&ceilings.memory_low_bytes),
            _ => ceilings.unified.get(key),
        };
        if !baseline.unified.contains(key) {
            review.refuse(
                Code::UpdateDenied,
                "/unified",
                "a key of the profile",
                quote(key),
            );
        } else if key == "memory.swap.max" && ceilings.swap_bytes.is_some() {
            // The same limit by another name, which would go round the ceiling.
            review.refuse(
                Code::UpdateDenied,
                "/unified/memory.swap.max",
                "memory.swap",
                quote(value),
            );
        } else if let Some(most) = most
            && unified_bytes(value).is_none_or(|asked| asked > *most)
        {
            let expected = format!("at most {most}");
            let pointer = format!("/unified/{key}");
            review.refuse(Code::UpdateDenied, pointer, expected, quote(value));
        }
    }
    let swap = resources.get("memory").and_then(|it| it.get("swap"));
    if let Some(swap) = swap.and_then(Value::as_i64).filter(|swap| *swap != 0)
        && ceilings.unified.contains_key("memory.swap.max")
    {
        review.refuse(
            Code::UpdateDenied,
            "/memory/swap",
            "memory.swap.max",
            swap.to_string(),
        );
    }
}

// === impl ClampedUpdate ===

impl ClampedUpdate {
    /// Canonical JSON for the runtime's `--resources` file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical_bytes(&self.resources)
    }
}

#[cfg(test)]
mod tests;
