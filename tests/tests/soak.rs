//! What shims hold after much use: descriptors, threads and memory stay flat.
//!
//! The short form runs always; with `PORTCULLIS_TEST_LONG=1` it is 10,000 execs and 200 pods.

use std::fmt;
use std::fs;
use std::path::Path;

use portcullis_tests::containerd::{NAMESPACE, POD_NAMESPACE};
use portcullis_tests::cri::{self, Pod, expected};
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::require::count;
use portcullis_tests::shim_tasks::ShimTasks;
use portcullis_tests::wait::PATIENCE;
use portcullis_tests::world::{Census, World, measured};
use portcullis_tests::{in_world, needs};

/// Runtime handler of our shim.
const HANDLER: &str = "portcullis";
/// What the allocator may keep more after the soak, in KiB.
const ALLOWED_KIB: u64 = 64;

/// A busy machine may take longer over a record than a node allows by default.
const SETTINGS: &str = "[attestation]\nsnapshot_deadline = \"20s\"\n";

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
    anonymous_kib: u64,
}

impl Held {
    fn by(pid: u32) -> Outcome<Self> {
        let process = Path::new("/proc").join(pid.to_string());
        let count = |name: &str| -> Outcome<usize> {
            let entries = fs::read_dir(process.join(name)).doing("look at a shim")?;
            Ok(entries.count())
        };
        let status = fs::read_to_string(process.join("status")).doing("look at a shim")?;
        let anonymous = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .and_then(|line| line.split_whitespace().next()?.parse().ok());
        Ok(Self {
            descriptors: count("fd")?,
            threads: count("task")?,
            anonymous_kib: anonymous.ok_or_else(|| Failure::new("no RssAnon"))?,
        })
    }

    /// Fails if `after` is more.
    fn flat(self, after: Self) -> Outcome {
        // One connection may not be closed yet at either look.
        let same = after.descriptors <= self.descriptors + 1 && self.threads == after.threads;
        if same && after.anonymous_kib <= self.anonymous_kib + ALLOWED_KIB {
            return Ok(());
        }
        Err(Failure::new(format!("before: {self}; after: {after}")))
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} descriptors, {} threads, {} KiB anonymous",
            self.descriptors, self.threads, self.anonymous_kib
        )
    }
}

/// Execs one after the other in a running container; every one is told and removed.
fn run_execs(tasks: &ShimTasks, from: usize, to: usize) -> Outcome {
    let spec = br#"{"args":["/bin/true"],"cwd":"/","user":{"uid":1000,"gid":1000}}"#;
    for number in from..to {
        let exec_id = format!("e{number}");
        tasks.exec("one", &exec_id, spec)?.doing("add a process")?;
        tasks.start("one", &exec_id)?.doing("start a process")?;
        let status = tasks.wait("one", &exec_id)?.doing("wait for a process")?;
        assert_eq!(status, 0);
        tasks.delete("one", &exec_id)?.doing("delete a process")?;
    }
    Ok(())
}

fn t58_execs_leave_nothing_in_the_shim(world: &World) -> Outcome {
    let node = Node::provision(world)?;
    node.set("50-patience", SETTINGS)?;
    node.start("one", &[], &["sleep", "86400"])?;
    let tasks = ShimTasks::of(NAMESPACE, "one")?;
    let shim = tasks.connect("one")?.doing("connect")?.shim_pid;
    // After these a shim holds what it will always hold: the heap is as scattered as it gets.
    let warm_up = count(100, 1_000);
    run_execs(&tasks, 0, warm_up)?;
    let before = Held::by(shim)?;
    let execs = count(300, 10_000);
    for part in 0..10 {
        let from = warm_up + execs / 10 * part;
        run_execs(&tasks, from, from + execs / 10)?;
        measured(&format!(
            "{} execs: {}",
            execs / 10 * (part + 1),
            Held::by(shim)?
        ));
    }
    let after = Held::by(shim)?;
    measured(&format!("{execs} execs: before: {before}; after: {after}"));
    before.flat(after)?;
    node.remove("one")?;
    node.finish()
}

fn run_pods(node: &Node, from: usize, to: usize) -> Outcome<Vec<Pod>> {
    let cri = node.containerd.cri();
    let pod = |number| expected(cri.run_pod(cri::pod("soak", &format!("p{number}")), HANDLER)?);
    (from..to).map(pod).collect()
}

/// Sums over the shims of `pods`; descriptors and threads are those of the greediest.
fn held_by(pods: &[Pod]) -> Outcome<(Held, u64)> {
    let mut most = Held {
        descriptors: 0,
        threads: 0,
        anonymous_kib: 0,
    };
    let mut sum = 0;
    for pod in pods {
        let tasks = ShimTasks::of(POD_NAMESPACE, &pod.id)?;
        let held = Held::by(tasks.connect(&pod.id)?.doing("connect")?.shim_pid)?;
        most.descriptors = most.descriptors.max(held.descriptors);
        most.threads = most.threads.max(held.threads);
        most.anonymous_kib = most.anonymous_kib.max(held.anonymous_kib);
        sum += held.anonymous_kib;
    }
    Ok((most, sum))
}

fn t58_pods_leave_nothing_and_the_last_costs_what_the_first_did(world: &World) -> Outcome {
    let node = Node::provision(world)?;
    node.set("50-patience", SETTINGS)?;
    let cri = node.containerd.cri();
    let before = Census::take();
    let mut pods = run_pods(&node, 0, 1)?;
    let (first, _) = held_by(&pods)?;
    let many = count(20, 200);
    pods.extend(run_pods(&node, 1, many)?);
    let (most, sum) = held_by(&pods)?;
    let each = sum / u64::try_from(many).doing("count")?;
    measured(&format!(
        "{many} pods: first: {first}; most: {most}; mean {each} KiB anonymous"
    ));
    assert_eq!(most.threads, first.threads);
    assert!(most.descriptors <= first.descriptors + 1, "{first}; {most}");
    assert!(
        most.anonymous_kib <= first.anonymous_kib + ALLOWED_KIB,
        "{first}; {most}"
    );
    for pod in &pods {
        cri.remove_pod(pod)?;
    }
    before.until_clean(PATIENCE)?;
    node.finish()
}

mod needs_containerd {
    use super::*;

    #[test]
    fn t58_execs_leave_nothing_in_the_shim() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(super::t58_execs_leave_nothing_in_the_shim)
    }

    #[test]
    fn t58_pods_leave_nothing_and_the_last_costs_what_the_first_did() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(super::t58_pods_leave_nothing_and_the_last_costs_what_the_first_did)
    }
}
