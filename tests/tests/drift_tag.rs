//! Drift of the asset tag: what the owner of the TPM does to its slot is found while nothing starts.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use portcullis_config::paths;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::World;
use portcullis_tests::{in_world, needs, run};
use serde_json::Value;

/// NV index of the tag's slot.
const SLOT: &str = "0x01c10110";
/// As the findings name it.
const SUBJECT: &str = "TPM NV index 0x01c10110";
/// From the change to the void verdict: a look is made every second.
const SOON: Duration = Duration::from_secs(2);
/// From the void verdict to what is done about containers.
const AFTERWARDS: Duration = Duration::from_secs(10);
/// What a running container does here.
const SLEEP: [&str; 2] = ["sleep", "600"];

/// A node that looks every second, with a container that runs.
fn watched(world: &World, settings: &str) -> Outcome<Node> {
    let mut node = Node::provision(world)?;
    node.watch(settings)?;
    node.start("web", &[], &SLEEP)?;
    assert_eq!(status("web").as_deref(), Some("running"));
    assert!(drift_events().is_empty(), "{:?}", drift_events());
    Ok(node)
}

/// Runs the TPM's tools one after the other, as the owner.
fn as_owner(node: &Node, lines: &[&[&str]]) -> Outcome {
    for line in lines {
        node.tpm_tool(line)?.success()?;
    }
    Ok(())
}

fn drift_events() -> Vec<Value> {
    let ledger = fs::read_to_string(paths::LEDGER).unwrap_or_default();
    ledger
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|entry| entry["event"] == "drift")
        .collect()
}

/// Waits until the verdict is void and the ledger tells why, in time; that reason.
fn found() -> Outcome<Value> {
    wait::until_true("a void verdict", SOON, || {
        !Path::new(paths::VERDICT).exists()
    })?;
    let event = wait::until("an entry in the ledger", SOON, || drift_events().pop())?;
    let findings = event["findings"].as_array().cloned().unwrap_or_default();
    assert_eq!(findings.len(), 1, "{event}");
    assert!(event["verdict_seq"].is_u64(), "{event}");
    Ok(findings[0].clone())
}

/// What the OCI runtime says of a container.
fn status(id: &str) -> Option<String> {
    let mut command = Command::new("runc");
    command.args(["--root", "/run/containerd/runc/default", "state", id]);
    let ran = run::to_end(&mut command).ok()?;
    let state: Value = serde_json::from_str(&ran.stdout).ok()?;
    state["status"].as_str().map(str::to_owned)
}

/// Waits until the container is as the settings want it on drift, and the journal says so.
fn becomes(node: &Node, wanted: &str) -> Outcome {
    wait::until_true(&format!("a container that is {wanted}"), AFTERWARDS, || {
        status("web").as_deref() == Some(wanted)
    })?;
    let line = format!("containers {wanted} count='1' already='0' failed='0'");
    wait::until_true(&format!("'{line}' in the journal"), PATIENCE, || {
        node.agent_log().contains(&line)
    })
    .map_err(|failure| Failure::new(format!("{failure}: {}", node.agent_log())))
}

/// Has the operator issue and provision a tag that is valid for `span`.
fn provision(node: &Node, name: &str, span: &str) -> Outcome {
    let request = format!("/run/operator/{name}.json");
    let tag = format!("/run/operator/{name}.tag");
    let key = "/run/operator/keys/tag.pem";
    let mut issue = vec!["tag", "issue", "--key", key, "--request", &request];
    issue.extend(["--tag", "country=DE", "--tag", "pool=shop"]);
    issue.extend(["--valid", span, "-o", &tag]);
    for line in [
        &["tag", "request", "-o", &request][..],
        &issue,
        &["tag", "provision", &tag],
        &["attest"],
    ] {
        node.portcullis(line)?.success()?;
    }
    node.starts()
}

/// A new tag, which was no drift, makes the host as good as new.
fn mend(node: &Node) -> Outcome {
    provision(node, "mend", "1d")?;
    assert_eq!(drift_events().len(), 1, "{:?}", drift_events());
    Ok(())
}

/// What the agent says of itself.
fn status_of(node: &Node) -> Outcome<Value> {
    let text = node
        .portcullis(&["status", "--output", "json"])?
        .success()?;
    serde_json::from_str(&text).doing("read the status")
}

mod needs_containerd {
    use super::*;

