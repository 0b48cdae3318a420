//! Boots that were recorded from a machine, played to a software TPM, and appraised by the agent:
//! rules on events approve what was approved, and name the event that was not.

mod measured_boot {
    pub(crate) mod recorded;
}

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use portcullis_attestation::hex;
use portcullis_attestation::ima::ImaList;
use portcullis_attestation::pcr::HashAlg;
use portcullis_config::paths;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::swtpm::PowerCycle;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::{in_world, needs};
use serde_json::{Value, json};

use measured_boot::recorded::{Boot, mount_kernel_logs};

/// Where the operator keeps what was captured.
const CAPTURED: &str = "/run/operator/golden.json";
/// Its approval on the host.
const APPROVED: &str = "/etc/portcullis/reference.d/approved.jws";

/// A reboot: the agent stops with the machine, the TPM begins anew, and `boot` happens.
fn boots(node: &mut Node, boot: Boot) -> Outcome {
    node.stop_agent()?;
    node.tpm
        .power_cycle(PowerCycle::Reset)
        .doing("restart the TPM")?;
    boot.replay(&node.tpm)?;
    boot.show_event_log()?;
    node.start_agent()
}

/// What `portcullis attest` says, as JSON.
fn attestation(node: &Node) -> Outcome<Value> {
    let ran = node.portcullis(&["attest", "--output", "json"])?;
    serde_json::from_str(&ran.stdout).doing(format!("read '{}' as JSON", ran.stdout))
}

/// The findings with `code`.
fn findings<'a>(attestation: &'a Value, code: &str) -> Vec<&'a Value> {
    let all = attestation["findings"].as_array();
    all.into_iter()
        .flatten()
        .filter(|finding| finding["code"] == code)
        .collect()
}

/// The trust vector of the present verdict.
fn verdict(node: &Node) -> Outcome<Value> {
    let shown = node.portcullis(&["verdict", "show", "--output", "json"])?;
    let shown = shown.success()?;
    let shown: Value = serde_json::from_str(&shown).doing("read the verdict as JSON")?;
    find(&shown, "ear_trustworthiness_vector")
        .cloned()
        .ok_or_else(|| Failure::new(format!("no vector in {shown}")))
}

/// The member `name`, however deep.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) => members
            .get(name)
            .or_else(|| members.values().find_map(|value| find(value, name))),
        Value::Array(values) => values.iter().find_map(|value| find(value, name)),
        _ => None,
    }
}

/// Approves what was captured, and nothing else.
fn sign(node: &Node) -> Outcome {
    let mut sign = vec![
        "reference",
        "sign",
        "--key",
        "/run/operator/keys/reference.pem",
    ];
    sign.extend(["-i", CAPTURED, "-o", APPROVED, "--force"]);
    node.portcullis(&sign)?.success().map(drop)
}

/// Approves the boot that the host is in, and of the recorded files those that are `allowed`.
fn approve_files(node: &Node, allowed: impl Fn(&str) -> bool) -> Outcome {
    let mut capture = vec!["reference", "capture", "--name", "golden", "--events"];
    capture.extend(["--out", CAPTURED, "--force"]);
    node.portcullis(&capture)?.success()?;
    let text = fs::read_to_string(CAPTURED).doing("read the capture")?;
    let mut captured: Value = serde_json::from_str(&text).doing("read the capture")?;
    let list = Boot::Golden.ima_list()?;
    let list = ImaList::parse(&list).doing("read the list")?;
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in list.entries().iter().filter_map(|entry| entry.file) {
        let path = String::from_utf8_lossy(file.path).into_owned();
        let contents = format!("{}:{}", file.algorithm, hex::encode(file.digest));
        if allowed(&path) {
            files.entry(path).or_default().insert(contents);
        }
    }
    let state = &mut captured["boot_states"][0];
    let exact = state["pcrs"]["sha256"].as_object_mut();
    exact
        .and_then(|values| values.remove("10"))
        .ok_or_else(|| Failure::new("PCR 10 was not captured"))?;
    state["ima"] = json!({ "files": files, "unknown": "refuse" });
    fs::write(CAPTURED, captured.to_string()).doing("write the capture")?;
    sign(node)
}

