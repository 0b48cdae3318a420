//! When in the life of a pod the gate decides: at each container, at the last moment before a
//! program runs, at each exec; and which settings hold when.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use portcullis_tests::containerd::NAMESPACE;
use portcullis_tests::cri::message::{
    ContainerConfig, ContainerSecurityContext, LinuxContainerConfig, NamespaceOption,
};
use portcullis_tests::cri::{self, Cri, expected};
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::process::{Confinement, SCRIPT};
use portcullis_tests::refusal::Refusal;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::Census;
use portcullis_tests::{in_world, needs};
use serde_json::Value;

/// Drop-in of these tests.
const SETTINGS: &str = "50-test";
/// Our runtime handler.
const HANDLER: &str = "portcullis";
/// The ledger of decisions.
const LEDGER: &str = "/var/lib/portcullis/ledger.jsonl";
/// A runtime that stops before it makes a container.
const HALTING: &str = "/usr/local/sbin/halting-runc";
/// Made by [`HALTING`] when it has stopped; it goes on when this is removed.
const HALTED: &str = "/run/halted";
/// A process namespace of the container's own, in CRI's words.
const OWN: i32 = 1;
/// The process namespace of another container.
const TARGET: i32 = 3;

/// The decisions of the ledger: what was asked, how it was answered, and of which container.
fn decisions() -> Outcome<Vec<[String; 3]>> {
    let text = fs::read_to_string(LEDGER).doing("read the ledger")?;
    let mut decisions = Vec::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).doing("read a record")?;
        let word = |pointer| {
            let value = record.pointer(pointer).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        decisions.push([word("/operation"), word("/decision"), word("/container/id")]);
    }
    Ok(decisions)
}

/// How often this was permitted for the container `id`.
fn permitted(operation: &str, id: &str) -> Outcome<usize> {
    let wanted = [operation, "permitted", id];
    Ok(decisions()?
        .iter()
        .filter(|found| **found == wanted)
        .count())
}

fn sleeper(name: &str) -> ContainerConfig {
    cri::container(name, &["/bin/sleep", "600"])
}

/// A sleeper whose process namespace is chosen.
fn sharing(name: &str, pid: i32, target: &str) -> ContainerConfig {
    let namespace_options = Some(NamespaceOption {
        pid,
        target_id: target.to_owned(),
        ..NamespaceOption::default()
    });
    let security_context = Some(ContainerSecurityContext {
        namespace_options,
        ..ContainerSecurityContext::default()
    });
    let mut config = sleeper(name);
    config.linux = Some(LinuxContainerConfig {
        security_context,
        ..LinuxContainerConfig::default()
    });
    config
}

fn confinement(cri: &Cri<'_>, id: &str) -> Outcome<Confinement> {
    let said = expected(cri.exec(id, &["/bin/sh", "-c", SCRIPT])?)?;
    Confinement::parse(&String::from_utf8_lossy(&said.stdout))
}

/// Makes [`HALTING`] the node's OCI runtime.
fn halt_before_create(node: &Node) -> Outcome {
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in\n*' create '*)\n: > {HALTED}\n\
         while [ -e {HALTED} ]; do sleep 0.05; done;;\nesac\nexec runc \"$@\"\n"
    );
    fs::create_dir_all("/usr/local/sbin").doing("make a folder")?;
    fs::write(HALTING, script).doing("write a runtime")?;
    fs::set_permissions(HALTING, fs::Permissions::from_mode(0o755)).doing("set a mode")?;
    node.set(
        "50-runtime",
        &format!("[runtime]\nbinary = \"{HALTING}\"\n"),
    )
}

/// Starts a container, calls `meanwhile` when the decision has fallen and the container is being
/// made, and gives the refusal that follows.
fn refused_after(node: &Node, meanwhile: impl FnOnce() -> Outcome) -> Outcome<Refusal> {
    let before = Census::take();
    let refusal = thread::scope(|scope| {
        let start = scope.spawn(|| node.refuses(&[]));
        wait::until_true("a runtime that has stopped", PATIENCE, || {
            Path::new(HALTED).exists()
        })?;
        let done = meanwhile();
        fs::remove_file(HALTED).doing("let the runtime go on")?;
        done?;
        start
            .join()
            .unwrap_or_else(|_| Err(Failure::new("the start panicked")))
    })?;
    // What was made and may not start waits for its client to delete it; `ctr` of containerd 2
    // has done so already.
    node.containerd
        .run_ctr(&["task", "delete", "--force", "probe"])?;
    node.forget("probe")?;
    before.until_clean(PATIENCE)?;
    Ok(refusal)
}

mod needs_containerd {
    use super::*;

    #[test]
    fn t18_t19_every_container_of_a_pod_is_decided_on() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let cri = node.containerd.cri();
            let pod = expected(cri.run_pod(cri::pod("shop", "web"), HANDLER)?)?;
            assert_eq!(permitted("create", &pod.id)?, 1, "the sandbox");

            // A container that ends, and its successor, as a kubelet restarts one.
            let short = cri::container("init", &["/bin/true"]);
            let first = expected(cri.launch(&pod, short.clone())?)?;
            wait::until_true("the end of a container", PATIENCE, || {
                cri.status(&first).is_ok_and(|status| status.state == 2)
            })?;
            cri.remove(&first)?;
            let second = expected(cri.launch(&pod, short)?)?;

