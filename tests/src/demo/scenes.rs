//! The steps of the demo.

use std::fs;
use std::time::Duration;

use crate::containerd::PORTCULLIS;
use crate::cri::{self, expected};
use crate::failure::{Doing, Failure, Outcome};
use crate::image;
use crate::node::Node;
use crate::process::{Confinement, SCRIPT};
use crate::refusal::Refusal;
use crate::run;
use crate::swtpm::PowerCycle;
use crate::wait;

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
    let refused = pin_another_key().and_then(|()| node.refuses(&[]));
    report.refused(
        "verdict signed by a foreign key",
        "refused [verdict-signature-invalid]",
        refused,
    );
    again(
        report,
        "with the right key pinned again",
        node,
        pin_the_right_key(),
    );

    report.refused(
        "verdict expired",
        "undecided [verdict-expired]",
        with_an_old_verdict(node),
    );
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
        restore(node),
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
    report.equal(&format!("  {name}"), STARTS, started);
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

/// Where the pinned verdict keys go while another one is in their place.
const ASIDE: &str = "/run/operator/aside";
/// Pinned keys.
const TRUST: &str = "/etc/portcullis/trust.d";
/// The foreign key's name.
const FOREIGN: &str = "foreign";

/// Pins a key that did not sign the verdict in place of the one that did.
fn pin_another_key() -> Outcome {
    fs::create_dir_all(ASIDE).doing(format!("make '{ASIDE}'"))?;
    for entry in fs::read_dir(TRUST)
        .doing(format!("list '{TRUST}'"))?
        .flatten()
    {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("verdict") {
            fs::copy(entry.path(), std::path::Path::new(ASIDE).join(&name)).doing("copy a key")?;
            fs::remove_file(entry.path()).doing("unpin a key")?;
        }
    }
    let mut generate = std::process::Command::new("portcullis");
    generate.args([
        "keys", "generate", "--use", "verdict", "--force", "--name", FOREIGN,
    ]);
    run::to_end(generate.args(["--out", "/run/operator/keys"]))?.success()?;
    let key = format!("/run/operator/keys/{FOREIGN}.jwk");
    fs::copy(key, format!("{TRUST}/{FOREIGN}.jwk"))
        .doing("pin the foreign key")
        .map(drop)
}

fn pin_the_right_key() -> Outcome {
    let foreign = format!("{TRUST}/{FOREIGN}.jwk");
    fs::remove_file(foreign).doing("unpin the foreign key")?;
    for entry in fs::read_dir(ASIDE)
        .doing(format!("list '{ASIDE}'"))?
        .flatten()
    {
        let to = std::path::Path::new(TRUST).join(entry.file_name());
        fs::copy(entry.path(), to).doing("pin the key again")?;
    }
    Ok(())
}

/// Lowers the age that a verdict may have, and waits for the present one to exceed it.
fn with_an_old_verdict(node: &Node) -> Outcome<Refusal> {
    const AGE_S: u64 = 2;
    let settings = format!(
        "[attestation]\nmax_verdict_age = \"{AGE_S}s\"\n[agent]\nattest_interval = \"1s\"\n"
    );
    node.set(SETTINGS, &settings)?;
    until_verdict_is_older_than(node, AGE_S)?;
    node.refuses(&[])
}

/// Waits until the verdict the agent serves is older than `age_s` seconds.
fn until_verdict_is_older_than(node: &Node, age_s: u64) -> Outcome {
    let text = node
        .portcullis(&["status", "--output", "json"])?
        .success()?;
    let status: serde_json::Value = serde_json::from_str(&text).doing("read the status")?;
    let issued = status["verdict"]["issued_at"]
        .as_u64()
        .ok_or_else(|| Failure::new(format!("no time of issue in: {text}")))?;
    wait::until_true("the verdict to grow old", wait::PATIENCE, || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.is_ok_and(|now| now > Duration::from_secs(issued + age_s + 1))
    })
}

/// Asks for a task from a checkpoint, which only the Task API can do.
fn restore(node: &Node) -> Outcome<Refusal> {
    // An empty archive is a checkpoint as far as containerd looks.
    let checkpoint = [0_u8; 1024];
    let digest = image::digest(&checkpoint);
    let ingest = [
        "content",
        "ingest",
        "--expected-digest",
        &digest,
        "checkpoint",
    ];
    let mut ingest = node.containerd.ctr(&ingest);
    run::with_input(&mut ingest, Some(&checkpoint), run::PATIENCE)?.success()?;
    let create = [
        "container",
        "create",
        "--runtime",
        PORTCULLIS,
        image::BUSYBOX,
        "frozen",
    ];
    node.containerd.run_ctr(&create)?.success()?;
    let answer = node
        .containerd
        .tasks()
        .restore("frozen", &digest, checkpoint.len())?;
    node.forget("frozen")?;
    match answer {
        Ok(()) => Err(Failure::new("the restore was carried out")),
        Err(status) => Refusal::find(&status.message),
    }
}
