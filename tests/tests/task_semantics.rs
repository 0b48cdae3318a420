//! How tasks behave, to the letter of containerd's own shim, on which every case runs as well.
//! The numbers are those of the behaviours in `docs/behaviours.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::containerd::{NAMESPACE, PORTCULLIS, RUNC};
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::grpc::Status;
use portcullis_tests::held;
use portcullis_tests::on_shims;
use portcullis_tests::require::count;
use portcullis_tests::shim_tasks::{ShimTasks, State};
use portcullis_tests::subject::Subject;
use portcullis_tests::task_events::TaskEvents;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::Census;

/// Lets a test choose the next process number of its world.
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// Starts a container and leaves it running.
fn start(subject: &Subject<'_>, id: &str, options: &[&str], script: &str) -> Outcome<ShimTasks> {
    subject.start(id, options, script)?;
    ShimTasks::of(NAMESPACE, id)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
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
        let events = TaskEvents::of(subject)?;
        let tasks = start(subject, "one", &[], "sleep 600")?;
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
            let ran = subject.run("short", &["sh", "-c", &script])?;
            assert_eq!(
                ran.status.code(),
                i32::try_from(number % 200).ok(),
                "{ran:?}"
            );
        }
        let tasks = start(subject, "one", &[], "sleep 600")?;
        for number in 0..count(100, 1000) {
            let wanted = u32::try_from(number % 200).doing("count")?;
            let exec_id = format!("e{number}");
            let ended = exec_to_end(&tasks, "one", &exec_id, &format!("exit {wanted}"))?;
            assert_eq!(ended, wanted);
        }
        subject.remove("one")
    }

    pub(super) fn t39_fifty_execs_at_once_all_report(subject: &Subject<'_>) -> Outcome {
        // Of fifty, containerd's own shim of 1.6 forgets to tell the end of one now and then; that the
        // case is right shows with a few.
        let count = if subject.runtime == RUNC { 5 } else { 50 };
        let tasks = start(subject, "one", &[], "sleep 600")?;
        let ended: Vec<Outcome<u32>> = thread::scope(|scope| {
            let tasks = &tasks;
            let started: Vec<_> = (0..count)
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
            let tasks = start(subject, "one", &[], "sleep 600")?;
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
        let tasks = start(subject, "one", &[], "sleep 600")?;
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
        let tasks = start(subject, "one", &[], "sleep 600")?;
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
        let tasks = start(subject, "one", &[], "sleep 600")?;
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
        let tasks = start(subject, "one", &[], "sleep 600 & sleep 600 & wait")?;
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
        let tasks = start(subject, "one", &[], script)?;
        exec(&tasks, "one", "x", "(setsid sleep 800 &); exit 4")?;
        assert_eq!(tasks.wait("one", "x")?.doing("wait")?, 4);
        assert_eq!(status(&tasks, "one", "")?, State::RUNNING);
        tasks.kill("one", "", 9, false)?.doing("kill init")?;
        assert_eq!(tasks.wait("one", "")?.doing("wait")?, 137);
        subject.remove("one")?;
        before.until_clean(PATIENCE)
    }

    pub(super) fn t46_statistics_have_the_type_of_the_cgroups(subject: &Subject<'_>) -> Outcome {
        let tasks = start(subject, "one", &[], "sleep 600")?;
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
        let tasks = start(subject, "one", &[], "sleep 600")?;
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
        let tasks = start(subject, "one", &[], "sleep 600")?;
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
        let tasks = start(subject, "one", &GROUP, "sleep 600")?;
        start(subject, "two", &GROUP, "exit 5")?;
        until_status(&tasks, "two", "", State::STOPPED)?;
        let deleted = tasks.delete("two", "")?.doing("delete")?;
        assert_eq!(deleted.exit_status, 5);
        assert_eq!(code(tasks.delete("two", "")?), Status::NOT_FOUND);
        assert_eq!(code(tasks.wait("two", "")?), Status::NOT_FOUND);
        assert_eq!(status(&tasks, "one", "")?, State::RUNNING);
        // containerd finds out by itself.
        let remove = ["task", "delete", "--force", "two"];
        subject.containerd.run_ctr(&remove)?;
        wait::until_true("the container to be forgotten", PATIENCE, || {
            subject.ctr(&["container", "delete", "two"]).is_ok()
        })?;
        subject.remove("one")
    }
}

on_shims! {
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
