//! Asking the agent, and what its silence or its errors mean for the exit code.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use portcullis_client::snapshot::{Asked, GRACE, PendingSnapshot, unavailable};
use portcullis_client::{AgentError, Client, ClientError, Method};
use portcullis_config::paths;
use portcullis_gate::{Snapshot, Unavailable};

use crate::failure::Failure;

/// Time for calls that make the TPM sign or create keys; a discrete TPM takes seconds for each.
pub(crate) const SLOW: Duration = Duration::from_secs(60);
/// Time for calls that the agent answers from memory or its ledger.
pub(crate) const QUICK: Duration = Duration::from_secs(5);

/// Makes one call on a connection of its own.
pub(crate) fn call<M: Method>(method: &M, allowed: Duration) -> Result<M::Reply, Failure> {
    Client::connect(Path::new(paths::SOCKET), allowed)
        .and_then(|mut client| client.call(method))
        .map_err(|error| failure(error, allowed))
}

/// Asks for a snapshot as a launch does.
pub(crate) fn snapshot(deadline: Duration) -> Result<Snapshot, Unavailable> {
    Client::connect(Path::new(paths::SOCKET), deadline.saturating_add(GRACE))
        .map_err(|error| unavailable(&error, &asked(deadline)))
        .and_then(|client| client.ask_snapshot(deadline))
        .and_then(PendingSnapshot::wait)
}

const fn asked(deadline: Duration) -> Asked<'static> {
    Asked {
        socket: paths::SOCKET,
        deadline,
    }
}

fn failure(error: ClientError, allowed: Duration) -> Failure {
    match error {
        ClientError::Agent(error) => answered(error, allowed),
        other => {
            let refusal = unavailable(&other, &asked(allowed)).refusal();
            Failure::from(if is_denied(&other) {
                refusal.with_remedy("run the command as root")
            } else {
                refusal
            })
        }
    }
}

fn answered(error: AgentError, allowed: Duration) -> Failure {
    match error {
        AgentError::TpmTimeout { .. }
        | AgentError::TpmBusy { .. }
        | AgentError::TpmAnswerMalformed { .. }
        | AgentError::TpmUnreachable { .. }
        | AgentError::TpmFailed { .. }
        | AgentError::Busy {} => unavailable(&ClientError::Agent(error), &asked(allowed))
            .refusal()
            .into(),
        AgentError::TagRefused { .. } | AgentError::EnrollRefused { .. } => Failure::refused(error),
        AgentError::NotEnrolled {} | AgentError::QuarantineFailed { .. } => {
            Failure::undecided(error)
        }
        AgentError::RecordUnknown { .. }
        | AgentError::InvalidParameter { .. }
        | AgentError::PermissionDenied {} => Failure::usage(error),
        other => Failure::internal(other),
    }
}

fn is_denied(error: &ClientError) -> bool {
    matches!(error, ClientError::Connect { source, .. }
        if source.kind() == ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_the_agent_has_its_exit_code() {
        let text = || "x".to_owned();
        for (error, exit) in [
            (AgentError::TpmTimeout { deadline_ms: 1 }, 2),
            (AgentError::TpmUnreachable { reason: text() }, 2),
            (AgentError::TpmFailed { reason: text() }, 2),
            (AgentError::TpmAnswerMalformed { reason: text() }, 2),
            (
                AgentError::TpmBusy {
                    deadline_ms: 1,
                    reason: text(),
                },
                2,
            ),
            (AgentError::Busy {}, 2),
            (AgentError::NotEnrolled {}, 2),
            (AgentError::TagRefused { reason: text() }, 1),
            (AgentError::EnrollRefused { reason: text() }, 1),
            (AgentError::QuarantineFailed { reason: text() }, 2),
            (AgentError::RecordUnknown { reference: text() }, 64),
            (AgentError::LedgerFailed { reason: text() }, 70),
            (AgentError::MethodNotFound { method: text() }, 70),
        ] {
            let name = format!("{error:?}");
            assert_eq!(
                failure(ClientError::Agent(error), QUICK).exit(),
                exit,
                "{name}"
            );
        }
    }

    #[test]
    fn an_agent_that_is_not_there_leaves_it_undecided() {
        let source = std::io::Error::from_raw_os_error(2);
        let failure = failure(
            ClientError::Connect {
                path: paths::SOCKET.into(),
                source,
            },
            QUICK,
        );
        assert_eq!(
            failure.line(),
            "portcullis: undecided [agent-unreachable] socket '/run/portcullis/agent.sock': \
             expected an answer within 5000 ms, found 'no such file or directory'; run \
             'systemctl start portcullis-agent'"
        );
        assert_eq!(failure.exit(), 2);
    }

    #[test]
    fn somebody_who_may_not_reach_the_socket_is_told_to_be_root() {
        let source = std::io::Error::from_raw_os_error(13);
        let failure = failure(
            ClientError::Connect {
                path: paths::SOCKET.into(),
                source,
            },
            QUICK,
        );
        assert!(
            failure
                .line()
                .ends_with("'permission denied'; run the command as root")
        );
    }
}
