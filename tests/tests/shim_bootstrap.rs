//! The shim as every generation of containerd runs it: actions, stdin, environment, answer.
//! No container is made here; the numbers are those of the behaviours in `docs/behaviours.md`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::grpc::Status;
use portcullis_tests::programs;
use portcullis_tests::run::{self, Ran};
use portcullis_tests::task_message::Any;
use portcullis_tests::ttrpc::{Connection, TASK_V2, TASK_V3};
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::{in_world, needs};
use prost::Message;

const SHIM: &str = "/usr/bin/containerd-shim-portcullis-v1";
/// containerd's own socket; nobody needs to listen there.
const CONTAINERD: &str = "/run/containerd/containerd.sock";

#[derive(Clone, PartialEq, Eq, Message)]
struct Extension {
    #[prost(message, optional, tag = "1")]
    value: Option<Any>,
}

/// `containerd.runtime.bootstrap.v1.BootstrapParams`.
#[derive(Clone, PartialEq, Eq, Message)]
struct Params {
    #[prost(string, tag = "1")]
    instance_id: String,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(string, tag = "4")]
    containerd_version: String,
    #[prost(string, tag = "6")]
    containerd_grpc_address: String,
    #[prost(message, repeated, tag = "8")]
    extensions: Vec<Extension>,
    #[prost(string, optional, tag = "9")]
    socket_dir: Option<String>,
}

/// `containerd.runtime.bootstrap.v1.BootstrapResult`.
#[derive(Clone, PartialEq, Eq, Message)]
struct Answer {
    #[prost(int32, tag = "1")]
    version: i32,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(string, tag = "3")]
    protocol: String,
}

/// `containerd.runc.v1.Options`, the field that matters before Create.
#[derive(Clone, PartialEq, Eq, Message)]
struct RuncOptions {
    #[prost(string, tag = "3")]
    shim_cgroup: String,
}

/// `containerd.types.RuntimeInfo`.
#[derive(Clone, PartialEq, Eq, Message)]
struct RuntimeInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "3")]
    options: Option<Any>,
    #[prost(message, optional, tag = "4")]
    features: Option<Any>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Task {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Nothing {}

/// One task of one namespace, with the bundle that containerd would have made for it.
struct Subject {
    namespace: &'static str,
    id: &'static str,
    bundle: PathBuf,
}

impl Subject {
    fn new(namespace: &'static str, id: &'static str, config: &str) -> Outcome<Self> {
        let bundle = Path::new("/run/containerd/io.containerd.runtime.v2.task")
            .join(namespace)
            .join(id);
        fs::create_dir_all(&bundle).doing("make a bundle")?;
        fs::write(bundle.join("config.json"), config).doing("write a configuration")?;
        Ok(Self {
            namespace,
            id,
            bundle,
        })
    }

    fn plain(id: &'static str) -> Outcome<Self> {
        Self::new("default", id, "{}")
    }

    /// The command line of containerd up to 2.2.
    fn command(&self, action: &str) -> Command {
        let mut command = Command::new(SHIM);
        command.current_dir(&self.bundle).env_clear();
        command.args(["-namespace", self.namespace, "-id", self.id]);
        command.args(["-address", CONTAINERD, "-publish-binary", "/bin/true"]);
        command.arg(action);
        command
    }

    fn start(&self, stdin: &[u8]) -> Outcome<Ran> {
        run::with_input(&mut self.command("start"), Some(stdin), PATIENCE)
    }

    /// The address that `start` prints.
    fn address(&self, stdin: &[u8]) -> Outcome<String> {
        self.start(stdin)?.success()
    }

    fn params(&self) -> Params {
        Params {
            instance_id: self.id.to_owned(),
            namespace: self.namespace.to_owned(),
            containerd_version: "2.3.4".to_owned(),
            containerd_grpc_address: CONTAINERD.to_owned(),
            ..Params::default()
        }
    }
}

/// The servers that run here: what was forked from the shim and did not end.
fn servers() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        // What has ended, but is not collected, has no program any more.
        .filter(|pid| {
            let program = fs::read_link(format!("/proc/{pid}/exe"));
            program.is_ok_and(|program| program == Path::new(SHIM))
        })
        .collect();
    pids.sort_unstable();
    pids
}

