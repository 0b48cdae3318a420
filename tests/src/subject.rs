//! What a case works on that holds for every shim: a containerd, and one runtime of it.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use crate::cgroup_driver::{self, CgroupDriver};
use crate::containerd::{Containerd, NAMESPACE, PORTCULLIS, RUNC};
use crate::failure::Outcome;
use crate::image;
use crate::node::Node;
use crate::run::{self, Ran};
use crate::wait::PATIENCE;
use crate::world::{Census, World};

/// Makes a test of each case of the caller's module `case`, on three shims: containerd's own,
/// ours with runc, and ours with crun. Names that are given once are cases for all three, but for
/// those after `ours:`, which containerd's own shim does not pass.
#[macro_export]
macro_rules! on_shims {
    ($($case:ident)+) => {
        $crate::on_shims! { $($case)+; ours: }
    };
    ($($case:ident)+; ours: $($ours:ident)*) => {
        $crate::on_shims! {
            stock_shim: $($case)+;
            with_runc: $($case)+ $($ours)*;
            with_crun: $($case)+ $($ours)*;
        }
    };
    (
        stock_shim: $($stock:ident)+;
        with_runc: $($runc:ident)+;
        with_crun: $($crun:ident)+;
    ) => {
        mod needs_containerd {
            mod stock_shim {
                $(
                    #[test]
                    fn $stock() -> $crate::failure::Outcome {
                        $crate::needs!(Root, Busybox, Containerd, Runc, Cni, RuncShim);
                        $crate::in_world!(|world| {
                            $crate::subject::Subject::stock(world, super::super::case::$stock)
                        })
                    }
                )+
            }
            mod with_runc {
                $(
                    #[test]
                    fn $runc() -> $crate::failure::Outcome {
                        $crate::needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
                        $crate::in_world!(|world| {
                            $crate::subject::Subject::ours(world, "runc", super::super::case::$runc)
                        })
                    }
                )+
            }
            mod with_crun {
                $(
                    #[test]
                    fn $crun() -> $crate::failure::Outcome {
                        $crate::needs!(Root, Busybox, Containerd, Crun, Cni, Swtpm, Programs);
                        $crate::in_world!($crate::world::Shape { unified: false }, |world| {
                            $crate::subject::Subject::ours(world, "crun", super::super::case::$crun)
                        })
                    }
                )+
            }
        }
    };
}

/// A containerd, and the runtime to use.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The containerd.
    pub containerd: &'a Containerd,
    /// The runtime's name for `--runtime`.
    pub runtime: &'static str,
    /// Folder for logs, on the machine.
    pub logs: PathBuf,
    /// Folder in memory.
    pub scratch: PathBuf,
}

// === impl Subject ===

impl Subject<'_> {
    /// Runs `case` on containerd's own shim, which shows that the case is right.
    ///
    /// # Errors
    ///
    /// When the case fails or something is left behind.
    pub fn stock(world: &World, case: fn(&Subject<'_>) -> Outcome) -> Outcome {
        let before = Census::take();
        let containerd = Containerd::start(world)?;
        case(&Subject {
            containerd: &containerd,
            runtime: RUNC,
            logs: world.logs(),
            scratch: world.private(),
        })?;
        containerd.stop()?;
        before.until_clean(PATIENCE)
    }

    /// Runs `case` on our shim with `binary` as OCI runtime.
    ///
    /// # Errors
    ///
    /// When the case fails or something is left behind.
    pub fn ours(world: &World, binary: &str, case: fn(&Subject<'_>) -> Outcome) -> Outcome {
        let node = Node::provision(world)?;
        let systemd = CgroupDriver::current().is_systemd();
        // Fifty records at once may take longer on a busy machine than a node allows by default.
        let settings = format!(
            "[attestation]\nsnapshot_deadline = \"20s\"\n[runtime]\nbinary = \"{binary}\"\n\
             systemd_cgroup = {systemd}\n"
        );
        node.set("50-runtime", &settings)?;
        case(&Subject {
            containerd: &node.containerd,
            runtime: PORTCULLIS,
            logs: world.logs(),
            scratch: world.private(),
        })?;
        node.finish()
    }

    /// Arguments of `ctr` that run `command` in a container.
    #[must_use]
    pub fn arguments(&self, options: &[&str], id: &str, command: &[&str]) -> Vec<String> {
        let place = CgroupDriver::current().options(id, self.runtime == RUNC);
        let confinement = cgroup_driver::confinement();
        let subject = ["--runtime", self.runtime, image::BUSYBOX, id];
        let parts = [options, confinement, &subject, command].concat();
        let first = std::iter::once("run".to_owned()).chain(place);
        first.chain(parts.into_iter().map(str::to_owned)).collect()
    }

    /// Starts a container that goes on.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(&self, id: &str, options: &[&str], script: &str) -> Outcome {
        let mut first = vec!["--detach"];
        first.extend_from_slice(options);
        self.ctr(&self.arguments(&first, id, &["sh", "-c", script]))
            .map(drop)
    }

    /// Runs a container to its end.
    ///
    /// # Errors
    ///
    /// When `ctr` cannot be run.
    pub fn run(&self, id: &str, command: &[&str]) -> Outcome<Ran> {
        self.containerd
            .run_ctr(&self.arguments(&["--rm"], id, command))
    }

    /// Runs `ctr`, which must succeed; gives what it printed.
    ///
    /// # Errors
    ///
    /// When it fails.
    pub fn ctr(&self, arguments: &[impl AsRef<OsStr>]) -> Outcome<String> {
        self.containerd.run_ctr(arguments)?.success()
    }

    /// Runs a shell script in a running container, to its end.
    ///
    /// # Errors
    ///
    /// When `ctr` cannot be run.
    pub fn exec(&self, id: &str, exec_id: &str, script: &str) -> Outcome<Ran> {
        let exec = ["task", "exec", "--exec-id", exec_id, id, "sh", "-c", script];
        self.containerd.run_ctr(&exec)
    }

    /// Runs `ctr` as a process that gets the processor only when nobody else wants it: what a
    /// client does late, it does late here.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn slowly(&self, arguments: &[&str]) -> Outcome<Ran> {
        let mut command = Command::new("chrt");
        command.args(["--idle", "0", "ctr", "--namespace", NAMESPACE]);
        run::to_end(command.args(arguments))
    }

    /// Kills a container and removes it with its task.
    ///
    /// # Errors
    ///
    /// When `ctr` fails.
    pub fn remove(&self, id: &str) -> Outcome {
        self.ctr(&["task", "delete", "--force", id])?;
        self.ctr(&["container", "delete", id]).map(drop)
    }
}
