//! The life of a container under our shim: the same cases on containerd's own shim (which shows
//! that the cases are right), on ours with runc, and on ours with crun.

use std::fs;
use std::path::Path;
use std::process::Command;

use portcullis_tests::cgroup_driver::CgroupDriver;
use portcullis_tests::containerd::{NAMESPACE, RUNC};
use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::grpc::Status;
use portcullis_tests::subject::Subject;
use portcullis_tests::task_events::TaskEvents;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::{held, on_shims, run};

/// A shell program that waits for ever and obeys SIGTERM by ending with 5.
const OBEDIENT: &str = "trap 'exit 5' TERM; while :; do sleep 600 & wait $!; done";

/// Waits until the first process of a container catches SIGTERM: bit 14 of the mask.
const CAUGHT: &str = "until grep -qE 'SigCgt:.*[4567cdef][0-9a-f]{3}$' /proc/1/status; do :; done";

/// The status of a task as `ctr task ls` shows it.
fn status(subject: &Subject<'_>, id: &str) -> Outcome<String> {
    let list = subject.ctr(&["task", "ls"])?;
    let line = list
        .lines()
        .find(|line| line.split_whitespace().next() == Some(id));
    let status = line.and_then(|line| line.split_whitespace().nth(2));
    Ok(status.unwrap_or("none").to_owned())
}

/// Processes of a task, as this process namespace numbers them.
fn pids(subject: &Subject<'_>, id: &str) -> Outcome<Vec<u32>> {
    let list = subject.ctr(&["task", "ps", id])?;
    let first = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    Ok(first.filter_map(|word| word.parse().ok()).collect())
}

mod case {
    use super::*;

    pub(super) fn output_and_exit_code_come_back(subject: &Subject<'_>) -> Outcome {
        let ran = subject.run("one", &["sh", "-c", "echo out; echo err >&2; exit 7"])?;
        assert_eq!(ran.stdout, "out\n");
        assert_eq!(ran.stderr.lines().next(), Some("err"));
        assert_eq!(ran.status.code(), Some(7));
        Ok(())
    }

    pub(super) fn ten_megabytes_of_output_arrive_whole(subject: &Subject<'_>) -> Outcome {
        let ran = subject.run("one", &["sh", "-c", "yes 123456789 | head -c 10000000"])?;
        let text = ran.success()?;
        assert_eq!(text.len(), 10_000_000);
        assert!(text.lines().all(|line| line == "123456789"));
        Ok(())
    }

    pub(super) fn a_terminal_is_a_terminal(subject: &Subject<'_>) -> Outcome {
        // `script` is the terminal that `ctr` wants to have; its size arrives after the start.
        let inside = "'until stty -a | grep -q \"rows 33; columns 101\"; do :; done; tty'";
        let arguments = subject.arguments(&["--rm", "--tty"], "one", &["sh", "-c", inside]);
        let line = format!(
            "stty rows 33 cols 101; ctr --namespace {NAMESPACE} {}",
            arguments.join(" ")
        );
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        let printed = run::to_end(&mut script)?.success()?;
        assert!(printed.contains("/dev/pts/0"), "{printed}");
        Ok(())
    }

    pub(super) fn a_signal_reaches_the_first_process(subject: &Subject<'_>) -> Outcome {
        subject.start("one", &[], OBEDIENT)?;
        let tasks = subject.containerd.tasks();
        subject.exec("one", "look", CAUGHT)?;
        tasks.kill("one", "", 15)?.doing("send SIGTERM")?;
        assert_eq!(tasks.wait("one", "")?.doing("wait for the task")?, 5);
        assert_eq!(status(subject, "one")?, "STOPPED");
        subject.remove("one")
    }

    pub(super) fn a_killed_process_ends_with_137(subject: &Subject<'_>) -> Outcome {
        subject.start("one", &[], OBEDIENT)?;
        let tasks = subject.containerd.tasks();
        tasks.kill("one", "", 9)?.doing("send SIGKILL")?;
        assert_eq!(tasks.wait("one", "")?.doing("wait for the task")?, 137);
        subject.remove("one")
    }

    pub(super) fn exec_has_its_own_output_input_and_code(subject: &Subject<'_>) -> Outcome {
        subject.start("one", &[], OBEDIENT)?;
        let ran = subject.exec("one", "a", "echo out; echo err >&2; exit 9")?;
        assert_eq!((ran.stdout.as_str(), ran.status.code()), ("out\n", Some(9)));
        assert_eq!(ran.stderr.lines().next(), Some("err"));
        let exec = ["task", "exec", "--exec-id", "b", "one", "cat"];
        let mut command = subject.containerd.ctr(&exec);
        let ran = run::with_input(&mut command, Some(b"to exec"), PATIENCE)?;
        assert_eq!(ran.success()?, "to exec");
        subject.remove("one")
    }

