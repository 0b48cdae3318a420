//! An exec as `kubectl exec` makes it: CRI gives an address, and the streams of the process go
//! over a connection to it.
//!
//! # Source
//!
//! CRI `Exec`; RFC 6455, "Opening Handshake"; Kubernetes' subprotocol `v4.channel.k8s.io`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::failure::{Doing, Failure, Outcome};
use crate::wait;

/// How long the answer to the handshake may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Longest answer to a handshake.
const ANSWER_BYTES: usize = 4096;

/// The streams of an exec. Dropping it closes them.
#[derive(Debug)]
pub struct ExecStream {
    _connection: TcpStream,
}

// === impl ExecStream ===

impl ExecStream {
    /// Connects with `url`, upon which the process is started.
    ///
    /// # Errors
    ///
    /// When nobody listens there, or the answer is not that the protocol is switched.
    pub fn open(url: &str) -> Outcome<Self> {
        // Sample: `http://127.0.0.1:36917/exec/HMeXUQUd`.
        let rest = url.strip_prefix("http://").unwrap_or(url);
        let (host, path) = rest
            .split_once('/')
            .ok_or_else(|| Failure::new(format!("no path in '{url}'")))?;
        let mut connection = TcpStream::connect(host).doing(format!("connect with '{url}'"))?;
        connection
            .set_read_timeout(Some(wait::scaled(DEADLINE)))
            .doing("set a deadline")?;
        let request = format!(
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
        );
        connection
            .write_all(request.as_bytes())
            .doing("ask for the streams")?;
        let mut answer = vec![0; ANSWER_BYTES];
        let length = connection.read(&mut answer).doing("read the answer")?;
        let answer = String::from_utf8_lossy(&answer[..length]);
        if answer.starts_with("HTTP/1.1 101 ") {
            return Ok(Self {
                _connection: connection,
            });
        }
        let line = answer.lines().next().unwrap_or_default();
        Err(Failure::new(format!("'{url}' answers '{line}'")))
    }
}
