//! Telling somebody of drift: the operator's command and the responder, by a process of its own.
//!
//! The agent can start no program once it is confined. So it starts this one before: the same
//! binary, with a socket to the agent as its standard input, that does nothing but bring each
//! message to a [responder](crate::responder) and run `agent.on_drift_command` for it. What the
//! agent says goes to their standard input and nowhere else, so an agent that is somebody else's
//! can only have done what the settings say.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair};
use portcullis_config::AgentConfig;
use serde_json::Value;

use crate::errand::{Errand, ErrandError};
use crate::log;
use crate::responder::Responders;

/// Longest message, in bytes; a pipe takes it although nobody reads.
pub(crate) const MESSAGE_LIMIT_BYTES: usize = 32 * 1024;
/// How long the command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// The agent's end.
#[derive(Debug)]
pub(crate) struct Notifier {
    socket: OwnedFd,
    /// Not waited for: it ends when the socket closes, which is when the agent has ended.
    _process: Child,
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

/// Whether anybody is to be told, or anything to be done.
pub(crate) fn is_wanted(config: &AgentConfig) -> bool {
    !config.on_drift_command.is_empty() || Responders::are_wanted(config)
}

/// Has done what `config` says for each message on standard input, until the agent has ended.
///
/// # Errors
///
/// If standard input cannot be read.
pub(crate) fn run(config: &AgentConfig) -> io::Result<()> {
    let mut messages = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut buffer = vec![0; MESSAGE_LIMIT_BYTES];
    let mut responders = Responders::default();
    loop {
        let count = match messages.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let message = buffer.get(..count).unwrap_or_default();
        // First, because it is not waited for, and a command may take its time.
        if Responders::are_wanted(config)
            && let Err(error) = responders.respond(message)
        {
            log::error("no response to drift", &[("cause", &error.to_string())]);
        }
        if let Err(error) = run_command(&config.on_drift_command, message) {
            log::error("drift command failed", &[("cause", &log::chain(&error))]);
        }
    }
}

fn run_command(command: &[String], message: &[u8]) -> Result<(), ErrandError> {
    let [program, arguments @ ..] = command else {
        return Ok(());
    };
    let errand = Errand {
        program: Path::new(program),
        arguments,
        limit: COMMAND_LIMIT,
    };
    errand.succeed(message)
}
