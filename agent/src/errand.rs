//! Running another program from a process beside the agent: the agent itself can start none.

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use portcullis_host::{HostError, RuntimeBinary, runtime_binary};

/// Between two looks at whether it has ended.
const PAUSE: Duration = Duration::from_millis(20);
/// How long what it has printed is read after its end.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(1);
/// All that it has in its environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Most of what it prints that is kept, in bytes.
const OUTPUT_LIMIT_BYTES: u64 = 1024 * 1024;

/// A program that is to be run to its end.
#[derive(Debug)]
pub(crate) struct Errand<'a> {
    /// An absolute path, or a bare name: see [`runtime_binary`].
    pub(crate) program: &'a Path,
    /// What follows on its command line.
    pub(crate) arguments: &'a [String],
    /// How long it may take.
    pub(crate) limit: Duration,
}

/// How it ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Returned {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Its standard output, as far as it is kept.
    pub(crate) output: Vec<u8>,
}

/// It was not run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ErrandError {
    /// Others than root could have written it.
    #[error(transparent)]
    Program(#[from] HostError),
    /// The kernel does not let it run.
    #[error("cannot run '{program}'")]
    Run {
        /// The program.
        program: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It took too long, and was killed with what it had started.
    #[error("cannot wait for '{program}' longer than {} s", limit.as_secs())]
    Time {
        /// The program.
        program: String,
        /// How long it had.
        limit: Duration,
    },
    /// It said that it failed.
    #[error("cannot tell of drift: '{program}' ended with {status}")]
    Status {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
}

/// One of our own programs: beside this one, or where programs are installed.
///
/// # Errors
///
/// If it is not there, or if others than root could have written it.
pub(crate) fn own_program(name: &str) -> Result<RuntimeBinary, HostError> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join(name)));
    match beside.map(|path| runtime_binary(&path)) {
        Some(Err(HostError::Open { cause, .. })) if cause.kind() == io::ErrorKind::NotFound => {
            runtime_binary(Path::new(name))
        }
        Some(found) => found,
        None => runtime_binary(Path::new(name)),
    }
}

// === impl Errand ===

impl Errand<'_> {
    /// Runs it with `message` on its standard input.
    ///
    /// # Errors
    ///
    /// [`ErrandError`], never for how it ended.
    pub(crate) fn run(&self, message: &[u8]) -> Result<Returned, ErrandError> {
        self.run_printing(message, Stdio::piped())
    }

    fn run_printing(&self, message: &[u8], output: Stdio) -> Result<Returned, ErrandError> {
        let program = self.program.display().to_string();
        let failed = |source| ErrandError::Run {
            program: program.clone(),
            source,
        };
        let trusted = runtime_binary(self.program)?;
        let mut child = Command::new(trusted.path())
            .args(self.arguments)
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(output)
            .spawn()
            .map_err(failed)?;
        let printed = child.stdout.take().map(kept);
        if let Some(mut input) = child.stdin.take() {
            // One that does not want to know it need not read it.
            drop(input.write_all(message));
        }
        let end = Instant::now() + self.limit;
        let status = loop {
            match child.try_wait().map_err(failed)? {
                Some(status) => break status,
                None if Instant::now() >= end => {
                    kill(&mut child).map_err(failed)?;
                    let limit = self.limit;
                    return Err(ErrandError::Time { program, limit });
                }
                None => thread::park_timeout(PAUSE),
            }
        };
        // What it has left behind may hold its output open for as long as it likes.
        let output = printed.and_then(|printed| printed.recv_timeout(OUTPUT_PATIENCE).ok());
        let output = output.unwrap_or_default();
        Ok(Returned { status, output })
    }

    /// The same; what it prints is not wanted, and that it says that it failed is an error.
    ///
    /// # Errors
    ///
    /// [`ErrandError`].
    pub(crate) fn succeed(&self, message: &[u8]) -> Result<(), ErrandError> {
        let status = self.run_printing(message, Stdio::null())?.status;
        if status.success() {
            return Ok(());
        }
        Err(ErrandError::Status {
            program: self.program.display().to_string(),
            status,
        })
    }
}

