//! Further processes in a running container.

use portcullis_gate::{Code, Refusal, Refusals, Rule, quote};
use portcullis_json::Limits;
use serde_json::{Map, Value, json};

use crate::baseline::Baseline;
use crate::change::{Change, canonical_bytes};
use crate::harden::process::{
    refuse_scheduling, refuse_terminal, refuse_working_directory, requested_capabilities, rlimit,
    uid, write_capabilities, write_rlimit,
};
use crate::review::{Audited, Review, take_array};
use crate::schema::{self, PROCESS};

/// Largest process specification of an exec that is read. Arguments and environment of a process
/// are limited by the kernel to 6 MiB.
pub const EXEC_LIMITS: Limits = Limits {
    max_bytes: 10 << 20,
    max_depth: 16,
};

/// A process specification within the bounds of its container.
#[derive(Debug, Clone, PartialEq)]
pub struct ClampedExec {
    /// The `process` object to give to the runtime.
    pub process: Map<String, Value>,
    /// What was edited.
    pub changes: Vec<Change>,
    /// What rules in audit would have edited and refused.
    pub audited: Audited,
}

/// Clamps the process specification of an exec to the bounds of its container.
///
/// The specification comes from the runtime caller's own store, not from the hardened
/// `config.json`, so nothing in it is hardened yet. `noNewPrivileges`, the five capability sets,
/// the labels and the limits are always written: what is left out, runc and crun fill in each in
/// its own way, and neither from the container in every case. Fields that the specification does
/// not know are dropped.
///
/// # Errors
///
/// `exec-spec-malformed` as for [`crate::OciConfig::parse`]; `capability-excess` if a capability
/// is asked for that the container does not have and that callers do not put in by themselves (a
/// privileged exec); `exec-denied` for uid 0 and for a terminal where the profile
/// forbids it, and for real-time classes; `working-directory-denied`.
///
/// # Source
///
/// OCI runtime-spec, "Process"; CIS Docker Benchmark, "docker exec commands are not used with the
/// privileged option" and "… with the user=root option".
pub fn clamp_exec(spec_json: &[u8], baseline: &Baseline) -> Result<ClampedExec, Refusals> {
    let mut process = parse(spec_json)?;
    let mut review = Review::of("exec", &baseline.modes);

    drop_unknown(&mut process, &mut review);
    review.under(Rule::Capabilities, &mut process, |process, review| {
        clamp_capabilities(process, baseline, review);
    });
    if baseline.no_new_privileges {
        review.under(Rule::NoNewPrivileges, &mut process, |process, review| {
            review.set(process, "", "noNewPrivileges", true, "as the container");
        });
    }
    review.under(Rule::LsmLabels, &mut process, |process, review| {
        clamp_label(
            process,
            "apparmorProfile",
            &baseline.apparmor_profile,
            review,
        );
        clamp_label(process, "selinuxLabel", &baseline.selinux_label, review);
    });
    review.under(Rule::Rlimits, &mut process, |process, review| {
        clamp_rlimits(process, baseline, review);
    });
    review.under(Rule::OomScore, &mut process, |process, review| {
        clamp_oom_score(process, baseline, review);
    });
    review.asking(Rule::Scheduling, |review| {
        refuse_scheduling(&process, "", Code::ExecDenied, review);
    });
    if baseline.terminal_refused {
        review.asking(Rule::Terminal, |review| {
            refuse_terminal(&process, "", Code::ExecDenied, review);
        });
    }
    if uid(&process) == 0 && !baseline.root_permitted {
        let expected = format!("a uid other than 0, as the container's {}", baseline.uid);
        review.asking(Rule::NonRoot, |review| {
            review.refuse(Code::ExecDenied, "/user", expected, "uid 0");
        });
    }
    review.asking(Rule::WorkingDirectory, |review| {
        refuse_working_directory(&process, "", review);
    });

    let (changes, audited) = review.finish()?;
    Ok(ClampedExec {
        process,
        changes,
        audited,
    })
}

