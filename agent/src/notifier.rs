//! Telling somebody of drift: the operator's command, run by a process of its own.
//!
//! The agent can start no program once it is confined. So it starts this one before: the same
//! binary, with a socket to the agent as its standard input, that does nothing but run
//! `agent.on_drift_command` for each message. What the agent says goes to the command's standard
//! input and nowhere else, so an agent that is somebody else's can only have the command run.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use nix::unistd::Pid;
use portcullis_host::{HostError, runtime_binary};
use serde_json::Value;

use crate::log;

/// Longest message, in bytes; a pipe takes it although nobody reads.
const MESSAGE_LIMIT_BYTES: usize = 32 * 1024;
/// How long the command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks at whether it has ended.
const PAUSE: Duration = Duration::from_millis(20);
/// All that the command has in its environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The agent's end.
#[derive(Debug)]
pub(crate) struct Notifier {
    socket: OwnedFd,
    /// Not waited for: it ends when the socket closes, which is when the agent has ended.
    _process: Child,
}

/// The command was not run to a good end.
#[derive(Debug, thiserror::Error)]
enum CommandError {
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
    #[error("cannot wait for '{program}' longer than {} s", COMMAND_LIMIT.as_secs())]
    Time {
        /// The program.
        program: String,
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

// === impl Notifier ===

impl Notifier {
    /// Starts the process. Must come before signals are blocked, which it would inherit.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub(crate) fn start() -> io::Result<Self> {
        // Keeps messages apart, takes each whole or not at all, and tells when the agent is gone.
        let kind = SockType::SeqPacket;
        let (socket, theirs) = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)?;
        let process = Command::new(std::env::current_exe()?)
            .arg("--notifier")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self {
            socket,
            _process: process,
        })
    }

    /// Has the command run with `message`, some time after this returns.
    ///
    /// # Errors
    ///
    /// If too many wait already, or the process is gone.
    pub(crate) fn tell(&self, message: &Value) -> io::Result<()> {
        let text = format!("{message}\n");
        if text.len() > MESSAGE_LIMIT_BYTES {
            return Err(io::Error::new(ErrorKind::InvalidInput, "message too long"));
        }
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        send(self.socket.as_raw_fd(), text.as_bytes(), flags)?;
        Ok(())
    }
}

// --- the other process ---

/// Runs `command` for each message on standard input, until the agent has ended.
///
/// # Errors
///
/// If standard input cannot be read.
pub(crate) fn run(command: &[String]) -> io::Result<()> {
    let mut messages = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut buffer = vec![0; MESSAGE_LIMIT_BYTES];
    loop {
        let count = match messages.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let message = buffer.get(..count).unwrap_or_default();
        if let Err(error) = tell_once(command, message, COMMAND_LIMIT) {
            log::error("drift command failed", &[("cause", &log::chain(&error))]);
        }
    }
}

fn tell_once(command: &[String], message: &[u8], limit: Duration) -> Result<(), CommandError> {
    let [program, arguments @ ..] = command else {
        return Ok(());
    };
    let failed = |source| CommandError::Run {
        program: program.clone(),
        source,
    };
    let trusted = runtime_binary(Path::new(program))?;
    let mut child = Command::new(trusted.path())
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not want to know it need not read it.
        drop(input.write_all(message));
    }
    let end = Instant::now() + limit;
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if Instant::now() >= end => {
                kill(&mut child).map_err(failed)?;
                let program = program.clone();
                return Err(CommandError::Time { program });
            }
            None => thread::park_timeout(PAUSE),
        }
    };
    if status.success() {
        return Ok(());
    }
    Err(CommandError::Status {
        program: program.clone(),
        status,
    })
}

/// Ends the command and what it started.
fn kill(child: &mut Child) -> io::Result<()> {
    killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL)?;
    child.wait().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

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
            tell_once(&command, b"{\"a\":1}\n", COMMAND_LIMIT).unwrap();
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
            let hung = tell_once(&command, b"{}\n", limit).unwrap_err();
            assert!(matches!(hung, CommandError::Time { .. }), "{hung}");
            assert!(begin.elapsed() < Duration::from_secs(30));
            let (_scratch, command) = program("exit 3");
            let failed = tell_once(&command, b"{}\n", COMMAND_LIMIT).unwrap_err();
            assert!(matches!(failed, CommandError::Status { .. }), "{failed}");
        }

        #[test]
        fn one_that_others_may_write_is_not_run() {
            if !is_root() {
                return;
            }
            let (scratch, command) = program("touch \"$1\"");
            let mode = std::fs::Permissions::from_mode(0o775);
            std::fs::set_permissions(&command[0], mode).unwrap();
            let refused = tell_once(&command, b"{}\n", COMMAND_LIMIT).unwrap_err();
            assert!(matches!(refused, CommandError::Program(_)), "{refused}");
            assert!(!scratch.path().join("told").exists());
        }
    }
}