/// Ends every server as an operator would, and sees that nothing stays.
fn end_servers() -> Outcome {
    for pid in servers() {
        let pid = Pid::from_raw(i32::try_from(pid).doing("read a pid")?);
        kill(pid, Signal::SIGTERM).doing("end a server")?;
    }
    wait::until_true("end of the servers", PATIENCE, || servers().is_empty())?;
    no_socket()
}

fn no_socket() -> Outcome {
    let left: Vec<_> = fs::read_dir("/run/containerd/s")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new(), "sockets are left");
    Ok(())
}

/// A start that was refused: exit code 1, one line, nothing left.
fn failed(ran: &Ran, words: &str) -> Outcome {
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert!(ran.stdout.is_empty(), "{ran:?}");
    assert!(ran.stderr.contains(words), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert_eq!(servers(), Vec::<u32>::new());
    no_socket()
}

/// Asks both services for a task that does not exist.
fn speaks_both_versions(address: &str) -> Outcome {
    let mut connection = Connection::open(address)?;
    for service in [TASK_V2, TASK_V3] {
        let task = Task {
            id: "nobody".to_owned(),
        };
        let answer: Result<Nothing, Status> = connection.call(service, "State", &task)?;
        let status = answer.err().unwrap_or(Status {
            code: 0,
            message: String::new(),
        });
        assert_eq!(status.code, Status::NOT_FOUND, "{service}: {status}");
    }
    Ok(())
}

/// What `-info` prints.
fn info(stdin: &[u8]) -> Outcome<RuntimeInfo> {
    let mut child = Command::new(SHIM)
        .arg("-info")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .doing("start the shim")?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(stdin).doing("write options")?;
    }
    let output = child.wait_with_output().doing("wait for the shim")?;
    assert!(output.status.success(), "{output:?}");
    RuntimeInfo::decode(output.stdout.as_slice()).doing("read what the shim can do")
}

fn legacy_any(type_url: &str, value: Vec<u8>) -> Any {
    Any {
        type_url: type_url.to_owned(),
        value,
    }
}

mod needs_root {
    use super::*;

