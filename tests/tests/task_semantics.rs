//! How tasks behave, to the letter of containerd's own shim, on which every case runs as well.
//! The numbers are those of the behaviours in `docs/behaviours.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::containerd::{Containerd, NAMESPACE, PORTCULLIS, RUNC};
use portcullis_tests::daemon::Daemon;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::grpc::Status;
use portcullis_tests::held;
use portcullis_tests::node::Node;
use portcullis_tests::run::Ran;
use portcullis_tests::shim_tasks::{ShimTasks, State};
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::{Census, Shape, World};
use portcullis_tests::{image, in_world, needs};
use serde_json::Value;

/// Set to run the long forms.
const LONG: &str = "PORTCULLIS_TEST_LONG";
/// Lets a test choose the next process number of its world.
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// What a case works on.
struct Subject<'a> {
    containerd: &'a Containerd,
    runtime: &'static str,
    logs: PathBuf,
}

impl Subject<'_> {
    fn ctr(&self, arguments: &[&str]) -> Outcome<Ran> {
        self.containerd.run_ctr(arguments)
    }

    /// Starts a container and leaves it running.
    fn start(&self, id: &str, options: &[&str], script: &str) -> Outcome<ShimTasks> {
        let mut arguments = vec!["run", "--detach", "--runtime", self.runtime];
        arguments.extend_from_slice(options);
        arguments.extend_from_slice(&[image::BUSYBOX, id, "sh", "-c", script]);
        self.ctr(&arguments)?.success()?;
        ShimTasks::of(NAMESPACE, id)
    }

    fn remove(&self, id: &str) -> Outcome {
        self.ctr(&["task", "delete", "--force", id])?.success()?;
        self.ctr(&["container", "delete", id])?.success().map(drop)
    }

    /// Subscribes to containerd's events.
    fn events(&self) -> Outcome<Events> {
        let log = self.logs.join("events.log");
        let daemon = Daemon::start(&mut self.containerd.ctr(&["events"]), &log)?;
        // A subscriber has no sign that it is one; the first event it sees is.
        wait::until_true("a first event", PATIENCE, || {
            let label = self.ctr(&["image", "label", image::BUSYBOX, "seen=yes"]);
            label.is_ok() && read(&log).contains("/images/update")
        })?;
        Ok(Events { daemon, log })
    }
}

/// What containerd tells its subscribers.
struct Events {
    daemon: Daemon,
    log: PathBuf,
}

impl Events {
    /// Events of tasks so far: the topic's last word and the process' id.
    fn seen(&self) -> Vec<(String, String)> {
        read(&self.log)
            .lines()
            .filter_map(|line| {
                let (_, rest) = line.split_once("/tasks/")?;
                let (topic, json) = rest.split_once(' ')?;
                let event: Value = serde_json::from_str(json).ok()?;
                let word = |name: &str| event.get(name).and_then(Value::as_str);
                let id = word("exec_id").or(word("id")).or(word("container_id"))?;
                Some((topic.to_owned(), id.to_owned()))
            })
            .collect()
    }

    fn until(&self, topic: &str, id: &str) -> Outcome {
        wait::until_true(&format!("'{topic}' of '{id}'"), PATIENCE, || {
            self.seen().contains(&(topic.to_owned(), id.to_owned()))
        })
        .map_err(|failure| Failure::new(format!("{failure}; seen: {:?}", self.seen())))
    }

