//! Signed policy bundles on a node: they win, they end, and an older one does not come back.

use std::fs;
use std::path::Path;

use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::signed::{self, POLICY};
use portcullis_tests::{image, in_world, needs};

/// What relying parties remember.
const MEMORY: &str = "/var/lib/portcullis-gate/policy";
/// Settings of these tests.
const SETTINGS: &str = "50-test";
/// What the bundles of these tests allow or not, so that one is told from another by its effect.
const AUDITED: &str = "[rules]\nnon-root = \"audit\"\n";
const ENFORCED: &str = "[rules]\nnon-root = \"enforce\"\n";

/// Runs a container as uid 0.
fn runs_as_root(node: &Node) -> Outcome<bool> {
    let ran = node.containerd.run_ctr(&[
        "run",
        "--rm",
        "--runtime",
        portcullis_tests::containerd::PORTCULLIS,
        image::BUSYBOX_ROOT,
        "probe",
        "true",
    ])?;
    node.forget("probe")?;
    Ok(ran.status.success())
}

/// The whole refusal in short.
fn refused(node: &Node) -> Outcome<String> {
    Ok(node.refuses(&[])?.short())
}

mod needs_containerd {
    use super::*;

    #[test]
    fn what_is_signed_wins_and_is_named_in_each_record() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            signed::pin_key(&node)?;
            node.starts()?;
            assert_eq!(signed::last_record(&node, "create")?.get("policy"), None);
            assert!(!Path::new(MEMORY).exists(), "nothing to remember");
            node.set(SETTINGS, ENFORCED)?;
            assert!(!runs_as_root(&node)?);

            let file = signed::policy(&node, "fleet", AUDITED, &["--seq", "7"])?;
            assert!(runs_as_root(&node)?, "signed wins over the drop-in");
            let record = signed::last_record(&node, "create")?;
            assert_eq!(record["policy"]["name"], "policy");
            assert_eq!(record["policy"]["sequence"], 7);
            let shown = node.portcullis(&["policy", "show", &file, "--output", "json"])?;
            let shown: serde_json::Value =
                serde_json::from_str(&shown.success()?).doing("read the answer")?;
            assert_eq!(record["policy"]["sha256"], shown["sha256"]);
            let difference = &shown["differences"][0];
            assert_eq!(difference["key"], "rules.non-root");
            assert_eq!(difference["own"], "'enforce'");
            assert_eq!(difference["signed"], "'audit'");
            let status = signed::status(&node)?;
            assert_eq!(status["signed"]["bundle"]["sequence"], 7);
            assert_eq!(status["signed"]["bundle"]["term"], "valid");
            let told = node.portcullis(&["status"])?.success()?;
            assert!(told.contains("policy number 7, until"), "{told}");

            // A profile of its own.
            let profile = "/run/operator/restricted.toml";
            let text = fs::read_to_string(portcullis_tests::programs::shipped(
                "config/profiles/restricted.toml",
            ))
            .doing("read a profile")?;
            fs::write(profile, text).doing("write a profile")?;
            let more = ["--seq", "8", "--profile", profile];
            signed::policy(&node, "fleet", AUDITED, &more)?;
            node.starts()?;
            // Signed is only what a node would take.
            let wrong = signed::policy(&node, "wrong", "node_name = \"w8\"\n", &["--seq", "9"]);
            assert!(wrong.unwrap_err().to_string().contains("policy-malformed"));
            node.finish()
        })
    }

    #[test]
    fn an_older_bundle_does_not_come_back() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            signed::pin_key(&node)?;
            let file = signed::policy(&node, "fleet", AUDITED, &["--seq", "1"])?;
            let old = fs::read(&file).doing("read the old bundle")?;
            assert!(runs_as_root(&node)?);
            // Put there and not used yet, the old one may still come back.
            signed::policy(&node, "fleet", ENFORCED, &["--seq", "2"])?;
            fs::write(&file, &old).doing("put the old bundle back")?;
            assert!(runs_as_root(&node)?);
            signed::policy(&node, "fleet", ENFORCED, &["--seq", "2"])?;
            assert!(!runs_as_root(&node)?);
            node.starts()?;

            fs::write(&file, &old).doing("put the old bundle back")?;
            assert_eq!(refused(&node)?, "fault [policy-rolled-back]");
            let status = signed::status(&node)?;
            let fault = status["signed"]["fault"].as_str().unwrap_or_default();
            assert!(fault.contains("policy-rolled-back"), "{status}");
            // A twin of the newest one is none.
            signed::policy(&node, "fleet", AUDITED, &["--seq", "2"])?;
            assert_eq!(refused(&node)?, "fault [policy-rolled-back]");
            // What is remembered outlives a boot: it is on a disk.
            node.reboot_and_attest()?;
            assert_eq!(refused(&node)?, "fault [policy-rolled-back]");
            signed::policy(&node, "fleet", AUDITED, &["--seq", "3"])?;
            assert!(runs_as_root(&node)?);
            // A memory that nobody can read is not taken for none.
            fs::write(MEMORY, "x").doing("damage the memory")?;
            assert_eq!(refused(&node)?, "fault [host-unreadable]");
            node.finish()
        })
    }

    #[test]
    fn a_bundle_that_cannot_be_verified_or_is_over_stops_everything() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            signed::pin_key(&node)?;
            node.set(SETTINGS, "[policy]\nsigned = \"required\"\n")?;
            assert_eq!(refused(&node)?, "fault [policy-missing]");
            let file = signed::policy(&node, "fleet", "", &["--seq", "1"])?;
            node.starts()?;
            // Audit mode is no way round.
            let good = fs::read_to_string(&file).doing("read the bundle")?;
            node.set(SETTINGS, "mode = \"audit\"\n")?;
            let bad = format!("{POLICY}/bad.jws");
            for (token, code) in [
                (format!("x{good}"), "policy-malformed"),
                (good.replace('.', "A."), "policy-malformed"),
            ] {
                fs::write(&bad, token).doing("write a bundle")?;
                assert_eq!(refused(&node)?, format!("fault [{code}]"));
            }
            // Signed by somebody else.
            fs::remove_file("/etc/portcullis/trust.d/policy.jwk").doing("unpin the key")?;
            fs::remove_file(&bad).doing("remove a bundle")?;
            assert_eq!(refused(&node)?, "fault [policy-signature-invalid]");
            fs::copy(
                "/run/operator/keys/policy.jwk",
                "/etc/portcullis/trust.d/policy.jwk",
            )
            .doing("pin the key again")?;
            node.starts()?;

            let short = ["--seq", "2", "--valid", "1s"];
            let file = signed::policy(&node, "fleet", "", &short)?;
            signed::until_over(&node, "policy", &file)?;
            let before = node.containerd.log().len();
            node.starts()?;
            let log = node.containerd.log();
            let warning = "policy bundle 'policy' number 2 is past its end";
            assert!(log.split_at(before).1.contains(warning), "{log}");
            let status = signed::status(&node)?;
            assert_eq!(status["signed"]["bundle"]["term"], "grace");
            node.set(SETTINGS, "policy.grace = \"0s\"\n")?;
            assert_eq!(refused(&node)?, "fault [policy-expired]");
            signed::policy(&node, "fleet", "", &["--seq", "3"])?;
            node.starts()?;
            node.finish()
        })
    }
}
