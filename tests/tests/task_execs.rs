//! What a further process is while it starts and when it cannot start: as under containerd's own
//! shim, on which the cases run as well where its oldest release agrees with its newest.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use portcullis_tests::containerd::{Containerd, NAMESPACE, PORTCULLIS, RUNC};
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::grpc::Status;
use portcullis_tests::node::Node;
use portcullis_tests::shim_tasks::{ShimTasks, State};
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::{Census, Shape, World};
use portcullis_tests::{image, in_world, needs};
use serde_json::json;

/// The container.
const ID: &str = "long";
/// An OCI runtime that does not begin an exec before it is told to.
const SLOW: &str = "/usr/local/sbin/slow-runtime";
/// Made by it when an exec waits.
const WAITS: &str = "/run/exec-waits";
/// Lets it go on.
const GO: &str = "/run/exec-goes";

/// Starts a container that waits.
fn start(containerd: &Containerd, runtime: &str) -> Outcome<ShimTasks> {
    let run = ["run", "--detach", "--runtime", runtime, image::BUSYBOX, ID];
    let command = ["sleep", "600"];
    let run: Vec<&str> = run.into_iter().chain(command).collect();
    containerd.run_ctr(&run)?.success()?;
    ShimTasks::of(NAMESPACE, ID)
}

/// A process spec that says nothing of a terminal.
fn spec(arguments: &[&str]) -> Vec<u8> {
    json!({
        "args": arguments,
        "cwd": "/",
        "env": ["PATH=/bin"],
        "user": {"uid": 1000, "gid": 1000},
    })
    .to_string()
    .into_bytes()
}

fn remove(containerd: &Containerd) -> Outcome {
    containerd
        .run_ctr(&["task", "delete", "--force", ID])?
        .success()?;
    containerd
        .run_ctr(&["container", "delete", ID])?
        .success()
        .map(drop)
}

mod case {
    use super::*;

    /// Clients send init's spec with other arguments, and say beside it that they want a terminal.
    pub(super) fn t43_the_terminal_is_what_the_request_says(tasks: &ShimTasks) -> Outcome {
        let fifo = "/run/terminal";
        nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU).doing("make a FIFO")?;
        let reader = thread::spawn(move || fs::read_to_string(fifo));
        tasks
            .exec_with_terminal(ID, "tty", &spec(&["tty"]), fifo)?
            .doing("add a process")?;
        tasks.start(ID, "tty")?.doing("start it")?;
        assert_eq!(tasks.wait(ID, "tty")?.doing("wait for it")?, 0);
        tasks.delete(ID, "tty")?.doing("delete it")?;
        let printed = reader
            .join()
            .map_err(|_panic| Failure::new("the reader panicked"))?
            .doing("read the FIFO")?;
        assert!(printed.starts_with("/dev/pts/"), "{printed}");
        Ok(())
    }

    pub(super) fn t41_what_cannot_start_stays_created(tasks: &ShimTasks) -> Outcome {
        tasks
            .exec(ID, "lost", &spec(&["/nowhere"]))?
            .doing("add a process")?;
        let error = tasks.start(ID, "lost")?.unwrap_err();
        // The runtime's own words, in whichever form its release logs them.
        assert!(error.message.contains("/nowhere"), "{error}");
        assert!(!error.message.contains("exit status"), "{error}");
        assert_eq!(error.message.lines().count(), 1, "{error}");
        let state = tasks.state(ID, "lost")?.doing("look at it")?;
        assert_eq!((state.status, state.pid), (State::CREATED, 0));
        tasks.delete(ID, "lost")?.doing("delete it")?;
        let gone = tasks.state(ID, "lost")?.unwrap_err();
        assert_eq!(gone.code, Status::NOT_FOUND);

        // It is over for the container, too: nothing is held back for its sake.
        tasks.kill(ID, "", 9, false)?.doing("kill init")?;
        assert_eq!(tasks.wait(ID, "")?.doing("wait for init")?, 137);
        Ok(())
    }
}

