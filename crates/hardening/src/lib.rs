//! Hardening of OCI configurations, of exec requests and of updates.
//!
//! [`harden`] takes the configuration that a runtime caller wants to start, a [`Profile`] and the
//! [`HostFacts`], and returns either the hardened configuration or every reason against it.
//! *What was defaulted is stripped, what was asked for is refused*: nobody loses a capability
//! they named without being told. The result never holds more rights than the input, and
//! hardening it again changes nothing. [`clamp_exec`] and [`clamp_update`] hold later requests to
//! the [`Baseline`] of the container, because they reach the runtime past its `config.json`.
//! [`Enforcement`] holds what the kernel made of a configuration against it.
//!
//! Input is trusted in nothing: [`OciConfig::parse`] refuses what runc and crun could read
//! differently. Profiles and facts come from the node itself.
//!
//! ```
//! use portcullis_hardening::OciConfig;
//!
//! let config = OciConfig::parse(br#"{"process": {"user": {"uid": 1000}}}"#).unwrap();
//! assert_eq!(config.uid(), 1000);
//! let refusals = OciConfig::parse(br#"{"Process": {}, "process": {}}"#).unwrap_err();
//! assert_eq!(refusals.first().code.as_str(), "oci-config-malformed");
//! ```
//!
//! # Not covered
//!
//! - A profile that permits root permits every mapping.
//! - What an allowed hook, an allowed mount or a device of the profile does.
//! - `TIOCSTI` is not taken out of `ioctl`; a profile can only refuse terminals.
//! - Weights of processor and disk, and processor time of a container that was created without a
//!   limit, have no ceiling in updates.
//! - A field of a configuration that the schema does not know stays; only that of an exec is dropped.
//!
//! Layer 0: no I/O, no clock, no environment.
#![forbid(unsafe_code)]

mod baseline;
mod capability;
mod change;
mod concessions;
mod enforcement;
mod exec;
mod facts;
mod harden;
mod mount_line;
mod oci_config;
mod path;
mod profile;
mod relaxation;
mod review;
mod schema;
mod seccomp;
mod update;

pub use baseline::{Baseline, CpuCeiling, ResourceCeilings};
pub use capability::{CapabilitySet, CapabilitySets};
pub use change::Change;
pub use concessions::Concessions;
pub use enforcement::{
    Enforcement, Held, HeldCredentials, HeldMount, HeldNamespace, HeldPath, MountFlags,
};
pub use exec::{ClampedExec, EXEC_LIMITS, clamp_exec};
pub use facts::{
    AppArmor, DirectoryFact, HookFile, HostFacts, IdRange, MountSource, NamespaceKind,
    NamespaceOrigin, Rlimit, RootfsFacts, SANDBOX_PROFILE, UserNamespaceMaps,
};
pub use harden::{Hardened, Purpose, harden};
pub use mount_line::MountLine;
pub use oci_config::{BindMount, OciConfig};
pub use profile::{Profile, ProfileError};
pub use relaxation::Relaxations;
pub use review::Audited;
pub use seccomp::{Comparison, Condition, Conjunction, SeccompError, alternatives};
pub use update::{ClampedUpdate, clamp_update};
