//! One ttrpc connection to a shim, as containerd holds it: enough of the protocol to speak to a
//! shim without containerd in between.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use prost::Message;

use crate::failure::{Doing, Failure, Outcome};
use crate::grpc::Status;
use crate::wait;

/// The service under its two names; the messages are the same.
pub const TASK_V2: &str = "containerd.task.v2.Task";
/// As [`TASK_V2`], from containerd 2.0 on.
pub const TASK_V3: &str = "containerd.task.v3.Task";

/// Bytes in front of each message: length, stream, kind, flags.
const HEADER_BYTES: usize = 10;
/// Largest message of the protocol.
const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// How long one answer may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A connection. Dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    /// Streams of a client have odd numbers.
    next: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(bytes = "vec", tag = "3")]
    payload: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    status: Option<RpcStatus>,
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct RpcStatus {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(string, tag = "2")]
    message: String,
}

// === impl Connection ===

impl Connection {
    /// Connects to the shim that listens on `address`, with or without `unix://`.
    ///
    /// # Errors
    ///
    /// When nobody listens there.
    pub fn open(address: &str) -> Outcome<Self> {
        let path = Path::new(address.strip_prefix("unix://").unwrap_or(address));
        let stream = UnixStream::connect(path).doing(format!("connect to '{}'", path.display()))?;
        stream
            .set_read_timeout(Some(wait::scaled(DEADLINE)))
            .doing("set a deadline")?;
        Ok(Self { stream, next: 1 })
    }

    /// Calls `method` of `service`.
    ///
    /// The outer error is the connection's, the inner one the shim's answer.
    ///
    /// # Errors
    ///
    /// When the connection breaks or the answer is not one.
    pub fn call<Question: Message, Answer: Message + Default>(
        &mut self,
        service: &str,
        method: &str,
        question: &Question,
    ) -> Outcome<Result<Answer, Status>> {
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload: question.encode_to_vec(),
        };
        let stream = self.next;
        self.next += 2;
        self.send(stream, &request.encode_to_vec())?;
        let bytes = self.receive(stream)?;
        let response = Response::decode(bytes.as_slice()).doing("read an answer")?;
        match response.status.filter(|status| status.code != 0) {
            Some(status) => Ok(Err(Status {
                code: status.code,
                message: status.message,
            })),
            None => Answer::decode(response.payload.as_slice())
                .doing(format!("read the answer to '{method}'"))
                .map(Ok),
        }
    }

    fn send(&mut self, stream: u32, payload: &[u8]) -> Outcome {
        let length = u32::try_from(payload.len()).doing("measure a request")?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(&[1, 0]);
        bytes.extend_from_slice(payload);
        self.stream.write_all(&bytes).doing("send a request")
    }

    fn receive(&mut self, stream: u32) -> Outcome<Vec<u8>> {
        let mut header = [0; HEADER_BYTES];
        self.stream
            .read_exact(&mut header)
            .doing("read the head of an answer")?;
        let [a, b, c, d, e, f, g, h, ..] = header;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).doing("read a length")?;
        if length > MAX_MESSAGE_BYTES || u32::from_be_bytes([e, f, g, h]) != stream {
            return Err(Failure::new(format!("not the answer: {header:?}")));
        }
        let mut payload = vec![0; length];
        self.stream
            .read_exact(&mut payload)
            .doing("read an answer")?;
        Ok(payload)
    }
}
