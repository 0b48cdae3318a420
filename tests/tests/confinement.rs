//! What the kernel holds of init and of every kind of exec, seen from outside, is what the data
//! file of the profile says: three profiles, two OCI runtimes.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;

use portcullis_tests::confinement::{Held, Promise};
use portcullis_tests::containerd::{NAMESPACE, POD_NAMESPACE, RUNC};
use portcullis_tests::cri::{self, Cri, expected};
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::process;
use portcullis_tests::refusal::Refusal;
use portcullis_tests::shim_tasks::ShimTasks;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::{Shape, World, measured};
use portcullis_tests::{image, in_world, needs};
use serde_json::{Value, json};

/// The container.
const ID: &str = "long";
/// What a container needs under `strict`: ids of nobody on the host, and a limit of its memory.
const STRICT: [&str; 6] = [
    "--uidmap",
    "0:200000:65536",
    "--gidmap",
    "0:200000:65536",
    "--memory-limit",
    "67108864",
];

/// One profile on one node.
struct Subject {
    node: Node,
    profile: &'static str,
    promise: Promise,
    /// Whether its containers are those of `ctr`, which mounts `/run` itself.
    of_ctr: bool,
    /// Processes that were found as promised.
    checked: Vec<String>,
}

/// A process spec that asks for what runtimes give by default, and sleeps `seconds`.
fn greedy(seconds: &str) -> Value {
    let all = ["CAP_NET_RAW", "CAP_CHOWN", "CAP_SETUID", "CAP_MKNOD"];
    json!({
        "args": ["sleep", seconds],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "user": {"uid": 1000, "gid": 1000},
        "capabilities": {
            "bounding": all, "effective": all, "inheritable": all, "permitted": all, "ambient": all,
        },
        "noNewPrivileges": false,
        "rlimits": [{"type": "RLIMIT_CORE", "hard": 1 << 20, "soft": 1 << 20}],
    })
}

/// The pid of the process `sleep seconds`, once it is one and not yet the runtime's.
fn sleeper(seconds: &str) -> Outcome<u32> {
    let line = format!("sleep\0{seconds}\0").into_bytes();
    wait::until(
        &format!("a process that sleeps {seconds}"),
        PATIENCE,
        || {
            let processes = fs::read_dir("/proc").ok()?.flatten();
            let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            pids.find(|pid| {
                let path = format!("/proc/{pid}/cmdline");
                let runs = fs::read(path)
                    .is_ok_and(|it| it == line || it.ends_with(&[b"/", &line[..]].concat()));
                runs && process::status(*pid, "Name").is_ok_and(|name| name == "sleep")
            })
        },
    )
}

/// Kills what slept, as somebody on the host would.
fn kill(pid: u32) -> Outcome {
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).doing("kill a process")
}

fn terminals_are_refused(profile: &str) -> bool {
    let legacy = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti");
    profile == "strict" && legacy.map_or(true, |text| text.trim() != "0")
}

// === impl Subject ===

impl Subject {
    fn provision(world: &World, profile: &'static str, binary: &str) -> Outcome<Self> {
        let node = Node::provision(world)?;
        node.set("50-runtime", &format!("[runtime]\nbinary = \"{binary}\"\n"))?;
        node.set(
            "50-profile",
            &format!("[profile]\ndefault = \"{profile}\"\n"),
        )?;
        Ok(Self {
            node,
            profile,
            promise: Promise::of(profile)?,
            of_ctr: true,
            checked: Vec::new(),
        })
    }

    fn check(&mut self, what: &str, pid: u32) -> Outcome {
        let checked = if self.of_ctr {
            self.promise.brought("/run").check(pid)
        } else {
            self.promise.check(pid)
        };
        checked.map_err(|failure| Failure::new(format!("{what}: {failure}")))?;
        self.checked.push(what.to_owned());
        Ok(())
    }

    /// Checks the process that sleeps `seconds`, and ends it.
    fn check_sleeper(&mut self, what: &str, seconds: &str) -> Outcome {
        let pid = sleeper(seconds)?;
        self.check(what, pid)?;
        kill(pid)
    }

    fn ctr_exec(&self, seconds: &str) -> Outcome<Child> {
        let exec = ["task", "exec", "--exec-id", seconds, ID, "sleep", seconds];
        let mut command: Command = self.node.containerd.ctr(&exec);
        let silent = command.stdin(Stdio::null()).stdout(Stdio::null());
        silent.stderr(Stdio::null()).spawn().doing("run 'ctr'")
    }

    /// Under containerd's own API: `ctr`, and the Task API of the shim.
    fn of_containerd(&mut self) -> Outcome {
        let options: &[&str] = if self.profile == "strict" {
            &STRICT
        } else {
            &[]
        };
        self.node.start(ID, options, &["sleep", "600"])?;
        let shim = ShimTasks::of(NAMESPACE, ID)?;
        let init = shim.state(ID, "")?.doing("look at init")?.pid;
        self.check("init of 'ctr run'", init)?;

        let mut ctr = self.ctr_exec("601")?;
        self.check_sleeper("'ctr task exec'", "601")?;
        ctr.wait().doing("wait for 'ctr'")?;

        let plain = greedy("602").to_string();
        shim.exec(ID, "plain", plain.as_bytes())?.doing("add")?;
        let pid = shim.start(ID, "plain")?.doing("start")?;
        sleeper("602")?;
        self.check("exec by the Task API", pid)?;
        kill(pid)?;
        shim.wait(ID, "plain")?.doing("wait")?;
        shim.delete(ID, "plain")?.doing("delete")?;

        self.with_terminal(&shim)?;
        self.node.remove(ID)
    }

