//! The OCI runtime (runc, crun) as a command line.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use portcullis_seccomp::Instruction;
use ttrpc::Code;

use crate::bundle::{self, write_private};
use crate::options::RuntimeOptions;
use crate::stdio::ChildStreams;
use crate::sys;

mod log;

/// Root of the runtime's state; the namespace is appended, as the stock shim does.
const STATE_ROOT: &str = "/run/containerd/runc";

/// Where the runtime works for a container whose bundle is gone; only root can write there.
const NO_BUNDLE: &str = "/run";

/// Longest a runtime command may take. Hooks run inside `create`, so this is generous; a
/// command that hangs is killed and the request fails.
pub(crate) const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// Tells a service of systemd where to say that it is ready.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// Most bytes read of a runtime's log.
const MAX_LOG_BYTES: u64 = 64 * 1024;

/// How to call the runtime for one container.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    binary: PathBuf,
    state_root: PathBuf,
    bundle: PathBuf,
    systemd_cgroup: bool,
    no_new_keyring: bool,
    no_pivot_root: bool,
    /// What everything is confined by that it starts in a container.
    floor: Arc<[Instruction]>,
}

/// A runtime command that is ready to be spawned, with the files it talks through.
#[derive(Debug)]
pub(crate) struct Call {
    /// The command, standard streams set.
    pub(crate) command: Command,
    /// What is being done, for messages: "create", "exec", ….
    pub(crate) verb: &'static str,
    files: Scratch,
}

/// Files of one call inside the bundle, removed when it is over.
#[derive(Debug)]
struct Scratch {
    log: PathBuf,
    pid: Option<PathBuf>,
    input: Option<PathBuf>,
    keep_pid: bool,
}

