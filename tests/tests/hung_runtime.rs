//! What a shim does while the OCI runtime hangs, is too late, or is not called at all.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::stat::Mode;
use portcullis_tests::containerd::{NAMESPACE, POD_NAMESPACE, PORTCULLIS};
use portcullis_tests::cri::{self, expected};
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::grpc::Status;
use portcullis_tests::held::{self, HeldRuntime, When};
use portcullis_tests::node::Node;
use portcullis_tests::refusal::Refusal;
use portcullis_tests::run;
use portcullis_tests::shim_tasks::{BUNDLES, ShimTasks, State};
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::{Census, World};
use portcullis_tests::{image, in_world, needs};

/// Puts containers into one shim.
const GROUP: &str = "io.containerd.runc.v2.group=pod";
/// Lets a test choose the next process number of its world.
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

fn on_a_node(world: &World, case: fn(&Node, &HeldRuntime) -> Outcome) -> Outcome {
    let node = Node::provision(world)?;
    let runtime = HeldRuntime::install("runc")?;
    node.set("50-runtime", &runtime.settings())?;
    case(&node, &runtime)?;
    node.finish()
}

/// The arguments for a member of the group.
fn member<'a>(id: &'a str, command: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["run", "--detach", "--runtime", PORTCULLIS];
    arguments.extend_from_slice(&["--annotation", GROUP, image::BUSYBOX, id]);
    arguments.extend_from_slice(command);
    arguments
}

fn launch(node: &Node, id: &str, command: &[&str]) -> Outcome {
    let ran = node.containerd.run_ctr(&member(id, command))?;
    ran.success().map(drop)
}

fn in_background(node: &Node, id: &str) -> Outcome<Child> {
    let mut ctr = node.containerd.ctr(&member(id, &["sleep", "600"]));
    ctr.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    ctr.spawn().doing("start ctr")
}

fn spec(script: &str, terminal: bool) -> Vec<u8> {
    serde_json::json!({
        "args": ["/bin/sh", "-c", script],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "terminal": terminal,
        "user": {"uid": 1000, "gid": 1000},
    })
    .to_string()
    .into_bytes()
}

fn code<T>(answer: Result<T, Status>) -> u32 {
    answer.map_or_else(|status| status.code, |_| 0)
}

fn t48_a_hung_create_delays_nobody_else(node: &Node, runtime: &HeldRuntime) -> Outcome {
    launch(node, "one", &["sleep", "600"])?;
    let tasks = ShimTasks::of(NAMESPACE, "one")?;
    runtime.hold("create", When::Before, "two")?;
    let mut ctr = in_background(node, "two")?;
    let stopped = runtime.stopped()?;
    // 'two' hangs until it is released: each answer from here on shows that nobody waits for it.
    let state = tasks.state("one", "")?.doing("ask for a state")?;
    assert_eq!(state.status, State::RUNNING);
    for (exec_id, signal) in [("x", None), ("y", Some(9))] {
        let script = if signal.is_some() {
            "sleep 600"
        } else {
            "exit 7"
        };
        tasks
            .exec("one", exec_id, &spec(script, false))?
            .doing("add a process")?;
        tasks.start("one", exec_id)?.doing("start a process")?;
        if let Some(signal) = signal {
            tasks.kill("one", exec_id, signal, false)?.doing("kill")?;
        }
        let ended = tasks.wait("one", exec_id)?.doing("wait")?;
        assert_eq!(ended, signal.map_or(7, |signal| 128 + signal));
        tasks.delete("one", exec_id)?.doing("delete")?;
    }
    tasks.plain("Pause", "one")?.doing("pause")?;
    tasks.plain("Resume", "one")?.doing("resume")?;
    tasks.stats("one")?.doing("ask for statistics")?;
    launch(node, "three", &["sh", "-c", "exit 3"])?;
    assert_eq!(tasks.wait("three", "")?.doing("wait")?, 3);
    node.remove("three")?;

    // Whoever asked for it gives up: the command is killed and all is taken back at once.
    assert!(held::is_alive(stopped.pid));
    assert_eq!(code(tasks.state("two", "")?), Status::NOT_FOUND);
    assert_eq!(code(tasks.kill("two", "", 9, false)?), Status::NOT_FOUND);
    assert_eq!(code(tasks.delete("two", "")?), Status::NOT_FOUND);
    assert!(!held::is_alive(stopped.pid), "the runtime goes on");
    assert!(!run::wait_for(&mut ctr, "ctr", PATIENCE)?.success());
    runtime.release()?;
    node.forget("two")?;
    launch(node, "two", &["sleep", "600"])?;
    assert_eq!(code(tasks.state("two", "")?), 0);
    node.remove("two")?;
    node.remove("one")
}

