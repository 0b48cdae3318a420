//! Accepting callers: those of root on this host, and not more than can be served.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Sleep;

use crate::connection::Connection;
use crate::log;
use crate::peer::{self, Stranger};

/// Connections at the same time. containerd holds one for each container of the pod, its clients
/// one for as long as they ask.
const LIMIT: usize = 256;

/// Pause when the kernel cannot accept, for want of descriptors say: it would fail at once again.
const BREATHER: Duration = Duration::from_millis(100);

/// The connections of callers that may call. Others are closed before a byte is read.
pub(crate) struct Callers {
    listener: UnixListener,
    /// Counts connections: each holds a clone.
    place: Arc<()>,
    pause: Option<Pin<Box<Sleep>>>,
}

// === impl Callers ===

impl Callers {
    /// Those who come to `listener`.
    pub(crate) fn new(listener: UnixListener) -> Self {
        Self {
            listener,
            place: Arc::new(()),
            pause: None,
        }
    }

    fn admit(&self, stream: UnixStream) -> Option<Connection> {
        match peer::verify(&stream) {
            Ok(()) => {}
            // Somebody who only looked whether anybody listens, as our own `start` does.
            Err(Stranger::Gone) => return None,
            Err(stranger) => {
                let reason = log::chain(&stranger);
                log::warn(&format!("refused a connection: {reason}"));
                return None;
            }
        }
        if Arc::strong_count(&self.place) > LIMIT {
            log::warn(&format!("refused a connection: {LIMIT} are open"));
            return None;
        }
        Some(Connection::new(stream, Arc::clone(&self.place)))
    }
}

impl Stream for Callers {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match ready!(self.listener.poll_accept(context)) {
                Ok((stream, _)) => {
                    if let Some(connection) = self.admit(stream) {
                        return Poll::Ready(Some(Ok(connection)));
                    }
                }
                Err(error) => {
                    log::warn(&format!("cannot accept a connection: {error}, retrying"));
                    self.pause = Some(Box::pin(tokio::time::sleep(BREATHER)));
                }
            }
        }
    }
}
