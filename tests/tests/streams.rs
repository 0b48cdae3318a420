//! Standard streams: what a process writes arrives whole wherever it is to go, what it reads ends
//! when it should, and no client, program or orphan at the other end holds anything up.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use portcullis_tests::added::{Added, ID, compare_with_seq, expect, joined, reading};
use portcullis_tests::containerd::NAMESPACE;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::grpc::Status;
use portcullis_tests::on_shims;
use portcullis_tests::shim_tasks::{ShimTasks, State};
use portcullis_tests::subject::Subject;
use portcullis_tests::wait::{self, PATIENCE};

/// A program that waits for ever.
const SLEEPER: &str = "while :; do sleep 600; done";

/// A logging program: notes what it is given, and keeps what it reads, in the folder it is told.
const DRIVER: &str = r#"#!/bin/sh
cd "$2" || exit 1
tr '\0' '\n' <"/proc/$$/environ" >environment
echo "$*" >arguments
ls "/proc/$$/fd" >descriptors
cat <&3 >out 5>&- &
cat <&4 >err 5>&- &
printf r >&5
exec 5>&-
wait
echo >ended
"#;

/// Installs a logging program and makes its folder; gives its URI.
fn install(name: &str, text: &str, scheme: &str) -> Outcome<(String, PathBuf)> {
    let program = format!("/usr/local/bin/{name}");
    let folder = PathBuf::from(format!("/run/{name}"));
    fs::create_dir_all(&folder).doing("make the program's folder")?;
    fs::write(&program, text).doing("install a program")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).doing("install a program")?;
    let uri = format!("{scheme}://{program}?-folder={}", folder.display());
    Ok((uri, folder))
}

/// Whether a process of this world has `word` in its command line.
fn runs(word: &str) -> Option<PathBuf> {
    let entries = fs::read_dir("/proc").ok()?.flatten();
    entries.map(|entry| entry.path()).find(|path| {
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        path.join("exe").exists()
            && String::from_utf8_lossy(&line)
                .replace('\0', " ")
                .contains(word)
    })
}

/// Sends a signal to the process of a folder in `/proc`.
fn signal(process: &Path, signal: Signal) -> Outcome {
    let name = process.file_name().unwrap_or_default().to_string_lossy();
    let pid = name.parse().doing("read a process id")?;
    kill(Pid::from_raw(pid), signal).doing(format!("send {signal}"))
}

mod case {
    use super::*;

    /// T4 43.
    pub(super) fn a_hundred_megabytes_arrive_whole_and_in_order(subject: &Subject<'_>) -> Outcome {
        subject.start(ID, &[], SLEEPER)?;
        let (added, path) = Added::new(subject, "much").with_output()?;
        let reader =
            thread::spawn(move || compare_with_seq(File::open(path).doing("open a FIFO")?));
        added.start("seq 1 13000000 | head -c 100000000")?;
        assert_eq!(joined(reader)?, 100_000_000);
        assert_eq!(added.wait()?, 0);
        added.delete()?;
        subject.remove(ID)
    }

    /// T4 43.
    pub(super) fn a_slow_reader_holds_the_writer_and_loses_nothing(
        subject: &Subject<'_>,
    ) -> Outcome {
        subject.start(ID, &[], SLEEPER)?;
        let (added, path) = Added::new(subject, "held").with_output()?;
        let open = thread::spawn(move || File::open(path).doing("open a FIFO"));
        added.start("exec seq 1 100001")?;
        let file = joined(open)?;
        let process = wait::until("the writer", PATIENCE, || runs("seq 1 100001"))?;
        wait::until_true("the writer to wait in a pipe", PATIENCE, || {
            fs::read_to_string(process.join("wchan"))
                .is_ok_and(|place| place.contains("pipe_write"))
        })?;
        assert_eq!(compare_with_seq(file)?, 588_902);
        assert_eq!(added.wait()?, 0);
        added.delete()?;
        subject.remove(ID)
    }

    /// T4 43. With containerd's own shim of 2.1.9 this Delete took longer.
    pub(super) fn an_orphan_with_the_output_open_holds_up_nothing(
        subject: &Subject<'_>,
    ) -> Outcome {
        subject.start(ID, &[], SLEEPER)?;
        let (added, path) = Added::new(subject, "orphan").with_output()?;
        let reader = reading(&path);
        added.start("sleep 600 & echo done")?;
        assert_eq!(added.wait()?, 0);
        let since = Instant::now();
        added.delete()?;
        assert!(since.elapsed() < Duration::from_secs(10), "{since:?}");
        assert_eq!(joined(reader)?, "done\n");
        subject.remove(ID)
    }

