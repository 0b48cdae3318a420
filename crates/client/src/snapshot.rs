//! The call every launch makes, and what its failures mean for the decision.

use std::error::Error;
use std::time::Duration;

use portcullis_gate::Unavailable;

use crate::connection::{Client, ClientError};
use crate::message::{AgentError, ReplyError, encode_call, parse_reply as parse};
use crate::method::Snapshot;
use crate::peer::PeerError;

/// Time for the way of the agent's answer, beyond the time the agent itself has.
pub const GRACE: Duration = Duration::from_millis(250);

/// Whom a snapshot was asked of, for the words of a refusal.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Path of the agent's socket.
    pub socket: &'a str,
    /// Time the agent has.
    pub deadline: Duration,
}

/// A snapshot that was asked for; the caller may do other work while the TPM is read.
#[derive(Debug)]
#[must_use]
pub struct PendingSnapshot {
    client: Client,
    socket: String,
    deadline: Duration,
}

/// Encodes the call, its terminating NUL included.
#[must_use]
pub fn call(deadline: Duration) -> Vec<u8> {
    let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
    encode_call(&Snapshot { deadline_ms })
}

/// Decodes the reply; `frame` is one message without its NUL.
///
/// # Errors
///
/// Why there is no snapshot. The launch is undecided then.
pub fn parse_reply(
    frame: &[u8],
    asked: &Asked<'_>,
) -> Result<portcullis_gate::Snapshot, Unavailable> {
    match parse::<Snapshot>(frame) {
        Ok(reply) => Ok(reply.0),
        Err(ReplyError::Agent(error)) => Err(answered(&error, asked)),
        Err(ReplyError::Malformed(malformed)) => Err(Unavailable::AnswerMalformed {
            reason: chain(&malformed),
        }),
    }
}

/// Says what a failed call means for the decision.
#[must_use]
pub fn unavailable(error: &ClientError, asked: &Asked<'_>) -> Unavailable {
    match error {
        ClientError::Peer(peer) => untrusted(peer, asked),
        ClientError::Connect { source, .. }
        | ClientError::Send { source, .. }
        | ClientError::Receive { source, .. } => asked.unreachable(plain(source)),
        ClientError::TimedOut { .. } => asked.unreachable("none".to_owned()),
        ClientError::Closed { .. } => asked.unreachable("a closed connection".to_owned()),
        ClientError::Agent(error) => answered(error, asked),
        ClientError::Oversized(_) | ClientError::Malformed(_) | ClientError::Unsolicited { .. } => {
            Unavailable::AnswerMalformed {
                reason: chain(error),
            }
        }
    }
}

/// Says what an unusable socket means for the decision.
#[must_use]
pub fn untrusted(error: &PeerError, asked: &Asked<'_>) -> Unavailable {
    match error {
        PeerError::Inspect { source, .. } => asked.unreachable(plain(source)),
        PeerError::Untrusted { path, found, .. } => Unavailable::AgentPeerUntrusted {
            socket: path.clone(),
            found: found.clone(),
        },
    }
}

fn answered(error: &AgentError, asked: &Asked<'_>) -> Unavailable {
    match error {
        AgentError::TpmTimeout { deadline_ms } => Unavailable::TpmTimeout {
            deadline: Duration::from_millis(*deadline_ms),
        },
        AgentError::TpmBusy {
            deadline_ms,
            reason,
        } => Unavailable::TpmBusy {
            deadline: Duration::from_millis(*deadline_ms),
            reason: reason.clone(),
        },
        AgentError::TpmAnswerMalformed { reason } => Unavailable::TpmAnswerMalformed {
            reason: reason.clone(),
        },
        AgentError::TpmUnreachable { reason } => Unavailable::TpmUnreachable {
            reason: reason.clone(),
        },
        AgentError::TpmFailed { reason } => Unavailable::TpmFailed {
            reason: reason.clone(),
        },
        AgentError::Busy {} => asked.unreachable("an agent too busy to answer".to_owned()),
        other => Unavailable::AnswerMalformed {
            reason: other.to_string(),
        },
    }
}

/// What the system said, without the number it adds: `connection refused`.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    words.to_lowercase()
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

// === impl Asked ===

impl Asked<'_> {
    /// The agent gave no answer; `cause` is what was seen instead, a noun phrase.
    #[must_use]
    pub fn unreachable(&self, cause: String) -> Unavailable {
        Unavailable::AgentUnreachable {
            socket: self.socket.to_owned(),
            deadline: self.deadline,
            cause,
        }
    }
}

// === impl Client ===

impl Client {
    /// Asks for a snapshot and returns at once; `deadline` is the time the agent has for it.
    ///
    /// Connect with [`GRACE`] more than that: then the agent's own word about a TPM that did not
    /// answer arrives, and not only the end of the connection's time.
    ///
    /// # Errors
    ///
    /// Why there will be none. The launch is undecided then.
    pub fn ask_snapshot(mut self, deadline: Duration) -> Result<PendingSnapshot, Unavailable> {
        let socket = self.path().display().to_string();
        match self.send(&call(deadline)) {
            Ok(()) => Ok(PendingSnapshot {
                client: self,
                socket,
                deadline,
            }),
            Err(error) => Err(unavailable(
                &error,
                &Asked {
                    socket: &socket,
                    deadline,
                },
            )),
        }
    }
}

// === impl PendingSnapshot ===

