//! Handing a decision to the ledger. A launch without a record does not happen.

use portcullis_gate::{Code, LaunchRecord, Refusal, quote};
use serde_json::{Map, Value};

use crate::connection::{Client, ClientError};
use crate::message::{MalformedMessage, Method, ReplyError, encode_call, parse_reply as parse};
use crate::method::Record;

/// Why a decision is not in the ledger.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The record cannot be written as JSON.
    #[error("cannot write launch record as JSON")]
    Encode(#[source] serde_json::Error),
    /// The agent did not answer, or not that it is written.
    #[error(transparent)]
    Call(ClientError),
}

/// Encodes the call, its terminating NUL included.
///
/// # Errors
///
/// [`RecordError::Encode`]; the record then has a number that JSON has no form for.
pub fn call(record: &LaunchRecord) -> Result<Vec<u8>, RecordError> {
    fields(record).map(|record| encode_call(&Record { record }))
}

/// Decodes the reply: the number of the ledger entry; `frame` is one message without its NUL.
///
/// # Errors
///
/// [`RecordError::Call`] if the decision was not recorded.
pub fn parse_reply(frame: &[u8]) -> Result<u64, RecordError> {
    parse::<Record>(frame)
        .map(|reply| reply.sequence)
        .map_err(|error| {
            RecordError::Call(match error {
                ReplyError::Agent(error) => ClientError::Agent(error),
                ReplyError::Malformed(malformed) => ClientError::Malformed(malformed),
            })
        })
}

/// Decodes the record of a call, on the agent's side.
///
/// # Errors
///
/// [`MalformedMessage`] names the field.
pub fn read(record: &Map<String, Value>) -> Result<LaunchRecord, MalformedMessage> {
    crate::strict::decode(Record::NAME, Value::Object(record.clone()))
}

fn fields(record: &LaunchRecord) -> Result<Map<String, Value>, RecordError> {
    let value = serde_json::to_value(record).map_err(RecordError::Encode)?;
    // A struct always becomes an object; were it not one, the agent would refuse the empty record.
    Ok(value.as_object().cloned().unwrap_or_default())
}

// === impl RecordError ===

impl RecordError {
    /// The refusal this amounts to.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let cause = match self {
            Self::Call(error) => error.to_string(),
            Self::Encode(_) => self.to_string(),
        };
        Refusal::new(
            Code::RecordFailed,
            "ledger of this node",
            "an entry",
            quote(&cause),
        )
    }
}

// === impl Client ===

impl Client {
    /// Appends a decision to the ledger and returns the number of the entry.
    ///
    /// # Errors
    ///
    /// [`RecordError`] if it is not written; the launch must not go ahead then.
    pub fn record(&mut self, record: &LaunchRecord) -> Result<u64, RecordError> {
        let frame = self.exchange(&call(record)?).map_err(RecordError::Call)?;
        parse_reply(&frame)
    }
}

#[cfg(test)]
mod tests {
    use portcullis_gate::RecordId;
    use portcullis_gate::record::{ContainerRecord, Operation};

    use super::*;
    use crate::Call;
    use crate::message::{AgentError, encode_error};

    fn record() -> LaunchRecord {
        let container = ContainerRecord {
            id: "web-1".to_owned(),
            ..ContainerRecord::default()
        };
        LaunchRecord::new(
            RecordId([0x8d, 0x21, 0xc0, 0xaa]),
            Operation::Hook,
            "w7",
            container,
        )
    }

    #[test]
    fn the_agent_reads_the_record_it_was_sent() {
        let mut bytes = call(&record()).unwrap();
        assert_eq!(bytes.pop(), Some(0));
        let Call::Record(sent) = Call::parse(&bytes).unwrap() else {
            panic!("another call")
        };
        assert_eq!(read(&sent.record).unwrap(), record());
    }

    #[test]
    fn a_record_without_its_reference_is_not_read() {
        let mut bytes = call(&record()).unwrap();
        bytes.pop();
        let Call::Record(mut sent) = Call::parse(&bytes).unwrap() else {
            panic!("another call")
        };
        sent.record.remove("ref");
        let error = read(&sent.record).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot decode fields of 'dev.portcullis.Agent.Record'"
        );
    }

    #[test]
    fn returns_the_number_of_the_entry() {
        assert_eq!(
            parse_reply(br#"{"parameters":{"sequence":412}}"#).unwrap(),
            412
        );
    }

    #[test]
    fn a_ledger_that_takes_no_entry_is_record_failed() {
        let mut reply = encode_error(&AgentError::LedgerFailed {
            reason: "disk full".to_owned(),
        });
        reply.pop();
        let refusal = parse_reply(&reply).unwrap_err().refusal();
        assert_eq!(refusal.code.as_str(), "record-failed");
        assert_eq!(refusal.found, "'cannot use ledger: disk full'");
        for reply in [
            r#"{"parameters":{}}"#,
            r#"{"parameters":{"sequence":-1}}"#,
            "{",
        ] {
            let refusal = parse_reply(reply.as_bytes()).unwrap_err().refusal();
            assert_eq!(refusal.code.as_str(), "record-failed", "{reply}");
        }
    }
}
