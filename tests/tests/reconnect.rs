//! Who is there when somebody comes back: a new containerd, a `delete` after the fact, and shims
//! that nobody asks for anything any more.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_tests::containerd::NAMESPACE;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::grpc::Status;
use portcullis_tests::held;
use portcullis_tests::node::Node;
use portcullis_tests::process::{Confinement, SCRIPT};
use portcullis_tests::run;
use portcullis_tests::shim_tasks::{Deleted, ShimTasks, State};
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::Census;
use portcullis_tests::{in_world, needs};
use prost::Message;

const SHIM: &str = "/usr/bin/containerd-shim-portcullis-v1";
/// Where containerd keeps bundles.
const BUNDLES: &str = "/run/containerd/io.containerd.runtime.v2.task/default";
/// Where shims keep notes on what they made.
const NOTES: &str = "/run/containerd/portcullis/default";
/// Where decisions are kept.
const LEDGER: &str = "/var/lib/portcullis/ledger.jsonl";

fn bundle(id: &str) -> PathBuf {
    Path::new(BUNDLES).join(id)
}

fn records() -> usize {
    let text = fs::read_to_string(LEDGER).unwrap_or_default();
    text.lines().count()
}

/// Init's and the shim's pid.
fn pids(id: &str) -> Outcome<(u32, u32)> {
    let tasks = ShimTasks::of(NAMESPACE, id)?;
    let connected = tasks.connect(id)?.doing("connect")?;
    Ok((connected.task_pid, connected.shim_pid))
}

fn until_dead(pid: u32) -> Outcome {
    wait::until_true("the end of a process", PATIENCE, || !held::is_alive(pid))
}

/// Starts a shim as containerd does, without ever asking it for a task.
fn unused_shim(id: &str) -> Outcome<PathBuf> {
    let bundle = bundle(id);
    fs::create_dir_all(&bundle).doing("make a bundle")?;
    fs::write(bundle.join("config.json"), "{}").doing("write a configuration")?;
    let mut start = Command::new(SHIM);
    start.current_dir(&bundle).env_clear();
    start.args(["-namespace", NAMESPACE, "-id", id]);
    start.args(["-address", "/run/containerd/containerd.sock", "start"]);
    let address = run::to_end(&mut start)?.success()?;
    Ok(PathBuf::from(address.trim_start_matches("unix://")))
}

/// Seconds until nobody listens on `socket` and its file is gone.
fn gone_after(socket: &Path, since: Instant, limit: Duration) -> Outcome<Duration> {
    wait::until_true("the end of an unused shim", limit, || {
        !socket.exists() && UnixStream::connect(socket).is_err()
    })?;
    Ok(since.elapsed())
}

mod needs_containerd {
    use super::*;

    #[test]
    fn t24_a_restart_of_containerd_decides_nothing_anew() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let mut node = Node::provision(world)?;
            node.start("goes-on", &[], &["sleep", "600"])?;
            node.start("ends", &[], &["sleep", "600"])?;
            let decided = records();
            let (ends, _) = pids("ends")?;
            node.containerd.crash()?;
            held::kill(ends)?;
            until_dead(ends)?;
            node.containerd.recover(world)?;
            assert_eq!(records(), decided, "a restart is no launch");

            // The end came while nobody listened.
            let tasks = node.containerd.tasks();
            assert_eq!(tasks.wait("ends", "")?.doing("wait")?, 137);
            let list = node.containerd.run_ctr(&["task", "ls"])?.success()?;
            let status = |id: &str| {
                let line = list.lines().find(|line| line.starts_with(id));
                line.and_then(|line| line.split_whitespace().nth(2))
            };
            assert_eq!(status("goes-on"), Some("RUNNING"), "{list}");
            assert_eq!(status("ends"), Some("STOPPED"), "{list}");

