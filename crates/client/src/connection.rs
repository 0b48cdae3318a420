//! A connection to the agent that ends at a deadline.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::frame::{FrameOversized, FrameReader};
use crate::message::{AgentError, MalformedMessage, Method, ReplyError, encode_call, parse_reply};
use crate::peer::{self, PeerError};

/// Bytes read at once; a snapshot fits in one read.
const READ_BYTES: usize = 16 * 1024;

/// Why a call has no answer.
///
/// `Connect`, `Send`, `Receive`, `TimedOut` and `Closed` are worth a retry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The socket does not belong to root, or root does not answer on it.
    #[error("cannot trust the agent's socket")]
    Peer(#[source] PeerError),
    /// Nobody listens.
    #[error("cannot connect to '{}'", path.display())]
    Connect {
        /// The agent's socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The call could not be written.
    #[error("cannot send call to '{}'", path.display())]
    Send {
        /// The agent's socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The reply could not be read.
    #[error("cannot receive reply from '{}'", path.display())]
    Receive {
        /// The agent's socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The deadline passed.
    #[error("cannot get an answer from '{}' within {} ms", path.display(), allowed.as_millis())]
    TimedOut {
        /// The agent's socket.
        path: PathBuf,
        /// Time the caller gave.
        allowed: Duration,
    },
    /// The agent closed the connection in the middle of its reply, or before it.
    #[error("cannot receive reply from '{}': the agent closed the connection", path.display())]
    Closed {
        /// The agent's socket.
        path: PathBuf,
    },
    /// The reply is too long.
    #[error("cannot accept the agent's reply")]
    Oversized(#[source] FrameOversized),
    /// The reply is not what the protocol says.
    #[error("cannot understand the agent's reply")]
    Malformed(#[source] MalformedMessage),
    /// The agent sent something nobody had asked for.
    #[error("cannot accept reply from '{}': it came before the call", path.display())]
    Unsolicited {
        /// The agent's socket.
        path: PathBuf,
    },
    /// The agent answered with an error.
    #[error(transparent)]
    Agent(AgentError),
}

/// A connection to the agent; one call at a time, all of them within one deadline.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    frames: FrameReader,
    path: PathBuf,
    allowed: Duration,
    deadline: Instant,
}

// === impl Client ===

impl Client {
    /// Connects to the agent's socket at `path` and checks that it is root's.
    ///
    /// `allowed` is the time for connecting and for all calls on this connection together.
    ///
    /// # Errors
    ///
    /// [`ClientError::Peer`] if socket or agent are not root's, [`ClientError::Connect`] if nobody
    /// listens, [`ClientError::TimedOut`] if the agent does not take the connection in time.
    pub fn connect(path: &Path, allowed: Duration) -> Result<Self, ClientError> {
        let now = Instant::now();
        let deadline = now.checked_add(allowed).unwrap_or(now);
        peer::examine_socket(path).map_err(|error| match error {
            PeerError::Inspect { source, .. } => ClientError::Connect {
                path: path.to_path_buf(),
                source,
            },
            untrusted @ PeerError::Untrusted { .. } => ClientError::Peer(untrusted),
        })?;
        let stream = open(path, allowed).map_err(|errno| match errno {
            nix::Error::EAGAIN => ClientError::TimedOut {
                path: path.to_path_buf(),
                allowed,
            },
            other => ClientError::Connect {
                path: path.to_path_buf(),
                source: other.into(),
            },
        })?;
        let credentials = getsockopt(&stream, sockopt::PeerCredentials).map_err(|errno| {
            ClientError::Connect {
                path: path.to_path_buf(),
                source: errno.into(),
            }
        })?;
        peer::verify_uid(path, credentials.uid()).map_err(ClientError::Peer)?;
        Ok(Self::over(stream, path, allowed, deadline))
    }

    fn over(stream: UnixStream, path: &Path, allowed: Duration, deadline: Instant) -> Self {
        let frames = FrameReader::default();
        Self {
            stream,
            frames,
            path: path.to_path_buf(),
            allowed,
            deadline,
        }
    }

    /// Path of the socket.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Sends `call` and waits for its reply.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; after any variant but `Agent` the connection cannot be used again.
    pub fn call<M: Method>(&mut self, call: &M) -> Result<M::Reply, ClientError> {
        let frame = self.exchange(&encode_call(call))?;
        parse_reply::<M>(&frame).map_err(|error| match error {
            ReplyError::Agent(error) => ClientError::Agent(error),
            ReplyError::Malformed(malformed) => ClientError::Malformed(malformed),
        })
    }

    /// Sends the bytes of one call and returns the bytes of its reply, without the NUL.
    pub(crate) fn exchange(&mut self, call: &[u8]) -> Result<Vec<u8>, ClientError> {
        self.send(call)?;
        self.next_reply()
    }

    /// Sends the bytes of one call.
    pub(crate) fn send(&mut self, mut rest: &[u8]) -> Result<(), ClientError> {
        if !self.frames.is_empty() {
            return Err(ClientError::Unsolicited {
                path: self.path.clone(),
            });
        }
        while !rest.is_empty() {
            let left = self.time_left()?;
            let written = self
                .stream
                .set_write_timeout(Some(left))
                .and_then(|()| self.stream.write(rest));
            match written {
                Ok(0) => {
                    return Err(ClientError::Closed {
                        path: self.path.clone(),
                    });
                }
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if is_retry(&error) => {}
                Err(source) => {
                    return Err(ClientError::Send {
                        path: self.path.clone(),
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    /// Waits for the bytes of the next reply, without the NUL.
    pub(crate) fn next_reply(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut chunk = [0_u8; READ_BYTES];
        loop {
            if let Some(frame) = self.frames.next_frame().map_err(ClientError::Oversized)? {
                return Ok(frame);
            }
            let count = self.receive(&mut chunk)?;
            self.frames.push(chunk.get(..count).unwrap_or_default());
        }
    }

    fn receive(&mut self, chunk: &mut [u8]) -> Result<usize, ClientError> {
        loop {
            let left = self.time_left()?;
            let read = self
                .stream
                .set_read_timeout(Some(left))
                .and_then(|()| self.stream.read(chunk));
            match read {
                Ok(0) => {
                    return Err(ClientError::Closed {
                        path: self.path.clone(),
                    });
                }
                Ok(count) => return Ok(count),
                Err(error) if is_retry(&error) => {}
                Err(source) => {
                    return Err(ClientError::Receive {
                        path: self.path.clone(),
                        source,
                    });
                }
            }
        }
    }

    /// Time until the deadline, never zero: the kernel takes zero for no limit.
    fn time_left(&self) -> Result<Duration, ClientError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ClientError::TimedOut {
                path: self.path.clone(),
                allowed: self.allowed,
            });
        }
        Ok(left)
    }
}

/// A time-out of one system call: the loop looks at the deadline itself.
fn is_retry(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Opens and connects a socket. `UnixStream::connect` would wait without end for a listener whose
/// queue is full; the send time-out limits connecting, too.
fn open(path: &Path, allowed: Duration) -> nix::Result<UnixStream> {
    let descriptor = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let micros = i64::try_from(allowed.as_micros())
        .unwrap_or(i64::MAX)
        .max(1);
    setsockopt(
        &descriptor,
        sockopt::SendTimeout,
        &TimeVal::microseconds(micros),
    )?;
    connect(descriptor.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(descriptor))
}

#[cfg(test)]
mod tests;
