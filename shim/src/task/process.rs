//! One process of a container: its init or an exec.

use std::time::{Instant, SystemTime};

use tokio::sync::watch;

use crate::launch::AdmittedExec;
use crate::status::TaskError;
use crate::stdio::{Relay, Streams};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Exit code, or 128 + signal.
    pub(crate) status: u32,
    /// When it was collected.
    pub(crate) at: SystemTime,
}

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Made, not started.
    Created,
    /// The runtime is starting it.
    Starting,
    /// Runs its own program.
    Running,
    /// Frozen with its container.
    Paused,
    /// Ended.
    Stopped,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its pid in the host's pid namespace; 0 before it is known.
    pub(crate) pid: u32,
    /// Where it is in its life.
    pub(crate) phase: Phase,
    /// When it was decided on.
    pub(crate) made_at: Instant,
    /// The streams it was asked for with.
    pub(crate) streams: Streams,
    /// What moves its data.
    pub(crate) relay: Relay,
    /// For an exec: what was admitted, the only thing that is ever run.
    pub(crate) exec: Option<AdmittedExec>,
    /// CloseIO came before the process existed.
    pub(crate) input_closed: bool,
    /// Its end, if it came while the runtime was still starting it: told after the start.
    pub(crate) end_before_start: Option<Exit>,
    exit: watch::Sender<Option<Exit>>,
}

// === impl Phase ===

impl Phase {
    /// The word for messages.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

// === impl Process ===

impl Process {
    /// A process that does not run yet.
    pub(crate) fn new(streams: Streams) -> Self {
        Self {
            pid: 0,
            phase: Phase::Created,
            made_at: Instant::now(),
            streams,
            relay: Relay::default(),
            exec: None,
            input_closed: false,
            end_before_start: None,
            exit: watch::Sender::new(None),
        }
    }

    /// Takes over what moves the data of a process that now exists.
    pub(crate) fn attach(&mut self, mut relay: Relay) {
        if !self.input_closed {
            relay.hold_input();
        }
        self.relay = relay;
    }

    /// Ends its input, now or as soon as it exists.
    pub(crate) fn close_stdin(&mut self) {
        self.input_closed = true;
        self.relay.close_stdin();
    }

    /// Its end, once it has come.
    pub(crate) fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Marks it ended and wakes all who wait.
    pub(crate) fn end(&mut self, exit: Exit) {
        self.phase = Phase::Stopped;
        self.exit.send_replace(Some(exit));
    }

    /// A way to wait for its end, which outlives the process itself.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.subscribe()
    }

    /// Refuses `verb` unless the process is in `phase`.
    ///
    /// # Errors
    ///
    /// [`TaskError::WrongPhase`].
    pub(crate) fn expect(
        &self,
        phase: Phase,
        verb: &'static str,
        id: &str,
    ) -> Result<(), TaskError> {
        if self.phase == phase {
            return Ok(());
        }
        Err(TaskError::WrongPhase {
            verb,
            id: id.to_owned(),
            phase: self.phase.word(),
        })
    }
}
