//! The launch decision of the relying party, and the refusals that all of Portcullis speaks in.
//!
//! Everything here is pure: no files, no sockets, no clock. The caller brings the agent's snapshot,
//! the pinned keys, the node policy, the time and the boot id, and gets a [`Decision`].

#![forbid(unsafe_code)]

mod code;
mod record_id;
mod refusal;

pub use code::{Code, Kind};
pub use record_id::RecordId;
pub use refusal::{LINE_LIMIT_BYTES, Refusal, Refusals, quote};