    #[test]
    fn t1_plain_text_is_answered_to_older_callers() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let options = legacy_any("containerd.runc.v1.Options", Vec::new()).encode_to_vec();
            for stdin in [b"".as_slice(), &options, b"\xff\xff\xff", b"not a message"] {
                let subject = Subject::plain("web")?;
                let address = subject.address(stdin)?;
                assert!(
                    address.starts_with("unix:///run/containerd/s/"),
                    "{address}"
                );
                let file = fs::read_to_string(subject.bundle.join("address"));
                assert_eq!(file.doing("read the address file")?, address);
                speaks_both_versions(&address)?;
                end_servers()?;
            }
            Ok(())
        })
    }

    #[test]
    fn t1_a_terminal_on_stdin_counts_as_empty() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let terminal = nix::pty::openpty(None, None).doing("open a terminal")?;
            let subject = Subject::plain("web")?;
            let mut command = subject.command("start");
            let child = command
                .stdin(terminal.slave)
                .stdout(Stdio::piped())
                .spawn()
                .doing("start the shim")?;
            // Would hang if it waited for an end of the terminal's input.
            let output = child.wait_with_output().doing("wait for the shim")?;
            assert!(output.stdout.starts_with(b"unix://"), "{output:?}");
            end_servers()
        })
    }

    #[test]
    fn t2_protobuf_is_answered_to_containerd_2_3() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let subject = Subject::plain("web")?;
            let printed = subject.address(&subject.params().encode_to_vec())?;
            let answer = Answer::decode(printed.as_bytes()).doing("read the answer")?;
            assert_eq!((answer.version, answer.protocol.as_str()), (3, "ttrpc"));
            speaks_both_versions(&answer.address)?;
            end_servers()
        })
    }

    #[test]
    fn t3_a_message_for_another_task_is_refused() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let subject = Subject::plain("web")?;
            let mut params = subject.params();
            params.instance_id = "other".to_owned();
            failed(&subject.start(&params.encode_to_vec())?, "another task")
        })
    }

    #[test]
    fn t4_the_directory_for_the_socket_is_containerds_choice() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let subject = Subject::plain("web")?;
            let mut params = subject.params();
            params.socket_dir = Some("/run/elsewhere".to_owned());
            let printed = subject.address(&params.encode_to_vec())?;
            let answer = Answer::decode(printed.as_bytes()).doing("read the answer")?;
            let path = answer.address.trim_start_matches("unix://");
            assert!(path.starts_with("/run/elsewhere/"), "{path}");
            speaks_both_versions(&answer.address)?;
            end_servers()?;
            assert!(!Path::new(path).exists(), "'{path}' is left");

            params.socket_dir = Some(format!("/run/{}", "long/".repeat(20)));
            failed(&subject.start(&params.encode_to_vec())?, "at most 107")
        })
    }

    #[test]
    fn t6_t13_one_server_for_each_pod_and_group() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let labelled = |label: &str, value: &str| {
                format!("{{\"annotations\": {{\"{label}\": \"{value}\"}}}}")
            };
            let sandbox = labelled("io.kubernetes.cri.sandbox-id", "pod");
            let group = labelled("io.containerd.runc.v2.group", "pod");
            let pod = Subject::new("k8s.io", "pod", "{}")?.address(b"")?;
            let member = Subject::new("k8s.io", "app", &sandbox)?.address(b"")?;
            assert_eq!(member, pod, "a container joins the server of its pod");
            let stranger = Subject::new("k8s.io", "stranger", &group)?.address(b"")?;
            assert_ne!(stranger, pod, "a pod cannot choose another's server");
            let one = Subject::new("default", "pod", "{}")?.address(b"")?;
            assert_ne!(one, pod, "namespaces are apart");
            let two = Subject::new("default", "two", &group)?.address(b"")?;
            assert_eq!(two, one, "elsewhere the client groups its containers");
            assert_eq!(servers().len(), 3);
            end_servers()
        })
    }

    #[test]
    fn t7_t8_it_tells_what_it_is() -> Outcome {
        needs!(Root, Programs, Runc);
        in_world!(|_world| {
            programs::install()?;
            let version = run::to_end(Command::new(SHIM).arg("-v"))?.success()?;
            assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
            let options = legacy_any("containerd.runc.v1.Options", Vec::new());
            let known = options.encode_to_vec();
            // A runtime that does not exist: no features, and no failure.
            let missing = legacy_any("containerd.runc.v1.Options", b"\x32\x04none".to_vec());
            let missing = missing.encode_to_vec();
            let cases: [(&[u8], bool); 4] = [
                (b"", true),
                (&known, true),
                (&missing, false),
                (b"\xff", true),
            ];
            let has_features = run::to_end(Command::new("runc").arg("features"))
                .is_ok_and(|ran| ran.status.success());
            for (stdin, runtime) in cases {
                let info = info(stdin)?;
                assert_eq!(info.name, "io.containerd.portcullis.v1");
                assert_eq!(info.features.is_some(), runtime && has_features);
                assert_eq!(info.options.is_some(), stdin.len() > 1);
            }
            Ok(())
        })
    }

    #[test]
    fn t10_no_address_for_events_is_no_failure() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let subject = Subject::plain("web")?;
            let mut command = subject.command("start");
            command.env("TTRPC_ADDRESS", "");
            let address = run::to_end(&mut command)?.success()?;
            speaks_both_versions(&address)?;
            end_servers()
        })
    }

    #[test]
    fn t14_two_starts_at_once_give_one_server() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let subject = Subject::plain("web")?;
            let addresses: Vec<Outcome<String>> = thread::scope(|scope| {
                let starts: Vec<_> = (0..8)
                    .map(|_| scope.spawn(|| subject.address(b"")))
                    .collect();
                let joined = starts.into_iter().map(|start| start.join());
                joined
                    .map(|start| start.unwrap_or_else(|_| Err(Failure::new("a panic"))))
                    .collect()
            });
            let first = subject.address(b"")?;
            for address in addresses {
                assert_eq!(address?, first);
            }
            assert_eq!(servers().len(), 1);

            // Killed, it leaves a stale socket, which the next start replaces.
            let pid = Pid::from_raw(i32::try_from(servers()[0]).doing("read a pid")?);
            kill(pid, Signal::SIGKILL).doing("kill the server")?;
            wait::until_true("end of the server", PATIENCE, || servers().is_empty())?;
            assert!(Path::new(first.trim_start_matches("unix://")).exists());
            assert_eq!(subject.address(b"")?, first);
            speaks_both_versions(&first)?;
            end_servers()
        })
    }

    #[test]
    fn t15_a_failed_start_leaves_nothing() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let subject = Subject::plain("web")?;
            // The address file cannot be written: its name is taken by a folder.
            fs::create_dir(subject.bundle.join("address")).doing("be in the way")?;
            failed(&subject.start(b"")?, "cannot write")?;
            fs::remove_dir(subject.bundle.join("address")).doing("clear the way")?;
            let options = RuncOptions {
                shim_cgroup: "/no/such/group".to_owned(),
            };
            let any = legacy_any("containerd.runc.v1.Options", options.encode_to_vec());
            failed(
                &subject.start(&any.encode_to_vec())?,
                "shim cgroup 'no/such/group'",
            )
        })
    }

    #[test]
    fn t16_an_empty_server_ends_when_asked() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let subject = Subject::plain("web")?;
            let address = subject.address(b"")?;
            let task = Task {
                id: "web".to_owned(),
            };
            let mut connection = Connection::open(&address)?;
            let answer: Result<Nothing, Status> = connection.call(TASK_V3, "Shutdown", &task)?;
            assert_eq!(answer, Ok(Nothing {}));
            wait::until_true("end of the server", PATIENCE, || servers().is_empty())?;
            no_socket()
        })
    }

    #[test]
    fn t17_the_server_runs_in_the_cgroup_that_options_name() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let root = Path::new("/sys/fs/cgroup");
            let hierarchy = if root.join("cgroup.controllers").exists() {
                root.to_owned()
            } else {
                root.join("pids")
            };
            let group = hierarchy.join("shims");
            fs::create_dir(&group).doing("make a cgroup")?;
            let options = RuncOptions {
                shim_cgroup: "/shims".to_owned(),
            };
            let any = legacy_any("containerd.runc.v1.Options", options.encode_to_vec());
            let subject = Subject::plain("web")?;
            let mut params = subject.params();
            params.extensions.push(Extension {
                value: Some(any.clone()),
            });
            for stdin in [any.encode_to_vec(), params.encode_to_vec()] {
                subject.address(&stdin)?;
                let procs = fs::read_to_string(group.join("cgroup.procs"));
                let inside: Vec<u32> = procs
                    .doing("read the cgroup")?
                    .lines()
                    .filter_map(|line| line.parse().ok())
                    .collect();
                assert_eq!(inside, servers());
                end_servers()?;
            }
            // A process that ends has no name any more before it has left its cgroup.
            wait::until_true("the cgroup to be empty", PATIENCE, || {
                fs::remove_dir(&group).is_ok()
            })
        })
    }

    #[test]
    fn t17_cores_of_its_own_or_no_pod() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let subject = Subject::plain("web")?;
            let mut command = subject.command("start");
            command.env("SCHED_CORE", "1");
            let ran = run::to_end(&mut command)?;
            if ran.status.success() {
                // This kernel can: the pod has them.
                return end_servers();
            }
            failed(
                &ran,
                "cores of its own, as SCHED_CORE in the environment asks",
            )
        })
    }

    #[test]
    fn t17_the_kernel_prefers_a_shim_to_containerd() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let score = |pid: &str| -> Outcome<i32> {
                let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj"));
                let text = text.doing("read a score")?;
                text.trim().parse().doing("read a score")
            };
            let own = score("self")?;
            Subject::plain("web")?.address(b"")?;
            let server = servers()[0].to_string();
            // Raising needs no right, so this holds where lowering is denied.
            let raised = wait::until("a higher score", Duration::from_secs(5), || {
                score(&server).ok().filter(|score| *score == own + 1)
            });
            raised.map(drop)?;
            end_servers()
        })
    }
}