fn t48_a_late_runtime_is_killed(node: &Node, runtime: &HeldRuntime) -> Outcome {
    let before = Census::take();
    runtime.hold("create", When::Before, "one")?;
    let mut ctr = node.containerd.ctr(&member("one", &["sleep", "600"]));
    let ran = run::with_input(&mut ctr, None, Duration::from_secs(150))?;
    let said = ran.refusal()?;
    assert!(said.contains("did not finish within 120 s"), "{said}");
    runtime.release()?;
    node.forget("one")?;
    before.until_clean(PATIENCE)
}

fn t20_a_refused_container_of_a_pod_leaves_nothing(node: &Node, runtime: &HeldRuntime) -> Outcome {
    launch(node, "one", &["sleep", "600"])?;
    let tasks = ShimTasks::of(NAMESPACE, "one")?;
    let before = Census::take();
    node.set("60-tag", "[asset_tag]\nrequire = \"country in (FR)\"\n")?;
    let ran = node.containerd.run_ctr(&member("two", &["sleep", "600"]))?;
    let refusal = Refusal::find(&ran.refusal()?)?;
    assert_eq!(refusal.short(), "refused [asset-tag-mismatch]");
    let called = runtime.calls();
    assert!(!called.contains(&"create two".to_owned()), "{called:?}");
    assert_eq!(code(tasks.delete("two", "")?), Status::NOT_FOUND);
    assert!(!Path::new(BUNDLES).join(NAMESPACE).join("two").exists());
    before.until_clean(PATIENCE)?;
    node.unset("60-tag")?;
    node.forget("two")?;
    launch(node, "two", &["sleep", "600"])?;
    node.remove("two")?;
    node.remove("one")
}

/// A process of ours with the number `pid`, which must be free.
fn namesake(pid: u32) -> Outcome<Child> {
    for _ in 0..500 {
        fs::write(LAST_PID, (pid - 1).to_string()).doing("choose a process number")?;
        let mut child = Command::new("sleep")
            .arg("600")
            .spawn()
            .doing("start a process")?;
        if child.id() == pid {
            return Ok(child);
        }
        child.kill().doing("end a process")?;
        child.wait().doing("end a process")?;
    }
    Err(Failure::new(format!("the number {pid} did not come again")))
}

fn t40_a_kill_after_the_end_hits_no_namesake(node: &Node, runtime: &HeldRuntime) -> Outcome {
    // A container in its pod's process namespace: what is left of it is killed before it is told.
    let cri = node.containerd.cri();
    let pod = expected(cri.run_pod(cri::pod("shop", "web"), "portcullis")?)?;
    let id = expected(cri.launch(&pod, cri::container("main", &["sleep", "600"]))?)?;
    let tasks = ShimTasks::of(POD_NAMESPACE, &pod.id)?;
    let pid = tasks.state(&id, "")?.doing("ask for a state")?.pid;
    runtime.hold("kill", When::Before, "9")?;
    held::kill(pid)?;
    runtime.stopped()?;
    assert_eq!(tasks.state(&id, "")?.doing("ask")?.status, State::RUNNING);
    let mut namesake = namesake(pid)?;
    assert_eq!(code(tasks.kill(&id, "", 9, false)?), Status::NOT_FOUND);
    assert_eq!(namesake.try_wait().doing("look at a process")?, None);
    assert!(held::is_alive(pid), "another's process was killed");
    runtime.release()?;
    assert_eq!(tasks.wait(&id, "")?.doing("wait")?, 137);
    namesake.kill().doing("end a process")?;
    namesake.wait().doing("end a process")?;
    cri.remove_pod(&pod)
}