    /// T4 43: the client goes away and comes back, and nobody gets SIGPIPE or an end of file.
    pub(super) fn a_client_detaches_and_attaches_again(subject: &Subject<'_>) -> Outcome {
        subject.start(ID, &[], SLEEPER)?;
        let (added, output) = Added::new(subject, "attached").with_output()?;
        let (added, input) = added.with_input()?;
        let (there, here) = (output.clone(), input.clone());
        let open = thread::spawn(move || File::open(there).doing("open a FIFO"));
        let writing = thread::spawn(move || {
            let mut file = File::options().write(true).open(here).doing("open")?;
            file.write_all(b"a\n").doing("write input")?;
            Ok::<_, Failure>(file)
        });
        added.start("while read line; do echo got $line; done; exit 3")?;
        let (mut reader, writer) = (joined(open)?, joined(writing)?);
        expect(&mut reader, "got a\n")?;
        drop((reader, writer));
        // When the shim has answered, it has seen that they are gone.
        for _ in 0..2 {
            assert!(subject.ctr(&["task", "ls"])?.contains("RUNNING"));
        }
        // It does not wait for a reader: there must be one.
        let mut writer = File::options();
        writer.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let mut writer = writer.open(&input).doing("open the input again")?;
        writer.write_all(b"b\n").doing("write input")?;
        let mut reader = File::open(&output).doing("open a FIFO")?;
        expect(&mut reader, "got b\n")?;
        drop(writer);
        added.close_input()?;
        assert_eq!(added.wait()?, 3);
        added.delete()?;
        subject.remove(ID)
    }

    /// T4 43.
    pub(super) fn input_ends_when_there_is_none_or_it_is_closed(subject: &Subject<'_>) -> Outcome {
        subject.start(ID, &[], SLEEPER)?;
        let (added, output) = Added::new(subject, "none").with_output()?;
        let reader = reading(&output);
        added.start("cat; echo end")?;
        assert_eq!((added.wait()?, joined(reader)?), (0, "end\n".to_owned()));
        added.delete()?;
        let (added, output) = Added::new(subject, "closed").with_output()?;
        let (added, input) = added.with_input()?;
        let reader = reading(&output);
        let writing = thread::spawn(move || fs::write(input, "whole input").doing("write"));
        added.start("cat; echo end")?;
        joined(writing)?;
        added.close_input()?;
        assert_eq!(added.wait()?, 0);
        added.delete()?;
        assert_eq!(joined(reader)?, "whole inputend\n");
        subject.remove(ID)
    }

    /// T4 44.
    pub(super) fn a_terminal_carries_much_and_changes_its_size(subject: &Subject<'_>) -> Outcome {
        subject.start(ID, &[], SLEEPER)?;
        let (added, output) = Added::new(subject, "tty").on_terminal().with_output()?;
        let reader =
            thread::spawn(move || compare_with_seq(File::open(output).doing("open a FIFO")?));
        added.start(
            "stty -opost; until [ \"$(stty size 2>/dev/null)\" = '33 101' ]; do :; done; seq 1 500000",
        )?;
        let tasks = subject.containerd.tasks();
        tasks.resize(ID, added.id, (101, 33))?.doing("resize")?;
        assert_eq!(joined(reader)?, 3_388_895);
        assert_eq!(added.wait()?, 0);
        added.delete()?;
        subject.remove(ID)
    }

    /// T4 43: the end of a terminal's input is that its client has left.
    pub(super) fn a_terminal_is_hung_up_when_its_input_ends(subject: &Subject<'_>) -> Outcome {
        subject.start(ID, &[], SLEEPER)?;
        let (added, output) = Added::new(subject, "tty").on_terminal().with_output()?;
        let (added, input) = added.with_input()?;
        let open = thread::spawn(move || File::open(output).doing("open a FIFO"));
        let writing = thread::spawn(move || File::options().write(true).open(input).doing("open"));
        added.start(
            "trap 'exit 7' HUP; stty -echo; echo ready; while :; do sleep 600 & wait $!; done",
        )?;
        let (mut reader, writer) = (joined(open)?, joined(writing)?);
        expect(&mut reader, "ready\r\n")?;
        drop(writer);
        added.close_input()?;
        assert_eq!(added.wait()?, 7);
        added.delete()?;
        subject.remove(ID)
    }