    pub(super) fn twenty_execs_at_once_all_report(subject: &Subject<'_>) -> Outcome {
        subject.start("one", &[], OBEDIENT)?;
        let codes: Vec<Outcome<Option<i32>>> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..20)
                .map(|number| {
                    scope.spawn(move || {
                        let script = format!("exit {number}");
                        let ran = subject.exec("one", &format!("e{number}"), &script)?;
                        Ok(ran.status.code())
                    })
                })
                .collect();
            started
                .into_iter()
                .map(|thread| thread.join().expect("a thread"))
                .collect()
        });
        for (number, code) in codes.into_iter().enumerate() {
            assert_eq!(code?, i32::try_from(number).ok());
        }
        subject.remove("one")
    }

    pub(super) fn exec_ids_are_kept_apart(subject: &Subject<'_>) -> Outcome {
        subject.start("one", &[], OBEDIENT)?;
        let tasks = subject.containerd.tasks();
        let spec = br#"{"args":["/bin/sleep","600"],"cwd":"/","user":{"uid":1000,"gid":1000}}"#;
        tasks.exec("one", "a", spec, "")?.doing("add a process")?;
        let twice = tasks.exec("one", "a", spec, "")?.unwrap_err();
        assert_eq!(twice.code, Status::ALREADY_EXISTS, "{twice}");
        let unknown = tasks.kill("one", "b", 9)?.unwrap_err();
        assert_eq!(unknown.code, Status::NOT_FOUND, "{unknown}");
        tasks.start("one", "a")?.doing("start a process")?;
        tasks.kill("one", "a", 9)?.doing("kill a process")?;
        assert_eq!(tasks.wait("one", "a")?.doing("wait for a process")?, 137);
        tasks
            .delete_process("one", "a")?
            .doing("delete a process")?;
        let gone = tasks.kill("one", "a", 9)?.unwrap_err();
        assert_eq!(gone.code, Status::NOT_FOUND, "{gone}");
        subject.remove("one")
    }

    pub(super) fn no_exec_after_the_end(subject: &Subject<'_>) -> Outcome {
        subject.start("one", &[], "exit 0")?;
        let tasks = subject.containerd.tasks();
        assert_eq!(tasks.wait("one", "")?.doing("wait for the task")?, 0);
        assert!(!subject.exec("one", "late", "true")?.status.success());
        subject.remove("one")
    }

    pub(super) fn its_processes_are_listed(subject: &Subject<'_>) -> Outcome {
        subject.start("one", &[], "sleep 600 & sleep 600 & wait")?;
        wait::until_true("three processes", PATIENCE, || {
            pids(subject, "one").is_ok_and(|pids| pids.len() == 3)
        })?;
        for pid in pids(subject, "one")? {
            assert!(Path::new(&format!("/proc/{pid}")).exists());
        }
        subject.remove("one")
    }

    pub(super) fn it_pauses_and_resumes(subject: &Subject<'_>) -> Outcome {
        subject.start("one", &[], OBEDIENT)?;
        assert_eq!(status(subject, "one")?, "RUNNING");
        subject.ctr(&["task", "pause", "one"])?;
        assert_eq!(status(subject, "one")?, "PAUSED");
        subject.ctr(&["task", "resume", "one"])?;
        assert_eq!(status(subject, "one")?, "RUNNING");
        subject.exec("one", "look", "true")?.success()?;
        subject.remove("one")
    }

    pub(super) fn its_use_of_resources_is_measured(subject: &Subject<'_>) -> Outcome {
        subject.start("one", &[], OBEDIENT)?;
        let text = subject.ctr(&["task", "metrics", "--format", "json", "one"])?;
        let metrics: serde_json::Value = serde_json::from_str(&text).doing("read the metrics")?;
        let number = |paths: [&str; 2]| {
            paths
                .iter()
                .filter_map(|path| metrics.pointer(path)?.as_u64())
                .max()
        };
        let memory = number(["/memory/usage/usage", "/memory/usage"]);
        let processor = number(["/cpu/usage/total", "/cpu/usage_usec"]);
        let processes = number(["/pids/current", "/pids/current"]);
        assert!(memory > Some(0) && processor > Some(0), "{metrics}");
        assert!(processes >= Some(2), "{metrics}");
        subject.remove("one")
    }

    pub(super) fn its_limits_can_be_lowered(subject: &Subject<'_>) -> Outcome {
        const LIMIT: &str = "67108864";
        subject.start("one", &[], OBEDIENT)?;
        let resources = format!("{{\"memory\":{{\"limit\":{LIMIT}}},\"pids\":{{\"limit\":50}}}}");
        let tasks = subject.containerd.tasks();
        tasks
            .update("one", resources.as_bytes())?
            .doing("lower the limits")?;
        let scope = CgroupDriver::current().group(NAMESPACE, "one");
        // crun updates its own group within the scope, in which the processes are.
        let within = scope.join("container");
        let group = if within.is_dir() { within } else { scope };
        let read = |version_1: &str, version_2: &str| {
            let version_1 = Path::new("/sys/fs/cgroup").join(version_1);
            let found = fs::read_to_string(version_1);
            let found = found.or_else(|_| fs::read_to_string(group.join(version_2)));
            found.unwrap_or_default().trim().to_owned()
        };
        let memory = read("memory/default/one/memory.limit_in_bytes", "memory.max");
        let pids = read("pids/default/one/pids.max", "pids.max");
        assert_eq!((memory.as_str(), pids.as_str()), (LIMIT, "50"));
        subject.remove("one")
    }

    pub(super) fn a_running_task_is_not_deleted(subject: &Subject<'_>) -> Outcome {
        subject.start("one", &[], OBEDIENT)?;
        assert!(
            !subject
                .containerd
                .run_ctr(&["task", "delete", "one"])?
                .status
                .success()
        );
        assert_eq!(status(subject, "one")?, "RUNNING");
        subject.remove("one")
    }

    pub(super) fn a_kill_for_want_of_memory_is_told(subject: &Subject<'_>) -> Outcome {
        let events = TaskEvents::of(subject)?;
        let limit = ["--rm", "--memory-limit", "16777216"];
        // `tail` keeps the last line, and this one never ends.
        let arguments = subject.arguments(&limit, "one", &["tail", "/dev/zero"]);
        let ran = subject.containerd.run_ctr(&arguments)?;
        assert_eq!(ran.status.code(), Some(137));
        events.until("oom", "one")?;
        events.stop()
    }

    pub(super) fn events_come_in_order(subject: &Subject<'_>) -> Outcome {
        let events = TaskEvents::of(subject)?;
        let topics = || -> Vec<String> {
            let seen = events.seen().into_iter();
            seen.map(|(topic, _)| topic).collect()
        };
        subject.start("one", &[], OBEDIENT)?;
        subject.exec("one", "a", "true")?.success()?;
        subject
            .containerd
            .tasks()
            .kill("one", "", 9)?
            .doing("kill the task")?;
        subject
            .containerd
            .tasks()
            .wait("one", "")?
            .doing("wait for the task")?;
        subject.remove("one")?;
        // containerd's own shim may end before it has sent its last event.
        let may_lack_last = subject.runtime == RUNC;
        let deleted = || topics().iter().any(|topic| topic == "delete");
        wait::until_true("the last event", PATIENCE, || {
            events.text().contains("/containers/delete") && (may_lack_last || deleted())
        })?;
        let lacking = usize::from(may_lack_last && !deleted());
        let expected = [
            "create",
            "start",
            "exec-added",
            "exec-started",
            "exit",
            "exit",
            "delete",
        ];
        assert_eq!(topics(), expected[..expected.len() - lacking]);
        events.stop()
    }

    pub(super) fn a_dead_shim_takes_its_container_along(subject: &Subject<'_>) -> Outcome {
        subject.start("one", &[], OBEDIENT)?;
        let pids = pids(subject, "one")?;
        let shim = held::parent_of(pids[0])?;
        run::to_end(Command::new("kill").args(["-KILL", &shim.to_string()]))?.success()?;
        wait::until_true("the container to die", PATIENCE, || {
            pids.iter().all(|pid| !held::is_alive(*pid))
        })?;
        wait::until_true("containerd to forget the task", PATIENCE, || {
            status(subject, "one").is_ok_and(|status| status != "RUNNING")
        })?;
        // The task may be gone or stopped; both are right.
        subject
            .containerd
            .run_ctr(&["task", "delete", "--force", "one"])?;
        subject.ctr(&["container", "delete", "one"]).map(drop)
    }

    pub(super) fn five_short_containers_in_a_row(subject: &Subject<'_>) -> Outcome {
        for _ in 0..5 {
            subject.run("one", &["true"])?.success()?;
        }
        Ok(())
    }
}

on_shims! {
    output_and_exit_code_come_back
    ten_megabytes_of_output_arrive_whole
    a_terminal_is_a_terminal
    a_signal_reaches_the_first_process
    a_killed_process_ends_with_137
    exec_has_its_own_output_input_and_code
    twenty_execs_at_once_all_report
    exec_ids_are_kept_apart
    no_exec_after_the_end
    its_processes_are_listed
    it_pauses_and_resumes
    its_use_of_resources_is_measured
    its_limits_can_be_lowered
    a_running_task_is_not_deleted
    a_kill_for_want_of_memory_is_told
    events_come_in_order
    a_dead_shim_takes_its_container_along
    five_short_containers_in_a_row
}
