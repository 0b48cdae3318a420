//! One gRPC call over a Unix socket: enough of the protocol to drive containerd.
//!
//! A whole gRPC stack would bring some sixty packages and, for CRI, a protobuf compiler; a
//! unary call is one HTTP/2 stream with five bytes in front of the message.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::net::UnixStream;

use crate::failure::{Doing, Failure, Outcome};
use crate::wait;

/// Largest answer accepted.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// What a server says instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// gRPC code: 3 invalid argument, 5 not found, 9 failed precondition, 14 unavailable, …
    pub code: u32,
    /// The server's text.
    pub message: String,
}

/// One server and the header that goes with each call.
#[derive(Debug, Clone, Copy)]
pub struct Channel<'a> {
    /// Path of its socket.
    pub socket: &'a Path,
    /// containerd namespace; CRI needs none.
    pub namespace: Option<&'a str>,
    /// How long one call may take; see [`wait::scaled`].
    pub deadline: Duration,
}

// === impl Status ===

impl Status {
    /// gRPC `INVALID_ARGUMENT`.
    pub const INVALID_ARGUMENT: u32 = 3;
    /// gRPC `NOT_FOUND`.
    pub const NOT_FOUND: u32 = 5;
    /// gRPC `ALREADY_EXISTS`.
    pub const ALREADY_EXISTS: u32 = 6;
    /// gRPC `FAILED_PRECONDITION`.
    pub const FAILED_PRECONDITION: u32 = 9;
    /// gRPC `UNIMPLEMENTED`.
    pub const UNIMPLEMENTED: u32 = 12;
    /// gRPC `UNAVAILABLE`.
    pub const UNAVAILABLE: u32 = 14;
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}: {}", self.code, self.message)
    }
}

impl std::error::Error for Status {}

// === impl Channel ===

impl Channel<'_> {
    /// Calls `method` (`/package.Service/Method`).
    ///
    /// The outer error is the connection's, the inner one the server's answer.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or its answer cannot be read before the deadline.
    pub fn call<Question: Message, Answer: Message + Default>(
        &self,
        method: &str,
        question: &Question,
    ) -> Outcome<Result<Answer, Status>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .doing("start a runtime")?;
        let called = runtime.block_on(async {
            tokio::time::timeout(wait::scaled(self.deadline), self.exchange(method, question)).await
        });
        called.doing(format!("have '{method}' answered in time"))?
    }

    async fn exchange<Question: Message, Answer: Message + Default>(
        &self,
        method: &str,
        question: &Question,
    ) -> Outcome<Result<Answer, Status>> {
        let stream = UnixStream::connect(self.socket)
            .await
            .doing(format!("connect to '{}'", self.socket.display()))?;
        let (sender, connection) = h2::client::handshake(stream).await.doing("greet")?;
        // Ends with the runtime, which ends with this call.
        let driver = tokio::spawn(async move { connection.await.is_ok() });
        let mut sender = sender.ready().await.doing("open a stream")?;
        let mut request = Request::post(format!("http://localhost{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(namespace) = self.namespace {
            request = request.header("containerd-namespace", namespace);
        }
        let request = request.body(()).doing("make a request")?;
        let (answer, mut body) = sender
            .send_request(request, false)
            .doing("send a request")?;
        body.send_data(framed(question), true)
            .doing("send a message")?;
        let answer = answer.await.doing(format!("call '{method}'"))?;
        // A refusal without a message comes in the head alone.
        if let Some(status) = status(answer.headers()) {
            return Ok(Err(status));
        }
        let mut body = answer.into_body();
        let mut bytes = Vec::new();
        while let Some(part) = body.data().await {
            let part = part.doing("read an answer")?;
            body.flow_control()
                .release_capacity(part.len())
                .doing("ask for more")?;
            bytes.extend_from_slice(&part);
            if bytes.len() > MAX_ANSWER_BYTES {
                return Err(Failure::new("answer is too long"));
            }
        }
        let trailers = body.trailers().await.doing("read the end of an answer")?;
        driver.abort();
        if let Some(status) = trailers.as_ref().and_then(status) {
            return Ok(Err(status));
        }
        let mut message = bytes.as_slice();
        if message.len() < 5 {
            return Err(Failure::new(format!(
                "'{method}' answered without a message"
            )));
        }
        message.advance(5);
        Answer::decode(message).doing("decode an answer").map(Ok)
    }
}

/// One byte "not compressed", four bytes length, message.
fn framed(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let mut frame = vec![0];
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    frame.into()
}

/// The refusal in these headers, unless they say 0 (success) or nothing.
fn status(headers: &HeaderMap) -> Option<Status> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers
        .get("grpc-message")
        .map_or(&b""[..], http::HeaderValue::as_bytes);
    (code != 0).then(|| Status {
        code,
        message: percent_decoded(message),
    })
}

fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Status, percent_decoded, status};
    use http::HeaderMap;

    #[test]
    fn reads_a_refusal_and_not_a_success() {
        let mut headers = HeaderMap::new();
        assert_eq!(status(&headers), None);
        headers.insert("grpc-status", "0".parse().unwrap());
        assert_eq!(status(&headers), None);
        headers.insert("grpc-status", "9".parse().unwrap());
        headers.insert("grpc-message", "no%3A way%0A".parse().unwrap());
        let message = "no: way\n".to_owned();
        assert_eq!(status(&headers), Some(Status { code: 9, message }));
    }

    #[test]
    fn a_lone_percent_sign_stays() {
        assert_eq!(percent_decoded(b"100% of %4"), "100% of %4");
    }
}