    /// T4 43, `file://`.
    pub(super) fn a_file_is_appended_to(subject: &Subject<'_>) -> Outcome {
        let path = Path::new("/run/logs/of/one.log");
        let uri = format!("file://{}", path.display());
        subject.start(
            ID,
            &["--log-uri", &uri],
            "echo init; while :; do sleep 600; done",
        )?;
        for number in 1..=2 {
            let id = ["", "first", "second"][number];
            let added = Added::new(subject, id).all_to(&uri);
            // The stock shim of 1.6 may lose what is written in the last instant; that is not the case here.
            added.start(&format!(
                "echo out {number}; echo err {number} >&2; sleep 0.3"
            ))?;
            assert_eq!(added.wait()?, 0);
            added.delete()?;
        }
        let text = fs::read_to_string(path).doing("read the file")?;
        let mut lines: Vec<_> = text.lines().collect();
        assert!(lines[1..3].iter().all(|line| line.ends_with('1')), "{text}");
        lines.sort_unstable();
        assert_eq!(lines, ["err 1", "err 2", "init", "out 1", "out 2"]);
        let mode = fs::metadata(path).doing("look at it")?.permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        subject.remove(ID)
    }

    /// T4 43, `binary://`: the protocol of containerd's logging library, as nerdctl uses it.
    pub(super) fn a_program_gets_all_output(subject: &Subject<'_>) -> Outcome {
        let (uri, folder) = install("keeps-log", DRIVER, "binary")?;
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let script = "echo out; echo err >&2; seq 1 100001; while :; do sleep 600; done";
        subject.start(ID, &["--log-uri", &uri], script)?;
        wait::until_true("the output", PATIENCE, || read("out").len() == 588_906)?;
        wait::until_true("the errors", PATIENCE, || read("err") == "err\n")?;
        assert!(read("out").starts_with("out\n1\n2\n"));
        assert_eq!(read("arguments"), "-folder /run/keeps-log\n");
        let environment = read("environment");
        let mut environment: Vec<_> = environment.lines().collect();
        environment.sort_unstable();
        assert_eq!(
            environment,
            ["CONTAINER_ID=one", "CONTAINER_NAMESPACE=default"]
        );
        // The shell has its own script open, from 10 up.
        let descriptors = read("descriptors");
        let given: Vec<_> = descriptors.lines().filter(|line| line.len() == 1).collect();
        assert_eq!(given, ["0", "1", "2", "3", "4", "5"], "{descriptors}");
        let added = Added::new(subject, "added").all_to(&uri);
        added.start("echo from exec; echo bad >&2")?;
        assert_eq!(added.wait()?, 0);
        added.delete()?;
        wait::until_true("the output", PATIENCE, || read("out") == "from exec\n")?;
        wait::until_true("the errors", PATIENCE, || read("err") == "bad\n")?;
        assert!(read("environment").contains("CONTAINER_ID=added\n"));
        subject.remove(ID)?;
        wait::until_true("the programs' end", PATIENCE, || {
            runs("keeps-log").is_none()
        })
    }

    /// T4 43: short processes, several at once, whose client is slow: containerd's clients from
    /// 1.7.2 on throw away what they have not read when Delete has answered. containerd's own
    /// shim loses some here.
    pub(super) fn a_slow_client_gets_the_output_of_short_processes(
        subject: &Subject<'_>,
    ) -> Outcome {
        let (threads, each) = (8, 15);
        subject.start(ID, &[], SLEEPER)?;
        let lost: Outcome<Vec<Vec<String>>> = thread::scope(|scope| {
            let run = |thread: usize| {
                let mut lost = Vec::new();
                for number in 0..each {
                    let id = format!("e{thread}-{number}");
                    let exec = ["task", "exec", "--exec-id", &id, ID, "echo", &id];
                    let ran = subject.slowly(&exec)?;
                    if ran.stdout != format!("{id}\n") {
                        lost.push(format!("{id}: {:?} {:?}", ran.stdout, ran.stderr));
                    }
                }
                Ok(lost)
            };
            let started: Vec<_> = (0..threads)
                .map(|thread| scope.spawn(move || run(thread)))
                .collect();
            let all = started.into_iter().map(|one| one.join().expect("a thread"));
            all.collect()
        });
        let lost: Vec<String> = lost?.into_iter().flatten().collect();
        assert!(
            lost.is_empty(),
            "{} of {}: {lost:?}",
            lost.len(),
            threads * each
        );
        subject.remove(ID)
    }

