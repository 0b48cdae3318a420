//! The calling conventions that the kernel of this machine serves, as filters tell them apart.
//!
//! # Source
//!
//! `linux/audit.h` for the numbers; `seccomp(2)`, "struct `seccomp_data`".

use crate::syscall::{self, Calls};

/// `AUDIT_ARCH_X86_64`, which x32 shares.
pub(crate) const X86_64: u32 = 0xc000_003e;
/// Calls of x32 have the convention of `x86_64` and this bit in their numbers.
pub(crate) const X32: u32 = 0x4000_0000;

/// A calling convention.
#[derive(Debug)]
pub(crate) struct Convention {
    /// What OCI calls it.
    pub(crate) oci: &'static str,
    /// What a filter sees of it.
    pub(crate) audit_arch: u32,
    /// Its calls, by number.
    pub(crate) calls: Calls,
}

/// Those of this machine, its own first.
#[cfg(target_arch = "x86_64")]
pub(crate) const ALL: &[Convention] = &[
    Convention {
        oci: "SCMP_ARCH_X86_64",
        audit_arch: X86_64,
        calls: syscall::X86_64_CALLS,
    },
    Convention {
        oci: "SCMP_ARCH_X86",
        audit_arch: 0x4000_0003,
        calls: syscall::I386_CALLS,
    },
];
/// Those of this machine. Of 32-bit ARM no calls are known here.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const ALL: &[Convention] = &[Convention {
    oci: "SCMP_ARCH_AARCH64",
    audit_arch: 0xc000_00b7,
    calls: syscall::AARCH64_CALLS,
}];

// === impl Convention ===

impl Convention {
    /// The number of a call.
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.calls.number(name)
    }
}
