//! The agent as its clients see it: a real process, a real TPM, at its real paths.

#[path = "agent_service/host.rs"]
mod host;
#[path = "agent_service/ledger.rs"]
mod ledger;

use std::path::Path;

use host::Host;
use portcullis_client::AgentError;
use portcullis_client::method::Record;
use portcullis_gate::Moment;
use serde_json::{Map, Value, json};

const VERDICT: &str = "/run/portcullis/verdict.jwt";
const LEDGER: &str = "/var/lib/portcullis/ledger.jsonl";

/// A record as a shim sends it.
fn record(reference: &str, decision: &str) -> Map<String, Value> {
    let record = json!({
        "ref": reference,
        "operation": "create",
        "decision": decision,
        "node": "here",
        "container": { "namespace": "default", "id": "web-1" },
        "latency_us": 812,
    });
    record.as_object().unwrap().clone()
}

fn append(host: &Host, reference: &str, decision: &str) -> Result<u64, AgentError> {
    let record = record(reference, decision);
    host.call(&Record { record }).map(|reply| reply.sequence)
}

/// What the gate is told about the moment of a decision.
fn moment() -> Moment {
    portcullis_host::moment(Path::new(portcullis_config::paths::SEEN)).unwrap()
}

#[path = "agent_service"]
mod needs_root {
    mod enrollment;
    mod latch;
    mod life;
    mod records;
    mod snapshot;
    mod socket;
    mod tag;
    mod tpm_away;
}
