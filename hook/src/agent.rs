//! Asking the agent. Each call has a connection of its own, so that an answer that comes too late
//! is not taken for the next one's.

use std::path::Path;
use std::time::{Duration, Instant};

use portcullis_client::record::RecordError;
use portcullis_client::snapshot::{Asked, GRACE, PendingSnapshot, unavailable};
use portcullis_client::{Client, ClientError};
use portcullis_config::paths;
use portcullis_gate::{LaunchRecord, Refusal, Unavailable};

/// A record is a few kilobytes; the ledger writes it to disk before it answers.
const RECORD_DEADLINE: Duration = Duration::from_millis(1500);

/// Asks for a snapshot and returns at once: the TPM is read while the configuration is judged.
pub(crate) fn ask(wanted: Duration, end: Instant) -> Result<PendingSnapshot, Unavailable> {
    connect(wanted.saturating_add(GRACE), end)
        .map_err(|error| {
            unavailable(
                &error,
                &Asked {
                    socket: paths::SOCKET,
                    deadline: wanted,
                },
            )
        })
        .and_then(|client| client.ask_snapshot(wanted))
}

/// Has the decision written to the ledger.
pub(crate) fn keep(record: &LaunchRecord, end: Instant) -> Result<(), Refusal> {
    connect(RECORD_DEADLINE, end)
        .map_err(RecordError::Call)
        .and_then(|mut client| client.record(record))
        .map(|_sequence| ())
        .map_err(|error| error.refusal())
}

/// Connects; the connection never outlives the hook's own time.
fn connect(wanted: Duration, end: Instant) -> Result<Client, ClientError> {
    let left = end.saturating_duration_since(Instant::now());
    Client::connect(Path::new(paths::SOCKET), wanted.min(left))
}
