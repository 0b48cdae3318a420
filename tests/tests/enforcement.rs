//! What the kernel holds of a container is what was decided, or its program does not run.
//!
//! Each case has the OCI runtime confine the container less than its configuration says. The
//! program of the container prints a word: it must never be seen.

use std::fs;
use std::sync::mpsc;
use std::thread;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use portcullis_tests::containerd::NAMESPACE;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::held::{HeldRuntime, When};
use portcullis_tests::lying::LyingRuntime;
use portcullis_tests::node::Node;
use portcullis_tests::refusal::Refusal;
use portcullis_tests::run::Ran;
use portcullis_tests::shim_tasks::BUNDLES;
use portcullis_tests::world::{Shape, World};
use portcullis_tests::{in_world, needs};

/// What the program of a container says when it runs.
const WORD: &str = "user-code-ran";

/// A lie as a script for `sed`, and what of the configuration it breaks.
const LIES: &[(&str, &str, &str)] = &[
    (
        "no_new_privs is not set",
        "s/\"noNewPrivileges\":true/\"noNewPrivileges\":false/",
        "/process/noNewPrivileges",
    ),
    (
        "a capability in the bounding set",
        "s/\"bounding\":\\[\\]/\"bounding\":[\"CAP_NET_RAW\"]/",
        "/process/capabilities/bounding",
    ),
    (
        "an ambient capability",
        "s/\"\\(ambient\\|bounding\\|inheritable\\|permitted\\)\":\\[\\]/\"\\1\":[\"CAP_CHOWN\"]/g",
        "/process/capabilities/bounding",
    ),
    ("uid 0", "s/\"uid\":1000/\"uid\":0/", "/process/user/uid"),
    ("gid 0", "s/\"gid\":1000/\"gid\":0/", "/process/user/gid"),
    (
        "group 0 besides",
        "s/\"additionalGids\":\\[[^]]*\\]/\"additionalGids\":[0]/; t; s/\"user\":{/\"user\":{\"additionalGids\":[0],/",
        "/process/user/additionalGids",
    ),
    (
        "no filter",
        "s/\"seccomp\":/\"unknown\":/",
        "/linux/seccomp",
    ),
    (
        "a writable root",
        "s/\"readonly\":true/\"readonly\":false/",
        "/root/readonly",
    ),
    (
        "no masks",
        "s/\"maskedPaths\":\\[[^]]*\\]/\"maskedPaths\":[]/",
        "/linux/maskedPaths",
    ),
    (
        "one mask too few",
        "s#\"/proc/keys\",##",
        "/linux/maskedPaths",
    ),
    (
        "writable kernel parameters",
        "s#\"readonlyPaths\":\\[[^]]*\\]#\"readonlyPaths\":[]#",
        "/linux/readonlyPaths",
    ),
    (
        "mounts with setuid",
        "s/\"nosuid\",//g; s/,\"nosuid\"//g",
        "/mounts/",
    ),
    (
        "a mount too few",
        "s/,{\"destination\":\"\\/tmp\"[^}]*}//",
        "/mounts/",
    ),
    (
        "the host's IPC namespace",
        "s/,{\"type\":\"ipc\"}//; s/{\"type\":\"ipc\"},//",
        "/linux/namespaces, ipc",
    ),
    (
        "the host's network",
        "s/,{\"type\":\"network\"}//; s/{\"type\":\"network\"},//",
        "/linux/namespaces, network",
    ),
    (
        "another cgroup",
        "s#\"cgroupsPath\":\"[^\"]*\"#\"cgroupsPath\":\"/elsewhere/web\"#",
        "/linux/cgroupsPath",
    ),
];

fn says_the_word(node: &Node) -> Outcome<bool> {
    let ran = node.run("probe", &[], &["echo", WORD])?;
    Ok(ran.success()?.contains(WORD))
}