    fn stop(mut self) -> Outcome {
        self.daemon.stop().map(drop)
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// `long` if the long forms are asked for.
fn count(short: usize, long: usize) -> usize {
    if std::env::var_os(LONG).is_some() {
        long
    } else {
        short
    }
}

/// The spec of a process that runs `script`.
fn spec(script: &str) -> Vec<u8> {
    serde_json::json!({
        "args": ["/bin/sh", "-c", script],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "user": {"uid": 1000, "gid": 1000},
    })
    .to_string()
    .into_bytes()
}

/// Adds an exec and starts it; gives its pid.
fn exec(tasks: &ShimTasks, id: &str, exec_id: &str, script: &str) -> Outcome<u32> {
    tasks
        .exec(id, exec_id, &spec(script))?
        .doing("add a process")?;
    tasks.start(id, exec_id)?.doing("start a process")
}

/// Runs an exec to its end and removes it; gives its status.
fn exec_to_end(tasks: &ShimTasks, id: &str, exec_id: &str, script: &str) -> Outcome<u32> {
    exec(tasks, id, exec_id, script)?;
    let status = tasks.wait(id, exec_id)?.doing("wait for a process")?;
    let deleted = tasks.delete(id, exec_id)?.doing("delete a process")?;
    assert_eq!(deleted.exit_status, status);
    Ok(status)
}

fn status(tasks: &ShimTasks, id: &str, exec_id: &str) -> Outcome<i32> {
    Ok(tasks.state(id, exec_id)?.doing("ask for a state")?.status)
}

fn code<T>(answer: Result<T, Status>) -> u32 {
    answer.map_or_else(|status| status.code, |_| 0)
}

/// Waits until `process` has that state.
fn until_status(tasks: &ShimTasks, id: &str, exec_id: &str, wanted: i32) -> Outcome {
    wait::until_true("a state", PATIENCE, || {
        status(tasks, id, exec_id) == Ok(wanted)
    })
}

mod case {
    use super::*;

    pub(super) fn t38_init_is_told_to_have_ended_after_its_execs(subject: &Subject<'_>) -> Outcome {
        let events = subject.events()?;
        let tasks = subject.start("one", &[], "sleep 600")?;
        for exec_id in ["a", "b"] {
            exec(&tasks, "one", exec_id, "sleep 600")?;
        }
        tasks.kill("one", "", 9, false)?.doing("kill init")?;
        assert_eq!(tasks.wait("one", "")?.doing("wait for init")?, 137);
        events.until("exit", "one")?;
        for exec_id in ["a", "b"] {
            assert_eq!(tasks.wait("one", exec_id)?.doing("wait")?, 137);
            tasks.delete("one", exec_id)?.doing("delete a process")?;
        }
        subject.remove("one")?;
        // containerd's own shim may end before it has sent its last event.
        if subject.runtime == PORTCULLIS {
            events.until("delete", "one")?;
        }
        let seen = events.seen();
        let at = |topic: &str, id: &str| {
            let found = seen
                .iter()
                .position(|event| event == &(topic.to_owned(), id.to_owned()));
            found.ok_or_else(|| Failure::new(format!("no '{topic}' of '{id}' in {seen:?}")))
        };
        let mut order = vec![at("create", "one")?, at("start", "one")?];
        order.extend([
            at("exec-added", "a")?,
            at("exec-started", "a")?,
            at("exit", "a")?,
        ]);
        order.push(at("exit", "one")?);
        assert!(order.is_sorted(), "{seen:?}");
        assert!(
            at("exec-added", "b")? < at("exec-started", "b")?,
            "{seen:?}"
        );
        assert!(at("exit", "b")? < at("exit", "one")?, "{seen:?}");
        let deleted: Vec<_> = seen.iter().filter(|(topic, _)| topic == "delete").collect();
        assert!(deleted.iter().all(|(_, id)| id == "one"), "{seen:?}");
        events.stop()
    }

    pub(super) fn t39_very_short_processes_are_not_missed(subject: &Subject<'_>) -> Outcome {
        for number in 0..count(8, 1000) {
            let script = format!("exit {}", number % 200);
            let mut run = vec!["run", "--rm", "--runtime", subject.runtime];
            run.extend_from_slice(&[image::BUSYBOX, "short", "sh", "-c", &script]);
            let ran = subject.ctr(&run)?;
            assert_eq!(
                ran.status.code(),
                i32::try_from(number % 200).ok(),
                "{ran:?}"
            );
        }
        let tasks = subject.start("one", &[], "sleep 600")?;
        for number in 0..count(100, 1000) {
            let wanted = u32::try_from(number % 200).doing("count")?;
            let exec_id = format!("e{number}");
            let ended = exec_to_end(&tasks, "one", &exec_id, &format!("exit {wanted}"))?;
            assert_eq!(ended, wanted);
        }
        subject.remove("one")
    }

    pub(super) fn t39_fifty_execs_at_once_all_report(subject: &Subject<'_>) -> Outcome {
        let tasks = subject.start("one", &[], "sleep 600")?;
        let ended: Vec<Outcome<u32>> = thread::scope(|scope| {
            let tasks = &tasks;
            let started: Vec<_> = (0..50)
                .map(|number| {
                    let (exec_id, script) = (format!("e{number}"), format!("exit {number}"));
                    scope.spawn(move || exec_to_end(tasks, "one", &exec_id, &script))
                })
                .collect();
            let joined = started.into_iter().map(|thread| thread.join());
            joined.map(|ended| ended.expect("a thread")).collect()
        });
        for (number, ended) in ended.into_iter().enumerate() {
            assert_eq!(usize::try_from(ended?).ok(), Some(number));
        }
        subject.remove("one")
    }

    pub(super) fn t39_an_exec_may_meet_the_end_of_init(subject: &Subject<'_>) -> Outcome {
        for round in 0..8 {
            let tasks = subject.start("one", &[], "sleep 600")?;
            tasks
                .exec("one", "x", &spec("sleep 600"))?
                .doing("add a process")?;
            let started = thread::scope(|scope| {
                let start = scope.spawn(|| tasks.start("one", "x"));
                let moment = Instant::now() + Duration::from_millis(4 * round);
                wait::until_true("the moment", PATIENCE, || Instant::now() >= moment)?;
                tasks.kill("one", "", 9, false)?.doing("kill init")?;
                start.join().expect("a thread")
            })?;
            assert_eq!(tasks.wait("one", "")?.doing("wait for init")?, 137);
            if started.is_ok() {
                assert_eq!(tasks.wait("one", "x")?.doing("wait for the exec")?, 137);
            }
            assert_eq!(status(&tasks, "one", "")?, State::STOPPED);
            assert_ne!(status(&tasks, "one", "x")?, State::RUNNING);
            subject.remove("one")?;
        }
        Ok(())
    }

    pub(super) fn t40_wait_before_and_after_the_end_and_after_delete(
        subject: &Subject<'_>,
    ) -> Outcome {
        let tasks = subject.start("one", &[], "sleep 600")?;
        exec(&tasks, "one", "x", "sleep 600")?;
        let waited = thread::scope(|scope| {
            let waiters: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| tasks.wait("one", "x")))
                .collect();
            tasks.kill("one", "x", 15, false)?.doing("kill")?;
            let joined = waiters.into_iter().map(|waiter| waiter.join());
            joined
                .map(|waited| waited.expect("a thread"))
                .collect::<Outcome<Vec<_>>>()
        })?;
        for waited in waited {
            assert_eq!(waited.doing("wait")?, 128 + 15);
        }
        assert_eq!(tasks.wait("one", "x")?.doing("wait")?, 128 + 15);
        tasks.delete("one", "x")?.doing("delete")?;
        assert_eq!(code(tasks.wait("one", "x")?), Status::NOT_FOUND);
        assert_eq!(code(tasks.wait("other", "")?), Status::NOT_FOUND);
        subject.remove("one")
    }