/// Approves the events of the boot that the host is in, and nothing else.
fn approve_by_events(node: &Node) -> Outcome {
    let capture = [
        "reference",
        "capture",
        "--name",
        "golden",
        "--events",
        "--out",
        CAPTURED,
    ];
    node.portcullis(&capture)?.success()?;
    sign(node)
}

fn host(world: &portcullis_tests::world::World) -> Outcome<Node> {
    mount_kernel_logs()?;
    let mut node = Node::provision(world)?;
    // One boot follows the other here; that a failure stands is another suite's subject.
    node.set("30-latch", "[attestation]\nlatch = \"off\"\n")?;
    boots(&mut node, Boot::Golden)?;
    approve_by_events(&node)?;
    node.attest()?;
    Ok(node)
}

mod needs_containerd {
    use super::*;

    #[test]
    fn a_boot_is_approved_by_its_events_and_another_command_line_is_named() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let mut node = host(world)?;
            node.starts()?;

            boots(&mut node, Boot::CommandLineChanged)?;
            let attested = attestation(&node)?;
            assert_eq!(attested["status"], "contraindicated", "{attested}");
            let unexpected = findings(&attested, "event-unexpected");
            let line = unexpected
                .iter()
                .find(|finding| finding["subject"] == "event 49 (EV_IPL) of PCR 8 (sha256)")
                .ok_or_else(|| Failure::new(format!("no finding about event 49 in {attested}")))?;
            let found = line["found"].as_str().unwrap_or_default();
            assert!(
                found.contains("'/vmlinuz console=ttyS0 panic=-1 quiet lab.tampered=1"),
                "{line}"
            );
            // The TPM itself does not sign for a boot that nobody approved.
            assert_eq!(node.refuses(&[])?.code, "verdict-withheld");

            boots(&mut node, Boot::Unsecured)?;
            let attested = attestation(&node)?;
            assert_eq!(
                findings(&attested, "secure-boot-off").len(),
                1,
                "{attested}"
            );

