//! The launch decision of the relying party, and the refusals that all of Portcullis speaks in.
//!
//! Everything here is pure: no files, no sockets, no clock. The caller brings the agent's snapshot,
//! the pinned keys, the node policy, the time and the boot id, and gets a [`Decision`].

#![forbid(unsafe_code)]

pub mod break_glass;
mod code;
mod decide;
mod decision;
mod image;
mod newest_policy;
pub mod policy;
pub mod record;
mod record_id;
mod refusal;
pub mod request;
pub mod requirement;
mod rule;
mod rule_mode;
mod runtime_version;
pub mod seen;
pub mod snapshot;
mod time;
mod unavailable;
mod version;

pub use code::{Code, Kind};
pub use decide::{decide, drift};
pub use decision::{Decision, Permit};
pub use image::ImageReference;
pub use newest_policy::NewestPolicy;
pub use policy::LaunchPolicy;
pub use record::LaunchRecord;
pub use record_id::RecordId;
pub use refusal::{LINE_LIMIT_BYTES, Refusal, Refusals, quote};
pub use request::{LaunchRequest, Moment};
pub use requirement::Requirement;
pub use rule::{References, Rule};
pub use rule_mode::{RuleMode, RuleModes};
pub use runtime_version::RuntimeVersion;
pub use seen::{FirstSeen, Seen};
pub use snapshot::{LiveState, Snapshot, TagSlot};
pub use unavailable::Unavailable;
pub use version::Version;
