//! An update of reference values on a node: old and new together, the old withdrawn for good, and
//! documents that need two signatures.

use std::fs;
use std::path::Path;

use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::node::{BOOT_STATE, Node};
use portcullis_tests::{in_world, needs};
use serde_json::Value;

/// Signed reference values of the node.
const REFERENCE: &str = "/etc/portcullis/reference.d";
/// The operator's keys.
const KEYS: &str = "/run/operator/keys";
/// Pinned keys.
const TRUST: &str = "/etc/portcullis/trust.d";
/// Settings of these tests.
const SETTINGS: &str = "50-test";

/// Attests, and gives the codes of what was found wrong.
fn findings(node: &Node) -> Outcome<Vec<String>> {
    let ran = node.portcullis(&["attest", "--output", "json"])?;
    let answer: Value = serde_json::from_str(&ran.stdout).doing("read the answer")?;
    let findings = answer["findings"].as_array().cloned().unwrap_or_default();
    Ok(findings
        .iter()
        .map(|finding| finding["code"].as_str().unwrap_or_default().to_owned())
        .collect())
}

fn contains(codes: &[String], code: &str) -> bool {
    codes.iter().any(|found| found == code)
}

/// The next document after that of provisioning, with `more` said about it.
fn add(node: &Node, more: &[&str], out: &str) -> Outcome {
    let (to, key) = (
        format!("{REFERENCE}/{BOOT_STATE}.jws"),
        format!("{KEYS}/reference.pem"),
    );
    let mut arguments = vec!["reference", "add", "--to", &to, "--key", &key, "-o", out];
    arguments.extend(more);
    node.portcullis(&arguments)?.success().map(drop)
}

mod needs_swtpm {
    use super::*;

    #[test]
    fn a_withdrawn_document_does_not_come_back() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let mut node = Node::provision(world)?;
            let approved = format!("{REFERENCE}/{BOOT_STATE}.jws");
            let next = format!("{REFERENCE}/next.jws");
            let old = fs::read(&approved).doing("read the old document")?;

            // The window of an update: both count.
            add(&node, &["--withdraw"], "/run/operator/next.jws")?;
            let plan = ["reference", "what-if", "--add", "/run/operator/next.jws"];
            node.portcullis(&plan)?.success()?;
            fs::copy("/run/operator/next.jws", &next).doing("roll out")?;
            assert!(contains(&findings(&node)?, "reference-values-withdrawn"));
            fs::remove_file(&approved).doing("remove the old document")?;
            assert_eq!(findings(&node)?, [] as [String; 0]);
            node.starts()?;

            // Whoever puts the old one back in place of the new gets nothing by it.
            fs::remove_file(&next).doing("remove the new document")?;
            fs::write(&approved, &old).doing("put the old document back")?;
            let found = findings(&node)?;
            assert!(contains(&found, "reference-values-withdrawn"), "{found:?}");
            assert!(contains(&found, "reference-values-missing"), "{found:?}");
            node.refuses(&[])?;
            // Nor does a new run of the agent forget.
            node.stop_agent()?;
            node.start_agent()?;
            assert!(contains(&findings(&node)?, "reference-values-withdrawn"));
            node.refuses(&[])?;
            node.finish()
        })
    }

    #[test]
    fn what_if_says_which_launches_would_stop() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let other = "/run/operator/other.json";
            let mut capture: Value = serde_json::from_str(
                &fs::read_to_string("/run/operator/captured.json").doing("read the capture")?,
            )
            .doing("parse the capture")?;
            capture["boot_states"][0]["name"] = "other".into();
            capture["boot_states"][0]["pcrs"]["sha256"]["0"] = "11".repeat(32).into();
            fs::write(other, capture.to_string()).doing("write a capture")?;
            let key = format!("{KEYS}/reference.pem");
            let sign = ["reference", "sign", "--key", &key, "-i", other];
            let mut sign = sign.to_vec();
            sign.extend(["-o", "/run/operator/other.jws"]);
            node.portcullis(&sign)?.success()?;

            let dropped = format!("{BOOT_STATE}.jws");
            let plan = ["reference", "what-if", "--add", "/run/operator/other.jws"];
            node.portcullis(&plan)?.success()?;
            let mut plan = plan.to_vec();
            plan.extend(["--drop", &dropped, "--output", "json"]);
            let ran = node.portcullis(&plan)?;
            assert_eq!(ran.status.code(), Some(1), "{}", ran.stdout);
            let said: Value = serde_json::from_str(&ran.stdout).doing("read the answer")?;
            let host = &said["hosts"][0];
            assert_eq!(host["before"]["status"], "affirming");
            assert_eq!(host["after"]["status"], "contraindicated");
            assert_eq!(host["launches_stop"], true);
            assert!(
                host["after"]["findings"]
                    .to_string()
                    .contains("pcr-mismatch")
            );
            // It was a question: nothing has changed.
            node.attest()?;
            node.starts()?;
            node.finish()
        })
    }

    #[test]
    fn two_signers_must_agree_where_the_node_asks_for_two() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let mut node = Node::provision(world)?;
            node.set(SETTINGS, "[agent]\nreference_signatures = 2\n")?;
            node.stop_agent()?;
            node.start_agent()?;
            assert!(contains(&findings(&node)?, "reference-values-undersigned"));
            node.refuses(&[])?;

            let generate = ["keys", "generate", "--use", "reference", "--name", "second"];
            let mut generate = generate.to_vec();
            generate.extend(["--out", KEYS]);
            node.portcullis(&generate)?.success()?;
            fs::copy(format!("{KEYS}/second.jwk"), format!("{TRUST}/second.jwk"))
                .doing("pin the second key")?;
            let (key, document, out) = (
                format!("{KEYS}/second.pem"),
                format!("{REFERENCE}/{BOOT_STATE}.jws"),
                format!("{REFERENCE}/{BOOT_STATE}.second.jws"),
            );
            let cosign = [
                "reference",
                "cosign",
                "--key",
                &key,
                "-i",
                &document,
                "-o",
                &out,
            ];
            node.portcullis(&cosign)?.success()?;
            assert!(Path::new(&out).exists());
            assert_eq!(findings(&node)?, [] as [String; 0]);
            node.starts()?;
            node.finish()
        })
    }
}
