//! The shim's own security (T5): who gets at its socket, and what its callers can do to it. What
//! it holds and hands on is in `shim_rights`.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::grpc::Status;
use portcullis_tests::shim_tasks::Connected;
use portcullis_tests::ttrpc::{Connection, TASK_V2};
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::{in_world, needs, process, programs, run};
use prost::Message;

const SHIM: &str = "/usr/bin/containerd-shim-portcullis-v1";
const SOCKETS: &str = "/run/containerd/s";
/// Set for a caller that is this program again: the socket it is to call.
const CALLEE: &str = "PORTCULLIS_TEST_CALLEE";
/// Runs its arguments with another root directory, which has all folders of this one.
const OTHER_ROOT: &str = "mount -t tmpfs none /mnt && cd / && for dir in *; do \
                          [ $dir = mnt ] && continue; \
                          if [ -L $dir ]; then cp -P $dir /mnt; \
                          else mkdir /mnt/$dir && mount --rbind $dir /mnt/$dir; fi; done && \
                          exec chroot /mnt \"$@\"";
/// What such a caller prints when it got an answer, and when it got none.
const ANSWERED: &str = "the shim answered";
const TURNED_AWAY: &str = "the shim did not answer";
/// User and group without rights.
const NOBODY: u32 = 65534;

/// Fields of `CreateTaskRequest` and of the requests that name a process.
#[derive(Clone, PartialEq, Eq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    exec_id_or_bundle: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Nothing {}

/// The action `start` in a shell that does `first` before it becomes the shim.
fn shell(id: &str, first: &str) -> Outcome<Command> {
    let bundle = Path::new("/run/containerd/io.containerd.runtime.v2.task/default").join(id);
    fs::create_dir_all(&bundle).doing("make a bundle")?;
    fs::write(bundle.join("config.json"), "{}").doing("write a configuration")?;
    let line = format!(
        "{first} exec {SHIM} -namespace default -id '{id}' \
         -address /run/containerd/containerd.sock start"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &line]).current_dir(&bundle);
    Ok(command)
}

/// A server without containers, whose caller had descriptor 9 open, as a careless one might.
fn serve(id: &str) -> Outcome<Server> {
    let mut command = shell(id, "exec 9</etc/passwd;")?;
    Server::at(run::with_input(&mut command, Some(b""), PATIENCE)?.success()?)
}

struct Server {
    path: PathBuf,
    address: String,
    pid: u32,
}

fn named(id: &str, exec_id_or_bundle: &str) -> Named {
    Named {
        id: id.to_owned(),
        exec_id_or_bundle: exec_id_or_bundle.to_owned(),
    }
}

impl Server {
    fn at(address: String) -> Outcome<Self> {
        let path = PathBuf::from(address.trim_start_matches("unix://"));
        let question = named("", "");
        let connected: Result<Connected, Status> =
            Connection::open(&address)?.call(TASK_V2, "Connect", &question)?;
        let pid = connected.doing("ask for the shim's pid")?.shim_pid;
        Ok(Self { path, address, pid })
    }

    /// It serves: a task that nobody made is not found.
    fn serves(&self) -> Outcome {
        let status = self.refused("State", &named("nobody", ""))?;
        assert_eq!(status.code, Status::NOT_FOUND, "{status}");
        Ok(())
    }

    fn refused(&self, method: &str, question: &Named) -> Outcome<Status> {
        let mut connection = Connection::open(&self.address)?;
        let answer: Result<Nothing, Status> = connection.call(TASK_V2, method, question)?;
        match answer {
            Ok(_) => Err(Failure::new(format!("'{method}' was carried out"))),
            Err(status) => Ok(status),
        }
    }

    fn descriptors(&self) -> Outcome<usize> {
        let list = fs::read_dir(format!("/proc/{}/fd", self.pid)).doing("list descriptors")?;
        Ok(list.count())
    }

    /// A number of its status, in KiB.
    fn kib(&self, name: &str) -> Outcome<u64> {
        let line = process::status(self.pid, name)?;
        let number = line.split_whitespace().next().unwrap_or_default();
        number.parse().doing(format!("read '{line}'"))
    }

    /// What this program says when it calls the shim after `prepare`.
    fn called_by(&self, mut command: Command) -> Outcome<String> {
        let this = std::env::current_exe().doing("find this program")?;
        let arguments = ["the_caller", "--exact", "--nocapture", "--test-threads=1"];
        command.arg(this).args(arguments).env(CALLEE, &self.path);
        run::to_end(&mut command)?.success()
    }

    /// Ends it and sees its socket go.
    fn end(self) -> Outcome {
        let pid = Pid::from_raw(self.pid.cast_signed());
        kill(pid, Signal::SIGTERM).doing("end the server")?;
        wait::until_true("end of the socket", PATIENCE, || !self.path.exists())
    }
}

/// Not a test of its own: what [`Server::called_by`] runs. By itself it has nobody to call.
#[test]
fn the_caller() {
    let Some(path) = std::env::var_os(CALLEE) else {
        return;
    };
    let called = Connection::open(&path.to_string_lossy()).and_then(|mut connection| {
        connection.call::<_, Nothing>(TASK_V2, "State", &named("nobody", ""))
    });
    println!(
        "{}",
        if called.is_ok() {
            ANSWERED
        } else {
            TURNED_AWAY
        }
    );
}

