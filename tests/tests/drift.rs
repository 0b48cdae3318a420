//! Drift of a host on which nothing starts: found by the agent's watch, and told of once.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use portcullis_config::paths;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::swtpm::PowerCycle;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::World;
use portcullis_tests::{in_world, needs};
use serde_json::Value;

/// From the drift to everything that tells of it; a look is made every second.
const SOON: Duration = Duration::from_secs(2);
/// The agent's metrics are at most a second behind.
const METRICS_SOON: Duration = Duration::from_secs(4);

/// Sets the node up with the watch on, and waits for a verdict.
fn watched(world: &World, settings: &str) -> Outcome<Node> {
    let mut node = Node::provision(world)?;
    node.watch(settings)?;
    Ok(node)
}

fn has_verdict() -> Outcome {
    wait::until_true("a verdict", PATIENCE, || Path::new(paths::VERDICT).exists())
}

fn drift_events() -> Vec<Value> {
    let ledger = fs::read_to_string(paths::LEDGER).unwrap_or_default();
    ledger
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|entry| entry["event"] == "drift")
        .collect()
}

/// The value of one sample of the metrics file.
fn metric(series: &str) -> Option<u64> {
    let text = fs::read_to_string(paths::METRICS).ok()?;
    let line = text.lines().find(|line| line.starts_with(series))?;
    line.strip_prefix(series)?.trim().parse().ok()
}

fn shows(series: &str, value: u64) -> Outcome {
    let what = format!("{series} {value}");
    wait::until_true(&what, METRICS_SOON, || metric(series) == Some(value))
}

fn journal(node: &Node) -> Vec<String> {
    node.agent_log()
        .lines()
        .filter(|line| line.contains("drift, verdict void"))
        .map(str::to_owned)
        .collect()
}

/// Waits until the drift is told of, in time.
fn is_found(events: usize) -> Outcome<Value> {
    wait::until_true("a void verdict", SOON, || {
        !Path::new(paths::VERDICT).exists()
    })?;
    wait::until("an entry in the ledger", SOON, || {
        let found = drift_events();
        (found.len() == events).then(|| found.last().cloned())?
    })
}

mod needs_containerd {
    use super::*;

    #[test]
    fn a_register_that_changes_voids_the_verdict_before_anything_starts() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let told_in = world.private().join("told");
            let command = world.private().join("tell");
            fs::write(&command, "#!/bin/sh\ncat >> \"$1\"\n").doing("write a command")?;
            fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).doing("set a mode")?;
            let settings = format!(
                "on_drift_command = [\"{}\", \"{}\"]\n",
                command.display(),
                told_in.display()
            );
            let node = watched(world, &settings)?;
            node.starts()?;
            shows("portcullis_launches_total{outcome=\"permitted\"}", 1)?;
            shows("portcullis_verdict_status{status=\"affirming\"}", 1)?;
            assert_eq!(metric("portcullis_drift_events_total"), Some(0));
            assert!(drift_events().is_empty());

            node.tpm.extend(7, [7; 32]).doing("extend PCR 7")?;
            let event = is_found(1)?;
            let finding = &event["findings"][0];
            assert_eq!(finding["code"], "pcr-drift", "{event}");
            assert_eq!(finding["subject"], "node 'node-1' PCR 7 (sha256)");
            assert_ne!(finding["expected"], finding["found"]);
            assert!(event["verdict_seq"].is_u64(), "{event}");
            shows("portcullis_drift_events_total", 1)?;
            shows("portcullis_verdict_status{status=\"affirming\"}", 0)?;
            let told: Value = wait::until("the command", PATIENCE, || {
                serde_json::from_str(&fs::read_to_string(&told_in).ok()?).ok()
            })?;
            assert_eq!(told["event"], "drift");
            assert_eq!(told["findings"], event["findings"]);
            let told = journal(&node);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(
                told[0].starts_with("<4>") && told[0].contains("PCR 7"),
                "{told:?}"
            );

            let refusal = node.refuses(&[])?;
            assert!(
                ["pcr-drift", "verdict-withheld"].contains(&refusal.code.as_str()),
                "{refusal}"
            );
            // Attested again it has no verdict, so there is nothing to void a second time.
            assert!(!node.portcullis(&["attest"])?.status.success());
            assert_eq!(drift_events().len(), 1);
            let told = fs::read_to_string(&told_in).doing("read what was told")?;
            assert_eq!(told.lines().count(), 1, "{told}");

            // The failed attestation stands, as one that an operator had asked for would.
            node.tpm
                .power_cycle(PowerCycle::Reset)
                .doing("restart the TPM")?;
            node.portcullis(&["attest", "--clear-failure", "drill"])?
                .success()?;
            node.starts()?;
            shows("portcullis_verdict_status{status=\"affirming\"}", 1)?;
            assert_eq!(drift_events().len(), 1);
            node.finish()
        })
    }

    #[test]
    fn the_verdict_is_void_although_no_attestation_can_be_made() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            const FOREIGN: &str = "/etc/portcullis/reference.d/foreign.jws";
            let node = watched(world, "")?;
            // The verifier refuses to work with values that anybody may have written.
            fs::write(FOREIGN, "").doing("write reference values")?;
            fs::set_permissions(FOREIGN, fs::Permissions::from_mode(0o666)).doing("open them")?;
            assert!(!node.portcullis(&["attest"])?.status.success());
            assert!(Path::new(paths::VERDICT).exists(), "this proves nothing");
            node.starts()?;

            node.tpm.extend(7, [7; 32]).doing("extend PCR 7")?;
            is_found(1)?;
            // Launches are told the cause: no attestation has looked for another.
            let refusal = node.refuses(&[])?;
            assert_eq!(refusal.short(), "refused [pcr-drift]", "{refusal}");
            let status = node.portcullis(&["status", "--output", "json"])?.stdout;
            let status: Value = serde_json::from_str(&status).doing("read the status")?;
            assert!(status["verdict"].is_null(), "{status}");

            node.tpm
                .power_cycle(PowerCycle::Reset)
                .doing("restart the TPM")?;
            fs::remove_file(FOREIGN).doing("remove them")?;
            node.attest()?;
            node.starts()?;
            assert_eq!(drift_events().len(), 1);
            node.finish()
        })
    }

    #[test]
    fn a_tpm_that_was_restarted_is_found_and_attested() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = watched(world, "")?;
            node.tpm
                .power_cycle(PowerCycle::Reset)
                .doing("restart the TPM")?;
            let event = wait::until("an entry in the ledger", PATIENCE, || {
                drift_events().first().cloned()
            })?;
            assert_eq!(event["findings"][0]["code"], "host-rebooted", "{event}");
            // Nobody asks for it.
            has_verdict()?;
            node.starts()?;
            if drift_events().len() != 1 {
                return Err(Failure::new(format!("told of twice: {:?}", drift_events())));
            }
            node.finish()
        })
    }

    #[test]
    fn what_the_operator_does_through_the_agent_is_no_drift() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = watched(world, "")?;
            node.portcullis(&["quarantine", "--yes"])?.success()?;
            shows("portcullis_quarantined", 1)?;
            assert!(drift_events().is_empty(), "{:?}", drift_events());
            assert!(journal(&node).is_empty());
            node.reboot_and_attest()?;
            shows("portcullis_quarantined", 0)?;
            node.starts()?;
            node.finish()
        })
    }
}
