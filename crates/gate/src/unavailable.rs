//! Why there is no snapshot. None of these ever lets a container start.

use std::time::Duration;

use crate::{Code, Refusal, quote};

/// Why the agent's answer could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// No connection, or no answer within the deadline.
    AgentUnreachable {
        /// Path of the socket.
        socket: String,
        /// How long was waited at most.
        deadline: Duration,
        /// What the system said, for instance "connection refused".
        cause: String,
    },
    /// The socket, its directory or the process behind it is not root's.
    AgentPeerUntrusted {
        /// Path of the socket.
        socket: String,
        /// What was found, for instance "uid 1000".
        found: String,
    },
    /// The agent answered that the TPM did not, in time.
    TpmTimeout {
        /// How long the TPM was given.
        deadline: Duration,
    },
    /// The TPM, or the agent's other work with it, had the launch wait until the deadline.
    TpmBusy {
        /// How long the TPM was given.
        deadline: Duration,
        /// The agent's words.
        reason: String,
    },
    /// The agent cannot open the TPM.
    TpmUnreachable {
        /// The agent's words.
        reason: String,
    },
    /// The TPM answered with an error.
    TpmFailed {
        /// The agent's words.
        reason: String,
    },
    /// The TPM's answer cannot be read.
    TpmAnswerMalformed {
        /// The agent's words.
        reason: String,
    },
    /// The answer is not one that this version understands.
    AnswerMalformed {
        /// What is wrong with it.
        reason: String,
    },
}

// === impl Unavailable ===

impl Unavailable {
    /// The refusal that this amounts to.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::AgentUnreachable {
                socket,
                deadline,
                cause,
            } => Refusal::new(
                Code::AgentUnreachable,
                format!("socket {}", quote(socket)),
                format!("an answer within {} ms", deadline.as_millis()),
                quote(cause),
            ),
            Self::AgentPeerUntrusted { socket, found } => Refusal::new(
                Code::AgentPeerUntrusted,
                format!("socket {}", quote(socket)),
                "owner and peer root, writable by nobody else",
                quote(found),
            ),
            Self::TpmTimeout { deadline } => Refusal::new(
                Code::TpmTimeout,
                "TPM of this node",
                format!("an answer within {} ms", deadline.as_millis()),
                "none",
            ),
            Self::TpmBusy { deadline, reason } => Refusal::new(
                Code::TpmBusy,
                "TPM of this node",
                format!("an answer within {} ms", deadline.as_millis()),
                quote(reason),
            ),
            Self::TpmUnreachable { reason } => Refusal::new(
                Code::TpmUnreachable,
                "TPM of this node",
                "a TPM 2.0 that answers",
                quote(reason),
            ),
            Self::TpmFailed { reason } => Refusal::new(
                Code::TpmError,
                "TPM of this node",
                "a live reading",
                quote(reason),
            ),
            Self::TpmAnswerMalformed { reason } => Refusal::new(
                Code::TpmAnswerMalformed,
                "TPM of this node",
                "a whole answer",
                quote(reason),
            ),
            Self::AnswerMalformed { reason } => Refusal::new(
                Code::AgentAnswerMalformed,
                "answer of the agent",
                "the reply of 'dev.portcullis.Agent.Snapshot'",
                quote(reason),
            ),
        }
    }
}

impl From<crate::snapshot::Unreadable> for Unavailable {
    fn from(error: crate::snapshot::Unreadable) -> Self {
        Self::AnswerMalformed {
            reason: error.to_string(),
        }
    }
}