    /// T4 43: containerd forgets a CloseIO that comes before the process, ours does not.
    pub(super) fn input_closed_before_the_start_is_closed(subject: &Subject<'_>) -> Outcome {
        subject.start(ID, &[], SLEEPER)?;
        let (added, output) = Added::new(subject, "early").with_output()?;
        let (added, input) = added.with_input()?;
        let reader = reading(&output);
        let writing = thread::spawn(move || fs::write(input, "early ").doing("write"));
        added.add("cat; echo end")?.doing("add a process")?;
        added.close_input()?;
        added.begin()?.doing("start a process")?;
        joined(writing)?;
        assert_eq!(added.wait()?, 0);
        added.delete()?;
        assert_eq!(joined(reader)?, "early end\n");
        subject.remove(ID)
    }

    /// Terminals whose output goes to a file or a program, which containerd's own shim does not
    /// carry (file) or carries in the same way.
    pub(super) fn a_terminals_output_goes_to_files_and_programs(subject: &Subject<'_>) -> Outcome {
        subject.start(ID, &[], SLEEPER)?;
        let added = Added::new(subject, "file").on_terminal();
        let added = added.all_to("file:///run/logs/tty.log");
        added.start("tty; echo end")?;
        assert_eq!(added.wait()?, 0);
        added.delete()?;
        let text = fs::read_to_string("/run/logs/tty.log").doing("read the file")?;
        assert_eq!(text, "/dev/pts/0\r\nend\r\n");
        let (uri, folder) = install("keeps-tty", DRIVER, "binary-v2")?;
        let added = Added::new(subject, "program").on_terminal().all_to(&uri);
        added.start("tty; echo end")?;
        assert_eq!(added.wait()?, 0);
        added.delete()?;
        let text = fs::read_to_string(folder.join("out")).doing("read the output")?;
        assert_eq!(text, "/dev/pts/0\r\nend\r\n");
        assert!(
            folder.join("ended").exists(),
            "Delete waits for the program"
        );
        subject.remove(ID)
    }

    /// What is not carried is refused, and says of which stream.
    pub(super) fn odd_streams_are_refused(subject: &Subject<'_>) -> Outcome {
        subject.start(ID, &[], SLEEPER)?;
        fs::write("/run/loose", "#!/bin/sh\n").doing("write a program")?;
        let loose = fs::Permissions::from_mode(0o777);
        fs::set_permissions("/run/loose", loose).doing("loosen a program")?;
        std::os::unix::fs::symlink("/etc/passwd", "/run/link").doing("make a link")?;
        for (uri, expected) in [
            ("http://host/x", "cannot use scheme 'http' for stdout"),
            (
                "relative",
                "cannot use 'relative' for stdout: expected an absolute path",
            ),
            ("file:///run/../etc/x", "a path without '..'"),
            ("/etc/passwd", "expected a FIFO"),
            ("file:///dev/zero", "expected a regular file"),
            (
                "binary:///run/loose",
                "no write right for group and others, found mode 0777",
            ),
        ] {
            let status = Added::new(subject, "odd").all_to(uri).refused("true")?;
            assert_eq!(status.code, Status::INVALID_ARGUMENT, "{status}");
            assert!(status.message.contains(expected), "{status}");
        }
        for (uri, expected) in [
            ("file:///run/link", "cannot open '/run/link' for stdout"),
            (
                "binary:///run/absent",
                "cannot use logging program '/run/absent'",
            ),
        ] {
            let status = Added::new(subject, "odd").all_to(uri).refused("true")?;
            assert!(status.message.contains(expected), "{status}");
        }
        let run = subject.arguments(&["--rm", "--log-uri", "gopher:///x"], "two", &["true"]);
        let refused = subject.containerd.run_ctr(&run)?.refusal()?;
        assert!(
            refused.contains("cannot use scheme 'gopher' for stdout"),
            "{refused}"
        );
        subject
            .containerd
            .run_ctr(&["container", "delete", "two"])?;
        subject.remove(ID)
    }

    /// Logging programs that do not work: not ready, gone before, gone after.
    pub(super) fn programs_that_fail_are_cleared_up(subject: &Subject<'_>) -> Outcome {
        subject.start(ID, &[], SLEEPER)?;
        let (uri, _) = install("never-ready", "#!/bin/sh\nsleep 601\n", "binary")?;
        let status = Added::new(subject, "never").all_to(&uri).refused("true")?;
        let expected = "logging program '/usr/local/bin/never-ready' did not say within 10 s";
        assert!(status.message.contains(expected), "{status}");
        assert_eq!((runs("never-ready"), runs("sleep 601")), (None, None));
        let (uri, _) = install("gives-up", "#!/bin/sh\nexit 0\n", "binary-v2")?;
        let status = Added::new(subject, "gone").all_to(&uri).refused("true")?;
        assert!(
            status.message.contains("gave up before it was ready"),
            "{status}"
        );
        // Its container neither stops nor dies for want of a reader.
        let dies = "#!/bin/sh\nprintf r >&5; head -n 1 <&3 >/dev/null; exit 4\n";
        let (uri, _) = install("dies-early", dies, "binary")?;
        let added = Added::new(subject, "goes-on").all_to(&uri);
        added.start("echo one; seq 1 100001; exit 6")?;
        assert_eq!(added.wait()?, 6);
        added.delete()?;
        wait::until_true("a line of the lost output", PATIENCE, || {
            let log = subject.containerd.log();
            log.contains("dies-early' ended (exit status: 4), what it has not read is lost")
        })?;
        subject.remove(ID)
    }