impl PendingSnapshot {
    /// Waits for the answer.
    ///
    /// # Errors
    ///
    /// Why there is none. The launch is undecided then.
    pub fn wait(mut self) -> Result<portcullis_gate::Snapshot, Unavailable> {
        let asked = Asked {
            socket: &self.socket,
            deadline: self.deadline,
        };
        let frame = self
            .client
            .next_reply()
            .map_err(|error| unavailable(&error, &asked))?;
        parse_reply(&frame, &asked)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::message::{MalformedMessage, encode_error, encode_reply};
    use crate::method::SnapshotReply;

    const ASKED: Asked<'static> = Asked {
        socket: "/run/portcullis/agent.sock",
        deadline: Duration::from_millis(1500),
    };

    fn snapshot() -> portcullis_gate::Snapshot {
        portcullis_gate::Snapshot::from_json(&json!({
            "verdict": "a.b.c",
            "tag_document": null,
            "live": {
                "boot_id": "6c1e0f0e-7b9e-4b55-9c53-0a2f0d9f3a11",
                "reset_count": 3,
                "restart_count": 0,
                "pcr_bank": "sha256",
                "pcrs": [{"index": 7, "digest": "ab".repeat(32)}],
                "tag": {
                    "nv_index": "0x01c10110",
                    "nv_name": format!("000b{}", "01".repeat(32)),
                    "contents": "02".repeat(48),
                },
            },
        }))
        .unwrap()
    }

    fn code_of(unavailable: &Unavailable) -> &'static str {
        unavailable.refusal().code.as_str()
    }

    fn answer(frame: &[u8]) -> Result<portcullis_gate::Snapshot, Unavailable> {
        parse_reply(frame.strip_suffix(&[0]).unwrap_or(frame), &ASKED)
    }

    #[test]
    fn carries_the_deadline_in_milliseconds() {
        assert_eq!(
            call(Duration::from_millis(1500)),
            b"{\"method\":\"dev.portcullis.Agent.Snapshot\",\"parameters\":{\"deadline_ms\":1500}}\0"
        );
    }

    #[test]
    fn gives_back_the_snapshot_the_agent_sent() {
        let reply = encode_reply::<Snapshot>(&SnapshotReply(snapshot()));
        assert_eq!(answer(&reply).unwrap(), snapshot());
    }

    #[test]
    fn every_error_of_the_agent_leaves_the_launch_undecided() {
        let reason = || "0x922".to_owned();
        for (error, code) in [
            (AgentError::TpmTimeout { deadline_ms: 9 }, "tpm-timeout"),
            (
                AgentError::TpmBusy {
                    deadline_ms: 9,
                    reason: reason(),
                },
                "tpm-busy",
            ),
            (
                AgentError::TpmAnswerMalformed { reason: reason() },
                "tpm-answer-malformed",
            ),
            (
                AgentError::TpmUnreachable { reason: reason() },
                "tpm-unreachable",
            ),
            (AgentError::TpmFailed { reason: reason() }, "tpm-error"),
            (AgentError::Busy {}, "agent-unreachable"),
            (AgentError::NotEnrolled {}, "agent-answer-malformed"),
            (AgentError::PermissionDenied {}, "agent-answer-malformed"),
        ] {
            let unavailable = answer(&encode_error(&error)).unwrap_err();
            assert_eq!(code_of(&unavailable), code, "{error:?}");
        }
    }

    #[test]
    fn names_the_place_where_a_live_state_is_wrong() {
        let mut value = snapshot().to_json();
        value["live"]["pcrs"][0]["digest"] = "abcd".into();
        let frame = serde_json::to_vec(&json!({ "parameters": value })).unwrap();
        let Unavailable::AnswerMalformed { reason } = answer(&frame).unwrap_err() else {
            panic!("another reason")
        };
        assert_eq!(
            reason,
            "cannot decode fields of 'dev.portcullis.Agent.Snapshot': cannot read snapshot: \
             '/pcrs/digest' is not as long as the bank's digests"
        );
    }

    #[test]
    fn every_failure_of_the_connection_has_its_code() {
        let path = || "/run/portcullis/agent.sock".into();
        let os = |number| std::io::Error::from_raw_os_error(number);
        let allowed = ASKED.deadline;
        for (error, code, found) in [
            (
                ClientError::Connect {
                    path: path(),
                    source: os(111),
                },
                "agent-unreachable",
                "'connection refused'",
            ),
            (
                ClientError::Connect {
                    path: path(),
                    source: os(2),
                },
                "agent-unreachable",
                "'no such file or directory'",
            ),
            (
                ClientError::Send {
                    path: path(),
                    source: os(32),
                },
                "agent-unreachable",
                "'broken pipe'",
            ),
            (
                ClientError::Receive {
                    path: path(),
                    source: os(104),
                },
                "agent-unreachable",
                "'connection reset by peer'",
            ),
            (
                ClientError::TimedOut {
                    path: path(),
                    allowed,
                },
                "agent-unreachable",
                "'none'",
            ),
            (
                ClientError::Closed { path: path() },
                "agent-unreachable",
                "'a closed connection'",
            ),
            (
                ClientError::Malformed(MalformedMessage::Stream),
                "agent-answer-malformed",
                "'cannot understand the agent\\'s reply: cannot accept a strea…'",
            ),
        ] {
            let refusal = unavailable(&error, &ASKED).refusal();
            assert_eq!(
                (refusal.code.as_str(), refusal.found.as_str()),
                (code, found)
            );
        }
    }

    #[test]
    fn a_socket_of_another_user_is_not_trusted() {
        let path = std::path::Path::new(ASKED.socket);
        let error = ClientError::Peer(crate::peer::verify_uid(path, 1000).unwrap_err());
        let refusal = unavailable(&error, &ASKED).refusal();
        assert_eq!(refusal.code.as_str(), "agent-peer-untrusted");
        assert_eq!(refusal.found, "'uid 1000'");
    }
}
