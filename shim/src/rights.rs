//! The rights the server works with: no more capabilities in effect than its own work takes.
//!
//! Only the *effective* set is lowered. The permitted set stays as it was on purpose: a process of
//! uid 0 gets its whole bounding set back when it executes a program, which the OCI runtime needs;
//! but the kernel takes it for a gain of rights if the permitted set had been lowered, and then
//! clears the signal by which the runtime dies with its shim (`commit_creds`, seen on 6.18 as well).
//! A runtime that outlives its shim could finish a launch that nobody decided, which is worse than
//! a right that is held but not in effect.

use std::io;

use crate::sys;

/// `CAP_…` by the numbers of `linux/capability.h`, each with the work that takes it.
const NEEDED: [u8; 7] = [
    0,  // CAP_CHOWN: a container's pipes belong to the user of its process
    1,  // CAP_DAC_OVERRIDE: streams, bundles and volumes in directories of other users
    5,  // CAP_KILL: processes of other users
    6,  // CAP_SETGID: the map of a user namespace, for mounts with mapped ids
    7,  // CAP_SETUID: likewise
    19, // CAP_SYS_PTRACE: namespaces of processes, the caller's first of all
    21, // CAP_SYS_ADMIN: mounts
];

/// Lowers the effective set to [`NEEDED`] and empties the inheritable and ambient ones.
///
/// # Errors
///
/// The errno of `capget(2)` or `capset(2)`.
pub(crate) fn limit() -> io::Result<()> {
    sys::set_effective_capabilities(needed())
}

/// Does `work` with every permitted capability in effect.
///
/// For `mount(2)`: an overlay keeps the rights of whoever mounted it, and does everything that
/// processes of the container do in its upper layer with those.
///
/// # Errors
///
/// As [`limit`]; `work` may have been done.
pub(crate) fn with_all<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    sys::set_effective_capabilities(u64::MAX)?;
    let done = work();
    limit()?;
    Ok(done)
}

fn needed() -> u64 {
    NEEDED.iter().fold(0, |set, number| set | 1 << number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_capabilities_stay_in_effect() {
        assert_eq!(needed(), 0x28_00e3);
    }
}
