//! What went wrong with a request, and the one mapping from that to the wire.

use portcullis_gate::{Kind, RecordId, Refusals};
use ttrpc::{Code as RpcCode, Error as RpcError};

use crate::log;
use crate::mount::MountError;
use crate::runtime::RuntimeError;
use crate::stdio::StdioError;

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    /// The gate or the hardening said no, or could not say.
    #[error("{}", refusals.line(id))]
    Refused {
        /// Why.
        refusals: Refusals,
        /// Under which the ledger has the rest.
        id: RecordId,
    },
    /// No such container.
    #[error("container '{id}' does not exist: not found")]
    NoContainer {
        /// The container id asked for.
        id: String,
    },
    /// No such exec.
    #[error("exec '{exec_id}' of container '{id}' does not exist: not found")]
    NoExec {
        /// The container.
        id: String,
        /// The exec id asked for.
        exec_id: String,
    },
    /// The id is taken.
    #[error("{what} '{id}' already exists")]
    Exists {
        /// "container" or "exec".
        what: &'static str,
        /// The id.
        id: String,
    },
    /// The process is not in a state that allows the request.
    #[error("cannot {verb} '{id}': it is {phase}")]
    WrongPhase {
        /// The request.
        verb: &'static str,
        /// Container or exec id.
        id: String,
        /// Its state.
        phase: &'static str,
    },
    /// The process has ended already.
    #[error("process of '{id}' already finished: not found")]
    Finished {
        /// Container or exec id.
        id: String,
    },
    /// A malformed request.
    #[error("malformed request: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
    /// The root filesystem.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// Standard streams.
    #[error(transparent)]
    Stdio(#[from] StdioError),
    /// The OCI runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A file of the bundle.
    #[error("cannot {verb} '{path}'")]
    Bundle {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A request that this shim does not carry out.
    #[error("{what} is not offered by Portcullis")]
    NotOffered {
        /// The request.
        what: &'static str,
    },
    /// The server is going away.
    #[error("the shim is shutting down")]
    Ending,
}

// === impl TaskError ===

impl TaskError {
    /// The status code containerd gets.
    ///
    /// containerd 1.6 and 1.7 keep eight codes and turn the rest into Unknown; Create never
    /// answers UNIMPLEMENTED, which later ones take for an older API and try again.
    pub(crate) fn code(&self) -> RpcCode {
        match self {
            Self::Refused { refusals, .. } => match refusals.kind() {
                Kind::Refused => RpcCode::FAILED_PRECONDITION,
                Kind::Undecided => RpcCode::UNAVAILABLE,
                Kind::Fault if refusals.first().code.is_bad_request() => RpcCode::INVALID_ARGUMENT,
                Kind::Fault => RpcCode::INTERNAL,
            },
            Self::NoContainer { .. } | Self::NoExec { .. } | Self::Finished { .. } => {
                RpcCode::NOT_FOUND
            }
            Self::Exists { .. } => RpcCode::ALREADY_EXISTS,
            Self::WrongPhase { .. } => RpcCode::FAILED_PRECONDITION,
            Self::Malformed { .. } => RpcCode::INVALID_ARGUMENT,
            Self::NotOffered { .. } => RpcCode::UNIMPLEMENTED,
            Self::Ending => RpcCode::UNAVAILABLE,
            Self::Runtime(error) => error.code(),
            Self::Stdio(error) => error.code(),
            Self::Mount(_) | Self::Bundle { .. } => RpcCode::UNKNOWN,
        }
    }
}

impl From<TaskError> for RpcError {
    /// Only `RpcStatus` travels as a code and a readable line; any other variant would arrive as
    /// Rust debug text.
    fn from(error: TaskError) -> Self {
        Self::RpcStatus(ttrpc::get_status(error.code(), log::chain(&error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_containerd_what_it_can_act_on() {
        let id = || "web".to_owned();
        let cases = [
            (TaskError::NoContainer { id: id() }, RpcCode::NOT_FOUND),
            (
                TaskError::NoExec {
                    id: id(),
                    exec_id: id(),
                },
                RpcCode::NOT_FOUND,
            ),
            (TaskError::Finished { id: id() }, RpcCode::NOT_FOUND),
            (
                TaskError::Exists {
                    what: "exec",
                    id: id(),
                },
                RpcCode::ALREADY_EXISTS,
            ),
            (
                TaskError::WrongPhase {
                    verb: "delete",
                    id: id(),
                    phase: "running",
                },
                RpcCode::FAILED_PRECONDITION,
            ),
            (
                TaskError::Malformed { what: id() },
                RpcCode::INVALID_ARGUMENT,
            ),
            (
                TaskError::NotOffered { what: "checkpoint" },
                RpcCode::UNIMPLEMENTED,
            ),
            (TaskError::Ending, RpcCode::UNAVAILABLE),
        ];
        for (error, code) in cases {
            assert_eq!(error.code(), code, "{error}");
        }
    }

    #[test]
    fn travels_as_a_status_with_one_line() {
        let RpcError::RpcStatus(status) = RpcError::from(TaskError::NoContainer {
            id: "web".to_owned(),
        }) else {
            panic!("any other variant arrives as debug text");
        };
        assert_eq!(
            status.message(),
            "container 'web' does not exist: not found"
        );
    }
}
