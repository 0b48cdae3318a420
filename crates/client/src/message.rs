//! The envelope of calls and replies, and the errors an agent may answer with.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::strict;

/// A method of the interface: the implementing type holds its parameters.
pub trait Method: Serialize + DeserializeOwned {
    /// Name of the method with its interface, such as `dev.portcullis.Agent.Status`.
    const NAME: &'static str;
    /// What the method answers.
    type Reply: Serialize + DeserializeOwned;
}

/// An error the agent answers with, by its Varlink name.
///
/// `TpmTimeout`, `TpmBusy`, `TpmUnreachable` and `Busy` are worth a retry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", content = "parameters")]
#[non_exhaustive]
pub enum AgentError {
    /// The TPM did not answer in time.
    #[serde(rename = "dev.portcullis.Agent.TpmTimeout")]
    #[error("cannot read TPM within {deadline_ms} ms")]
    TpmTimeout {
        /// Deadline of the call, in milliseconds.
        deadline_ms: u64,
    },
    /// The TPM asked to be asked again, or the agent's other work with it did not end, in time.
    #[serde(rename = "dev.portcullis.Agent.TpmBusy")]
    #[error("cannot read TPM within {deadline_ms} ms: {reason}")]
    TpmBusy {
        /// Deadline of the call, in milliseconds.
        deadline_ms: u64,
        /// What kept it, one line.
        reason: String,
    },
    /// There is no way to the TPM.
    #[serde(rename = "dev.portcullis.Agent.TpmUnreachable")]
    #[error("cannot reach TPM: {reason}")]
    TpmUnreachable {
        /// What the agent saw, one line.
        reason: String,
    },
    /// The TPM answered with an error.
    #[serde(rename = "dev.portcullis.Agent.TpmFailed")]
    #[error("cannot use TPM: {reason}")]
    TpmFailed {
        /// What the TPM answered, one line.
        reason: String,
    },
    /// The TPM's answer cannot be read.
    #[serde(rename = "dev.portcullis.Agent.TpmAnswerMalformed")]
    #[error("cannot read answer of TPM: {reason}")]
    TpmAnswerMalformed {
        /// Where reading stopped, one line.
        reason: String,
    },
    /// The node has no attestation key yet.
    #[serde(rename = "dev.portcullis.Agent.NotEnrolled")]
    #[error("cannot attest node that is not enrolled; run 'portcullis enroll'")]
    NotEnrolled {},
    /// The ledger holds no such decision.
    #[serde(rename = "dev.portcullis.Agent.RecordUnknown")]
    #[error("cannot find launch record '{}' in the ledger", reference.escape_default())]
    RecordUnknown {
        /// The reference that was asked for.
        #[serde(rename = "ref")]
        reference: String,
    },
    /// The record is not a launch record.
    #[serde(rename = "dev.portcullis.Agent.RecordMalformed")]
    #[error("cannot accept launch record: {reason}")]
    RecordMalformed {
        /// What is wrong with it, one line.
        reason: String,
    },
    /// The ledger cannot be read or written.
    #[serde(rename = "dev.portcullis.Agent.LedgerFailed")]
    #[error("cannot use ledger: {reason}")]
    LedgerFailed {
        /// What failed, one line.
        reason: String,
    },
    /// The asset tag was not accepted.
    #[serde(rename = "dev.portcullis.Agent.TagRefused")]
    #[error("cannot provision asset tag: {reason}")]
    TagRefused {
        /// What is wrong with it, one line.
        reason: String,
    },
    /// No verdict key can be made under the node's settings.
    #[serde(rename = "dev.portcullis.Agent.EnrollRefused")]
    #[error("cannot enroll: {reason}")]
    EnrollRefused {
        /// What is missing, one line.
        reason: String,
    },
    /// The host cannot be put into quarantine.
    #[serde(rename = "dev.portcullis.Agent.QuarantineFailed")]
    #[error("cannot put host into quarantine: {reason}")]
    QuarantineFailed {
        /// Why, one line.
        reason: String,
    },
    /// The agent holds as many calls as it accepts.
    #[serde(rename = "dev.portcullis.Agent.Busy")]
    #[error("cannot serve call while the agent is busy; try again")]
    Busy {},
    /// The service does not have the interface.
    #[serde(rename = "org.varlink.service.InterfaceNotFound")]
    #[error("cannot find interface '{}'", interface.escape_default())]
    InterfaceNotFound {
        /// The name that was asked for.
        interface: String,
    },
    /// The interface does not have the method.
    #[serde(rename = "org.varlink.service.MethodNotFound")]
    #[error("cannot find method '{}'", method.escape_default())]
    MethodNotFound {
        /// The name that was called.
        method: String,
    },
    /// The interface has the method, this agent does not.
    #[serde(rename = "org.varlink.service.MethodNotImplemented")]
    #[error("cannot call method '{}': this agent does not offer it", method.escape_default())]
    MethodNotImplemented {
        /// The name that was called.
        method: String,
    },
    /// A parameter is missing or wrong.
    #[serde(rename = "org.varlink.service.InvalidParameter")]
    #[error("cannot accept parameter: {}", parameter.escape_default())]
    InvalidParameter {
        /// Its name, or what is wrong with it.
        parameter: String,
    },
    /// The caller may not use the method.
    #[serde(rename = "org.varlink.service.PermissionDenied")]
    #[error("cannot call method: permission denied; run as root")]
    PermissionDenied {},
    /// The method streams and the call wanted one reply.
    #[serde(rename = "org.varlink.service.ExpectedMore")]
    #[error("cannot answer call that accepts a single reply")]
    ExpectedMore {},
}

