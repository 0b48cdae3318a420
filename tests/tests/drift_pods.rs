//! What becomes of running containers when the host drifts, by `agent.on_drift_pods`, and what
//! `portcullis containers` does by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use portcullis_config::paths;
use portcullis_tests::containerd::RUNC;
use portcullis_tests::cri::{self, Cri, Pod, expected};
use portcullis_tests::daemon::Daemon;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::refusal::Refusal;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::World;
use portcullis_tests::{image, in_world, needs, require, run};
use serde_json::Value;

/// From the drift to what is done: a look is made every second.
const SOON: Duration = Duration::from_secs(10);
/// Where Debian's kernel or a machine with both versions has the freezer of version 1.
const FREEZER: &str = "/sys/fs/cgroup/freezer";
/// Where such a machine has version 2.
const UNIFIED: &str = "/sys/fs/cgroup/unified";
const SLEEP: [&str; 2] = ["sleep", "600"];

fn watched(world: &World, settings: &str) -> Outcome<Node> {
    let mut node = Node::provision(world)?;
    node.watch(settings)?;
    Ok(node)
}

/// A process of the host, which nobody may touch.
fn bystander() -> Outcome<Child> {
    Command::new("sleep")
        .arg("600")
        .spawn()
        .doing("start a process of the host")
}

/// Fails if it was frozen or killed, and ends it.
fn is_untouched(mut bystander: Child) -> Outcome {
    let ended = bystander.try_wait().doing("look at a process")?;
    assert!(
        ended.is_none(),
        "a process of the host has ended: {ended:?}"
    );
    bystander.kill().doing("end a process")?;
    // One that is frozen does not end.
    wait::until_true("the end of a process of the host", PATIENCE, || {
        bystander.try_wait().is_ok_and(|ended| ended.is_some())
    })
}

/// Starts a container under containerd's own shim, past the gate.
fn start_stock(node: &Node, id: &str) -> Outcome {
    let mut arguments = vec!["run", "--detach", "--runtime", RUNC, image::BUSYBOX, id];
    arguments.extend(SLEEP);
    node.containerd.run_ctr(&arguments)?.success().map(drop)
}

/// What the OCI runtime says of a container.
fn status(id: &str) -> Option<String> {
    let mut command = Command::new("runc");
    command.args(["--root", "/run/containerd/runc/default", "state", id]);
    let ran = run::to_end(&mut command).ok()?;
    let state: Value = serde_json::from_str(&ran.stdout).ok()?;
    state["status"].as_str().map(str::to_owned)
}

fn becomes(id: &str, wanted: &str) -> Outcome {
    wait::until_true(&format!("'{id}' to be {wanted}"), SOON, || {
        status(id).as_deref() == Some(wanted)
    })
}

/// What containerd says of a task.
fn task(node: &Node, id: &str) -> Outcome<String> {
    let listed = node.containerd.run_ctr(&["task", "list"])?.success()?;
    let line = listed
        .lines()
        .find(|line| line.split_whitespace().next() == Some(id));
    let state = line.and_then(|line| line.split_whitespace().nth(2));
    Ok(state.unwrap_or("none").to_owned())
}

fn said(node: &Node, line: &str) -> Outcome {
    wait::until_true(&format!("'{line}' in the journal"), PATIENCE, || {
        node.agent_log().lines().any(|it| it.contains(line))
    })
    .map_err(|failure| Failure::new(format!("{failure}: {}", node.agent_log())))
}

/// `portcullis containers …`: exit code and what it says.
fn containers(arguments: &[&str]) -> Outcome<(i32, Value)> {
    let mut command = Command::new("portcullis");
    command
        .args(["--output", "json", "containers"])
        .args(arguments);
    let ran = run::to_end(&mut command)?;
    let said = serde_json::from_str(&ran.stdout)
        .doing(format!("read '{}' '{}'", ran.stdout, ran.stderr))?;
    Ok((ran.status.code().unwrap_or(-1), said))
}

fn ids(said: &Value, list: &str) -> Vec<String> {
    let some = said[list].as_array().into_iter().flatten();
    let mut ids: Vec<String> = some
        .map(|one| one["id"].as_str().unwrap_or_default().to_owned())
        .collect();
    ids.sort();
    ids
}

