//! Drift while containers run: what the responder does, under systemd and in its unit's sandbox.

use serde_json::Value;

use super::{Lab, Scenario, must_succeed};
use crate::step::Outcome;
use crate::vm::report::Report;
use crate::vm::results::Results;

/// What the guest does.
const SCRIPT: &str = include_str!("drift.sh");
/// What a launch is told, before and after the host was attested again.
const REFUSALS: [&str; 2] = ["pcr-drift", "verdict-withheld"];

/// Boots the enrolled machine, nothing changed, and extends a PCR while containers run.
pub(super) fn run(lab: &Lab, report: &mut Report) -> Outcome {
    let results = lab.boot(Scenario::Drift, SCRIPT, &[])?;
    listens(&results, report);
    pauses(&results, report);
    tells(&results, report);
    resumes_and_stops(&results, report);
    Ok(())
}

/// Before anything happens.
fn listens(results: &Results, report: &mut Report) {
    let this = Scenario::Drift;
    must_succeed(
        report,
        this,
        "systemd listens for the agent's messages of drift",
        &results.step("listen"),
    );
    let (socket, foreign) = (results.step("socket"), results.step("foreign"));
    report.check(
        this,
        "nobody but root can send one",
        socket.out.trim() == "600 root"
            && foreign.code.is_some_and(|code| code != 0)
            && foreign.err.contains("Permission denied"),
        &format!("{}; {}", socket.summary(), foreign.summary()),
    );
    for (name, claim) in [
        ("attest", "the host is trusted"),
        (
            "census",
            "of all that the kernel and systemd run, nothing counts as a container",
        ),
        ("start", "a container starts"),
        ("stock", "another one starts under containerd's own shim"),
        ("extend", "a PCR is extended"),
    ] {
        must_succeed(report, this, claim, &results.step(name));
    }
}

/// `on_drift_pods = "pause"`.
fn pauses(results: &Results, report: &mut Report) {
    let this = Scenario::Drift;
    must_succeed(
        report,
        this,
        "the kernel has both containers frozen",
        &results.step("frozen"),
    );
    let (paused, agent) = (results.step("paused"), results.step("agent"));
    report.check(
        this,
        "a responder did it, in the sandbox of its own unit, and not the agent",
        paused
            .out
            .contains("containers paused count='2' already='0' failed='0'")
            && agent.succeeded()
            && agent.out.contains("drift, verdict void code='pcr-drift'")
            && !agent.out.contains("containers paused"),
        &paused.summary(),
    );
    let listed = results.step("listed").out;
    let has_paused = listed
        .lines()
        .any(|line| line.starts_with("web ") && line.ends_with("PAUSED"));
    report.check(
        this,
        "containerd is told so by our shim",
        has_paused,
        &listed,
    );
    let untouched = results.step("untouched");
    report.check(
        this,
        "services of the host go on",
        untouched.out.trim() == "frozen 0",
        &untouched.summary(),
    );
    let refused = results.step("refused");
    report.check(
        this,
        "nothing starts",
        refused
            .refusal()
            .is_some_and(|code| REFUSALS.contains(&code)),
        &refused.summary(),
    );
}

/// `on_drift_webhook`.
fn tells(results: &Results, report: &mut Report) {
    let received = results.text("received.txt");
    let event: Value = received
        .lines()
        .find(|line| line.starts_with('{'))
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_default();
    let code = event.pointer("/findings/0/code").and_then(Value::as_str);
    report.check(
        Scenario::Drift,
        "a server is told of it over TLS, with the cause",
        results.step("posted").succeeded()
            && received.starts_with("POST /hook ")
            && code == Some("pcr-drift"),
        &format!("{}; {received}", results.step("posted").summary()),
    );
}

/// `portcullis containers resume --all`, and `on_drift_pods = "stop"`.
fn resumes_and_stops(results: &Results, report: &mut Report) {
    let this = Scenario::Drift;
    let (resume, running) = (results.step("resume"), results.step("running"));
    let answer = resume.json();
    let done = answer.get("done").and_then(Value::as_array);
    report.check(
        this,
        "'portcullis containers resume --all' lets them go on",
        resume.succeeded() && running.succeeded() && done.is_some_and(|done| done.len() == 2),
        &format!("{}; {}", resume.summary(), running.summary()),
    );
    let (ended, stopped) = (results.step("ended"), results.step("stopped"));
    report.check(
        this,
        "with 'on_drift_pods = \"stop\"' the responder ends them, by the settings of that moment",
        results.step("send").succeeded()
            && ended.succeeded()
            && stopped
                .out
                .contains("containers stopped count='2' already='0' failed='0'"),
        &format!("{}; {}", ended.summary(), stopped.summary()),
    );
    let (alive, failed) = (results.step("alive"), results.step("failed"));
    report.check(
        this,
        "a service of the host still runs, and none of ours has failed",
        alive.out.trim() == "active" && failed.succeeded() && failed.out.trim().is_empty(),
        &format!("{}; {}", alive.summary(), failed.out),
    );
}