/// A message that is not what the protocol says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedMessage {
    /// It is not strict JSON: broken, duplicate keys, too deep.
    #[error("cannot parse message as strict JSON")]
    ParseJson(#[source] portcullis_json::JsonError),
    /// It is JSON of another shape.
    #[error("cannot decode fields of '{what}'")]
    DecodeFields {
        /// Name of the method, or `call` or `reply`.
        what: &'static str,
        /// The field and what is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// It asks for, or announces, several replies; no method here has them.
    #[error("cannot accept a stream of replies")]
    Stream,
    /// It names an error the interface does not have.
    #[error("cannot understand error '{}'", name.escape_default())]
    UnlistedError {
        /// The name it gives.
        name: String,
    },
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The agent answered with an error.
    #[error(transparent)]
    Agent(AgentError),
    /// The reply is not what the protocol says.
    #[error("cannot understand the agent's reply")]
    Malformed(#[source] MalformedMessage),
}

#[derive(Serialize)]
struct CallEnvelope<'a, P> {
    method: &'a str,
    parameters: &'a P,
}

#[derive(Serialize)]
struct ReplyEnvelope<'a, P> {
    parameters: &'a P,
}

#[derive(Deserialize)]
struct RawReply {
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    continues: Option<bool>,
}

/// Encodes a call, its terminating NUL included.
#[must_use]
pub fn encode_call<M: Method>(method: &M) -> Vec<u8> {
    encode(&CallEnvelope {
        method: M::NAME,
        parameters: method,
    })
}

/// Encodes the reply to a call of `M`, its terminating NUL included.
#[must_use]
pub fn encode_reply<M: Method>(reply: &M::Reply) -> Vec<u8> {
    encode(&ReplyEnvelope { parameters: reply })
}

/// Encodes an error reply, its terminating NUL included.
#[must_use]
pub fn encode_error(error: &AgentError) -> Vec<u8> {
    encode(error)
}

/// Decodes the reply to a call of `M`; `frame` is one message without its NUL.
///
/// Fields the interface does not name are passed over, so that a newer agent can add some.
///
/// # Errors
///
/// [`ReplyError::Agent`] if the agent answered with an error, [`ReplyError::Malformed`] if the
/// message is not a reply to `M`.
pub fn parse_reply<M: Method>(frame: &[u8]) -> Result<M::Reply, ReplyError> {
    let value = strict::parse(frame).map_err(ReplyError::Malformed)?;
    let raw: RawReply = strict::decode("reply", value).map_err(ReplyError::Malformed)?;
    if raw.continues == Some(true) {
        return Err(ReplyError::Malformed(MalformedMessage::Stream));
    }
    let parameters = Value::Object(raw.parameters.unwrap_or_default());
    if let Some(name) = raw.error {
        return Err(agent_error(name, parameters));
    }
    strict::decode(M::NAME, parameters).map_err(ReplyError::Malformed)
}