fn run_pod(cri: &Cri<'_>, name: &str) -> Outcome<Pod> {
    expected(cri.run_pod(cri::pod("shop", name), "portcullis")?)
}

/// A container that was made by hand, in a cgroup of its own: no runtime knows it.
fn by_hand(rootfs: &Path, cgroup: &Path) -> Outcome<Child> {
    for folder in ["bin", "proc"] {
        fs::create_dir_all(rootfs.join(folder)).doing("make a root filesystem")?;
    }
    let busybox = image::busybox().ok_or_else(|| Failure::new("no busybox"))?;
    fs::copy(busybox, rootfs.join("bin/busybox")).doing("copy busybox")?;
    fs::create_dir_all(cgroup).doing("make a cgroup")?;
    let line = format!(
        "unshare --mount --pid --fork --kill-child sh -c 'echo 0 > {}/cgroup.procs; exec chroot {} \
         /bin/busybox sleep 600'",
        cgroup.display(),
        rootfs.display()
    );
    let child = Command::new("sh")
        .args(["-c", &format!("exec {line}")])
        .spawn()
        .doing("start a container by hand")?;
    wait::until_true("it to be in its cgroup", PATIENCE, || {
        fs::read_to_string(cgroup.join("cgroup.procs")).is_ok_and(|pids| !pids.is_empty())
    })?;
    Ok(child)
}

mod needs_containerd {
    use super::*;

    #[test]
    fn on_drift_containers_are_paused_and_nothing_of_the_host_is() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = watched(world, "on_drift_pods = \"pause\"\n")?;
            let bystander = bystander()?;
            node.start("gated", &[], &SLEEP)?;
            start_stock(&node, "stock")?;
            let cri = node.containerd.cri();
            let pod = run_pod(&cri, "web")?;

            node.tpm.extend(7, [7; 32]).doing("extend PCR 7")?;
            becomes("gated", "paused")?;
            becomes("stock", "paused")?;
            said(&node, "containers paused count='3' already='0' failed='0'")?;
            // To containerd, too, and so it can undo it.
            assert_eq!(task(&node, "gated")?, "PAUSED");
            node.containerd
                .run_ctr(&["task", "resume", "gated"])?
                .success()?;
            becomes("gated", "running")?;
            assert_eq!(task(&node, "gated")?, "RUNNING");
            assert_eq!(status("stock").as_deref(), Some("paused"));

            // Once more is as good as once, and one by its name.
            let (exit, answer) = containers(&["pause", "--all"])?;
            assert_eq!((exit, ids(&answer, "done")), (0, vec!["gated".to_owned()]));
            assert_eq!(ids(&answer, "already").len(), 2, "{answer}");
            let (exit, answer) = containers(&["resume", "gated"])?;
            assert_eq!((exit, ids(&answer, "done")), (0, vec!["gated".to_owned()]));
            becomes("gated", "running")?;
            let (exit, answer) = containers(&["resume", "--all"])?;
            assert_eq!((exit, ids(&answer, "done").len()), (0, 2), "{answer}");
            becomes("stock", "running")?;
            let (exit, _) = containers(&["pause", "nobody"])?;
            assert_eq!(exit, 64);

