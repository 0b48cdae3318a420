//! Break-glass tokens on a node: one start for one pod, and nothing else.

use std::fs;
use std::path::Path;
use std::thread;

use portcullis_tests::cri::message::{
    Capability, ContainerConfig, ContainerSecurityContext, LinuxContainerConfig,
};
use portcullis_tests::cri::{self, Cri, Pod, expected};
use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::refusal::Refusal;
use portcullis_tests::signed::{self, BREAK_GLASS};
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::{image, in_world, needs};
use serde_json::Value;

/// Our runtime handler.
const HANDLER: &str = "portcullis";
/// Settings of these tests.
const SETTINGS: &str = "50-test";
const ALLOWED: &str = "[break_glass]\nallow = true\n";
/// A token for the pod `web` that waives capabilities.
const FOR_WEB: [&str; 6] = [
    "--namespace",
    "shop",
    "--pod",
    "web",
    "--rule",
    "capabilities",
];
/// A token for the container `probe` of `ctr`.
const FOR_PROBE: [&str; 6] = [
    "--namespace",
    "default",
    "--container",
    "probe",
    "--rule",
    "non-root",
];

/// A token for `probe`, with more said about it.
fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&FOR_PROBE[..], more].concat()
}

/// Waits, and asks for what the profile does not give.
fn asking(name: &str) -> ContainerConfig {
    let mut config = cri::container(name, &["/bin/sleep", "600"]);
    let add = Capability {
        add_capabilities: vec!["SYS_ADMIN".to_owned()],
        ..Capability::default()
    };
    config.linux = Some(LinuxContainerConfig {
        security_context: Some(ContainerSecurityContext {
            capabilities: Some(add),
            ..ContainerSecurityContext::default()
        }),
        ..LinuxContainerConfig::default()
    });
    config
}

fn run_pod(cri: &Cri<'_>, name: &str) -> Outcome<Pod> {
    expected(cri.run_pod(cri::pod("shop", name), HANDLER)?)
}

/// The refusal of a container of `pod`.
fn refused(cri: &Cri<'_>, pod: &Pod, name: &str) -> Outcome<Refusal> {
    let id = expected(cri.create(pod, asking(name))?)?;
    let answer = cri.start(&id)?;
    // It keeps its name, started or not.
    cri.remove(&id)?;
    Refusal::find(&answer.unwrap_err().message)
}

/// The record about the newest launch, its decision checked.
fn record(node: &Node, decision: &str) -> Outcome<Value> {
    let record = signed::last_record(node, "create")?;
    assert_eq!(record["decision"], decision, "{record}");
    Ok(record)
}

/// States of the tokens on the node.
fn states(node: &Node) -> Outcome<Vec<String>> {
    let said = node.portcullis(&["break-glass", "list", "--output", "json"])?;
    let said: Value = serde_json::from_str(&said.success()?).doing("read the list")?;
    let tokens = said["tokens"].as_array().cloned().unwrap_or_default();
    let state = |token: &Value| token["state"].as_str().unwrap_or_default().to_owned();
    Ok(tokens.iter().map(state).collect())
}

mod needs_containerd {
    use super::*;

    #[test]
    fn a_token_starts_the_containers_of_one_pod_once() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            signed::pin_key(&node)?;
            let cri = node.containerd.cri();
            let pod = run_pod(&cri, "web")?;
            let plain = refused(&cri, &pod, "app")?;
            assert_eq!(plain.short(), "refused [capability-excess]");
            assert!(!plain.line.contains("break-glass"), "{plain:?}");

            // Off by default, and whoever put the token there is told.
            let id = signed::token(&node, "web", &FOR_WEB)?;
            let line = refused(&cri, &pod, "app")?.line;
            assert!(line.contains("refused [capability-excess]"), "{line}");
            assert!(line.contains(&format!("token {}", &id[..8])), "{line}");
            let refusals = record(&node, "refused")?["refusals"].clone();
            assert_eq!(refusals[1]["code"], "break-glass-unusable", "{refusals}");
            assert_eq!(states(&node)?, ["disallowed"]);

            node.set(SETTINGS, ALLOWED)?;
            assert_eq!(states(&node)?, ["open"]);
            // Who needs none uses none.
            let fine = cri::container("fine", &["/bin/sleep", "600"]);
            expected(cri.launch(&pod, fine)?)?;
            record(&node, "permitted")?;
            assert_eq!(states(&node)?, ["open"]);

            let app = expected(cri.launch(&pod, asking("app"))?)?;
            let granted = record(&node, "break-glass")?;
            let used = &granted["break_glass"][0];
            assert_eq!(used["jti"], id.as_str());
            assert_eq!(used["ticket"], "INC-7");
            assert_eq!(used["rules"][0], "capabilities");
            assert_eq!(used["host_trust"], false);
            let audited = &granted["audited"]["refusals"][0];
            assert_eq!(audited["code"], "capability-excess");
            // An exec stays under what the container was created under, and takes no token.
            let said = expected(cri.exec(&app, &["/bin/true"])?)?;
            assert_eq!(said.exit_code, 0);
            let exec = signed::last_record(&node, "exec")?;
            assert_eq!(exec["decision"], "permitted", "{exec}");
            // Everything else stays enforced.
            let status = expected(cri.exec(&app, &["/bin/sh", "-c", "touch /x"])?)?;
            assert_ne!(status.exit_code, 0, "the root filesystem is read-only");
            // Another container of the same pod, once.
            expected(cri.launch(&pod, asking("second"))?)?;
            cri.remove(&app)?;
            let line = refused(&cri, &pod, "app")?.line;
            assert!(line.contains("refused [capability-excess]"), "{line}");
            assert_eq!(states(&node)?, ["used"]);