    pub(super) fn t40_a_signal_counts_128_more(subject: &Subject<'_>) -> Outcome {
        let tasks = subject.start("one", &[], "sleep 600")?;
        for signal in [1, 2, 3, 6, 9, 13, 15, 34, 64] {
            exec(&tasks, "one", "x", "exec sleep 600")?;
            // The process may still be the runtime's; only its program has default handlers.
            wait::until_true("the program", PATIENCE, || {
                let pid = tasks.state("one", "x").ok().and_then(Result::ok);
                pid.is_some_and(|state| {
                    read(&PathBuf::from(format!("/proc/{}/comm", state.pid))).trim() == "sleep"
                })
            })?;
            tasks.kill("one", "x", signal, false)?.doing("kill")?;
            assert_eq!(tasks.wait("one", "x")?.doing("wait")?, 128 + signal);
            tasks.delete("one", "x")?.doing("delete")?;
        }
        subject.remove("one")
    }

    pub(super) fn t40_a_process_number_used_again_is_another_process(
        subject: &Subject<'_>,
    ) -> Outcome {
        let tasks = subject.start("one", &[], "sleep 600")?;
        let used = exec(&tasks, "one", "first", "exit 3")?;
        assert_eq!(tasks.wait("one", "first")?.doing("wait")?, 3);
        // How many processes and threads the runtime makes before the one differs.
        let again = (0..400).find_map(|round| {
            let back = 2 + round % 24;
            let exec_id = format!("again{round}");
            fs::write(LAST_PID, (used - back).to_string()).ok()?;
            let pid = exec(&tasks, "one", &exec_id, "sleep 600").ok()?;
            if pid == used {
                return Some(exec_id);
            }
            tasks.kill("one", &exec_id, 9, false).ok()?.ok()?;
            tasks.wait("one", &exec_id).ok()?.ok()?;
            tasks.delete("one", &exec_id).ok()?.ok()?;
            None
        });
        let again = again.ok_or_else(|| Failure::new("the number did not come again"))?;
        assert_eq!(status(&tasks, "one", &again)?, State::RUNNING);
        assert_eq!(
            code(tasks.kill("one", "first", 9, false)?),
            Status::NOT_FOUND
        );
        assert_eq!(status(&tasks, "one", &again)?, State::RUNNING);
        tasks.kill("one", &again, 15, false)?.doing("kill")?;
        assert_eq!(tasks.wait("one", &again)?.doing("wait")?, 128 + 15);
        let first = tasks.state("one", "first")?.doing("ask for a state")?;
        assert_eq!((first.pid, first.exit_status), (used, 3));
        subject.remove("one")
    }

