//! Every way in which a launch is refused: the line that reaches the client, the status code, the
//! record in the ledger, that nothing is left of it, and that the next container starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use portcullis_tests::containerd::NAMESPACE;
use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::refusal::Refusal;
use portcullis_tests::shim_tasks::BUNDLES;
use portcullis_tests::swtpm::PowerCycle;
use portcullis_tests::wait::PATIENCE;
use portcullis_tests::world::{Census, World};
use portcullis_tests::{image, in_world, needs};

/// Drop-in of these tests.
const SETTINGS: &str = "50-test";
/// The administrator's file.
const CONFIG: &str = "/etc/portcullis/portcullis.toml";

/// Tries to run a container with `options` and expects `expected` (`refused [code]`), the status
/// code that goes with it, and no trace of the attempt.
fn refused(node: &Node, options: &[&str], expected: &str) -> Outcome<Refusal> {
    refused_image(node, image::BUSYBOX, options, expected)
}

fn refused_image(node: &Node, image: &str, options: &[&str], expected: &str) -> Outcome<Refusal> {
    let before = Census::take();
    let refusal = node.refuses_image(image, options)?;
    assert_eq!(refusal.short(), expected, "{refusal}");
    let status = match refusal.kind.as_str() {
        "refused" => "failed precondition",
        "undecided" => "unavailable",
        _ => refusal.status.as_str(),
    };
    // The `ctr` of containerd 2 does not print it; there the suites that speak gRPC look at it.
    let hidden = refusal.status.is_empty() && node.containerd.generation()? >= 2;
    assert!(
        hidden || refusal.status.starts_with(status),
        "{refusal}: {}",
        refusal.status
    );
    before.until_clean(PATIENCE)?;
    let bundles = Path::new(BUNDLES).join(NAMESPACE);
    let left = fs::read_dir(&bundles).map_or(0, Iterator::count);
    assert_eq!(left, 0, "bundles in {}", bundles.display());
    Ok(refusal)
}

/// The record of `refusal`, which the ledger must have.
fn explained(node: &Node, refusal: &Refusal) -> Outcome {
    let explained = node.portcullis(&["explain", &refusal.reference, "--output", "json"])?;
    let text = explained.success()?;
    assert!(text.contains(&refusal.code), "{text}");
    Ok(())
}

/// A case on a node of its own, on which a container must start at the end.
fn on_a_node(world: &World, case: impl FnOnce(&mut Node) -> Outcome) -> Outcome {
    let mut node = Node::provision(world)?;
    case(&mut node)?;
    node.starts()?;
    node.finish()
}

mod needs_containerd {
    use super::*;