            // The pod made anew is another sandbox.
            cri.remove_pod(&pod)?;
            let pod = run_pod(&cri, "web")?;
            let again = refused(&cri, &pod, "app")?;
            assert_eq!(again.short(), "refused [capability-excess]");
            let refusals = record(&node, "refused")?["refusals"].clone();
            let found = refusals[1]["found"].as_str().unwrap_or_default();
            assert!(found.contains("used by pod sandbox"), "{refusals}");
            // Another pod in any case.
            let other = run_pod(&cri, "db")?;
            signed::token(&node, "next", &FOR_WEB)?;
            let foreign = refused(&cri, &other, "app")?;
            assert!(!foreign.line.contains("break-glass"), "{foreign:?}");
            let refusals = record(&node, "refused")?["refusals"].clone();
            assert_eq!(refusals[1]["expected"], "pod 'web'");
            // Not even a reboot gives a used one back.
            node.reboot_and_attest()?;
            fs::remove_file(format!("{BREAK_GLASS}/next.jws")).doing("remove a token")?;
            assert_eq!(
                refused(&cri, &pod, "app")?.short(),
                "refused [capability-excess]"
            );
            // Shown once a second.
            wait::until_true("the count of launches by tokens", PATIENCE, || {
                fs::read_to_string("/run/portcullis/metrics.prom")
                    .is_ok_and(|it| it.contains("portcullis_break_glass_launches_total 2"))
            })?;
            let log = node.agent_log();
            assert!(
                log.contains("a container starts by a break-glass token"),
                "{log}"
            );
            let told = node.portcullis(&["status"])?.stdout;
            assert!(told.contains("break-glass") && told.contains(&id), "{told}");
            for pod in [pod, other] {
                cri.remove_pod(&pod)?;
            }
            node.finish()
        })
    }

    #[test]
    fn of_a_crowd_with_one_token_one_starts() -> Outcome {
        const CROWD: usize = 20;
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            signed::pin_key(&node)?;
            node.set(
                SETTINGS,
                &format!("{ALLOWED}[attestation]\nsnapshot_deadline = \"30s\"\n"),
            )?;
            // Twenty pods of one name, as twenty attempts of one kubelet would be.
            let cri = node.containerd.cri();
            let pods = (0..CROWD)
                .map(|number| {
                    let mut config = cri::pod("shop", "web");
                    if let Some(metadata) = &mut config.metadata {
                        metadata.uid = format!("uid-{number}");
                        metadata.attempt = u32::try_from(number).unwrap_or_default();
                    }
                    expected(cri.run_pod(config, HANDLER)?)
                })
                .collect::<Outcome<Vec<Pod>>>()?;
            let id = signed::token(&node, "web", &FOR_WEB)?;
            let answers: Vec<Outcome<bool>> = thread::scope(|scope| {
                let starts: Vec<_> = pods
                    .iter()
                    .map(|pod| {
                        scope.spawn(|| {
                            let cri = node.containerd.cri();
                            match cri.launch(pod, asking("app"))? {
                                Ok(_) => Ok(true),
                                Err(status) => {
                                    let refusal = Refusal::find(&status.message)?;
                                    assert_eq!(refusal.short(), "refused [capability-excess]");
                                    Ok(false)
                                }
                            }
                        })
                    })
                    .collect();
                starts.into_iter().map(|it| it.join().unwrap()).collect()
            });
            let answers = answers.into_iter().collect::<Outcome<Vec<bool>>>()?;
            assert_eq!(
                answers.iter().filter(|has_started| **has_started).count(),
                1
            );
            let listed = node.portcullis(&["ledger", "list", "--outcome", "break-glass"])?;
            assert_eq!(listed.success()?.matches("break-glass").count(), 1);
            assert_eq!(states(&node)?, ["used"]);
            assert_eq!(id.len(), 32);
            for pod in pods {
                cri.remove_pod(&pod)?;
            }
            node.finish()
        })
    }

    #[test]
    fn host_trust_is_waived_apart_and_nothing_else_with_it() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let mut node = Node::provision(world)?;
            signed::pin_key(&node)?;
            node.set(SETTINGS, ALLOWED)?;
            // What nobody approved was measured.
            node.tpm.extend(9, [7; 32]).doing("extend a PCR")?;
            let plain = node.refuses(&[])?;
            assert_eq!(plain.code, "pcr-drift");
            // A token for rules never waives that.
            signed::token(&node, "rules", &FOR_PROBE)?;
            let line = node.refuses(&[])?.line;
            assert!(
                line.contains("[pcr-drift]") && line.contains("host_trust"),
                "{line}"
            );
            let trust = [
                "--namespace",
                "default",
                "--container",
                "probe",
                "--host-trust",
            ];
            let id = signed::token(&node, "trust", &trust)?;
            let line = node.refuses(&[])?.line;
            assert!(line.contains("allow_host_trust"), "{line}");

            node.set(SETTINGS, &format!("{ALLOWED}allow_host_trust = true\n"))?;
            // It waives no rule.
            fs::remove_file(format!("{BREAK_GLASS}/rules.jws")).doing("remove a token")?;
            let root = node.refuses_image(image::BUSYBOX_ROOT, &[])?;
            assert_eq!(root.code, "root-user-denied");
            assert_eq!(states(&node)?, ["open"], "a launch that fails uses none");
            // No record, no launch, and nothing used.
            node.stop_agent()?;
            assert_eq!(node.refuses(&[])?.short(), "undecided [agent-unreachable]");
            assert_eq!(states(&node)?, ["open"]);
            node.start_agent()?;

            node.start("probe", &[], &["sleep", "600"])?;
            let granted = record(&node, "break-glass")?;
            assert_eq!(granted["break_glass"][0]["jti"], id.as_str());
            assert_eq!(granted["break_glass"][0]["host_trust"], true);
            // The agent that was started again looked at the host anew.
            assert_eq!(granted["refusals"][0]["code"], "verdict-withheld");
            assert_eq!(granted["refusals"][1]["code"], "pcr-mismatch");
            // One start, and no exec: the host is what it is.
            let exec = ["task", "exec", "--exec-id", "more", "probe", "true"];
            let refused = Refusal::find(&node.containerd.run_ctr(&exec)?.refusal()?)?;
            assert_eq!(refused.code, "verdict-withheld");
            node.remove("probe")?;
            let again = node.refuses(&[])?;
            assert_eq!(again.code, "verdict-withheld");
            assert!(again.line.contains("used by container probe"), "{again:?}");

            // A quarantine holds even if it did not get as far as the TPM, and before the gate does.
            fs::remove_file(format!("{BREAK_GLASS}/trust.jws")).doing("remove a token")?;
            signed::token(&node, "next", &trust)?;
            node.stop_agent()?;
            let unheard = node.portcullis(&["quarantine", "--yes"])?;
            assert!(!unheard.status.success(), "{unheard:?}");
            node.start_agent()?;
            assert_eq!(node.refuses(&[])?.code, "verdict-withheld");
            assert_eq!(states(&node)?, ["open"], "it was not used");
            node.finish()
        })
    }

    #[test]
    fn tokens_that_are_over_foreign_or_unsigned_do_not_help_and_say_so() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            signed::pin_key(&node)?;
            node.set(SETTINGS, ALLOWED)?;
            let refused = || node.refuses_image(image::BUSYBOX_ROOT, &[]);
            let second_reason = || -> Outcome<String> {
                assert_eq!(refused()?.code, "root-user-denied");
                let refusals = record(&node, "refused")?["refusals"].clone();
                assert_eq!(refusals[1]["code"], "break-glass-unusable", "{refusals}");
                Ok(format!(
                    "{} {}",
                    refusals[1]["expected"], refusals[1]["found"]
                ))
            };
            signed::token(&node, "t", &with(&["--valid", "1s"]))?;
            signed::until_over(&node, "break-glass", &format!("{BREAK_GLASS}/t.jws"))?;
            assert!(refused()?.line.contains("expired"), "in the line");
            assert!(second_reason()?.contains("expired"));
            signed::token(&node, "t", &with(&["--valid", "5h"]))?;
            assert!(second_reason()?.contains("at most 14400 s"));
            signed::token(&node, "t", &with(&["--node", "w8"]))?;
            assert!(second_reason()?.contains("node 'w8'"));
            let image = format!("sha256:{}", "0".repeat(64));
            signed::token(&node, "t", &with(&["--image", &image]))?;
            assert!(second_reason()?.contains("image sha256:0000"));
            // A bundle is no token, and a token is no bundle.
            let bundle = signed::policy(&node, "fleet", "", &["--seq", "1"])?;
            let path = format!("{BREAK_GLASS}/t.jws");
            fs::rename(&bundle, &path).doing("misplace a bundle")?;
            assert!(second_reason()?.contains("portcullis-policy+jws"));
            fs::write(&path, "nonsense").doing("write a token")?;
            assert!(second_reason()?.contains("split token"));
            assert_eq!(states(&node)?, ["unverified"]);
            assert!(!Path::new("/var/lib/portcullis-gate/break-glass").exists());
            // The right one beside it starts it.
            signed::token(&node, "u", &with(&["--ueid", &node.ueid]))?;
            let ran = node.containerd.run_ctr(&[
                "run",
                "--rm",
                "--runtime",
                portcullis_tests::containerd::PORTCULLIS,
                image::BUSYBOX_ROOT,
                "probe",
                "true",
            ])?;
            ran.success()?;
            record(&node, "break-glass")?;
            assert!(refused()?.line.contains("used by container probe"));
            node.finish()
        })
    }
}