/// While an exec starts, the end of init is not told; others may come and must not run.
fn t39_an_exec_comes_between_the_end_of_init_and_its_telling(tasks: &ShimTasks) -> Outcome {
    tasks.exec(ID, "first", &spec(&["true"]))?.doing("add")?;
    let starter = tasks.clone();
    let first = thread::spawn(move || starter.start(ID, "first"));
    wait::until_true("an exec that waits", PATIENCE, || Path::new(WAITS).exists())?;

    let init = tasks.state(ID, "")?.doing("look at init")?.pid;
    tasks.kill(ID, "", 9, false)?.doing("kill init")?;
    wait::until_true("the end of init", PATIENCE, || {
        !Path::new(&format!("/proc/{init}")).exists()
    })?;
    let state = tasks.state(ID, "")?.doing("look at init again")?;
    assert_eq!(state.status, State::RUNNING);

    tasks.exec(ID, "second", &spec(&["true"]))?.doing("add")?;
    let refused = tasks.start(ID, "second")?.unwrap_err();
    assert_eq!(refused.code, Status::FAILED_PRECONDITION, "{refused}");

    fs::write(GO, "").doing("let the first go on")?;
    let first = first
        .join()
        .map_err(|_panic| Failure::new("the starter panicked"))??;
    assert!(first.is_err(), "started in a dead container");
    assert_eq!(tasks.wait(ID, "")?.doing("wait for init")?, 137);
    for exec_id in ["first", "second"] {
        let state = tasks.state(ID, exec_id)?.doing("look at an exec")?;
        assert_eq!(state.status, State::CREATED, "{exec_id}");
        tasks.delete(ID, exec_id)?.doing("delete an exec")?;
    }
    Ok(())
}

type Case = fn(&ShimTasks) -> Outcome;

fn on_stock(world: &World, case: Case) -> Outcome {
    let before = Census::take();
    let containerd = Containerd::start(world)?;
    case(&start(&containerd, RUNC)?)?;
    remove(&containerd)?;
    containerd.stop()?;
    before.until_clean(PATIENCE)
}

/// A case on our shim with `binary` as OCI runtime, slowed down if the case is about that.
fn on_ours(world: &World, binary: &str, slow: bool, case: Case) -> Outcome {
    let node = Node::provision(world)?;
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *\" exec \"*) : > {WAITS}\nuntil [ -e {GO} ]; do sleep 0.05; done\nesac\nexec {binary} \"$@\"\n"
    );
    fs::create_dir_all("/usr/local/sbin").doing("make a folder")?;
    fs::write(SLOW, script).doing("write a runtime")?;
    fs::set_permissions(SLOW, fs::Permissions::from_mode(0o755)).doing("set a mode")?;
    let binary = if slow { SLOW } else { binary };
    node.set("50-runtime", &format!("[runtime]\nbinary = \"{binary}\"\n"))?;
    case(&start(&node.containerd, PORTCULLIS)?)?;
    remove(&node.containerd)?;
    node.finish()
}

mod needs_containerd {
    mod stock_shim {
        use crate::*;

        #[test]
        fn t43_the_terminal_is_what_the_request_says() -> Outcome {
            needs!(Root, Busybox, Containerd, Runc, Cni, RuncShim);
            in_world!(|world| on_stock(world, case::t43_the_terminal_is_what_the_request_says))
        }

        #[test]
        fn t41_what_cannot_start_stays_created() -> Outcome {
            needs!(Root, Busybox, Containerd, Runc, Cni, RuncShim);
            in_world!(|world| on_stock(world, case::t41_what_cannot_start_stays_created))
        }
    }

    macro_rules! ours {
        ($runtime:ident $binary:literal $need:ident $shape:expr) => {
            mod $runtime {
                use crate::*;

                #[test]
                fn t43_the_terminal_is_what_the_request_says() -> Outcome {
                    needs!(Root, Busybox, Containerd, $need, Cni, Swtpm, Programs);
                    let case = case::t43_the_terminal_is_what_the_request_says;
                    in_world!($shape, |world| on_ours(world, $binary, false, case))
                }

                #[test]
                fn t41_what_cannot_start_stays_created() -> Outcome {
                    needs!(Root, Busybox, Containerd, $need, Cni, Swtpm, Programs);
                    let case = case::t41_what_cannot_start_stays_created;
                    in_world!($shape, |world| on_ours(world, $binary, false, case))
                }

                #[test]
                fn t39_an_exec_comes_between_the_end_of_init_and_its_telling() -> Outcome {
                    needs!(Root, Busybox, Containerd, $need, Cni, Swtpm, Programs);
                    let case = crate::t39_an_exec_comes_between_the_end_of_init_and_its_telling;
                    in_world!($shape, |world| on_ours(world, $binary, true, case))
                }
            }
        };
    }
    ours! { with_runc "runc" Runc Shape::default() }
    ours! { with_crun "crun" Crun Shape { unified: false } }
}