    /// T4 51: a log that nobody reads, and that is full, stops nothing.
    pub(super) fn a_full_log_stops_nothing(subject: &Subject<'_>) -> Outcome {
        subject.start(ID, &[], SLEEPER)?;
        let shim = ShimTasks::of(NAMESPACE, ID)?;
        let pid = shim.connect(ID)?.doing("ask for the shim's pid")?.shim_pid;
        let bundle = format!("/run/containerd/io.containerd.runtime.v2.task/{NAMESPACE}/{ID}");
        let mut log = File::options();
        log.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let mut log = log.open(format!("{bundle}/log")).doing("open the log")?;
        let reader = wait::until("containerd", PATIENCE, || runs("containerd --config"))?;
        signal(&reader, Signal::SIGSTOP)?;
        // In pages, and then to the last byte.
        while log.write(&[b'x'; 4096]).is_ok() {}
        while log.write(b"x").is_ok() {}
        let shims = PathBuf::from(format!("/proc/{pid}"));
        for _ in 0..3 {
            // It says that it has tasks and goes on.
            signal(&shims, Signal::SIGTERM)?;
            let state = shim.state(ID, "")?.doing("ask for the state")?;
            assert_eq!(state.status, State::RUNNING);
        }
        signal(&reader, Signal::SIGCONT)?;
        subject.remove(ID)
    }

    /// T4 51.
    pub(super) fn no_environment_and_no_arguments_are_logged(subject: &Subject<'_>) -> Outcome {
        let env = ["--env", "SECRET_VARIABLE=hush-environment"];
        subject.start(ID, &env, &format!(": hush-argument; {SLEEPER}"))?;
        let (uri, _) = install("quits", "#!/bin/sh\nexit 9\n", "binary-v2")?;
        let uri = format!("{uri}&-password=hush-query");
        let added = Added::new(subject, "logs").all_to(&uri);
        added.refused(": hush-argument")?;
        Added::new(subject, "bad")
            .all_to("http://x?hush-query")
            .refused(": hush-argument")?;
        let failing = subject.exec(ID, "failing", "/absent hush-argument")?;
        assert!(!failing.status.success());
        subject.remove(ID)?;
        let log = subject.containerd.log();
        assert!(!log.contains("hush-"), "{log}");
        Ok(())
    }
}

on_shims! {
    stock_shim:
        a_hundred_megabytes_arrive_whole_and_in_order
        a_slow_reader_holds_the_writer_and_loses_nothing
        a_client_detaches_and_attaches_again
        input_ends_when_there_is_none_or_it_is_closed
        a_terminal_carries_much_and_changes_its_size
        a_terminal_is_hung_up_when_its_input_ends
        a_file_is_appended_to
        a_program_gets_all_output;
    with_runc:
        a_hundred_megabytes_arrive_whole_and_in_order
        a_slow_reader_holds_the_writer_and_loses_nothing
        an_orphan_with_the_output_open_holds_up_nothing
        a_client_detaches_and_attaches_again
        input_ends_when_there_is_none_or_it_is_closed
        a_terminal_carries_much_and_changes_its_size
        a_terminal_is_hung_up_when_its_input_ends
        a_file_is_appended_to
        a_program_gets_all_output
        input_closed_before_the_start_is_closed
        a_terminals_output_goes_to_files_and_programs
        odd_streams_are_refused
        programs_that_fail_are_cleared_up
        a_full_log_stops_nothing
        no_environment_and_no_arguments_are_logged;
    with_crun:
        a_hundred_megabytes_arrive_whole_and_in_order
        a_client_detaches_and_attaches_again
        a_terminal_carries_much_and_changes_its_size
        a_terminal_is_hung_up_when_its_input_ends
        a_program_gets_all_output
        a_slow_client_gets_the_output_of_short_processes;
}