/// Why the runtime did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RuntimeError {
    /// The program could not be started.
    #[error("cannot run OCI runtime '{binary}'")]
    Spawn {
        /// The program.
        binary: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program said no; its own last error line.
    #[error("OCI runtime {verb} failed: {message}")]
    Failed {
        /// The command.
        verb: &'static str,
        /// The runtime's words, on one line.
        message: String,
    },
    /// The program did not come back.
    #[error("OCI runtime {verb} did not finish within {} s and was killed", limit.as_secs())]
    TimedOut {
        /// The command.
        verb: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// Whoever asked for it wants it no more.
    #[error("OCI runtime {verb} was killed: the task was deleted meanwhile")]
    GivenUp {
        /// The command.
        verb: &'static str,
    },
    /// The program is gone without a status: the event loop is ending.
    #[error("OCI runtime {verb} was interrupted: the shim is ending")]
    Interrupted {
        /// The command.
        verb: &'static str,
    },
    /// A file the runtime reads or writes.
    #[error("cannot {verb} '{path}' for the OCI runtime")]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The pid file does not hold a pid.
    #[error("OCI runtime {verb} left no process id in '{path}'")]
    NoPid {
        /// The command.
        verb: &'static str,
        /// The file.
        path: PathBuf,
    },
}

// === impl Runtime ===

impl Runtime {
    /// Prepares calls of `binary` (already judged safe) for the container in `bundle`.
    pub(crate) fn new(
        binary: PathBuf,
        options: &RuntimeOptions,
        namespace: &str,
        bundle: &Path,
        systemd_cgroup: bool,
    ) -> Self {
        let root = if options.root.is_empty() {
            STATE_ROOT
        } else {
            &options.root
        };
        Self {
            binary,
            state_root: Path::new(root).join(namespace),
            bundle: bundle.to_owned(),
            systemd_cgroup,
            no_new_keyring: options.no_new_keyring,
            no_pivot_root: options.no_pivot_root,
            floor: Arc::default(),
        }
    }

    /// From now on, what it starts in a container is confined by this filter; an empty one is none.
    pub(crate) fn confine(&mut self, floor: Arc<[Instruction]>) {
        self.floor = floor;
    }

    /// `create`: makes the container and leaves its init waiting.
    pub(crate) fn create(&self, id: &str, streams: ChildStreams, console: Option<&str>) -> Call {
        let mut call = self.call("create", "init");
        self.lay_floor(&mut call);
        call.command.arg("--bundle").arg(&self.bundle);
        call.files.keep_pid = true;
        call.add_pid_file(self.bundle.join("init.pid"));
        if let Some(console) = console {
            call.command.arg("--console-socket").arg(console);
        }
        if self.no_new_keyring {
            call.command.arg("--no-new-keyring");
        }
        if self.no_pivot_root {
            call.command.arg("--no-pivot");
        }
        call.command.arg(id);
        streams.give_to(&mut call.command);
        call
    }

    /// `exec --process`: runs the clamped process spec; `tag` names the call's files.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::File`] if the spec cannot be written.
    pub(crate) fn exec(
        &self,
        id: &str,
        tag: &str,
        spec: &[u8],
        streams: ChildStreams,
        console: Option<&str>,
    ) -> Result<Call, RuntimeError> {
        let mut call = self.call("exec", tag);
        self.lay_floor(&mut call);
        let path = call.add_input(self.bundle.join(format!("{tag}.process.json")), spec)?;
        call.command.arg("--process").arg(path).arg("--detach");
        call.add_pid_file(self.bundle.join(format!("{tag}.pid")));
        if let Some(console) = console {
            call.command.arg("--console-socket").arg(console);
        }
        call.command.arg(id);
        streams.give_to(&mut call.command);
        Ok(call)
    }

    /// `update --resources`: applies clamped resources.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::File`] if they cannot be written.
    pub(crate) fn update(
        &self,
        id: &str,
        tag: &str,
        resources: &[u8],
    ) -> Result<Call, RuntimeError> {
        let mut call = self.call("update", tag);
        let path = call.add_input(self.bundle.join(format!("{tag}.resources.json")), resources)?;
        call.command.arg("--resources").arg(path).arg(id);
        Ok(call)
    }

    /// `start`, `pause`, `resume`: a verb and an id.
    pub(crate) fn plain(&self, verb: &'static str, id: &str) -> Call {
        let mut call = self.call(verb, verb);
        call.command.arg(id);
        call
    }

    /// `kill`: one signal to init, or to every process of the container.
    pub(crate) fn kill(&self, id: &str, tag: &str, signal: u32, all: bool) -> Call {
        let mut call = self.call("kill", tag);
        if all {
            call.command.arg("--all");
        }
        call.command.arg(id).arg(signal.to_string());
        call
    }

    /// Whether the runtime has state of the container. crun, asked for one that it does not know,
    /// only says that some file is not there.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.state_root.join(id).exists()
    }

    /// `delete`: forgets a stopped container; with `force`, kills it first.
    pub(crate) fn delete(&self, id: &str, force: bool) -> Call {
        let mut call = self.call("delete", "delete");
        if force {
            call.command.arg("--force");
        }
        call.command.arg(id);
        call
    }

    fn lay_floor(&self, call: &mut Call) {
        if !self.floor.is_empty() {
            sys::filter::confine(&mut call.command, &self.floor);
        }
    }

    fn call(&self, verb: &'static str, tag: &str) -> Call {
        // Without a bundle there is still a container to be removed.
        let dir = if self.bundle.is_dir() {
            self.bundle.as_path()
        } else {
            Path::new(NO_BUNDLE)
        };
        let log = dir.join(format!("{tag}.log.json"));
        let mut command = Command::new(&self.binary);
        command.current_dir(dir);
        command.arg("--root").arg(&self.state_root);
        command
            .arg("--log")
            .arg(&log)
            .args(["--log-format", "json"]);
        if self.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        command.arg(verb);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Set where systemd runs containerd. A runtime that sees it takes the container for the
            // service, and does not end its 'start' before the container says that it is ready.
            .env_remove(NOTIFY_SOCKET);
        sys::die_with_parent(&mut command);
        // A group of its own, so that a late command is killed with all that it started.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Call {
            command,
            verb,
            files: Scratch {
                log,
                pid: None,
                input: None,
                keep_pid: false,
            },
        }
    }
}

// === impl Call ===

impl Call {
    /// Judges how the program ended; on success gives the pid it wrote, if it was to write one.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`] with the runtime's own words.
    pub(crate) fn finish(self, status: ExitStatus) -> Result<Option<u32>, RuntimeError> {
        if !status.success() {
            return Err(RuntimeError::Failed {
                verb: self.verb,
                message: self.message(status),
            });
        }
        let Some(path) = &self.files.pid else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        match text.trim().parse() {
            Ok(pid) => Ok(Some(pid)),
            Err(_) => Err(RuntimeError::NoPid {
                verb: self.verb,
                path: path.clone(),
            }),
        }
    }

    fn add_pid_file(&mut self, path: PathBuf) {
        self.command.arg("--pid-file").arg(&path);
        self.files.pid = Some(path);
    }

    fn add_input(&mut self, path: PathBuf, bytes: &[u8]) -> Result<PathBuf, RuntimeError> {
        self.files.input = Some(path.clone());
        write_private(&path, bytes).map_err(|source| RuntimeError::File {
            verb: "write",
            path: path.clone(),
            source,
        })?;
        Ok(path)
    }

