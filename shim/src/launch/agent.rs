//! Talking to the agent inside the event loop: one call, one deadline, a peer that must be root.

use std::path::Path;
use std::time::Duration;

use portcullis_client::{FrameReader, peer, record as record_call, snapshot as snapshot_call};
use portcullis_config::paths::SOCKET;
use portcullis_gate::{LaunchRecord, Snapshot, Unavailable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Added to the agent's own deadline, so that its answer "the TPM did not answer in time" still
/// arrives.
const GRACE: Duration = Duration::from_millis(250);

/// Bytes read at once; a snapshot is about 4 KiB.
const READ_BYTES: usize = 8 * 1024;

/// A snapshot whose live state was read after this call.
///
/// # Errors
///
/// [`Unavailable`] tells which party did not do its part.
pub(super) async fn snapshot(deadline: Duration) -> Result<Snapshot, Unavailable> {
    let asked = snapshot_call::Asked {
        socket: SOCKET,
        deadline,
    };
    let unreachable = |cause: String| Unavailable::AgentUnreachable {
        socket: SOCKET.to_owned(),
        deadline,
        cause,
    };
    match timeout(deadline + GRACE, exchange(&snapshot_call::call(deadline))).await {
        Err(_elapsed) => Err(unreachable("none".to_owned())),
        Ok(Err(Exchange::Peer(error))) => Err(snapshot_call::untrusted(&error, &asked)),
        Ok(Err(Exchange::Broken(cause))) => Err(unreachable(cause)),
        Ok(Err(Exchange::Oversized(reason))) => Err(Unavailable::AnswerMalformed { reason }),
        Ok(Ok(frame)) => snapshot_call::parse_reply(&frame, &asked),
    }
}

/// Hands a record to the ledger and waits until it is kept.
///
/// # Errors
///
/// What stood in the way, in a few words.
pub(super) async fn record(record: &LaunchRecord, deadline: Duration) -> Result<(), String> {
    let call = record_call::call(record).map_err(|error| crate::log::chain(&error))?;
    match timeout(deadline + GRACE, exchange(&call)).await {
        Err(_elapsed) => Err(format!("no answer within {} ms", deadline.as_millis())),
        Ok(Err(Exchange::Peer(error))) => Err(crate::log::chain(&error)),
        Ok(Err(Exchange::Broken(cause) | Exchange::Oversized(cause))) => Err(cause),
        Ok(Ok(frame)) => match record_call::parse_reply(&frame) {
            Ok(_sequence) => Ok(()),
            Err(error) => Err(crate::log::chain(&error)),
        },
    }
}

enum Exchange {
    Peer(peer::PeerError),
    Broken(String),
    Oversized(String),
}

/// One call and its answer, on a connection of its own.
async fn exchange(call: &[u8]) -> Result<Vec<u8>, Exchange> {
    let broken = |error: std::io::Error| Exchange::Broken(error.kind().to_string());
    let path = Path::new(SOCKET);
    peer::examine_socket(path).map_err(Exchange::Peer)?;
    let mut stream = UnixStream::connect(path).await.map_err(broken)?;
    let uid = stream.peer_cred().map_err(broken)?.uid();
    peer::verify_uid(path, uid).map_err(Exchange::Peer)?;
    stream.write_all(call).await.map_err(broken)?;
    let mut frames = FrameReader::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = stream.read(&mut buffer).await.map_err(broken)?;
        if count == 0 {
            return Err(Exchange::Broken("a closed connection".to_owned()));
        }
        frames.push(buffer.get(..count).unwrap_or_default());
        let frame = frames
            .next_frame()
            .map_err(|error| Exchange::Oversized(error.to_string()))?;
        if let Some(frame) = frame {
            return Ok(frame);
        }
    }
}