fn parse(spec_json: &[u8]) -> Result<Map<String, Value>, Refusals> {
    let malformed = |subject: String, expected: String, found: String| {
        Refusals::from(Refusal::new(
            Code::ExecSpecMalformed,
            subject,
            expected,
            found,
        ))
    };
    let subject = "process specification".to_owned();
    let value = portcullis_json::parse(spec_json, EXEC_LIMITS).map_err(|cause| {
        let expected = "JSON that all readers read alike".to_owned();
        malformed(subject.clone(), expected, cause.to_string())
    })?;
    schema::conform(&value, &PROCESS).map_err(|fault| {
        malformed(
            fault.subject("exec"),
            fault.expected,
            fault.found.to_string(),
        )
    })?;
    match value {
        Value::Object(process) => Ok(process),
        _ => Err(malformed(
            subject,
            "an object".to_owned(),
            "null".to_owned(),
        )),
    }
}

fn drop_unknown(process: &mut Map<String, Value>, review: &mut Review<'_>) {
    let known = PROCESS.keys();
    let unknown: Vec<String> = process
        .keys()
        .filter(|key| !known.iter().any(|(name, _)| name == key))
        .cloned()
        .collect();
    for key in unknown {
        process.remove(&key);
        review.change(
            "",
            quote(&key),
            Value::Null,
            "a field that this version does not know",
        );
    }
}

fn clamp_capabilities(
    process: &mut Map<String, Value>,
    baseline: &Baseline,
    review: &mut Review<'_>,
) {
    let (requested, unknown) = requested_capabilities(process);
    let own = baseline.capabilities.union();
    let excess = requested.union().difference(own.union(baseline.stripped));
    let found = match unknown {
        _ if requested.union().is_all() => Some("all capabilities".to_owned()),
        Some(name) => Some(quote(name)),
        None => (!excess.is_empty()).then(|| excess.to_string()),
    };
    if let Some(found) = found {
        let expected = format!("the container's own capabilities ({own})");
        review.refuse(Code::CapabilityExcess, "/capabilities", expected, found);
        return;
    }
    let kept = requested.clamped(&baseline.capabilities);
    if kept != requested {
        let reason = "as the container";
        review.change(
            "/capabilities",
            requested.union().to_string(),
            kept.union().to_string(),
            reason,
        );
    }
    process.insert("capabilities".to_owned(), write_capabilities(&kept));
}

/// crun sets no label at all if the field is left out; an empty one is left out, because there
/// the container has none either.
fn clamp_label(process: &mut Map<String, Value>, key: &str, label: &str, review: &mut Review<'_>) {
    if label.is_empty() {
        review.remove(process, "", key, "as the container");
    } else {
        review.set(process, "", key, label, "as the container");
    }
}

/// crun gives an exec without limits those of the caller. A limit that the container does not
/// set is dropped: the process then inherits it, as the container did.
fn clamp_rlimits(process: &mut Map<String, Value>, baseline: &Baseline, review: &mut Review<'_>) {
    let before = take_array(process, "rlimits");
    let after: Vec<Value> = baseline
        .rlimits
        .iter()
        .map(|(name, most)| {
            let mut asked = before
                .iter()
                .filter_map(rlimit)
                .filter(|(it, _)| it == name);
            // Of two limits of one kind the runtimes take the last.
            let clamped = asked.next_back().map_or(*most, |(_, asked)| {
                let hard = asked.hard.min(most.hard);
                crate::facts::Rlimit {
                    soft: asked.soft.min(most.soft).min(hard),
                    hard,
                }
            });
            write_rlimit(name, clamped)
        })
        .collect();
    if before != after {
        review.change(
            "/rlimits",
            before,
            after.clone(),
            "at most those of the container",
        );
    }
    process.insert("rlimits".to_owned(), Value::Array(after));
}

fn clamp_oom_score(process: &mut Map<String, Value>, baseline: &Baseline, review: &mut Review<'_>) {
    let Some(least) = baseline.oom_score_adj else {
        review.remove(process, "", "oomScoreAdj", "as the container");
        return;
    };
    let asked = process.get("oomScoreAdj").and_then(Value::as_i64);
    let score = asked.map_or(i64::from(least), |asked| asked.max(least.into()));
    review.set(process, "", "oomScoreAdj", json!(score), "as the container");
}

// === impl ClampedExec ===

impl ClampedExec {
    /// Canonical JSON for the runtime's `--process` file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical_bytes(&self.process)
    }
}

#[cfg(test)]
mod tests;
