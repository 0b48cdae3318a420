//! What travels over the agent's socket, and a synchronous client of it.
//!
//! The agent speaks [Varlink](https://varlink.org): JSON messages, each ended by a NUL byte, over a
//! Unix socket. This crate holds the interface definition, the framing, one type for each call and
//! reply (used by both sides), and [`Client`], which has no async runtime so that the hook stays
//! small. The shim does its own reading and writing and uses the pure functions only:
//! [`snapshot::call`], [`FrameReader`], [`snapshot::parse_reply`] and their like in [`record`].
//!
//! It does not trust the agent: every reply is limited in size, parsed strictly and checked for
//! type; what it means is decided by `portcullis_gate`. [`peer`] checks that the socket belongs to
//! root and that root answers on it.
//!
//! ```
//! use std::time::Duration;
//! use portcullis_client::{FrameReader, snapshot};
//!
//! let call = snapshot::call(Duration::from_millis(1500));
//! assert_eq!(call.last(), Some(&0));
//!
//! let mut frames = FrameReader::default();
//! frames.push(b"{\"error\":\"dev.portcullis.Agent.TpmFailed\",\"parameters\":{\"reason\":\"0x922\"}}\0");
//! let reply = frames.next_frame().unwrap().unwrap();
//! let asked = snapshot::Asked { socket: "/run/portcullis/agent.sock", deadline: Duration::from_millis(1500) };
//! let unavailable = snapshot::parse_reply(&reply, &asked).unwrap_err();
//! assert_eq!(unavailable.refusal().code.as_str(), "tpm-error");
//! ```
//!
//! Layer 1: may use `json`, `attestation` and `gate`.
#![forbid(unsafe_code)]

mod call;
mod connection;
mod frame;
mod interface;
mod message;
pub mod method;
pub mod peer;
pub mod record;
pub mod snapshot;
mod strict;

pub use call::{Call, CallError};
pub use connection::{Client, ClientError};
pub use frame::{FRAME_LIMIT_BYTES, FrameOversized, FrameReader};
pub use interface::{INTERFACE, INTERFACE_NAME, SERVICE_INTERFACE, SERVICE_INTERFACE_NAME};
pub use message::{
    AgentError, MalformedMessage, Method, ReplyError, encode_call, encode_error, encode_reply,
    parse_reply,
};