fn t42_what_outlives_init_in_a_shared_namespace_is_killed(
    node: &Node,
    _runtime: &HeldRuntime,
) -> Outcome {
    let cri = node.containerd.cri();
    let pod = expected(cri.run_pod(cri::pod("shop", "web"), "portcullis")?)?;
    let script = "(setsid sleep 701 &); (setsid sleep 702 &); sleep 600";
    let container = cri::container("main", &["sh", "-c", script]);
    let id = expected(cri.launch(&pod, container)?)?;
    let tasks = ShimTasks::of(POD_NAMESPACE, &pod.id)?;
    tasks
        .exec(&id, "x", &spec("sleep 703", false))?
        .doing("add")?;
    tasks.start(&id, "x")?.doing("start")?;
    wait::until_true("the daemons", PATIENCE, || {
        running("sleep\x00701").len() == 1
    })?;
    tasks.kill(&id, "", 9, false)?.doing("kill init")?;
    assert_eq!(tasks.wait(&id, "")?.doing("wait for init")?, 137);
    assert_eq!(tasks.wait(&id, "x")?.doing("wait for the exec")?, 137);
    wait::until_true("the end of the rest", PATIENCE, || {
        ["701", "702", "703"]
            .iter()
            .all(|seconds| running(&format!("sleep\x00{seconds}")).is_empty())
    })?;
    // The pod itself goes on.
    assert_eq!(
        tasks.state(&pod.id, "")?.doing("ask")?.status,
        State::RUNNING
    );
    cri.remove_pod(&pod)
}

/// Processes whose command line starts with `command` (words end with a zero).
fn running(command: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with(command)
        })
        .collect()
}

fn an_exec_without_its_terminal_does_not_run_on(node: &Node, runtime: &HeldRuntime) -> Outcome {
    let fifo = Path::new("/run/output.fifo");
    nix::unistd::mkfifo(fifo, Mode::S_IRWXU).doing("make a FIFO")?;
    launch(node, "one", &["sleep", "600"])?;
    let tasks = ShimTasks::of(NAMESPACE, "one")?;
    let path = fifo.display().to_string();
    tasks
        .exec_with_terminal(
            "one",
            "x",
            &spec("trap '' HUP; exec sleep 704", true),
            &path,
        )?
        .doing("add a process")?;
    runtime.hold("exec", When::Before, "one")?;
    let reader = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(fifo)
        .doing("read the FIFO")?;
    let started = thread::scope(|scope| {
        let start = scope.spawn(|| tasks.start("one", "x"));
        runtime.stopped()?;
        // Somebody else calls where the runtime is to send the terminal, and sends none.
        let bundle = Path::new(BUNDLES).join(NAMESPACE).join("one");
        let entries = fs::read_dir(&bundle).doing("list the bundle")?.flatten();
        let calls: Vec<_> = entries
            .filter_map(|entry| UnixStream::connect(entry.path()).ok())
            .collect();
        assert_eq!(calls.len(), 1, "one socket in the bundle");
        drop(calls);
        runtime.release()?;
        start.join().expect("a thread")
    })?;
    assert_ne!(code(started), 0);
    wait::until_true("the end of the process", PATIENCE, || {
        running("sleep\x00704").is_empty()
    })?;
    drop(reader);
    node.remove("one")
}