            // And back again: nothing of it sticks.
            boots(&mut node, Boot::Golden)?;
            node.attest()?;
            node.starts()?;
            node.finish()
        })
    }

    #[test]
    fn without_a_log_that_the_quote_proves_nothing_is_approved_by_events() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let mut node = host(world)?;

            // The log of an approved boot beside the PCRs of another.
            boots(&mut node, Boot::CommandLineChanged)?;
            Boot::Golden.show_event_log()?;
            let attested = attestation(&node)?;
            assert_eq!(attested["status"], "contraindicated");
            assert_eq!(
                findings(&attested, "event-log-mismatch").len(),
                2,
                "{attested}"
            );

            boots(&mut node, Boot::Golden)?;
            let mut log = Boot::Golden.event_log()?;
            log.truncate(log.len() - 1);
            fs::write(paths::EVENT_LOG, &log).doing("cut the log")?;
            let attested = attestation(&node)?;
            assert_eq!(
                findings(&attested, "event-log-malformed").len(),
                1,
                "{attested}"
            );

            // One byte more than is read.
            let huge = vec![0; 1024 * 1024 + 1];
            fs::write(paths::EVENT_LOG, huge).doing("write a huge log")?;
            let attested = attestation(&node)?;
            let malformed = findings(&attested, "event-log-malformed");
            let found = malformed.first().and_then(|one| one["found"].as_str());
            assert!(
                found.is_some_and(|found| found.contains("1048577 bytes")),
                "{attested}"
            );

            fs::remove_file(paths::EVENT_LOG).doing("remove the log")?;
            let attested = attestation(&node)?;
            assert_eq!(
                findings(&attested, "event-log-missing").len(),
                1,
                "{attested}"
            );
            assert_eq!(node.refuses(&[])?.code, "vector-contraindicated");
            let capture = node.portcullis(&["reference", "capture", "--events"])?;
            assert_eq!(capture.status.code(), Some(64), "{}", capture.stderr);
            assert!(
                capture.stderr.contains("the kernel has none"),
                "{}",
                capture.stderr
            );

            // Exact values need none.
            boots(&mut node, Boot::Golden)?;
            fs::remove_file(paths::EVENT_LOG).doing("remove the log")?;
            assert!(!Path::new(paths::EVENT_LOG).exists());
            let capture = ["reference", "capture", "--out", CAPTURED, "--force"];
            node.portcullis(&capture)?.success()?;
            sign(&node)?;
            node.attest()?;
            node.starts()?;
            node.finish()
        })
    }

    #[test]
    fn a_log_that_changes_while_the_host_runs_voids_the_verdict() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let mut node = host(world)?;
            boots(&mut node, Boot::Golden)?;
            node.watch("")?;
            node.starts()?;
            let mut log = Boot::Golden.event_log()?;
            log.truncate(log.len() - 1);
            fs::write(paths::EVENT_LOG, &log).doing("cut the log")?;
            wait::until_true("a void verdict", PATIENCE, || {
                !Path::new(paths::VERDICT).exists()
            })?;
            let told = node.agent_log();
            let drift = told
                .lines()
                .find(|line| line.contains("drift, verdict void"));
            assert!(
                drift.is_some_and(|line| line.contains("event-log-mismatch")),
                "{told}"
            );
            node.until_refused("refused [vector-contraindicated]")?;
            node.finish()
        })
    }

    #[test]
    fn a_run_is_approved_by_its_files_and_pcr_10_may_go_on() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let mut node = host(world)?;
            node.set(
                "20-pcrs",
                "[agent]\npcrs = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14]\n",
            )?;
            boots(&mut node, Boot::Golden)?;
            Boot::Golden.run(&node.tpm, 400)?;
            // The agent may open what was there when it started.
            node.stop_agent()?;
            node.start_agent()?;
            approve_files(&node, |_path| true)?;
            node.attest()?;
            let vector = verdict(&node)?;
            assert_eq!(vector["executables"], 2, "{vector}");
            node.starts()?;

            // The same by the command, and a directory less.
            let mut capture = vec!["reference", "capture", "--name", "golden", "--events"];
            capture.extend([
                "--files",
                "--exclude",
                "/usr/lib/",
                "--out",
                CAPTURED,
                "--force",
            ]);
            let told = node.portcullis(&capture)?.success()?;
            assert!(told.contains("by files"), "{told}");
            sign(&node)?;
            node.attest()?;
            assert_eq!(verdict(&node)?["executables"], 2);
            approve_files(&node, |_path| true)?;
            node.attest()?;

            // Programs run on, which moves PCR 10: not by itself a reason to refuse.
            let list = Boot::Golden.ima_list()?;
            let list = ImaList::parse(&list).doing("read the list")?;
            for entry in list.entries().iter().skip(400) {
                let digest = entry
                    .digest(HashAlg::Sha256)
                    .and_then(|one| one.try_into().ok());
                let digest = digest.ok_or_else(|| Failure::new("no SHA-256"))?;
                node.tpm.extend(10, digest).doing("extend PCR 10")?;
            }
            node.starts()?;
            node.attest()?;

            approve_files(&node, |path| path != "/usr/lib/systemd/systemd")?;
            let attested = attestation(&node)?;
            let unknown = findings(&attested, "ima-file-unknown");
            let subject = unknown.first().and_then(|one| one["subject"].as_str());
            let expected = "file '/usr/lib/systemd/systemd', entry 2 of the IMA list";
            assert_eq!(subject, Some(expected), "{attested}");
            assert_eq!(node.refuses(&[])?.code, "vector-contraindicated");

            // Something that the list does not tell of.
            approve_files(&node, |_path| true)?;
            node.attest()?;
            node.tpm.extend(10, [7; 32]).doing("extend PCR 10")?;
            let attested = attestation(&node)?;
            assert_eq!(
                findings(&attested, "ima-list-mismatch").len(),
                1,
                "{attested}"
            );
            node.finish()
        })
    }
}