            let exec = [
                "task",
                "exec",
                "--exec-id",
                "x",
                "goes-on",
                "sh",
                "-c",
                SCRIPT,
            ];
            let found = node.containerd.run_ctr(&exec)?.success()?;
            assert_eq!(Confinement::parse(&found)?, Confinement::RESTRICTED);
            assert_eq!(records(), decided + 1, "an exec is decided on");
            node.remove("ends")?;
            node.remove("goes-on")?;
            node.finish()
        })
    }

    #[test]
    fn t9_delete_needs_no_file() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let mut node = Node::provision(world)?;
            let note = |id: &str| Path::new(NOTES).join(id);
            // What is missing, and whether the working directory is the bundle.
            let cases: [(&str, &[&str], bool, bool); 5] = [
                ("whole", &[], false, true),
                ("no-pid", &["init.pid"], false, true),
                ("no-config", &["config.json", "address"], false, false),
                ("no-notes", &["portcullis.json", "config.json"], true, false),
                (
                    "nothing",
                    &["init.pid", "config.json", "portcullis.json", "address"],
                    true,
                    true,
                ),
            ];
            for (id, missing, without_note, in_bundle) in cases {
                let before = Census::take();
                node.start(id, &[], &["sleep", "600"])?;
                let (init, shim) = pids(id)?;
                // Nobody else may clear up.
                node.containerd.crash()?;
                held::kill(shim)?;
                until_dead(shim)?;
                assert!(
                    held::is_alive(init),
                    "{id}: the container is left to 'delete'"
                );
                for file in missing {
                    fs::remove_file(bundle(id).join(file)).doing(format!("remove '{file}'"))?;
                }
                if without_note {
                    fs::remove_file(note(id)).doing("remove the note")?;
                }
                let mut delete = Command::new(SHIM);
                delete.args(["-namespace", NAMESPACE, "-id", id]);
                delete.args(["-address", "/run/containerd/containerd.sock"]);
                if in_bundle {
                    delete.current_dir(bundle(id));
                } else {
                    delete.args(["-bundle"]).arg(bundle(id)).current_dir("/");
                }
                let output = delete
                    .arg("delete")
                    .stdin(Stdio::null())
                    .output()
                    .doing("run 'delete'")?;
                assert!(output.status.success(), "{id}: {output:?}");
                let answer = Deleted::decode(output.stdout.as_slice()).doing("read the answer")?;
                assert_eq!(answer.exit_status, 137, "{id}");
                let known = !missing.contains(&"init.pid");
                assert_eq!(answer.pid, if known { init } else { 0 }, "{id}");
                until_dead(init)?;
                let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
                assert!(!mounts.contains(&format!("/{id}/rootfs")), "{id}: {mounts}");
                assert!(!note(id).exists(), "{id}: its note is left");
                node.containerd.recover(world)?;
                let forced = node
                    .containerd
                    .run_ctr(&["task", "delete", "--force", id])?;
                drop(forced);
                wait::until_true("the container to be forgotten", PATIENCE, || {
                    let deleted = node.containerd.run_ctr(&["container", "delete", id]);
                    deleted.is_ok_and(|ran| ran.status.success())
                })?;
                before.until_clean_but(PATIENCE, "containerd")?;
            }
            node.finish()
        })
    }

    #[test]
    fn t25_what_containerd_forgets_goes_with_the_next_launch() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let mut node = Node::provision(world)?;
            let before = Census::take();
            node.start("known", &[], &["sleep", "600"])?;
            node.start("left", &[], &["sleep", "600"])?;
            let (known, _) = pids("known")?;
            let (left, shim) = pids("left")?;
            node.containerd.crash()?;
            held::kill(shim)?;
            until_dead(shim)?;
            let rootfs = bundle("left").join("rootfs");
            nix::mount::umount(&rootfs).doing("unmount")?;
            fs::remove_dir_all(bundle("left")).doing("remove the bundle")?;
            node.containerd.recover(world)?;
            assert!(held::is_alive(left), "nobody knows of it");
            node.starts()?;
            until_dead(left)?;
            assert!(held::is_alive(known), "this one has a shim");
            node.forget("left")?;
            node.remove("known")?;
            before.until_clean_but(PATIENCE, "containerd")?;
            node.finish()
        })
    }

    #[test]
    fn t16_what_nobody_asks_for_ends_after_a_minute() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            node.start("one", &[], &["sleep", "600"])?;
            let tasks = ShimTasks::of(NAMESPACE, "one")?;
            let spec = br#"{"args":["/bin/true"],"cwd":"/","user":{"uid":1000,"gid":1000}}"#;
            let since = Instant::now();
            tasks.exec("one", "stale", spec)?.doing("add a process")?;
            let unused = unused_shim("unused")?;
            let unbundled = unused_shim("unbundled")?;
            fs::remove_dir_all(bundle("unbundled")).doing("remove a bundle")?;

            let took = gone_after(&unbundled, since, Duration::from_secs(25))?;
            assert!(took < Duration::from_secs(25), "{took:?}");
            assert!(
                UnixStream::connect(&unused).is_ok(),
                "a task may still come"
            );
            let took = gone_after(&unused, since, Duration::from_secs(90))?;
            assert!(took > Duration::from_secs(55), "{took:?}");
            fs::remove_dir_all(bundle("unused")).doing("remove a bundle")?;

            // The decision on the exec was about a moment that is long past.
            wait::until_true("a minute", PATIENCE, || {
                since.elapsed() > Duration::from_secs(61)
            })?;
            let late = tasks.start("one", "stale")?;
            let status = late.err().ok_or_else(|| Failure::new("it was started"))?;
            assert_eq!(status.code, Status::FAILED_PRECONDITION, "{status}");
            assert!(status.message.contains("too long ago"), "{status}");
            assert_eq!(tasks.state("one", "")?.doing("ask")?.status, State::RUNNING);
            node.remove("one")?;
            node.finish()
        })
    }
}