    pub(super) fn t41_kill_reaches_one_or_all(subject: &Subject<'_>) -> Outcome {
        let tasks = subject.start("one", &[], "sleep 600 & sleep 600 & wait")?;
        exec(&tasks, "one", "x", "sleep 600")?;
        exec(&tasks, "one", "y", "sleep 600")?;
        tasks.kill("one", "x", 9, false)?.doing("kill one")?;
        assert_eq!(tasks.wait("one", "x")?.doing("wait")?, 137);
        assert_eq!(status(&tasks, "one", "")?, State::RUNNING);
        assert_eq!(status(&tasks, "one", "y")?, State::RUNNING);
        assert_eq!(code(tasks.kill("one", "z", 9, false)?), Status::NOT_FOUND);
        assert_eq!(code(tasks.kill("one", "x", 9, false)?), Status::NOT_FOUND);
        let twice = tasks.exec("one", "y", &spec("true"))?;
        assert_eq!(code(twice), Status::ALREADY_EXISTS);
        tasks.kill("one", "", 9, true)?.doing("kill all")?;
        assert_eq!(tasks.wait("one", "y")?.doing("wait")?, 137);
        assert_eq!(tasks.wait("one", "")?.doing("wait")?, 137);
        assert_eq!(code(tasks.kill("one", "", 9, false)?), Status::NOT_FOUND);
        subject.remove("one")
    }

    pub(super) fn t42_daemons_and_zombies_are_cleared(subject: &Subject<'_>) -> Outcome {
        // A daemon whose parent is gone, and children that nobody waits for.
        let script = "(setsid sleep 700 &); for i in 1 2 3 4 5; do true & done; exec sleep 600";
        let before = Census::take();
        let tasks = subject.start("one", &[], script)?;
        exec(&tasks, "one", "x", "(setsid sleep 800 &); exit 4")?;
        assert_eq!(tasks.wait("one", "x")?.doing("wait")?, 4);
        assert_eq!(status(&tasks, "one", "")?, State::RUNNING);
        tasks.kill("one", "", 9, false)?.doing("kill init")?;
        assert_eq!(tasks.wait("one", "")?.doing("wait")?, 137);
        subject.remove("one")?;
        before.until_clean(PATIENCE)
    }