            // What is paused past containerd can be killed through it.
            containers(&["pause", "--all"])?;
            for id in ["gated", "stock"] {
                becomes(id, "paused")?;
                node.remove(id)?;
            }
            cri.remove_pod(&pod)?;
            is_untouched(bystander)?;
            node.finish()
        })
    }

    #[test]
    fn on_drift_containers_are_stopped_and_do_not_come_back() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = watched(world, "on_drift_pods = \"stop\"\n")?;
            let bystander = bystander()?;
            node.start("gated", &[], &SLEEP)?;
            node.start("paused", &[], &SLEEP)?;
            // A frozen process of cgroup version 1 does not even die.
            node.containerd
                .run_ctr(&["task", "pause", "paused"])?
                .success()?;
            let cri = node.containerd.cri();
            let pod = run_pod(&cri, "web")?;
            let first =
                expected(cri.launch(&pod, cri::container("first", &["/bin/sleep", "600"]))?)?;
            assert_eq!(cri.status(&first)?.state, 1);

            node.tpm.extend(7, [7; 32]).doing("extend PCR 7")?;
            for id in ["gated", "paused"] {
                wait::until_true(&format!("the end of '{id}'"), SOON, || {
                    task(&node, id).is_ok_and(|state| state == "STOPPED")
                })?;
            }
            wait::until_true("the end of a pod's container", SOON, || {
                cri.status(&first).is_ok_and(|status| status.state == 2)
            })?;
            said(&node, "containers stopped count='4' already='0' failed='0'")?;

            // As a kubelet would: the container again, and the pod again.
            let again = cri.launch(&pod, cri::container("second", &["/bin/sleep", "600"]))?;
            assert!(again.is_err(), "{again:?}");
            let again = cri.run_pod(cri::pod("shop", "again"), "portcullis")?;
            let refused = Refusal::find(&again.unwrap_err().message)?;
            assert!(
                ["pcr-drift", "verdict-withheld"].contains(&refused.code.as_str()),
                "{refused}"
            );
            let refused = node.refuses(&[])?;
            assert_eq!(refused.kind, "refused");
            let (exit, answer) = containers(&["stop", "--all"])?;
            assert_eq!((exit, ids(&answer, "done")), (0, Vec::new()), "{answer}");

            node.remove("gated")?;
            node.remove("paused")?;
            cri.remove_pod(&pod)?;
            is_untouched(bystander)?;
            node.finish()
        })
    }

    #[test]
    fn a_tpm_that_is_silent_and_a_quarantine_stop_nothing() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = watched(world, "on_drift_pods = \"stop\"\n")?;
            node.start("web", &[], &SLEEP)?;
            node.tpm.freeze().doing("stop the TPM")?;
            said(&node, "cannot look for drift")?;
            node.tpm.thaw().doing("let the TPM go on")?;
            node.portcullis(&["quarantine", "--yes"])?.success()?;
            assert_eq!(node.refuses(&[])?.code, "host-quarantined");
            assert_eq!(status("web").as_deref(), Some("running"));
            // This would have been seen: it is the next thing that is done.
            node.reboot_and_attest()?;
            node.tpm.extend(7, [7; 32]).doing("extend PCR 7")?;
            becomes("web", "stopped")?;
            said(&node, "containers stopped count='1'")?;
            node.remove("web")?;
            node.finish()
        })
    }

    #[test]
    fn in_audit_mode_containers_go_on() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let mut node = Node::provision(world)?;
            node.set("60-audit", "mode = \"audit\"\n")?;
            node.watch("on_drift_pods = \"stop\"\n")?;
            node.start("web", &[], &SLEEP)?;
            node.tpm.extend(7, [7; 32]).doing("extend PCR 7")?;
            said(&node, "containers left as they are reason='mode is audit'")?;
            assert_eq!(status("web").as_deref(), Some("running"));
            node.remove("web")?;
            node.finish()
        })
    }

    /// As systemd starts a responder outside of the agent's unit.
    #[test]
    fn a_responder_that_listens_does_it_in_the_agents_place() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        if require::find("systemd-socket-activate").is_none() {
            eprintln!("skipped: needs systemd-socket-activate; install package 'systemd'");
            return Ok(());
        }
        in_world!(|world| {
            let log = world.logs().join("responder.log");
            let mut listener = Command::new("systemd-socket-activate");
            listener
                .args(["--accept", "--inetd", "--listen", paths::RESPONDER])
                .args(["/usr/libexec/portcullis/portcullis-agent", "--responder"]);
            let mut listener = Daemon::start(&mut listener, &log)?;
            listener.until_ready(|| Path::new(paths::RESPONDER).exists())?;
            let node = watched(world, "on_drift_pods = \"pause\"\n")?;
            node.start("web", &[], &SLEEP)?;
            node.tpm.extend(7, [7; 32]).doing("extend PCR 7")?;
            becomes("web", "paused")?;
            wait::until_true("the responder to say so", PATIENCE, || {
                fs::read_to_string(&log)
                    .is_ok_and(|text| text.contains("containers paused count='1'"))
            })?;
            assert!(!node.agent_log().contains("containers paused"));
            node.remove("web")?;
            listener.crash()?;
            fs::remove_file(paths::RESPONDER).doing("remove the socket")?;
            node.finish()
        })
    }
}