    /// The last error in the log, else the exit status.
    fn message(&self, status: ExitStatus) -> String {
        let log = bundle::read(&self.files.log, MAX_LOG_BYTES).unwrap_or_default();
        log::last_error(&log).unwrap_or_else(|| status.to_string())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let pid = self.pid.as_ref().filter(|_| !self.keep_pid);
        for path in [Some(&self.log), pid, self.input.as_ref()]
            .into_iter()
            .flatten()
        {
            drop(std::fs::remove_file(path));
        }
    }
}

// === impl RuntimeError ===

impl RuntimeError {
    /// The status code for containerd: what it can act on, it must be able to tell apart.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Failed { message, .. } if is_gone(message) => Code::NOT_FOUND,
            Self::TimedOut { .. } => Code::DEADLINE_EXCEEDED,
            Self::GivenUp { .. } => Code::CANCELLED,
            Self::Interrupted { .. } => Code::UNAVAILABLE,
            Self::Spawn { .. } | Self::Failed { .. } | Self::File { .. } | Self::NoPid { .. } => {
                Code::UNKNOWN
            }
        }
    }

    /// Whether the runtime says that there is no such container or process (any more).
    pub(crate) fn says_gone(&self) -> bool {
        matches!(self, Self::Failed { message, .. } if is_gone(message))
    }
}

/// The words of runc and crun for "there is nothing (left) to act on".
fn is_gone(message: &str) -> bool {
    const WORDS: [&str; 5] = [
        "does not exist",
        "process already finished",
        "container not running",
        "no such process",
        "is not running",
    ];
    let message = message.to_ascii_lowercase();
    WORDS.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn runtime(bundle: &Path) -> Runtime {
        let options = RuntimeOptions::default();
        Runtime::new(
            PathBuf::from("/usr/sbin/runc"),
            &options,
            "k8s.io",
            bundle,
            false,
        )
    }

    fn words(call: &Call) -> String {
        let words: Vec<_> = call
            .command
            .get_args()
            .map(|word| word.to_string_lossy())
            .collect();
        words.join(" ")
    }

    #[test]
    fn gives_global_flags_before_the_verb_and_the_id_last() {
        let runtime = runtime(Path::new("/tmp"));
        assert_eq!(
            words(&runtime.kill("web", "kill-1", 9, true)),
            "--root /run/containerd/runc/k8s.io --log /tmp/kill-1.log.json --log-format json kill --all web 9"
        );
        let create = words(&runtime.create("web", ChildStreams::null(), Some("pty.sock")));
        assert!(create.ends_with(
            "create --bundle /tmp --pid-file /tmp/init.pid --console-socket pty.sock web"
        ));
    }

    #[test]
    fn works_elsewhere_when_the_bundle_is_gone() {
        let call = runtime(Path::new("/no/such/bundle")).delete("web", true);
        assert_eq!(call.command.get_current_dir(), Some(Path::new(NO_BUNDLE)));
        assert!(words(&call).contains("--log /run/delete.log.json"));
    }

    #[test]
    fn the_runtime_is_not_told_that_containerd_is_a_service() {
        let dir = tempfile::tempdir().unwrap();
        for verb in ["start", "resume"] {
            let call = runtime(dir.path()).plain(verb, "web");
            let mut settings = call.command.get_envs();
            assert!(settings.any(|(name, value)| name == NOTIFY_SOCKET && value.is_none()));
        }
    }

    #[test]
    fn reports_the_last_error_of_the_runtimes_log_on_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let call = runtime(dir.path()).plain("start", "web");
        let log = "{\"level\":\"error\",\"msg\":\"first\"}\n{\"level\":\"warning\",\"msg\":\"w\"}\n\
                   {\"level\":\"error\",\"msg\":\"second\\nhalf\"}\nnot json\n";
        std::fs::write(dir.path().join("start.log.json"), log).unwrap();
        let error = call.finish(ExitStatus::from_raw(256)).unwrap_err();
        assert_eq!(error.to_string(), "OCI runtime start failed: second half");
        assert!(
            !dir.path().join("start.log.json").exists(),
            "the call's files are removed"
        );
    }

    #[test]
    fn keeps_specs_private_and_removes_them() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let call = runtime(dir.path())
            .exec("web", "exec-1", b"{}", ChildStreams::null(), None)
            .unwrap();
        let path = dir.path().join("exec-1.process.json");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        drop(call);
        assert!(!path.exists());
    }

    #[test]
    fn knows_when_a_container_is_gone() {
        for message in [
            "container does not exist",
            "Process Already finished",
            "container not running",
        ] {
            assert!(
                RuntimeError::Failed {
                    verb: "kill",
                    message: message.to_owned()
                }
                .says_gone()
            );
        }
        let other = RuntimeError::Failed {
            verb: "kill",
            message: "permission denied".to_owned(),
        };
        assert!(!other.says_gone());
        assert_eq!(other.code(), Code::UNKNOWN);
    }
}