fn agent_error(name: String, parameters: Value) -> ReplyError {
    let mut tagged = Map::new();
    tagged.insert("error".to_owned(), Value::String(name.clone()));
    tagged.insert("parameters".to_owned(), parameters);
    match serde_json::from_value(Value::Object(tagged)) {
        Ok(error) => ReplyError::Agent(error),
        // The shape is ours to fix, the name is what helps the reader.
        Err(_unlisted_or_other_parameters) => {
            ReplyError::Malformed(MalformedMessage::UnlistedError { name })
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "plain structs with string keys always serialize, and a Vec always takes them"
)]
fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(message).expect("structs with string keys serialize");
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::{Attest, Status};

    fn all_errors() -> Vec<AgentError> {
        let reason = || "r".to_owned();
        vec![
            AgentError::TpmTimeout { deadline_ms: 5 },
            AgentError::TpmBusy {
                deadline_ms: 5,
                reason: reason(),
            },
            AgentError::TpmAnswerMalformed { reason: reason() },
            AgentError::TpmUnreachable { reason: reason() },
            AgentError::TpmFailed { reason: reason() },
            AgentError::NotEnrolled {},
            AgentError::RecordUnknown {
                reference: reason(),
            },
            AgentError::RecordMalformed { reason: reason() },
            AgentError::LedgerFailed { reason: reason() },
            AgentError::TagRefused { reason: reason() },
            AgentError::Busy {},
            AgentError::InterfaceNotFound {
                interface: reason(),
            },
            AgentError::MethodNotFound { method: reason() },
            AgentError::MethodNotImplemented { method: reason() },
            AgentError::InvalidParameter {
                parameter: reason(),
            },
            AgentError::PermissionDenied {},
            AgentError::ExpectedMore {},
        ]
    }

    fn reply_of(frame: &str) -> Result<(), ReplyError> {
        parse_reply::<Attest>(frame.as_bytes()).map(|_| ())
    }

    #[test]
    fn encodes_a_call_as_one_nul_terminated_object() {
        assert_eq!(
            encode_call(&Status {}),
            b"{\"method\":\"dev.portcullis.Agent.Status\",\"parameters\":{}}\0"
        );
    }

    #[test]
    fn gives_back_every_error_it_encodes() {
        for error in all_errors() {
            let mut frame = encode_error(&error);
            assert_eq!(frame.pop(), Some(0));
            match parse_reply::<Status>(&frame) {
                Err(ReplyError::Agent(decoded)) => assert_eq!(decoded, error),
                other => panic!("{error:?} came back as {other:?}"),
            }
        }
    }

    #[test]
    fn accepts_an_error_without_parameters() {
        let error = reply_of(r#"{"error":"dev.portcullis.Agent.NotEnrolled"}"#);
        assert!(matches!(
            error,
            Err(ReplyError::Agent(AgentError::NotEnrolled {}))
        ));
    }

    #[test]
    fn names_an_error_the_interface_does_not_have() {
        let error = reply_of(r#"{"error":"org.example.Odd\n"}"#).unwrap_err();
        let ReplyError::Malformed(malformed) = error else {
            panic!("{error:?}")
        };
        assert_eq!(
            malformed.to_string(),
            r"cannot understand error 'org.example.Odd\n'"
        );
    }

    #[test]
    fn refuses_a_reply_with_a_duplicate_key() {
        let error =
            reply_of(r#"{"parameters":{"status":"none","status":"affirming","findings":[]}}"#);
        assert!(matches!(
            error,
            Err(ReplyError::Malformed(MalformedMessage::ParseJson(_)))
        ));
    }

    #[test]
    fn refuses_a_reply_that_announces_more() {
        let error = reply_of(r#"{"continues":true,"parameters":{"status":"none","findings":[]}}"#);
        assert!(matches!(
            error,
            Err(ReplyError::Malformed(MalformedMessage::Stream))
        ));
    }

    #[test]
    fn refuses_a_reply_of_another_shape() {
        for frame in [
            "[]",
            "null",
            "{}",
            r#"{"parameters":[]}"#,
            r#"{"parameters":{"status":7,"findings":[]}}"#,
            r#"{"error":7}"#,
        ] {
            assert!(
                matches!(
                    reply_of(frame),
                    Err(ReplyError::Malformed(MalformedMessage::DecodeFields { .. }))
                ),
                "{frame}"
            );
        }
    }

    #[test]
    fn passes_over_a_field_a_newer_agent_added() {
        reply_of(r#"{"parameters":{"status":"none","findings":[],"added":1},"more":2}"#).unwrap();
    }
}