    #[test]
    fn a_slot_that_its_owner_removes_voids_the_verdict_and_pauses_containers() -> Outcome {
        needs!(
            Root, Busybox, Containerd, Runc, Cni, Swtpm, TpmTools, Programs
        );
        in_world!(|world| {
            let node = watched(world, "on_drift_pods = \"pause\"\n")?;
            as_owner(&node, &[&["tpm2_nvundefine", SLOT, "-C", "o"]])?;
            let finding = found()?;
            assert_eq!(finding["code"], "asset-tag-missing", "{finding}");
            assert_eq!(finding["subject"], SUBJECT, "{finding}");
            assert_eq!(finding["found"], "not defined", "{finding}");
            becomes(&node, "paused")?;

            let refusal = node.refuses(&[])?;
            assert_eq!(refusal.short(), "refused [asset-tag-missing]", "{refusal}");
            mend(&node)?;
            // Nobody but the operator lets it go on.
            assert_eq!(status("web").as_deref(), Some("paused"));
            node.portcullis(&["containers", "resume", "--all"])?
                .success()?;
            assert_eq!(status("web").as_deref(), Some("running"));
            node.remove("web")?;
            node.finish()
        })
    }

    /// The slot's digest is the right one afterwards: what differs is who could have written it.
    #[test]
    fn a_slot_that_its_owner_makes_anew_voids_the_verdict_and_stops_containers() -> Outcome {
        needs!(
            Root, Busybox, Containerd, Runc, Cni, Swtpm, TpmTools, Programs
        );
        in_world!(|world| {
            const DIGEST: &str = "/run/operator/digest";
            const ATTRIBUTES: &str = "ownerwrite|ownerread|authread|no_da";
            let node = watched(world, "on_drift_pods = \"stop\"\n")?;
            let agent = (node.agent()).ok_or_else(|| Failure::new("the agent does not run"))?;
            // It would see the slot between two owners' commands.
            agent.signal(Signal::SIGSTOP)?;
            as_owner(
                &node,
                &[
                    &["tpm2_nvread", SLOT, "-C", "o", "-o", DIGEST],
                    &["tpm2_nvundefine", SLOT, "-C", "o"],
                    &[
                        "tpm2_nvdefine",
                        SLOT,
                        "-C",
                        "o",
                        "-a",
                        ATTRIBUTES,
                        "-s",
                        "48",
                    ],
                    &["tpm2_nvwrite", SLOT, "-C", "o", "-i", DIGEST],
                ],
            )?;
            assert!(Path::new(paths::VERDICT).exists(), "this proves nothing");
            agent.signal(Signal::SIGCONT)?;
            let finding = found()?;
            assert_eq!(finding["code"], "asset-tag-tampered", "{finding}");
            assert_eq!(finding["subject"], SUBJECT, "{finding}");
            assert_ne!(finding["expected"], finding["found"], "{finding}");
            becomes(&node, "stopped")?;

            let refusal = node.refuses(&[])?;
            assert_eq!(refusal.short(), "refused [asset-tag-tampered]", "{refusal}");
            mend(&node)?;
            node.remove("web")?;
            node.finish()
        })
    }

    #[test]
    fn a_tag_that_runs_out_is_no_drift_and_stops_nothing() -> Outcome {
        needs!(
            Root, Busybox, Containerd, Runc, Cni, Swtpm, TpmTools, Programs
        );
        in_world!(|world| {
            let settings = "on_drift_pods = \"stop\"\nattest_interval = \"1s\"\n";
            let node = watched(world, settings)?;
            provision(&node, "short", "8s")?;
            let sequence = wait::until("a verdict that refuses the tag", PATIENCE, || {
                let status = status_of(&node).ok()?;
                let codes = status["findings"].as_array()?;
                let has_expired = codes.iter().any(|one| one["code"] == "asset-tag-expired");
                status["verdict"]["sequence"]
                    .as_u64()
                    .filter(|_| has_expired)
            })?;
            // An attestation a second, and a look at the host as often.
            wait::until_true("three verdicts more", PATIENCE, || {
                status_of(&node).is_ok_and(|status| {
                    let now = status["verdict"]["sequence"].as_u64();
                    now.is_some_and(|now| now >= sequence + 3)
                })
            })?;
            assert!(drift_events().is_empty(), "{:?}", drift_events());
            assert_eq!(status("web").as_deref(), Some("running"));
            let refusal = node.refuses(&[])?;
            assert_eq!(refusal.short(), "refused [asset-tag-expired]", "{refusal}");
            node.remove("web")?;
            node.finish()
        })
    }
}