mod needs_root {
    use super::*;

    /// How many sockets there are; each must be for its owner alone.
    fn sockets_seen() -> Outcome<usize> {
        let mut seen = 0;
        for entry in fs::read_dir(SOCKETS).doing("list the sockets")? {
            let metadata = entry.and_then(|entry| entry.metadata());
            let mode = metadata.doing("look at a socket")?.permissions().mode() & 0o7777;
            assert_eq!(mode, 0o600, "a socket is open to others");
            seen += 1;
        }
        Ok(seen)
    }

    #[test]
    fn t52_the_socket_is_private_from_its_first_instant() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            fs::create_dir_all(SOCKETS).doing("make the sockets' directory")?;
            let mut command = shell("web", "read line; ")?;
            let mut child = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .doing("start a shell")?;
            let pid = Pid::from_raw(child.id().cast_signed());
            ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD).doing("trace it")?;
            ptrace::interrupt(pid).doing("stop it")?;
            let mut line = child.stdin.take();
            let (mut looks, mut signal) = (0, None);
            loop {
                match waitpid(pid, None).doing("wait for it")? {
                    WaitStatus::Exited(_, code) => {
                        assert_eq!(code, 0, "the shim's 'start'");
                        break;
                    }
                    // Between any two system calls is every moment there is for others.
                    WaitStatus::PtraceSyscall(_) => looks += sockets_seen()?,
                    WaitStatus::Stopped(_, number) if number != Signal::SIGTRAP => {
                        signal = Some(number);
                    }
                    WaitStatus::Signaled(_, number, _) => {
                        return Err(Failure::new(format!("it was ended by {number}")));
                    }
                    _ => {}
                }
                if let Some(mut line) = line.take() {
                    line.write_all(b"\n").doing("let it go on")?;
                }
                ptrace::syscall(pid, signal.take()).doing("let it go on")?;
            }
            assert!(looks > 10, "{looks} looks");
            let socket = fs::read_dir(SOCKETS)
                .doing("list the sockets")?
                .flatten()
                .next();
            let path = socket.ok_or_else(|| Failure::new("no socket"))?.path();
            Server::at(format!("unix://{}", path.display()))?.end()?;
            // A name without a file could be reached from every container on the host's network.
            let names = fs::read_to_string("/proc/net/unix").doing("list sockets")?;
            assert!(!names.contains('@'), "{names}");
            Ok(())
        })
    }

    #[test]
    fn t52_only_root_of_this_host_is_answered() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let server = serve("web")?;
            let by = |words: &[&str]| {
                let mut command = Command::new(words[0]);
                command.args(&words[1..]);
                server.called_by(command)
            };
            // The network is the host's in each case, as for a container with hostNetwork.
            assert!(by(&["env"])?.contains(ANSWERED));
            // A containerd that comes back in private mounts of its own.
            let other_mounts = by(&["unshare", "--mount"])?;
            assert!(other_mounts.contains(ANSWERED), "{other_mounts}");
            // A container that has the socket through a volume, and no other namespace.
            let other_root = by(&["unshare", "--mount", "sh", "-c", OTHER_ROOT, "sh"])?;
            assert!(other_root.contains(TURNED_AWAY), "{other_root}");
            let other_processes = by(&["unshare", "--pid", "--fork"])?;
            assert!(other_processes.contains(TURNED_AWAY), "{other_processes}");
            let container = by(&["unshare", "--mount", "--pid", "--fork", "--mount-proc"])?;
            assert!(container.contains(TURNED_AWAY), "{container}");

            let mut nobody = Command::new("env");
            nobody.uid(NOBODY).gid(NOBODY);
            assert!(server.called_by(nobody)?.contains(TURNED_AWAY));
            // Even where the mode would let it.
            fs::set_permissions(&server.path, fs::Permissions::from_mode(0o666))
                .doing("open the socket")?;
            fs::set_permissions("/run/containerd", fs::Permissions::from_mode(0o755))
                .doing("open its directory")?;
            let mut nobody = Command::new("env");
            nobody.uid(NOBODY).gid(NOBODY);
            assert!(server.called_by(nobody)?.contains(TURNED_AWAY));
            server.serves()?;
            server.end()
        })
    }

    #[test]
    fn t53_a_descriptor_that_the_caller_leaked_is_closed() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let server = serve("web")?;
            for entry in fs::read_dir(format!("/proc/{}/fd", server.pid)).doing("list")? {
                let link = fs::read_link(entry.doing("list")?.path()).doing("look")?;
                assert!(!link.starts_with("/etc"), "{}", link.display());
            }
            server.end()
        })
    }

    #[test]
    fn t54_ids_that_are_paths_or_options_are_refused() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let server = serve("web")?;
            let long = "x".repeat(129);
            for id in [
                "", ".", "..", "../web", "a/b", "/web", "-web", "--help", "a b", "a\nb", &long,
            ] {
                let status = server.refused("Create", &named(id, "/run"))?;
                assert_eq!(status.code, Status::INVALID_ARGUMENT, "{id:?}: {status}");
                assert_eq!(status.message.lines().count(), 1, "{status}");
                if !id.is_empty() && !id.contains('\n') {
                    // The same on the command line, where a bundle of that name may not be made.
                    let mut command = Command::new(SHIM);
                    command.args([
                        "-namespace",
                        "default",
                        "-address",
                        "/x",
                        &format!("-id={id}"),
                        "start",
                    ]);
                    let ran = run::with_input(&mut command, Some(b""), PATIENCE)?;
                    assert_eq!(ran.status.code(), Some(64), "{id:?}: {ran:?}");
                }
            }
            let mut command = Command::new(SHIM);
            command.args([
                "-namespace",
                "../x",
                "-address",
                "/x",
                "-id",
                "web",
                "start",
            ]);
            assert_eq!(
                run::with_input(&mut command, Some(b""), PATIENCE)?
                    .status
                    .code(),
                Some(64)
            );
            server.serves()?;
            server.end()
        })
    }

    /// The head of a message.
    fn head(length: u32, stream: u32, kind: u8) -> Vec<u8> {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(&[kind, 0]);
        bytes
    }

    /// Sends bytes and reads what comes until the other side closes or 200 ms are quiet.
    fn sent(server: &Server, bytes: &[u8]) -> Outcome<Vec<u8>> {
        let mut stream = UnixStream::connect(&server.path).doing("connect")?;
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .doing("set a deadline")?;
        // It may close before it has read everything.
        drop(stream.write_all(bytes));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        Ok(answer)
    }

    #[test]
    fn t55_what_is_no_message_is_survived() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let server = serve("web")?;
            server.serves()?;
            let descriptors = server.descriptors()?;
            // One byte too long, with all of its bytes: answered, not kept.
            let over = (4 << 20) + 1;
            let mut long = head(over, 1, 1);
            long.resize(long.len() + usize::try_from(over).doing("a size")?, 0);
            let answer = sent(&server, &long)?;
            assert!(
                !answer.is_empty(),
                "no answer to a message that is too long"
            );
            server.serves()?;

            let mut bad = head(5, 1, 1);
            bad.extend_from_slice(b"\xff\xff\xff\xff\xff");
            assert!(
                !sent(&server, &bad)?.is_empty(),
                "no answer to what is no request"
            );
            for bytes in [
                head(u32::MAX, 1, 1),
                head(0, 1, 1),
                head(0, 0, 1),
                head(0, 2, 1),
                head(4, 1, 2),
                head(4, 1, 3),
                head(0, 1, 255),
                head(10, 1, 1)[..7].to_vec(),
                [head(10, 1, 1), b"half".to_vec()].concat(),
            ] {
                sent(&server, &bytes)?;
            }
            server.serves()?;
            // Noise, the same in every run: a linear congruential generator.
            let mut seed: u64 = 0x5eed;
            for _ in 0..150 {
                let mut noise = Vec::new();
                for _ in 0..64 {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    noise.push(seed.to_le_bytes()[7]);
                }
                // Short enough that the message is whole, so that its inside is looked at.
                noise[..3].fill(0);
                noise[3] = 54;
                noise[8] = 1;
                let mut stream = UnixStream::connect(&server.path).doing("connect")?;
                drop(stream.write_all(&noise));
            }
            server.serves()?;
            wait::until_true("descriptors to be closed", PATIENCE, || {
                server.descriptors().is_ok_and(|now| now <= descriptors + 1)
            })?;
            server.end()
        })
    }

    #[test]
    fn t55_a_thousand_connections_and_what_they_hold_are_bounded() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            let server = serve("web")?;
            server.serves()?;
            let (descriptors, memory) = (server.descriptors()?, server.kib("RssAnon")?);
            let mut held = Vec::new();
            for _ in 0..1000 {
                let mut stream = UnixStream::connect(&server.path).doing("connect")?;
                // Half a message, of the greatest length, and no more of it.
                drop(stream.write_all(&head(4 << 20, 1, 1)));
                held.push(stream);
            }
            // Those that are too many are closed; the others wait for their message's rest.
            for stream in &held {
                stream.set_nonblocking(true).doing("do not wait")?;
            }
            let open = || {
                let open = |mut stream: &UnixStream| {
                    let waits = stream.read(&mut [0]).map_err(|error| error.kind());
                    waits == Err(std::io::ErrorKind::WouldBlock)
                };
                held.iter().filter(|stream| open(stream)).count()
            };
            wait::until_true("connections to be closed", PATIENCE, || open() <= 256)?;
            assert!(open() > 200, "{} are open", open());
            assert!(server.descriptors()? <= descriptors + 257);
            let grown = server.kib("RssAnon")?.saturating_sub(memory);
            assert!(grown < 8 * 1024, "{grown} KiB more");
            drop(held);
            wait::until_true("an answer", PATIENCE, || server.serves().is_ok())?;
            wait::until_true("descriptors to be closed", PATIENCE, || {
                server.descriptors().is_ok_and(|now| now <= descriptors + 1)
            })?;
            server.end()
        })
    }
}
