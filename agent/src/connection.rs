//! One client: calls in, answers out, within limits.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};
use portcullis_client::{AgentError, Call, CallError, FrameReader, encode_error};

use crate::node::Node;
use crate::{log, service};

/// Who may call: root, on this host and in this user namespace.
const ROOT: u32 = 0;
/// How long a client may think between calls.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// How long a call may take to arrive, from its first byte to its last.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(5);
/// How long a client may take to read its answer.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// Bytes read at once; a call of a launch fits.
const READ_BYTES: usize = 8 * 1024;

/// Serves one client until it hangs up, breaks a rule or takes too long.
pub(crate) fn serve(mut stream: UnixStream, node: &Node) {
    match is_root(&stream) {
        Ok(true) => {}
        Ok(false) => {
            log::warn("call refused: peer is not root", &[]);
            send(&mut stream, &encode_error(&AgentError::PermissionDenied {}));
            return;
        }
        Err(error) => {
            log::warn(
                "call refused: peer unknown",
                &[("cause", &error.to_string())],
            );
            return;
        }
    }
    let mut frames = FrameReader::default();
    loop {
        let frame = match next_frame(&mut stream, &mut frames) {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(reason) => {
                send(&mut stream, &invalid(reason));
                return;
            }
        };
        let arrived = Instant::now();
        let is_answered = match Call::parse(&frame) {
            Ok(call) => send(&mut stream, &service::answer(node, call, arrived)),
            Err(CallError::Answer(error)) => send(&mut stream, &encode_error(&error)),
            Err(error) => {
                send(&mut stream, &invalid(log::chain(&error)));
                return;
            }
        };
        if !is_answered {
            return;
        }
    }
}

/// Tells a client that there is no room for it.
pub(crate) fn turn_away(mut stream: UnixStream) {
    // Not waited for: the answer fits into the socket's buffer.
    if stream.set_nonblocking(true).is_ok() {
        drop(stream.write(&encode_error(&AgentError::Busy {})));
    }
}

fn invalid(reason: String) -> Vec<u8> {
    encode_error(&AgentError::InvalidParameter { parameter: reason })
}

fn is_root(stream: &UnixStream) -> io::Result<bool> {
    let peer = getsockopt(stream, sockopt::PeerCredentials)?;
    Ok(peer.uid() == ROOT)
}

/// The next call; `None` when the client is done or too slow; the reason if its bytes are no call.
fn next_frame(
    stream: &mut UnixStream,
    frames: &mut FrameReader,
) -> Result<Option<Vec<u8>>, String> {
    let limit = if frames.is_empty() {
        IDLE_LIMIT
    } else {
        ARRIVAL_LIMIT
    };
    let mut until = Instant::now() + limit;
    let mut has_begun = !frames.is_empty();
    let mut piece = [0; READ_BYTES];
    loop {
        match frames.next_frame() {
            Ok(Some(frame)) => return Ok(Some(frame)),
            Ok(None) => {}
            Err(oversized) => return Err(oversized.to_string()),
        }
        if !has_begun && !frames.is_empty() {
            has_begun = true;
            until = Instant::now() + ARRIVAL_LIMIT;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return Ok(None);
        }
        match stream.read(&mut piece) {
            Ok(0) => return Ok(None),
            Ok(count) => frames.push(piece.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_timeout_or_broken) => return Ok(None),
        }
    }
}

/// Whether the answer was taken.
fn send(stream: &mut UnixStream, answer: &[u8]) -> bool {
    stream
        .set_write_timeout(Some(WRITE_LIMIT))
        .and_then(|()| stream.write_all(answer))
        .is_ok()
}
