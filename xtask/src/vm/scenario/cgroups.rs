//! Containers under the host's own systemd, cgroup v2 and AppArmor.

use serde_json::Value;

use super::{Lab, Scenario, must_refuse, must_succeed};
use crate::step::Outcome;
use crate::vm::report::Report;
use crate::vm::results::Results;

/// What the guest does.
const SCRIPT: &str = include_str!("cgroups.sh");
/// Runtimes, and what makes each use systemd.
const RUNTIMES: [(&str, &str); 2] = [
    ("runc", "by 'systemd_cgroup = true'"),
    ("crun", "by the form of the path alone"),
];
/// AppArmor's label of a container.
const LABEL: &str = "cri-containerd.apparmor.d (enforce)";
/// Exit status of a process that the kernel killed.
const KILLED: i32 = 137;

/// Boots the enrolled machine, nothing changed.
pub(super) fn run(lab: &Lab, report: &mut Report) -> Outcome {
    let this = Scenario::Cgroups;
    let results = lab.boot(this, SCRIPT, &[])?;
    must_succeed(report, this, "the host is trusted", &results.step("attest"));
    must_refuse(
        report,
        this,
        "a container that asks to be unconfined by AppArmor is refused",
        (&results.step("unconfined"), "lsm-label-denied"),
    );
    for (binary, how) in RUNTIMES {
        placed(&results, report, (binary, how));
        lives(&results, report, binary);
    }
    Ok(())
}

/// Where the container is, and under what.
fn placed(results: &Results, report: &mut Report, (binary, how): (&str, &str)) {
    let this = Scenario::Cgroups;
    let step = |name: &str| results.step(&format!("{binary}-{name}"));
    must_succeed(
        report,
        this,
        &format!("{binary}: a container starts through systemd, {how}"),
        &step("start"),
    );
    let group = step("group");
    let scope = format!("0::/system.slice/portcullis-{binary}-web.scope");
    let place = group.out.trim();
    report.check(
        this,
        &format!("{binary}: it is in a scope of its own, in cgroup v2"),
        place == scope || place == format!("{scope}/container"),
        &group.summary(),
    );
    let scope = step("scope");
    report.check(
        this,
        &format!("{binary}: systemd keeps the scope"),
        scope.out.trim() == "ActiveState=active",
        &scope.out,
    );
    let limit = step("limit");
    report.check(
        this,
        &format!("{binary}: the kernel has the limit of memory"),
        limit.out.trim() == "67108864",
        &limit.summary(),
    );
    for (name, whom) in [("label", "its first process"), ("exec", "an exec")] {
        let label = step(name);
        report.check(
            this,
            &format!("{binary}: AppArmor confines {whom}"),
            label.out.trim() == LABEL,
            &label.summary(),
        );
    }
}

/// What is done with it, and its end.
fn lives(results: &Results, report: &mut Report, binary: &str) {
    let this = Scenario::Cgroups;
    let step = |name: &str| results.step(&format!("{binary}-{name}"));
    let metrics = step("metrics");
    let used = ["/memory/usage", "/cpu/usage_usec", "/pids/current"];
    let measured = metrics.json();
    let is_positive = |pointer: &&str| {
        measured
            .pointer(pointer)
            .and_then(Value::as_u64)
            .is_some_and(|value| value > 0)
    };
    report.check(
        this,
        &format!("{binary}: memory, processor time and processes are measured"),
        used.iter().all(is_positive),
        &metrics.summary(),
    );
    let frozen = step("frozen");
    report.check(
        this,
        &format!("{binary}: it is paused by the kernel, and resumed"),
        step("pause").succeeded() && frozen.out.contains("frozen 1") && step("resume").succeeded(),
        &frozen.out,
    );
    let (gone, inactive) = (step("gone"), step("inactive"));
    report.check(
        this,
        &format!("{binary}: deleted, it leaves neither cgroup nor scope"),
        step("delete").succeeded()
            && gone.succeeded()
            && inactive.out.trim() == "ActiveState=inactive",
        &format!("{}; {}", gone.summary(), inactive.out),
    );
    let hungry = step("hungry");
    report.check(
        this,
        &format!("{binary}: a process over the limit is killed"),
        hungry.code == Some(KILLED),
        &hungry.summary(),
    );
    let told = step("told");
    report.check(
        this,
        &format!("{binary}: containerd is told that memory was wanting"),
        told.succeeded() && told.out.contains(&format!("\"{binary}-hungry\"")),
        &told.summary(),
    );
}