    macro_rules! on_a_node {
        ($($(#[$attribute:meta])* fn $name:ident($node:ident) $body:block)+) => {
            $(
                $(#[$attribute])*
                #[test]
                fn $name() -> Outcome {
                    needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
                    in_world!(|world| {
                        on_a_node(world, |$node: &mut Node| -> Outcome {
                            $body
                            Ok(())
                        })
                    })
                }
            )+
        };
    }

    on_a_node! {
        fn a_trusted_host_starts_a_container_and_records_it(node) {
            let printed = node.run("one", &[], &["echo", "hello"])?.success()?;
            assert_eq!(printed, "hello\n");
        }

        fn refuses_when_a_pcr_was_extended(node) {
            node.tpm.extend(7, [1; 32]).doing("extend PCR 7")?;
            let refusal = refused(node, &[], "refused [pcr-drift]")?;
            assert!(refusal.line.contains("PCR 7 (sha256)"), "{refusal}");
            explained(node, &refusal)?;
            // Attesting does not help: the state is not an approved one.
            assert!(!node.portcullis(&["attest"])?.status.success());
            refused(node, &[], "refused [verdict-withheld]")?;
            // Nor does a reboot into the approved state: an operator has to look at it first.
            node.tpm.power_cycle(PowerCycle::Reset).doing("restart the TPM")?;
            assert!(!node.portcullis(&["attest"])?.status.success());
            let refusal = refused(node, &[], "refused [verdict-latched]")?;
            assert!(refusal.line.contains("[pcr-mismatch] PCR 7 (sha256)"), "{refusal}");
            let clear = ["attest", "--clear-failure", "INC-7, looked into"];
            node.portcullis(&clear)?.success()?;
        }

        fn refuses_after_a_reboot_until_attested(node) {
            for cycle in [PowerCycle::Reset, PowerCycle::UncleanReset] {
                node.tpm.power_cycle(cycle).doing("restart the TPM")?;
                refused(node, &[], "refused [host-rebooted]")?;
                node.attest()?;
                node.starts()?;
            }
        }

        fn refuses_after_a_resume_until_attested(node) {
            node.tpm.power_cycle(PowerCycle::Resume).doing("resume the TPM")?;
            refused(node, &[], "refused [host-resumed]")?;
            node.attest()?;
        }

        fn refuses_when_the_tag_does_not_meet_the_requirement(node) {
            for (settings, code) in [
                ("[asset_tag]\nrequire = \"country in (FR, IT)\"\n", "asset-tag-mismatch"),
                ("[asset_tag]\nrequire = \"!pool\"\n", "asset-tag-mismatch"),
                ("[[namespace]]\nname = \"def*\"\nrequire_tags = \"pool=pci\"\n", "asset-tag-mismatch"),
                ("[asset_tag]\nrequire = \"country in (\"\n", "tag-requirement-malformed"),
            ] {
                node.set(SETTINGS, settings)?;
                let refusal = node.refuses(&[])?;
                assert_eq!(refusal.code, code, "{settings}: {refusal}");
            }
            node.set(SETTINGS, "[[namespace]]\nname = \"other\"\nrequire_tags = \"pool=pci\"\n")?;
        }

        fn refuses_a_verdict_by_a_foreign_key(node) {
            node.pin_foreign_key()?;
            let refusal = refused(node, &[], "refused [verdict-signature-invalid]")?;
            explained(node, &refusal)?;
            node.pin_own_key()?;
        }

        fn is_undecided_when_the_verdict_is_too_old(node) {
            node.let_verdict_expire(SETTINGS)?;
            refused(node, &[], "undecided [verdict-expired]")?;
            node.unset(SETTINGS)?;
            node.attest()?;
        }

        fn is_undecided_when_the_agent_is_away(node) {
            node.stop_agent()?;
            refused(node, &[], "undecided [agent-unreachable]")?;
            node.start_agent()?;
            node.attest()?;
        }

        fn is_undecided_when_the_agent_does_not_answer(node) {
            let agent = node.agent().expect("a running agent");
            agent.signal(Signal::SIGSTOP)?;
            let refusal = refused(node, &[], "undecided [agent-unreachable]");
            agent.signal(Signal::SIGCONT)?;
            refusal?;
        }

        fn is_undecided_when_the_tpm_does_not_answer(node) {
            node.tpm.freeze().doing("freeze the TPM")?;
            let refusal = node.refuses(&[]);
            node.tpm.thaw().doing("thaw the TPM")?;
            assert_eq!(refusal?.short(), "undecided [tpm-timeout]");
            node.attest()?;
        }

        fn is_undecided_when_the_tpm_is_gone(node) {
            node.tpm.kill().doing("kill the TPM")?;
            let refusal = node.refuses(&[])?;
            assert_eq!(refusal.short(), "undecided [tpm-unreachable]");
            node.tpm.start_again().doing("start the TPM again")?;
            node.attest()?;
        }

        fn a_launch_without_a_record_does_not_happen(node) {
            let filler = "/var/lib/portcullis/filler";
            let full = std::process::Command::new("sh")
                .args(["-c", &format!("cat /dev/zero > {filler}")])
                .stderr(std::process::Stdio::null())
                .status()
                .doing("fill the disk")?;
            assert!(!full.success());
            let refusal = refused(node, &[], "undecided [record-failed]");
            fs::remove_file(filler).doing("free the disk")?;
            refusal?;
        }

        fn faults_in_the_settings_stop_everything(node) {
            for (settings, code) in [
                ("enforce = true\n", "config-key-unknown"),
                ("mode = \"maybe\"\n", "config-malformed"),
                ("mode = \n", "config-malformed"),
                ("[attestation]\nmax_verdict_age = \"1s\"\n", "config-mismatch"),
            ] {
                node.set(SETTINGS, settings)?;
                let refusal = refused(node, &[], &format!("fault [{code}]"))?;
                assert!(refusal.line.contains(".toml"), "{refusal}");
            }
            node.unset(SETTINGS)?;
            let mode = |mode| fs::set_permissions(CONFIG, fs::Permissions::from_mode(mode));
            mode(0o666).doing("open the settings to all")?;
            refused(node, &[], "fault [config-untrusted]")?;
            mode(0o644).doing("close the settings")?;
            let aside = format!("{CONFIG}.aside");
            fs::rename(CONFIG, &aside).doing("take the settings away")?;
            refused(node, &[], "fault [config-missing]")?;
            fs::rename(&aside, CONFIG).doing("put the settings back")?;
        }

        fn refuses_what_nobody_should_ask_for(node) {
            fs::create_dir_all("/srv/host").doing("make a folder to mount")?;
            for (options, code) in [
                (&["--privileged"][..], "privileged-denied"),
                (&["--cap-add", "CAP_SYS_ADMIN"], "capability-excess"),
                (&["--net-host"], "host-namespace-denied"),
                (&["--with-ns", "pid:/proc/1/ns/pid"], "host-namespace-denied"),
                (&["--mount", "type=bind,src=/srv/host,dst=/host,options=rbind:rw"], "mount-denied"),
                (&["--device", "/dev/fuse"], "device-denied"),
                (&["--annotation", "run.oci.keep_original_groups=1"], "annotation-denied"),
                (&["--cwd", "/proc/self/fd/7"], "working-directory-denied"),
            ] {
                let refusal = refused(node, options, &format!("refused [{code}]"))?;
                explained(node, &refusal)?;
            }
        }

        fn refuses_uid_0(node) {
            let refusal = refused_image(node, image::BUSYBOX_ROOT, &[], "refused [root-user-denied]")?;
            explained(node, &refusal)?;
        }

        fn refuses_a_restore_from_a_checkpoint(node) {
            let before = Census::take();
            let refusal = node.refuses_restore()?;
            assert_eq!(refusal.short(), "refused [restore-denied]");
            before.until_clean(PATIENCE)?;
        }

        fn audit_mode_starts_and_records_what_it_would_refuse(node) {
            node.set(SETTINGS, "mode = \"audit\"\n[asset_tag]\nrequire = \"country=FR\"\n")?;
            node.starts()?;
            let ledger = fs::read_to_string("/var/lib/portcullis/ledger.jsonl").doing("read the ledger")?;
            let last = ledger.lines().last().unwrap_or_default();
            assert!(last.contains("would-refuse") && last.contains("asset-tag-mismatch"), "{last}");
            node.unset(SETTINGS)?;
        }

        fn no_secret_reaches_a_log_or_the_ledger(node) {
            let options = ["--env", "PASSWORD=hunter2-in-the-environment"];
            node.run("one", &options, &["true", "hunter2-in-an-argument"])?.success()?;
            node.run("two", &["--privileged", "--env", "PASSWORD=hunter2"], &["true"])?.refusal()?;
            node.forget("two")?;
            let ledger = fs::read_to_string("/var/lib/portcullis/ledger.jsonl").doing("read the ledger")?;
            assert!(ledger.lines().count() >= 2);
            for text in [ledger, node.containerd.log()] {
                assert!(!text.contains("hunter2"), "{text}");
            }
        }
    }
}
