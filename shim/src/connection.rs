//! One caller's connection, within limits that the protocol's own server does not have: how long
//! a message may take to arrive, and how much may wait for an answer.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Instant, Sleep};

/// From the first byte of a message to its last.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);

/// Bytes of requests that wait for their answers; then no more are read until one is answered.
/// Thousands of Waits fit in, and any single request does.
const WAITING_LIMIT_BYTES: usize = 16 << 20;

/// What a request takes beside its own bytes, about.
const OVERHEAD_BYTES: usize = 1024;

/// Length, stream, kind, flags.
const HEADER_BYTES: usize = 10;
/// Kind of a request.
const REQUEST: u8 = 1;
/// Kind of an answer.
const RESPONSE: u8 = 2;

/// A connection to a caller.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    /// Gives up the place when the connection goes.
    _place: Arc<()>,
    incoming: Frames,
    outgoing: Frames,
    arrival: Option<Pin<Box<Sleep>>>,
    waiting: Waiting,
    reader: Option<Waker>,
}

/// Follows the borders of messages in a stream of bytes.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that are there.
    filled: usize,
    /// Bytes of the payload that are to come.
    left: usize,
    /// When the message began that is not whole yet.
    began: Option<Instant>,
}

/// The head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    length: usize,
    stream: u32,
    kind: u8,
}

/// Requests that were read and not answered.
#[derive(Debug, Default)]
struct Waiting {
    sizes: BTreeMap<u32, usize>,
    bytes: usize,
}

// === impl Connection ===

impl Connection {
    /// A connection over `stream` that holds `place` for as long as it lasts.
    pub(crate) fn new(stream: UnixStream, place: Arc<()>) -> Self {
        Self {
            stream,
            _place: place,
            incoming: Frames::default(),
            outgoing: Frames::default(),
            arrival: None,
            waiting: Waiting::default(),
            reader: None,
        }
    }

    /// Ready with an error when the message that is arriving takes too long.
    fn poll_arrival(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(began) = self.incoming.began else {
            self.arrival = None;
            return Poll::Pending;
        };
        let until = began + ARRIVAL_LIMIT;
        let arrival = self
            .arrival
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if arrival.deadline() != until {
            arrival.as_mut().reset(until);
        }
        arrival
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // A message that has begun is read to its end: its sender waits for that.
        if this.waiting.bytes > WAITING_LIMIT_BYTES && this.incoming.began.is_none() {
            this.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {
                let new = buffer.filled().get(before..).unwrap_or_default();
                let waiting = &mut this.waiting;
                this.incoming.follow(new, |head| {
                    if head.kind == REQUEST {
                        waiting.add(head);
                    }
                });
                Poll::Ready(Ok(()))
            }
            Poll::Pending => this.poll_arrival(context),
            broken @ Poll::Ready(Err(_)) => broken,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = std::task::ready!(Pin::new(&mut this.stream).poll_write(context, bytes))?;
        let waiting = &mut this.waiting;
        this.outgoing
            .follow(bytes.get(..written).unwrap_or_default(), |head| {
                if head.kind == RESPONSE {
                    waiting.remove(head.stream);
                }
            });
        if this.waiting.bytes <= WAITING_LIMIT_BYTES
            && let Some(reader) = this.reader.take()
        {
            reader.wake();
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

// === impl Frames ===

impl Frames {
    /// Follows `bytes`; calls `on_head` for each head that becomes whole.
    fn follow(&mut self, mut bytes: &[u8], mut on_head: impl FnMut(Head)) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
            } else {
                if self.filled == 0 {
                    self.began = Some(Instant::now());
                }
                if let Some(place) = self.header.get_mut(self.filled) {
                    *place = *first;
                }
                self.filled += 1;
                bytes = rest;
                if self.filled < HEADER_BYTES {
                    continue;
                }
                let head = Head::read(self.header);
                self.filled = 0;
                self.left = head.length;
                on_head(head);
            }
            if self.left == 0 {
                self.began = None;
            }
        }
    }
}

// === impl Head ===

impl Head {
    /// ```text
    /// 00 00 00 2a | 00 00 00 01 | 01 | 00     length, stream, kind, flags
    /// ```
    fn read([a, b, c, d, e, f, g, h, kind, _flags]: [u8; HEADER_BYTES]) -> Self {
        let length = u32::from_be_bytes([a, b, c, d]);
        Self {
            length: usize::try_from(length).unwrap_or(usize::MAX),
            stream: u32::from_be_bytes([e, f, g, h]),
            kind,
        }
    }
}

// === impl Waiting ===

impl Waiting {
    fn add(&mut self, head: Head) {
        let size = head.length.saturating_add(OVERHEAD_BYTES);
        // A stream that is used twice counts once, by its latest request.
        let before = self.sizes.insert(head.stream, size).unwrap_or_default();
        self.bytes = self.bytes.saturating_sub(before).saturating_add(size);
    }

    fn remove(&mut self, stream: u32) {
        let size = self.sizes.remove(&stream).unwrap_or_default();
        self.bytes = self.bytes.saturating_sub(size);
    }
}

#[cfg(test)]
mod tests;
