//! What the pure crates must know about this host, read by descriptor.
//!
//! Nothing is decided by comparing path strings: sources of bind mounts, namespaces and files are
//! opened once and compared by device and inode, and what was judged is what is read. A path in
//! the root filesystem of a container is resolved beneath its descriptor and never follows a link.
//!
//! Trusted are `/proc` and the directories named in [`FactsPolicy`]; the configuration whose facts
//! are gathered is not trusted.
//!
//! ```
//! let boot = portcullis_host::boot_id().unwrap();
//! assert_eq!(boot.len(), 36);
//! ```
//!
//! # Not covered
//!
//! - Paths are judged as they lead now; the runtime resolves them again. Who can rename or mount
//!   on the host in between is root there.
//! - What is mounted further down in the source of a bind mount, and comes along with `rbind`.
//! - A user namespace that is joined by another path than `/proc/PID/ns/user`: its maps are told
//!   only with the help of a process in it, which this crate does not start.
//! - A volume on a file system of its own is taken for a volume, whatever it holds.
//! - A disk that the host does not mount while it is looked at, but does at other times.
//!
//! Layer 1: used by shim, hook, agent, command and settings.
#![forbid(unsafe_code)]

mod boot;
mod claims;
mod error;
mod facts;
mod held;
mod kept;
mod kernel_release;
mod moment;
mod pin;
mod policy_memory;
mod quarantine_note;
#[cfg(test)]
mod root_only;
mod runtime_binary;
mod runtime_version;
mod seen;
mod trusted_file;
mod whole_file;

pub use boot::boot_id;
pub use claims::{User, claim, claimed_by, forget_claims};
pub use error::HostError;
pub use facts::{FactsPolicy, facts, foreseen_source, joined_user_namespace, user_namespace_maps};
pub use held::held;
pub use kernel_release::kernel_release;
pub use moment::{Clocks, clocks, moment};
pub use pin::{Pin, pin, pinned, unpin};
pub use policy_memory::{hold_policy, newest_policy};
pub use quarantine_note::{note_quarantine, quarantine_is_noted};
pub use runtime_binary::{RuntimeBinary, runtime_binary};
pub use runtime_version::{
    ANSWER_LIMIT, FileIdentity, SAID_LIMIT_BYTES, ask_version, remember_version,
    remembered_version, runtime_version, told, version_command,
};
pub use seen::remember;
pub use trusted_file::read_trusted_file;
pub use whole_file::write_whole;