/// Every lie, and the truth before and after.
fn lies(real: &str, node: &Node) -> Outcome {
    let runtime = LyingRuntime::install(real)?;
    node.set("50-runtime", &runtime.settings())?;
    assert!(says_the_word(node)?, "the word can be seen");
    let mut wrong = Vec::new();
    for (what, lie, pointer) in LIES {
        runtime.tell(lie)?;
        let ran = node.run("probe", &[], &["echo", WORD])?;
        let output = ran.stdout.clone();
        let found = ran.refusal().and_then(|text| Refusal::find(&text));
        match found {
            Ok(refusal)
                if refusal.code == "enforcement-mismatch" && refusal.line.contains(pointer) => {}
            Ok(refusal) => wrong.push(format!("{what}: {}", refusal.line)),
            Err(error) => wrong.push(format!("{what}: {error}")),
        }
        if output.contains(WORD) {
            wrong.push(format!("{what}: the program ran"));
        }
        node.forget("probe")?;
    }
    println!("{} lies of {real}, {} not refused", LIES.len(), wrong.len());
    if !wrong.is_empty() {
        return Err(Failure::new(wrong.join("\n")));
    }
    runtime.tell("")?;
    assert!(says_the_word(node)?, "the word can be seen again");
    Ok(())
}

/// Traces process `pid` until it ends, so that nobody else can. Says when that has begun.
fn trace(pid: Pid, begun: &mpsc::Sender<Outcome>) {
    let seized = ptrace::seize(pid, ptrace::Options::empty()).doing("trace the init");
    let is_lost = seized.is_err();
    drop(begun.send(seized));
    if is_lost {
        return;
    }
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)) {
            // Passed on, unless it is an event of the tracing itself.
            Ok(WaitStatus::Stopped(_, signal)) => drop(ptrace::cont(pid, signal)),
            Ok(WaitStatus::PtraceEvent(..)) => drop(ptrace::cont(pid, None)),
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// Runs a container whose init is traced by this test before it is started.
fn run_traced(node: &Node, held: &HeldRuntime) -> Outcome<Ran> {
    held.hold("create", When::After, "probe")?;
    thread::scope(|scope| {
        let ran = scope.spawn(|| node.run("probe", &[], &["sh", "-c", "echo $0; sleep 1", WORD]));
        held.stopped()?;
        let path = format!("{BUNDLES}/{NAMESPACE}/probe/init.pid");
        let text = fs::read_to_string(path).doing("read the number of the init")?;
        let pid = Pid::from_raw(text.trim().parse().doing("read the number of the init")?);
        let (begun, told) = mpsc::channel();
        scope.spawn(move || trace(pid, &begun));
        told.recv().doing("trace the init")??;
        held.release()?;
        ran.join().expect("a thread")
    })
}

/// Somebody else traces the init already: the shim cannot stop it, and looks after its start.
fn untraceable(node: &Node) -> Outcome {
    let lying = LyingRuntime::install("runc")?;
    let held = HeldRuntime::install(LyingRuntime::PROGRAM)?;
    node.set("50-runtime", &held.settings())?;
    let honest = run_traced(node, &held)?.success()?;
    assert!(honest.contains(WORD), "the word can be seen");
    let log = node.containerd.log();
    assert!(
        log.contains("cannot stop container 'probe' at execve: EPERM"),
        "{log}"
    );
    lying.tell(LIES[0].1)?;
    let refused = Refusal::find(&run_traced(node, &held)?.refusal()?)?;
    assert_eq!(
        refused.short(),
        "refused [enforcement-mismatch]",
        "{refused}"
    );
    node.forget("probe")
}

mod needs_containerd {
    use super::*;

    fn on_a_node(world: &World, case: impl FnOnce(&Node) -> Outcome) -> Outcome {
        let node = Node::provision(world)?;
        case(&node)?;
        node.finish()
    }

    #[test]
    fn no_program_runs_that_runc_confines_less_than_decided() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| on_a_node(world, |node| lies("runc", node)))
    }

    #[test]
    fn no_program_runs_that_crun_confines_less_than_decided() -> Outcome {
        needs!(Root, Busybox, Containerd, Crun, Cni, Swtpm, Programs);
        let shape = Shape { unified: false };
        in_world!(shape, |world| on_a_node(world, |node| lies("crun", node)))
    }

    #[test]
    fn what_cannot_be_stopped_at_execve_is_looked_at_after_its_start() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| on_a_node(world, untraceable))
    }
}