/// Reads `output` while the program runs, so that it never waits for us.
fn kept(output: ChildStdout) -> Receiver<Vec<u8>> {
    let (keep, printed) = sync_channel(1);
    thread::spawn(move || {
        let mut kept = Vec::new();
        // What cannot be read was not printed. One that prints more gets SIGPIPE.
        drop(output.take(OUTPUT_LIMIT_BYTES).read_to_end(&mut kept));
        drop(keep.send(kept));
    });
    printed
}

/// Ends the program and what it started.
fn kill(child: &mut Child) -> io::Result<()> {
    killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL)?;
    child.wait().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const LIMIT: Duration = Duration::from_secs(10);

    fn program(text: &str) -> (tempfile::TempDir, Vec<String>) {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("command");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let command = vec![
            path.display().to_string(),
            scratch.path().join("told").display().to_string(),
        ];
        (scratch, command)
    }

    fn errand(command: &[String], limit: Duration) -> Errand<'_> {
        Errand {
            program: Path::new(&command[0]),
            arguments: &command[1..],
            limit,
        }
    }

    fn is_root() -> bool {
        let is_root = nix::unistd::geteuid().is_root();
        if !is_root {
            eprintln!("skipped: needs root; run as root, or with 'cargo xtask test'");
        }
        is_root
    }

    mod needs_root {
        use super::*;

        #[test]
        fn the_command_gets_the_message_and_no_environment_but_a_path() {
            if !is_root() {
                return;
            }
            let (scratch, command) = program("cat > \"$1\"; env | sort >> \"$1\"");
            errand(&command, LIMIT).succeed(b"{\"a\":1}\n").unwrap();
            let told = std::fs::read_to_string(scratch.path().join("told")).unwrap();
            assert!(told.starts_with("{\"a\":1}\n"), "{told}");
            assert!(told.contains(&format!("\nPATH={PATH}\n")), "{told}");
            assert!(!told.contains("HOME="), "{told}");
        }

        #[test]
        fn one_that_hangs_is_killed_and_one_that_fails_is_told() {
            if !is_root() {
                return;
            }
            let (_scratch, command) = program("sleep 60 & wait");
            let begin = Instant::now();
            let limit = Duration::from_millis(100);
            let hung = errand(&command, limit).succeed(b"{}\n").unwrap_err();
            assert!(matches!(hung, ErrandError::Time { .. }), "{hung}");
            assert!(begin.elapsed() < Duration::from_secs(30));
            let (_scratch, command) = program("exit 3");
            let failed = errand(&command, LIMIT).succeed(b"{}\n").unwrap_err();
            assert!(matches!(failed, ErrandError::Status { .. }), "{failed}");
        }

        #[test]
        fn what_it_prints_is_kept_whatever_it_leaves_behind() {
            if !is_root() {
                return;
            }
            let (_scratch, command) = program("cat; exit 1");
            let returned = errand(&command, LIMIT).run(b"said").unwrap();
            assert_eq!(returned.output, b"said");
            assert_eq!(returned.status.code(), Some(1));
            let (scratch, command) = program("sleep 60 2>&1 & echo $! > \"$1\"");
            let begin = Instant::now();
            let returned = errand(&command, LIMIT).run(b"").unwrap();
            assert!(begin.elapsed() < Duration::from_secs(30));
            assert!(returned.status.success());
            let left = std::fs::read_to_string(scratch.path().join("told")).unwrap();
            let left = Pid::from_raw(left.trim().parse().unwrap());
            nix::sys::signal::kill(left, Signal::SIGKILL).unwrap();
        }

        #[test]
        fn one_that_others_may_write_is_not_run() {
            if !is_root() {
                return;
            }
            let (scratch, command) = program("touch \"$1\"");
            let mode = std::fs::Permissions::from_mode(0o775);
            std::fs::set_permissions(&command[0], mode).unwrap();
            let refused = errand(&command, LIMIT).succeed(b"{}\n").unwrap_err();
            assert!(matches!(refused, ErrandError::Program(_)), "{refused}");
            assert!(!scratch.path().join("told").exists());
        }
    }
}