    pub(super) fn t46_statistics_have_the_type_of_the_cgroups(subject: &Subject<'_>) -> Outcome {
        let tasks = subject.start("one", &[], "sleep 600")?;
        let stats = tasks.stats("one")?.doing("ask for statistics")?;
        let version = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            "io.containerd.cgroups.v2.Metrics"
        } else {
            "io.containerd.cgroups.v1.Metrics"
        };
        assert_eq!(stats.type_url, version);
        assert!(stats.value.len() > 32, "{} bytes", stats.value.len());
        subject.remove("one")
    }

    pub(super) fn t47_pause_shows_in_the_state(subject: &Subject<'_>) -> Outcome {
        let tasks = subject.start("one", &[], "sleep 600")?;
        exec(&tasks, "one", "x", "sleep 600")?;
        tasks.plain("Pause", "one")?.doing("pause")?;
        let (init, exec) = (tasks.state("one", "")?, tasks.state("one", "x")?);
        let (deleted, added) = (
            tasks.delete("one", "")?,
            tasks.exec("one", "y", &spec("true"))?,
        );
        // Judged only now: the world of a failed test cannot end while something in it is frozen.
        tasks.plain("Resume", "one")?.doing("resume")?;
        assert_eq!(init.doing("ask for a state")?.status, State::PAUSED);
        assert_eq!(exec.doing("ask for a state")?.status, State::PAUSED);
        assert_ne!(code(deleted), 0);
        assert_ne!(code(added), 0);
        assert_eq!(status(&tasks, "one", "")?, State::RUNNING);
        assert_eq!(status(&tasks, "one", "x")?, State::RUNNING);
        assert_eq!(exec_to_end(&tasks, "one", "y", "exit 2")?, 2);
        subject.remove("one")
    }

    pub(super) fn t49_what_cannot_be_done_has_its_code(subject: &Subject<'_>) -> Outcome {
        let tasks = subject.start("one", &[], "sleep 600")?;
        assert_eq!(code(tasks.plain("Levitate", "one")?), Status::UNIMPLEMENTED);
        assert_eq!(code(tasks.state("other", "")?), Status::NOT_FOUND);
        assert_eq!(code(tasks.state("one", "x")?), Status::NOT_FOUND);
        assert_eq!(code(tasks.start("one", "x")?), Status::NOT_FOUND);
        assert_ne!(code(tasks.delete("one", "")?), 0);
        exec(&tasks, "one", "x", "sleep 600")?;
        assert_ne!(code(tasks.start("one", "x")?), 0);
        assert_ne!(code(tasks.delete("one", "x")?), 0);
        assert_eq!(status(&tasks, "one", "x")?, State::RUNNING);
        // Not the end: the task is there.
        tasks.plain("Shutdown", "one")?.doing("shut down")?;
        assert_eq!(status(&tasks, "one", "")?, State::RUNNING);
        let connected = tasks.connect("one")?.doing("connect")?;
        assert_eq!(held::parent_of(connected.task_pid)?, connected.shim_pid);
        if subject.runtime == PORTCULLIS {
            assert_eq!(
                code(tasks.plain("Checkpoint", "one")?),
                Status::UNIMPLEMENTED
            );
        }
        subject.remove("one")
    }

    pub(super) fn t9_a_second_delete_finds_nothing(subject: &Subject<'_>) -> Outcome {
        const GROUP: [&str; 2] = ["--annotation", "io.containerd.runc.v2.group=pod"];
        let tasks = subject.start("one", &GROUP, "sleep 600")?;
        subject.start("two", &GROUP, "exit 5")?;
        until_status(&tasks, "two", "", State::STOPPED)?;
        let deleted = tasks.delete("two", "")?.doing("delete")?;
        assert_eq!(deleted.exit_status, 5);
        assert_eq!(code(tasks.delete("two", "")?), Status::NOT_FOUND);
        assert_eq!(code(tasks.wait("two", "")?), Status::NOT_FOUND);
        assert_eq!(status(&tasks, "one", "")?, State::RUNNING);
        // containerd finds out by itself.
        let removed = subject.ctr(&["task", "delete", "--force", "two"])?;
        drop(removed);
        wait::until_true("the container to be forgotten", PATIENCE, || {
            let deleted = subject.ctr(&["container", "delete", "two"]);
            deleted.is_ok_and(|ran| ran.status.success())
        })?;
        subject.remove("one")
    }
}