    fn with_terminal(&mut self, shim: &ShimTasks) -> Outcome {
        let fifo = format!("/run/terminal-{}", self.profile);
        nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::S_IRWXU).doing("make a FIFO")?;
        let spec = greedy("603").to_string();
        let added = shim.exec_with_terminal(ID, "tty", spec.as_bytes(), &fifo)?;
        if terminals_are_refused(self.profile) {
            let status = added.and_then(|()| shim.start(ID, "tty").unwrap_or(Ok(0)));
            let refused = Refusal::find(&status.unwrap_err().message)?;
            assert_eq!(refused.short(), "refused [exec-denied]", "{refused}");
            return Ok(());
        }
        added.doing("add")?;
        let reader = thread::spawn(move || fs::read(fifo));
        let pid = shim.start(ID, "tty")?.doing("start")?;
        sleeper("603")?;
        self.check("exec by the Task API with a terminal", pid)?;
        let terminal = fs::read_link(format!("/proc/{pid}/fd/0")).doing("find its terminal")?;
        assert!(terminal.starts_with("/dev/pts"), "{}", terminal.display());
        kill(pid)?;
        shim.wait(ID, "tty")?.doing("wait")?;
        shim.delete(ID, "tty")?.doing("delete")?;
        reader.join().expect("a thread").doing("read the FIFO")?;
        Ok(())
    }

    /// Under CRI: the sandbox, a container, and both ways of adding a process.
    fn of_pods(&mut self) -> Outcome {
        self.of_ctr = false;
        let cri = self.node.containerd.cri();
        let config = cri::pod("shop", "web");
        if self.profile == "strict" {
            // Pods with users of their own need containerd 2; without them this profile has none.
            let refused = cri.run_pod(config, "portcullis")?.unwrap_err();
            let refused = Refusal::find(&refused.message)?;
            assert_eq!(refused.short(), "refused [user-namespace-missing]");
            return Ok(());
        }
        let pod = expected(cri.run_pod(config, "portcullis")?)?;
        let shim = ShimTasks::of(POD_NAMESPACE, &pod.id)?;
        let pause = shim.state(&pod.id, "")?.doing("look at the sandbox")?.pid;
        self.check("sandbox of a pod", pause)?;
        let main = cri::container("main", &["/bin/sleep", "604"]);
        let id = expected(cri.launch(&pod, main)?)?;
        let init = shim.state(&id, "")?.doing("look at init")?.pid;
        self.check("init of a pod's container", init)?;
        self.cri_execs(&cri, &id)?;
        cri.remove_pod(&pod)
    }

    fn cri_execs(&mut self, cri: &Cri<'_>, id: &str) -> Outcome {
        thread::scope(|scope| -> Outcome {
            let exec = scope.spawn(|| cri.exec(id, &["sleep", "605"]));
            self.check_sleeper("CRI ExecSync", "605")?;
            let ended = expected(exec.join().expect("a thread")?)?;
            assert_eq!(ended.exit_code, 137);
            Ok(())
        })?;
        for (what, seconds, tty) in [
            ("CRI Exec", "606", false),
            ("CRI Exec with a terminal", "607", true),
        ] {
            let streams = expected(cri.exec_stream(id, &["sleep", seconds], tty)?)?;
            self.check_sleeper(what, seconds)?;
            drop(streams);
        }
        Ok(())
    }

    /// A container of containerd's own shim is not as any profile promises, so the check can fail.
    fn control(&self) -> Outcome {
        let run = [
            "run",
            "--detach",
            "--runtime",
            RUNC,
            image::BUSYBOX,
            "stock",
        ];
        let command = ["sleep", "608"];
        let run: Vec<&str> = run.into_iter().chain(command).collect();
        self.node.containerd.run_ctr(&run)?.success()?;
        let found = self.promise.differences(&Held::of(sleeper("608")?)?);
        assert!(
            found.iter().any(|it| it.starts_with("Seccomp ")),
            "{found:?}"
        );
        assert!(
            found.iter().any(|it| it == "/proc/interrupts can be seen"),
            "{found:?}"
        );
        if self.profile != "baseline" {
            assert!(found.iter().any(|it| it == "/ lacks ro"), "{found:?}");
            assert!(
                found.iter().any(|it| it.starts_with("CapBnd ")),
                "{found:?}"
            );
        }
        self.node.remove("stock")
    }
}

fn play(world: &World, profile: &'static str, binary: &str) -> Outcome {
    let mut subject = Subject::provision(world, profile, binary)?;
    subject.control()?;
    subject.of_containerd()?;
    subject.of_pods()?;
    let checked = subject.checked.join(", ");
    measured(&format!("{binary}, {profile}: as promised: {checked}"));
    subject.node.finish()
}

mod needs_containerd {
    macro_rules! under {
        ($runtime:ident $binary:literal $need:ident $shape:expr) => {
            mod $runtime {
                use crate::*;

                #[test]
                fn what_runs_is_as_baseline_says() -> Outcome {
                    needs!(
                        Root, Busybox, Containerd, RuncShim, $need, Cni, Swtpm, Programs
                    );
                    in_world!($shape, |world| play(world, "baseline", $binary))
                }

                #[test]
                fn what_runs_is_as_restricted_says() -> Outcome {
                    needs!(
                        Root, Busybox, Containerd, RuncShim, $need, Cni, Swtpm, Programs
                    );
                    in_world!($shape, |world| play(world, "restricted", $binary))
                }

                #[test]
                fn what_runs_is_as_strict_says() -> Outcome {
                    needs!(
                        Root, Busybox, Containerd, RuncShim, $need, Cni, Swtpm, Programs
                    );
                    in_world!($shape, |world| play(world, "strict", $binary))
                }
            }
        };
    }
    under! { with_runc "runc" Runc Shape::default() }
    under! { with_crun "crun" Crun Shape { unified: false } }
}
