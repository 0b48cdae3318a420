//! Enrolling a host as the README says, and the first container on it.

use serde_json::Value;

use super::{Lab, Scenario, must_refuse, must_succeed};
use crate::step::Outcome;
use crate::vm::report::Report;
use crate::vm::results::Results;

/// What the guest does.
const SCRIPT: &str = include_str!("trusted.sh");

/// Boots the new machine.
pub(super) fn run(lab: &Lab, report: &mut Report) -> Outcome {
    let this = Scenario::Trusted;
    let results = lab.boot(this, SCRIPT, &[])?;

    look_at_host(&results, report);
    must_refuse(
        report,
        this,
        "nothing starts on a host that is not enrolled",
        (&results.step("before"), "verdict-missing"),
    );
    for (name, claim) in [
        ("keys", "the operator makes keys and pins them"),
        ("enroll", "the host enrolls with its TPM"),
        ("capture", "its boot state is read, event by event"),
        ("sign", "and approved"),
        (
            "tag",
            "it is tagged, in the TPM, which its tag authority unlocks",
        ),
        ("attest", "it is attested, affirming"),
    ] {
        must_succeed(report, this, claim, &results.step(name));
    }
    look_at_keys(&results.step("status").json(), report);
    let start = results.step("start");
    report.check(
        this,
        "a container starts, by 'ctr run --runtime io.containerd.portcullis.v1'",
        start.succeeded() && start.out.trim() == "hello",
        &start.summary(),
    );
    let measured = results.text("ima.txt");
    report.check(
        this,
        "the kernel has measured the shim that ran (IMA)",
        measured.contains(" /usr/bin/containerd-shim-portcullis-v1"),
        &format!("{} entries", measured.lines().count()),
    );
    Ok(())
}

/// What the host is, and how the agent runs on it.
fn look_at_host(results: &Results, report: &mut Report) {
    let this = Scenario::Trusted;
    let lockdown = results.step("lockdown");
    let locked = lockdown.out.contains("[integrity]");
    report.check(
        this,
        "the kernel knows that Secure Boot is enforced",
        locked,
        &lockdown.summary(),
    );
    let groups = results.step("cgroups");
    let unified = groups.out.trim() == "cgroup2fs";
    report.check(
        this,
        "cgroup v2 is the only one",
        unified,
        &groups.summary(),
    );
    let apparmor = results.step("apparmor");
    report.check(
        this,
        "AppArmor is on",
        apparmor.out.trim() == "Y",
        &apparmor.summary(),
    );

    let unit = results.step("unit");
    let lines: Vec<&str> = unit.out.lines().collect();
    let runs = ["ActiveState=active", "SubState=running", "NRestarts=0"];
    report.check(
        this,
        "systemd runs the agent from the shipped unit, without a restart",
        runs.iter().all(|line| lines.contains(line)),
        &unit.out,
    );
    let exposure = results.step("exposure");
    must_succeed(
        report,
        this,
        "systemd finds an exposure of at most 2.0 of 10",
        &exposure,
    );
    let status = results.step("status").json();
    let confinement = status.get("confinement").cloned().unwrap_or_default();
    let missing = confinement.get("missing").and_then(Value::as_array);
    report.check(
        this,
        "the agent has confined itself as far as this kernel's Landlock can",
        missing.is_some_and(|missing| missing.iter().all(is_of_landlock)),
        &confinement.to_string(),
    );
}

/// What the TPM holds of the gate.
fn look_at_keys(status: &Value, report: &mut Report) {
    let this = Scenario::Trusted;
    let key = status.get("verdict_key").cloned().unwrap_or_default();
    let is_bound = key
        .get("policy")
        .is_some_and(|name| name == "approved-state");
    report.check(
        this,
        "the TPM signs verdicts in the approved boot state only",
        is_bound && key.get("defect").is_some_and(Value::is_null),
        &key.to_string(),
    );
    let fuse = status.get("boot_fuse").cloned().unwrap_or_default();
    report.check(
        this,
        "the TPM holds the hash of the verdict, until it is restarted",
        fuse == "set",
        &fuse.to_string(),
    );
}

/// Debian 12's kernel has an early Landlock, of which a part of the rules is missing.
fn is_of_landlock(missing: &Value) -> bool {
    missing
        .as_str()
        .is_some_and(|text| text.starts_with("files: Landlock of this kernel does not limit "))
}
