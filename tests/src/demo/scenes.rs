//! The steps of the demo.

use crate::cri::{self, expected};
use crate::failure::{Doing, Outcome};
use crate::node::Node;
use crate::process::{Confinement, SCRIPT};
use crate::run;
use crate::swtpm::PowerCycle;

use super::Report;

/// What a step shows that ends in a running container.
const STARTS: &str = "starts";
/// The demo's drop-in.
const SETTINGS: &str = "50-demo";
/// A PCR that the reference values cover and no firmware of a software TPM uses.
const PCR: u32 = 11;

/// Plays all scenes; each leaves the host trusted.
pub(super) fn play(node: &mut Node, report: &mut Report) {
    let restricted = Confinement::RESTRICTED.to_string();
    report.equal(
        "the host has an affirming verdict",
        "affirming",
        verdict_status(node),
    );
    report.equal(
        "a container starts on the trusted host",
        STARTS,
        starts(node),
    );
    report.equal("what its process has", &restricted, inside(node));
    report.equal(
        "what a process added by exec has",
        &restricted,
        inside_exec(node),
    );
    report.equal(
        "what a pod's process has, through CRI",
        &restricted,
        inside_pod(node),
    );
    wrong_states(node, report);
    wrong_tag(node, report);
    wrong_verdicts(node, report);
    wrong_requests(node, report);
}

/// The host is not in the state that was attested.
fn wrong_states(node: &Node, report: &mut Report) {
    let refused = node
        .tpm
        .extend(PCR, [0x5a; 32])
        .doing("extend a PCR")
        .and_then(|()| node.refuses(&[]));
    report.refused("PCR extended", "refused [pcr-drift]", refused);
    again(
        report,
        "after a reboot into the approved state",
        node,
        node.reboot_and_attest(),
    );

    let restarted = node
        .tpm
        .power_cycle(PowerCycle::Reset)
        .doing("restart the TPM");
    let refused = restarted.and_then(|()| node.refuses(&[]));
    report.refused(
        "TPM restarted, as by a reboot",
        "refused [host-rebooted]",
        refused,
    );
    again(report, "after attesting anew", node, node.attest());
}

/// The host is not tagged as it must be.
fn wrong_tag(node: &Node, report: &mut Report) {
    let refused = require_tags(node, "country in (FR, IT)").and_then(|()| node.refuses(&[]));
    report.refused(
        "tag requirement not met",
        "refused [asset-tag-mismatch]",
        refused,
    );
    let met = require_tags(node, "country in (DE, FR), pool");
    again(report, "with a requirement that is met", node, met);
    clear(node, report);
}

fn require_tags(node: &Node, requirement: &str) -> Outcome {
    node.set(
        SETTINGS,
        &format!("[asset_tag]\nrequire = \"{requirement}\"\n"),
    )
}

/// The verdict is not to be believed, or there is none.
fn wrong_verdicts(node: &mut Node, report: &mut Report) {
    let refused = node.pin_foreign_key().and_then(|()| node.refuses(&[]));
    report.refused(
        "verdict signed by a foreign key",
        "refused [verdict-signature-invalid]",
        refused,
    );
    again(
        report,
        "with the right key pinned again",
        node,
        node.pin_own_key(),
    );

    let refused = node
        .let_verdict_expire(SETTINGS)
        .and_then(|()| node.refuses(&[]));
    report.refused("verdict expired", "undecided [verdict-expired]", refused);
    clear(node, report);
    again(
        report,
        "with the usual age and a new verdict",
        node,
        node.attest(),
    );

    let refused = node.stop_agent().and_then(|()| node.refuses(&[]));
    report.refused("agent stopped", "undecided [agent-unreachable]", refused);
    let back = node.start_agent().and_then(|()| node.attest());
    again(report, "with the agent back", node, back);
}

/// The request asks for what no trusted host gives.
fn wrong_requests(node: &Node, report: &mut Report) {
    let refused = node.refuses(&["--privileged"]);
    report.refused(
        "privileged container",
        "refused [privileged-denied]",
        refused,
    );
    again(report, "without the privilege", node, Ok(()));

    report.refused(
        "restore from a checkpoint",
        "refused [restore-denied]",
        node.refuses_restore(),
    );
    again(report, "anew from its image", node, Ok(()));
}

/// Stops everything and looks for what is left.
pub(super) fn leave(node: Node, report: &mut Report) {
    let left = node.finish().map(|()| "nothing".to_owned());
    report.equal(
        "what is left of processes, mounts, sockets and cgroups",
        "nothing",
        left,
    );
}

/// Shows that a container starts again, after `restored` has brought trust back.
fn again(report: &mut Report, name: &str, node: &Node, restored: Outcome) {
    let started = restored.and_then(|()| starts(node));
    report.equal(&format!("again: {name}"), STARTS, started);
}

/// Takes the demo's settings away.
fn clear(node: &Node, report: &mut Report) {
    if let Err(failure) = node.unset(SETTINGS) {
        report.equal("the usual settings", "restored", Err(failure));
    }
}

fn starts(node: &Node) -> Outcome<String> {
    node.starts().map(|()| STARTS.to_owned())
}

fn verdict_status(node: &Node) -> Outcome<String> {
    let text = node
        .portcullis(&["status", "--output", "json"])?
        .success()?;
    let status: serde_json::Value = serde_json::from_str(&text).doing("read the status")?;
    Ok(status["verdict"]["status"]
        .as_str()
        .unwrap_or("none")
        .to_owned())
}

fn inside(node: &Node) -> Outcome<String> {
    let printed = node.run("inside", &[], &["sh", "-c", SCRIPT])?.success()?;
    Ok(Confinement::parse(&printed)?.to_string())
}

fn inside_exec(node: &Node) -> Outcome<String> {
    node.start("long", &[], &["sleep", "600"])?;
    let exec = [
        "task",
        "exec",
        "--exec-id",
        "look",
        "long",
        "sh",
        "-c",
        SCRIPT,
    ];
    let printed = node.containerd.run_ctr(&exec).and_then(run::Ran::success);
    node.remove("long")?;
    Ok(Confinement::parse(&printed?)?.to_string())
}

fn inside_pod(node: &Node) -> Outcome<String> {
    let cri = node.containerd.cri();
    let pod = expected(cri.run_pod(cri::pod("shop", "web"), "portcullis")?)?;
    let seen = (|| {
        let sleep = cri::container("main", &["/bin/sleep", "600"]);
        let id = expected(cri.launch(&pod, sleep)?)?;
        let said = expected(cri.exec(&id, &["/bin/sh", "-c", SCRIPT])?)?;
        Ok(Confinement::parse(&String::from_utf8_lossy(&said.stdout))?.to_string())
    })();
    cri.remove_pod(&pod)?;
    seen
}
