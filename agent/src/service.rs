//! Answers to calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use portcullis_attestation::nonce::Nonce;
use portcullis_client::method::{
    AnchorLedger, Attest, Capture, CertifyLedger, CertifyLedgerReply, Enroll, Evidence,
    EvidenceReply, Explain, ExplainReply, InterfaceDescription, InterfaceDescriptionReply,
    ProvisionTag, Quarantine as QuarantineCall, Record, RecordRelease, RecordReply, Renew,
    RequestTag, ServiceInfo, ServiceInfoReply, Status, StatusReply,
};
use portcullis_client::{
    AgentError, Call, INTERFACE, INTERFACE_NAME, Method, SERVICE_INTERFACE, SERVICE_INTERFACE_NAME,
    encode_error, encode_reply,
};

use crate::node::{Node, VERSION};
use crate::tpm_queue::{Answer, Full, Job, Waiter};

/// A launch never waits longer than this, whatever it asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Time kept back from a launch's deadline, so that the answer arrives before it.
const MARGIN: Duration = Duration::from_millis(50);
/// How long an operator's call waits; several operations of a slow TPM fit in.
const JOB_WAIT: Duration = Duration::from_secs(120);

/// Answers one call that arrived at `arrived`; the answer is a whole message.
pub(crate) fn answer(node: &Node, call: Call, arrived: Instant) -> Vec<u8> {
    match call {
        Call::Snapshot(call) => snapshot(node, call.deadline_ms, arrived),
        Call::Record(call) => reply::<Record>(
            node.record(&call.record)
                .map(|sequence| RecordReply { sequence }),
        ),
        Call::Explain(call) => reply::<Explain>(
            node.explain(call.reference)
                .map(|record| ExplainReply { record }),
        ),
        Call::Status(_) => reply::<Status>(Ok(StatusReply {
            status: node.status(),
        })),
        Call::Attest(call) => {
            reply::<Attest>(run(node, |answer| Job::Attest(call.clear_failure, answer)))
        }
        Call::Enroll(_) => reply::<Enroll>(run(node, Job::Enroll)),
        Call::Renew(_) => reply::<Renew>(run(node, Job::Renew)),
        Call::Quarantine(call) => {
            reply::<QuarantineCall>(run(node, |answer| Job::Quarantine(call.reason, answer)))
        }
        Call::RecordRelease(call) => reply::<RecordRelease>(
            node.record_release(&call)
                .map(|sequence| RecordReply { sequence }),
        ),
        Call::Capture(_) => reply::<Capture>(run(node, Job::Capture)),
        Call::AnchorLedger(_) => reply::<AnchorLedger>(run(node, Job::AnchorLedger)),
        Call::CertifyLedger(call) => reply::<CertifyLedger>(certify_ledger(node, &call.nonce)),
        Call::Evidence(call) => reply::<Evidence>(evidence(node, &call.nonce)),
        Call::ProvisionTag(call) => {
            reply::<ProvisionTag>(run(node, |answer| Job::ProvisionTag(call, answer)))
        }
        Call::RequestTag(_) => reply::<RequestTag>(run(node, Job::RequestTag)),
        Call::ServiceInfo(_) => reply::<ServiceInfo>(Ok(ServiceInfoReply {
            vendor: "Portcullis".to_owned(),
            product: "portcullis-agent".to_owned(),
            version: VERSION.to_owned(),
            url: "https://portcullis.dev".to_owned(),
            interfaces: vec![SERVICE_INTERFACE_NAME.to_owned(), INTERFACE_NAME.to_owned()],
        })),
        Call::InterfaceDescription(call) => reply::<InterfaceDescription>(describe(call.interface)),
        // The interface has a method that this agent does not know.
        other => encode_error(&AgentError::MethodNotImplemented {
            method: format!("{other:?}"),
        }),
    }
}

fn describe(interface: String) -> Result<InterfaceDescriptionReply, AgentError> {
    let description = match interface.as_str() {
        INTERFACE_NAME => INTERFACE,
        SERVICE_INTERFACE_NAME => SERVICE_INTERFACE,
        _ => return Err(AgentError::InterfaceNotFound { interface }),
    };
    Ok(InterfaceDescriptionReply {
        description: description.to_owned(),
    })
}

fn reply<M: Method>(outcome: Result<M::Reply, AgentError>) -> Vec<u8> {
    match outcome {
        Ok(reply) => encode_reply::<M>(&reply),
        Err(error) => encode_error(&error),
    }
}

/// Waits for a reading that begins after now.
fn snapshot(node: &Node, deadline_ms: u64, arrived: Instant) -> Vec<u8> {
    let asked = Duration::from_millis(deadline_ms).min(LONGEST_WAIT);
    let margin = MARGIN.min(asked / 10);
    let patience = asked.saturating_sub(margin);
    let until = arrived.checked_add(patience).unwrap_or(arrived);
    // The reading ends at its deadline and then says what it met; that answer is worth a moment.
    let last_word = until.checked_add(margin / 2).unwrap_or(until);
    let (sender, receiver) = sync_channel(1);
    let has_turn = Arc::new(AtomicBool::new(false));
    let waiter = Waiter {
        until,
        answer: sender,
        has_turn: Arc::clone(&has_turn),
    };
    if let Err(Full) = node.queue.add_snapshot(waiter) {
        return encode_error(&AgentError::Busy {});
    }
    match receiver.recv_timeout(last_word.saturating_duration_since(Instant::now())) {
        Ok(answer) => answer.to_vec(),
        Err(RecvTimeoutError::Timeout) if has_turn.load(Ordering::Relaxed) => {
            encode_error(&AgentError::TpmTimeout { deadline_ms })
        }
        Err(RecvTimeoutError::Timeout) => encode_error(&AgentError::TpmBusy {
            deadline_ms,
            reason: "other work of the agent with it has not ended".to_owned(),
        }),
        Err(RecvTimeoutError::Disconnected) => encode_error(&AgentError::Busy {}),
    }
}

fn evidence(node: &Node, nonce: &str) -> Result<EvidenceReply, AgentError> {
    let nonce = Nonce::parse(nonce).ok_or_else(|| AgentError::InvalidParameter {
        parameter: "nonce: expected 32 bytes in base64url".to_owned(),
    })?;
    run(node, |answer| Job::Evidence(nonce, answer))
}

fn certify_ledger(node: &Node, nonce: &str) -> Result<CertifyLedgerReply, AgentError> {
    let nonce = Nonce::parse(nonce).ok_or_else(|| AgentError::InvalidParameter {
        parameter: "nonce: expected 32 bytes in base64url".to_owned(),
    })?;
    run(node, |answer| Job::CertifyLedger(nonce, answer))
}

/// Has a job done and waits for it.
fn run<T>(node: &Node, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, AgentError> {
    let (sender, receiver) = sync_channel(1);
    node.queue
        .add_job(job(sender))
        .map_err(|Full| AgentError::Busy {})?;
    match receiver.recv_timeout(JOB_WAIT) {
        Ok(outcome) => outcome,
        Err(_timeout_or_stop) => Err(AgentError::Busy {}),
    }
}
