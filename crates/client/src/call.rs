//! A call as the agent takes it apart.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::message::{AgentError, MalformedMessage, Method};
use crate::method::{
    AnchorLedger, Attest, Capture, CertifyLedger, Enroll, Evidence, Explain, InterfaceDescription,
    ProvisionTag, Quarantine, Record, RecordRelease, Renew, RequestTag, ServiceInfo, Snapshot,
    Status,
};
use crate::strict;

/// A call as the agent receives it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Call {
    /// `dev.portcullis.Agent.Snapshot`
    Snapshot(Snapshot),
    /// `dev.portcullis.Agent.Record`
    Record(Record),
    /// `dev.portcullis.Agent.Explain`
    Explain(Explain),
    /// `dev.portcullis.Agent.Status`
    Status(Status),
    /// `dev.portcullis.Agent.Attest`
    Attest(Attest),
    /// `dev.portcullis.Agent.Enroll`
    Enroll(Enroll),
    /// `dev.portcullis.Agent.Renew`
    Renew(Renew),
    /// `dev.portcullis.Agent.Quarantine`
    Quarantine(Quarantine),
    /// `dev.portcullis.Agent.RecordRelease`
    RecordRelease(RecordRelease),
    /// `dev.portcullis.Agent.Capture`
    Capture(Capture),
    /// `dev.portcullis.Agent.Evidence`
    Evidence(Evidence),
    /// `dev.portcullis.Agent.AnchorLedger`
    AnchorLedger(AnchorLedger),
    /// `dev.portcullis.Agent.CertifyLedger`
    CertifyLedger(CertifyLedger),
    /// `dev.portcullis.Agent.ProvisionTag`
    ProvisionTag(ProvisionTag),
    /// `dev.portcullis.Agent.RequestTag`
    RequestTag(RequestTag),
    /// `org.varlink.service.GetInfo`
    ServiceInfo(ServiceInfo),
    /// `org.varlink.service.GetInterfaceDescription`
    InterfaceDescription(InterfaceDescription),
}

/// Why a message is no call to serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The message is not a Varlink call: close the connection.
    #[error("cannot understand call")]
    Malformed(#[source] MalformedMessage),
    /// It is a call, but not one to serve: answer with this error.
    #[error(transparent)]
    Answer(AgentError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCall {
    method: String,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
    #[serde(default)]
    oneway: Option<bool>,
    #[serde(default)]
    more: Option<bool>,
    #[serde(default)]
    upgrade: Option<bool>,
}

// === impl Call ===

impl Call {
    /// Decodes a call; `frame` is one message without its NUL.
    ///
    /// A call that accepts more than one reply gets its one reply. One that wants none, or another
    /// protocol on the connection, is malformed: nothing here works that way.
    ///
    /// # Errors
    ///
    /// [`CallError::Malformed`] or [`CallError::Answer`]; the variants say what to do.
    pub fn parse(frame: &[u8]) -> Result<Self, CallError> {
        let value = strict::parse(frame).map_err(CallError::Malformed)?;
        let raw: RawCall = strict::decode("call", value).map_err(CallError::Malformed)?;
        let _one_reply_is_allowed = raw.more;
        if raw.oneway == Some(true) || raw.upgrade == Some(true) {
            return Err(CallError::Malformed(MalformedMessage::Stream));
        }
        let parameters = Value::Object(raw.parameters.unwrap_or_default());
        match raw.method.as_str() {
            Snapshot::NAME => fields(parameters).map(Self::Snapshot),
            Record::NAME => fields(parameters).map(Self::Record),
            Explain::NAME => fields(parameters).map(Self::Explain),
            Status::NAME => fields(parameters).map(Self::Status),
            Attest::NAME => fields(parameters).map(Self::Attest),
            Enroll::NAME => fields(parameters).map(Self::Enroll),
            Renew::NAME => fields(parameters).map(Self::Renew),
            Quarantine::NAME => fields(parameters).map(Self::Quarantine),
            RecordRelease::NAME => fields(parameters).map(Self::RecordRelease),
            Capture::NAME => fields(parameters).map(Self::Capture),
            Evidence::NAME => fields(parameters).map(Self::Evidence),
            AnchorLedger::NAME => fields(parameters).map(Self::AnchorLedger),
            CertifyLedger::NAME => fields(parameters).map(Self::CertifyLedger),
            ProvisionTag::NAME => fields(parameters).map(Self::ProvisionTag),
            RequestTag::NAME => fields(parameters).map(Self::RequestTag),
            ServiceInfo::NAME => fields(parameters).map(Self::ServiceInfo),
            InterfaceDescription::NAME => fields(parameters).map(Self::InterfaceDescription),
            _ => Err(CallError::Answer(unknown_method(raw.method))),
        }
    }
}

fn fields<M: Method>(parameters: Value) -> Result<M, CallError> {
    serde_json::from_value(parameters).map_err(|error| {
        let reason = error.to_string();
        CallError::Answer(if M::NAME == Record::NAME {
            AgentError::RecordMalformed { reason }
        } else {
            AgentError::InvalidParameter { parameter: reason }
        })
    })
}

fn unknown_method(method: String) -> AgentError {
    let interface = method
        .rsplit_once('.')
        .map_or("", |(interface, _)| interface);
    if [crate::INTERFACE_NAME, crate::SERVICE_INTERFACE_NAME].contains(&interface) {
        AgentError::MethodNotFound { method }
    } else {
        AgentError::InterfaceNotFound {
            interface: interface.to_owned(),
        }
    }
}
