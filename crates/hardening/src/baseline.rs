//! What a running container may hold at most; later requests are measured against it.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_gate::RuleModes;

use crate::capability::{CapabilitySet, CapabilitySets};
use crate::facts::Rlimit;

/// The bounds of one container, taken from its hardened configuration.
///
/// The shim keeps it in memory for the life of the container. It holds neither arguments nor
/// environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// Name of the profile that hardened the container.
    pub profile: String,
    /// Ceiling of the five capability sets.
    pub capabilities: CapabilitySets,
    /// Capabilities that an exec may ask for and quietly does not get, because runtime callers
    /// put them into every request.
    pub stripped: CapabilitySet,
    /// True if no process may gain rights by execve.
    pub no_new_privileges: bool,
    /// `AppArmor` profile; empty if there is none.
    pub apparmor_profile: String,
    /// `SELinux` label; empty if there is none.
    pub selinux_label: String,
    /// Process limits by OCI name.
    pub rlimits: BTreeMap<String, Rlimit>,
    /// Lowest OOM score adjustment; absent if the configuration sets none.
    pub oom_score_adj: Option<i32>,
    /// Uid of the container's own process.
    pub uid: u32,
    /// True if an exec may run as uid 0.
    pub root_permitted: bool,
    /// True if an exec may have no terminal, because processes could type into it.
    pub terminal_refused: bool,
    /// Ceilings of its resources.
    pub ceilings: ResourceCeilings,
    /// Keys of the unified hierarchy that an update may set.
    pub unified: BTreeSet<String>,
    /// `linux.cgroupsPath`, as written.
    pub cgroups_path: String,
    /// The modes of rules that it was created under.
    pub modes: RuleModes,
}

/// The most that an update may grant; what is absent was unlimited from the start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourceCeilings {
    /// Memory, in bytes.
    pub memory_bytes: Option<i64>,
    /// Memory and swap together, in bytes.
    pub swap_bytes: Option<i64>,
    /// Number of processes and threads.
    pub pids: Option<i64>,
    /// Processor time.
    pub cpu: Option<CpuCeiling>,
    /// Huge pages in bytes by page size (`2MB`).
    pub hugepages: BTreeMap<String, u64>,
    /// Processors, as written (`0-3,8`).
    pub cpus: Option<String>,
    /// Memory nodes, as written.
    pub mems: Option<String>,
    /// Limits of the unified hierarchy by file (`memory.high`), in bytes.
    pub unified: BTreeMap<String, u64>,
    /// Memory that is never taken back for others (`memory.min`), in bytes. Unlike a limit it is
    /// what the host gives away, so none was asked for if it is 0.
    pub memory_min_bytes: u64,
    /// Memory that is taken back last (`memory.low`), in bytes.
    pub memory_low_bytes: u64,
}

/// Processor time: `quota_us` in each `period_us`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuCeiling {
    /// Microseconds of processor time.
    pub quota_us: i64,
    /// Microseconds of wall time.
    pub period_us: u64,
    /// Microseconds of processor time that may be saved up for one period.
    pub burst_us: u64,
}