mod needs_root {
    use super::*;

    fn frozen(cgroup: &Path) -> bool {
        let state = fs::read_to_string(cgroup.join("freezer.state")).unwrap_or_default();
        let events = fs::read_to_string(cgroup.join("cgroup.events")).unwrap_or_default();
        state.trim() == "FROZEN" || events.lines().any(|line| line == "frozen 1")
    }

    /// Pauses, resumes, pauses and stops it.
    fn through_its_life(world: &World, cgroup: &Path) -> Outcome {
        let mut child = by_hand(&world.private().join("rootfs"), cgroup)?;
        let bystander = bystander()?;
        let (exit, answer) = containers(&["pause", "--all"])?;
        assert_eq!((exit, ids(&answer, "done").len()), (0, 1), "{answer}");
        assert!(frozen(cgroup));
        assert_eq!(containers(&["resume", "--all"])?.0, 0);
        wait::until_true("it to go on", SOON, || !frozen(cgroup))?;
        assert_eq!(containers(&["pause", "--all"])?.0, 0);
        assert!(frozen(cgroup));
        let (exit, answer) = containers(&["stop", "--all"])?;
        assert_eq!((exit, ids(&answer, "done").len()), (0, 1), "{answer}");
        wait::until_true("its end", SOON, || {
            child.try_wait().is_ok_and(|ended| ended.is_some())
        })?;
        is_untouched(bystander)?;
        wait::until_true("its cgroup to go", SOON, || fs::remove_dir(cgroup).is_ok())
    }

    fn programs() -> Outcome {
        portcullis_tests::programs::install()
    }

    #[test]
    fn one_that_no_runtime_knows_is_paused_and_stopped_by_either_version() -> Outcome {
        needs!(Root, Busybox, Programs);
        in_world!(|world| {
            programs()?;
            if Path::new(FREEZER).exists() {
                through_its_life(world, &Path::new(FREEZER).join("hand"))?;
                let mut unmount = Command::new("umount");
                run::to_end(unmount.arg(FREEZER))?.success()?;
            }
            let unified = [UNIFIED, "/sys/fs/cgroup"].map(PathBuf::from);
            let unified = unified
                .into_iter()
                .find(|mount| mount.join("cgroup.procs").exists())
                .ok_or_else(|| Failure::new("no cgroup version 2"))?;
            through_its_life(world, &unified.join("hand"))
        })
    }

    #[test]
    fn one_in_a_cgroup_of_the_hosts_is_not_paused_but_stopped() -> Outcome {
        needs!(Root, Busybox, Programs);
        in_world!(|world| {
            programs()?;
            let freezer = [FREEZER, UNIFIED, "/sys/fs/cgroup"].map(PathBuf::from);
            let cgroup = freezer
                .into_iter()
                .find(|mount| mount.join("cgroup.procs").exists())
                .ok_or_else(|| Failure::new("no cgroup"))?
                .join("shared");
            let mut child = by_hand(&world.private().join("rootfs"), &cgroup)?;
            let bystander = bystander()?;
            fs::write(cgroup.join("cgroup.procs"), bystander.id().to_string())
                .doing("move a process of the host")?;
            let (exit, answer) = containers(&["pause", "--all"])?;
            assert_eq!(exit, 1, "{answer}");
            let cause = answer["failed"][0]["cause"].as_str().unwrap_or_default();
            assert!(cause.contains("of the host is in it"), "{answer}");
            assert!(!frozen(&cgroup));
            let (exit, answer) = containers(&["stop", "--all"])?;
            assert_eq!((exit, ids(&answer, "done").len()), (0, 1), "{answer}");
            wait::until_true("its end", SOON, || {
                child.try_wait().is_ok_and(|ended| ended.is_some())
            })?;
            is_untouched(bystander)?;
            wait::until_true("the cgroup to go", SOON, || fs::remove_dir(&cgroup).is_ok())
        })
    }
}
