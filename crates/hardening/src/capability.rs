//! Linux capabilities as bit sets.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The names of all capabilities up to Linux 6.x; the index is the kernel's number.
///
/// # Source
///
/// `capabilities(7)`; `include/uapi/linux/capability.h`.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// How many of the oldest capabilities a request must hold to count as "all": the kernels that
/// are still in use all know at least the first 38 (up to `CAP_AUDIT_READ`).
const ALL_AT_LEAST: u32 = 38;

/// A set of capabilities; bit *n* is the kernel's capability number *n*.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CapabilitySet(u64);

/// The five capability sets of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CapabilitySets {
    /// Upper limit of what any later program can hold.
    pub bounding: CapabilitySet,
    /// What the kernel checks.
    pub effective: CapabilitySet,
    /// What survives an execve of a file that inherits; empty in everything we emit.
    pub inheritable: CapabilitySet,
    /// What may be made effective.
    pub permitted: CapabilitySet,
    /// What a plain execve keeps.
    pub ambient: CapabilitySet,
}

// === impl CapabilitySet ===

impl CapabilitySet {
    /// The set without members.
    pub const EMPTY: Self = Self(0);

    /// Takes the kernel's bit mask, as in `CapEff` of `/proc/PID/status`.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The kernel's bit mask.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The set of one capability by its OCI name (`CAP_CHOWN`); `None` if the name is unknown.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        NAMES
            .iter()
            .position(|known| *known == name)
            .map(|bit| Self(1 << bit))
    }

    /// True if there is no member.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Members of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Members of both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Members of `self` that are not in `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// True if every member of `self` is in `other`.
    #[must_use]
    pub const fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// True if the set holds what a privileged container is given.
    #[must_use]
    pub const fn is_all(self) -> bool {
        self.0.trailing_ones() >= ALL_AT_LEAST
    }

    /// OCI names in the order of the kernel's numbers.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES
            .iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, name)| *name)
    }
}

impl fmt::Display for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (index, name) in self.names().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl fmt::Debug for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CapabilitySet({self})")
    }
}

// === impl CapabilitySets ===

impl CapabilitySets {
    /// Members of any of the five sets.
    #[must_use]
    pub const fn union(&self) -> CapabilitySet {
        self.bounding
            .union(self.effective)
            .union(self.inheritable)
            .union(self.permitted)
            .union(self.ambient)
    }

    /// Keeps in each set what `ceiling` holds in that set, and nothing inheritable.
    ///
    /// The inheritable set is emptied because file capabilities of an image would raise it
    /// (CVE-2022-24769, CVE-2022-27650); ambient needs inheritable, so it goes too.
    #[must_use]
    pub const fn clamped(&self, ceiling: &Self) -> Self {
        Self {
            bounding: self.bounding.intersection(ceiling.bounding),
            effective: self.effective.intersection(ceiling.effective),
            inheritable: CapabilitySet::EMPTY,
            permitted: self.permitted.intersection(ceiling.permitted),
            ambient: CapabilitySet::EMPTY,
        }
    }

    /// The same ceiling for each of the five sets.
    #[must_use]
    pub const fn uniform(set: CapabilitySet) -> Self {
        Self {
            bounding: set,
            effective: set,
            inheritable: set,
            permitted: set,
            ambient: set,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits_agree_with_the_kernel() {
        assert_eq!(CapabilitySet::of_name("CAP_CHOWN").unwrap().bits(), 1);
        assert_eq!(
            CapabilitySet::of_name("CAP_SYS_ADMIN").unwrap().bits(),
            1 << 21
        );
        assert_eq!(
            CapabilitySet::of_name("CAP_CHECKPOINT_RESTORE")
                .unwrap()
                .bits(),
            1 << 40
        );
        assert_eq!(CapabilitySet::of_name("cap_chown"), None);
        assert_eq!(CapabilitySet::from_bits(0xa804_25fb).names().count(), 14);
    }

    #[test]
    fn all_means_every_capability_of_the_oldest_kernels() {
        assert!(CapabilitySet::from_bits((1 << 38) - 1).is_all());
        assert!(CapabilitySet::from_bits((1 << 41) - 1).is_all());
        assert!(!CapabilitySet::from_bits((1 << 37) - 1).is_all());
        assert!(!CapabilitySet::from_bits(0xa804_25fb).is_all());
    }

    #[test]
    fn clamping_empties_inheritable_and_ambient() {
        let all = CapabilitySets::uniform(CapabilitySet::from_bits(0b1111));
        let kept = all.clamped(&CapabilitySets::uniform(CapabilitySet::from_bits(0b0110)));
        assert_eq!(kept.bounding.bits(), 0b0110);
        assert_eq!(kept.inheritable, CapabilitySet::EMPTY);
        assert_eq!(kept.ambient, CapabilitySet::EMPTY);
    }
}