            let main = expected(cri.launch(&pod, sharing("main", OWN, ""))?)?;
            let sidecar = expected(cri.launch(&pod, sleeper("sidecar"))?)?;
            // What `kubectl debug` adds: a container in another's process namespace.
            let debugger = sharing("debugger", TARGET, &main);
            let debugger = expected(cri.launch(&pod, debugger)?)?;
            for id in [&first, &second, &main, &sidecar, &debugger] {
                assert_eq!(permitted("create", id)?, 1, "{id}");
            }
            let creates = decisions()?;
            let creates = creates.iter().filter(|found| found[0] == "create");
            // The node's own probe on being set up is none of the pod's.
            let ours = creates.filter(|found| found[2].len() == pod.id.len());
            assert_eq!(ours.count(), 6, "as many decisions as containers");

            for id in [&main, &sidecar, &debugger] {
                assert_eq!(confinement(&cri, id)?, Confinement::RESTRICTED, "{id}");
                assert_eq!(permitted("exec", id)?, 1, "{id}");
            }
            let seen = expected(cri.exec(&debugger, &["/bin/ps"])?)?;
            let seen = String::from_utf8_lossy(&seen.stdout)
                .matches("sleep 600")
                .count();
            assert_eq!(seen, 2, "the debugger sees the process it is to debug");
            cri.remove_pod(&pod)?;
            node.finish()
        })
    }

    #[test]
    fn t22_a_verdict_that_expires_before_the_start_stops_it() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            halt_before_create(&node)?;
            node.set(
                SETTINGS,
                "[attestation]\nmax_verdict_age = \"8s\"\n[agent]\nattest_interval = \"1s\"\n",
            )?;
            node.attest()?;
            let issued_s = node.verdict_issued_at_s()?;
            let refusal = refused_after(&node, || {
                // Decided on while fresh.
                let end = std::time::UNIX_EPOCH + Duration::from_secs(issued_s + 9);
                wait::until_true("the verdict to grow old", PATIENCE, || {
                    std::time::SystemTime::now() > end
                })
            })?;
            assert_eq!(refusal.short(), "undecided [verdict-expired]", "{refusal}");
            assert_eq!(permitted("create", "probe")?, 1);
            node.finish()
        })
    }

    #[test]
    fn t22_a_configuration_that_changes_before_the_start_stops_it() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            halt_before_create(&node)?;
            let refusal = refused_after(&node, || {
                let bundle = "/run/containerd/io.containerd.runtime.v2.task";
                let path = format!("{bundle}/{NAMESPACE}/probe/config.json");
                let config = fs::read_to_string(&path).doing("read the configuration")?;
                // Another program, under a decision that was made for `true`.
                let config = config.replace("\"true\"", "\"reboot\"");
                fs::write(&path, config).doing("change the configuration")
            })?;
            assert_eq!(refusal.short(), "refused [config-changed]", "{refusal}");
            node.finish()
        })
    }

    #[test]
    fn t26_new_settings_hold_for_the_next_create() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let cri = node.containerd.cri();
            let pod = expected(cri.run_pod(cri::pod("shop", "web"), HANDLER)?)?;
            let first = expected(cri.launch(&pod, sleeper("first"))?)?;
            node.set(SETTINGS, "[asset_tag]\nrequire = \"country=FR\"\n")?;
            // What was decided on goes on, with the terms it was decided on.
            assert_eq!(confinement(&cri, &first)?, Confinement::RESTRICTED);
            let refused = cri.launch(&pod, sleeper("second"))?.unwrap_err();
            let refused = Refusal::find(&refused.message)?;
            assert_eq!(refused.short(), "refused [asset-tag-mismatch]");
            node.unset(SETTINGS)?;
            expected(cri.launch(&pod, sleeper("third"))?)?;
            cri.remove_pod(&pod)?;
            node.finish()
        })
    }

    #[test]
    fn t27_an_exec_as_another_user_has_no_more_rights() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            node.start("long", &[], &["sleep", "600"])?;
            let exec = |exec_id: &str, user: &str| {
                let exec = ["task", "exec", "--exec-id", exec_id, "--user", user];
                let mut exec = exec.to_vec();
                exec.extend(["long", "sh", "-c", SCRIPT]);
                node.containerd.run_ctr(&exec)
            };
            let other = Confinement::parse(&exec("other", "1234")?.success()?)?;
            let expected = Confinement {
                uid: 1234,
                ..Confinement::RESTRICTED
            };
            assert_eq!(other, expected);
            let root = Refusal::find(&exec("root", "0")?.refusal()?)?;
            assert_eq!(root.short(), "refused [exec-denied]");
            node.remove("long")?;
            node.finish()
        })
    }

    #[test]
    fn t31_a_checkpoint_is_not_offered() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            node.start("long", &[], &["sleep", "600"])?;
            let checkpoint = ["task", "checkpoint", "--image-path", "/run/saved", "long"];
            let said = node.containerd.run_ctr(&checkpoint)?.refusal()?;
            assert!(
                said.contains("not offered") || said.contains("not implemented"),
                "{said}"
            );
            let list = node.containerd.run_ctr(&["task", "list"])?.success()?;
            assert!(list.contains("RUNNING"), "it goes on: {list}");
            node.remove("long")?;
            node.finish()
        })
    }
}
