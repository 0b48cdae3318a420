//! Quarantine, with a real containerd: nothing starts before the host is rebooted.

use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::swtpm::PowerCycle;
use portcullis_tests::{in_world, needs};
use serde_json::Value;

const SETTINGS: &str = "50-test";

fn status(node: &Node) -> Value {
    let ran = node.portcullis(&["status", "--output", "json"]).unwrap();
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Fails unless a launch is refused because of the quarantine.
fn is_refused(node: &Node) -> Outcome {
    let refusal = node.refuses(&[])?;
    assert_eq!(refusal.short(), "refused [host-quarantined]", "{refusal}");
    assert!(refusal.line.contains("reboot the host"), "{refusal}");
    Ok(())
}

mod needs_containerd {
    use super::*;

    #[test]
    fn nothing_starts_before_a_reboot_whatever_is_restarted() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let mut node = Node::provision(world)?;
            node.starts()?;
            // Nobody is there to be asked.
            let unasked = node.portcullis(&["quarantine"])?;
            assert_eq!(unasked.status.code(), Some(64), "{}", unasked.stderr);
            node.starts()?;

            node.portcullis(&["quarantine", "--yes", "--reason", "drill 7"])?
                .success()?;
            is_refused(&node)?;
            assert_eq!(status(&node)["quarantine"]["reason"], "drill 7");
            // A new attestation finds it in the PCR, and the TPM signs nothing.
            let attested = node.portcullis(&["attest"])?;
            assert_eq!(attested.status.code(), Some(1), "{}", attested.stdout);
            is_refused(&node)?;
            node.stop_agent()?;
            assert_eq!(node.refuses(&[])?.short(), "undecided [agent-unreachable]");
            let down = node.portcullis(&["quarantine", "--yes"])?;
            assert_eq!(down.status.code(), Some(2));
            assert!(
                down.stderr.contains("tpm2_pcrextend 14:sha256="),
                "{}",
                down.stderr
            );
            node.start_agent()?;
            node.portcullis(&["attest"])?;
            is_refused(&node)?;
            assert_eq!(status(&node)["quarantine"]["reason"], "drill 7");
            // Once more does no harm.
            let again = node.portcullis(&["quarantine", "--yes"])?.success()?;
            assert!(again.contains("drill 7"), "{again}");
            is_refused(&node)?;

            node.tpm
                .power_cycle(PowerCycle::Reset)
                .doing("restart the TPM")?;
            node.attest()?;
            node.starts()?;
            assert_eq!(status(&node)["quarantine"], Value::Null);
            node.finish()
        })
    }

    #[test]
    fn a_key_that_signs_in_any_state_signs_nothing_either() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let mut node = Node::provision(world)?;
            node.set(SETTINGS, "[agent]\nkey_policy = \"none\"\n")?;
            node.stop_agent()?;
            node.start_agent()?;
            node.portcullis(&["enroll", "--renew"])?.success()?;
            node.attest()?;
            node.starts()?;
            node.portcullis(&["quarantine", "--yes"])?.success()?;
            is_refused(&node)?;
            assert!(!node.portcullis(&["attest"])?.status.success());
            is_refused(&node)?;
            node.reboot_and_attest()?;
            node.starts()?;
            node.finish()
        })
    }
}