/// A case on containerd's own shim.
fn on_stock(world: &World, case: fn(&Subject<'_>) -> Outcome) -> Outcome {
    let before = Census::take();
    let containerd = Containerd::start(world)?;
    case(&Subject {
        containerd: &containerd,
        runtime: RUNC,
        logs: world.logs(),
    })?;
    containerd.stop()?;
    before.until_clean(PATIENCE)
}

/// A case on our shim with `binary` as OCI runtime.
fn on_ours(world: &World, binary: &str, case: fn(&Subject<'_>) -> Outcome) -> Outcome {
    let node = Node::provision(world)?;
    // Fifty records at once may take longer on a busy machine than a node allows by default.
    let settings =
        format!("[attestation]\nsnapshot_deadline = \"20s\"\n[runtime]\nbinary = \"{binary}\"\n");
    node.set("50-runtime", &settings)?;
    case(&Subject {
        containerd: &node.containerd,
        runtime: PORTCULLIS,
        logs: world.logs(),
    })?;
    node.finish()
}

macro_rules! on_every_shim {
    ($($case:ident)+; ours: $($ours:ident)+) => {
        mod needs_containerd {
            mod stock_shim {
                use crate::*;
                $(
                    #[test]
                    fn $case() -> Outcome {
                        needs!(Root, Busybox, Containerd, Runc, Cni, RuncShim);
                        in_world!(|world| on_stock(world, case::$case))
                    }
                )+
            }
            mod with_runc {
                use crate::*;
                $(
                    #[test]
                    fn $case() -> Outcome {
                        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
                        in_world!(|world| on_ours(world, "runc", case::$case))
                    }
                )+
                $(
                    #[test]
                    fn $ours() -> Outcome {
                        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
                        in_world!(|world| on_ours(world, "runc", case::$ours))
                    }
                )+
            }
            mod with_crun {
                use crate::*;
                $(
                    #[test]
                    fn $case() -> Outcome {
                        needs!(Root, Busybox, Containerd, Crun, Cni, Swtpm, Programs);
                        in_world!(Shape { unified: false }, |world| {
                            on_ours(world, "crun", case::$case)
                        })
                    }
                )+
                $(
                    #[test]
                    fn $ours() -> Outcome {
                        needs!(Root, Busybox, Containerd, Crun, Cni, Swtpm, Programs);
                        in_world!(Shape { unified: false }, |world| {
                            on_ours(world, "crun", case::$ours)
                        })
                    }
                )+
            }
        }
    };
}

on_every_shim! {
    t9_a_second_delete_finds_nothing
    t38_init_is_told_to_have_ended_after_its_execs
    t39_an_exec_may_meet_the_end_of_init
    t39_fifty_execs_at_once_all_report
    t39_very_short_processes_are_not_missed
    t40_a_signal_counts_128_more
    t40_wait_before_and_after_the_end_and_after_delete
    t41_kill_reaches_one_or_all
    t42_daemons_and_zombies_are_cleared
    t46_statistics_have_the_type_of_the_cgroups
    t47_pause_shows_in_the_state
    t49_what_cannot_be_done_has_its_code;
    // containerd 1.6's own shim takes the end of the later process for that of the earlier.
    ours: t40_a_process_number_used_again_is_another_process
}