/// In a process namespace of its own nothing outlives init; in its pod's an exec does if the
/// runtime's `kill` misses it, as here where nothing is killed.
fn t38_init_is_told_to_have_ended_after_an_exec_that_outlives_it(
    node: &Node,
    runtime: &HeldRuntime,
) -> Outcome {
    let cri = node.containerd.cri();
    let pod = expected(cri.run_pod(cri::pod("shop", "web"), "portcullis")?)?;
    let id = expected(cri.launch(&pod, cri::container("main", &["sleep", "600"]))?)?;
    let tasks = ShimTasks::of(POD_NAMESPACE, &pod.id)?;
    for exec_id in ["x", "y"] {
        tasks
            .exec(&id, exec_id, &spec("exec sleep 706", false))?
            .doing("add")?;
        tasks.start(&id, exec_id)?.doing("start")?;
    }
    runtime.skip("kill", "9")?;
    tasks.kill(&id, "", 9, false)?.doing("kill init")?;
    wait::until_true("the kill of the rest", PATIENCE, || {
        runtime.calls().contains(&"kill 9".to_owned())
    })?;
    // As long as an exec is alive: that of both, then that of one.
    for exec_id in ["x", "y"] {
        let told = wait::until_true("the end of init", Duration::from_millis(500), || {
            let state = tasks.state(&id, "").ok().and_then(Result::ok);
            state.is_none_or(|state| state.status != State::RUNNING)
        });
        assert!(told.is_err(), "told before the end of '{exec_id}'");
        let alive = tasks.state(&id, exec_id)?.doing("ask for a state")?;
        assert_eq!(alive.status, State::RUNNING);
        tasks.kill(&id, exec_id, 9, false)?.doing("kill an exec")?;
        assert_eq!(tasks.wait(&id, exec_id)?.doing("wait for it")?, 137);
    }
    assert_eq!(tasks.wait(&id, "")?.doing("wait for init")?, 137);
    runtime.release()?;
    cri.remove_pod(&pod)
}

fn t39_an_exec_that_comes_too_late_does_not_hold_back_the_end(
    node: &Node,
    runtime: &HeldRuntime,
) -> Outcome {
    let cri = node.containerd.cri();
    let pod = expected(cri.run_pod(cri::pod("shop", "web"), "portcullis")?)?;
    let id = expected(cri.launch(&pod, cri::container("main", &["sleep", "600"]))?)?;
    let tasks = ShimTasks::of(POD_NAMESPACE, &pod.id)?;
    tasks
        .exec(&id, "x", &spec("sleep 705", false))?
        .doing("add")?;
    runtime.hold("exec", When::Before, &id)?;
    let started = thread::scope(|scope| {
        let start = scope.spawn(|| tasks.start(&id, "x"));
        runtime.stopped()?;
        tasks.kill(&id, "", 9, false)?.doing("kill init")?;
        wait::until_true("the kill of the rest", PATIENCE, || {
            runtime.calls().contains(&"kill 9".to_owned())
        })?;
        // Ends of execs are told first, and this one may still become one.
        let told = wait::until_true("the end of init", Duration::from_millis(500), || {
            let state = tasks.state(&id, "").ok().and_then(Result::ok);
            state.is_none_or(|state| state.status != State::RUNNING)
        });
        assert!(
            told.is_err(),
            "the end of init was told before that of the exec"
        );
        runtime.release()?;
        start.join().expect("a thread")
    })?;
    assert_ne!(code(started), 0, "an exec in a container that has ended");
    assert_eq!(tasks.wait(&id, "")?.doing("wait for init")?, 137);
    assert_eq!(running("sleep\x00705"), Vec::<u32>::new());
    cri.remove_pod(&pod)
}

mod needs_containerd {
    use super::*;

    macro_rules! on_a_node {
        ($($name:ident)+) => {
            $(
                #[test]
                fn $name() -> Outcome {
                    needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
                    in_world!(|world| on_a_node(world, super::$name))
                }
            )+
        };
    }

    on_a_node! {
        an_exec_without_its_terminal_does_not_run_on
        t20_a_refused_container_of_a_pod_leaves_nothing
        t39_an_exec_that_comes_too_late_does_not_hold_back_the_end
        t40_a_kill_after_the_end_hits_no_namesake
        t42_what_outlives_init_in_a_shared_namespace_is_killed
        t38_init_is_told_to_have_ended_after_an_exec_that_outlives_it
        t48_a_hung_create_delays_nobody_else
    }

    /// Takes two minutes. That the command is killed at its limit, with all that it started, is
    /// tested each time in `shim/src/task/tests.rs`.
    #[test]
    fn t48_a_late_runtime_is_killed() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs, Long);
        in_world!(|world| on_a_node(world, super::t48_a_late_runtime_is_killed))
    }
}
