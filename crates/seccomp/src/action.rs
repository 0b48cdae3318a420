//! What a filter answers to a system call.
//!
//! # Source
//!
//! `seccomp(2)`, "SECCOMP_RET_…"; OCI runtime-spec, "Seccomp", `SCMP_ACT_…`.

use std::cmp::Ordering;
use std::fmt;

/// Errno of a denial that names none.
pub(crate) const EPERM: u16 = 1;
/// What software that knows an older way falls back on.
pub(crate) const ENOSYS: u16 = 38;
/// libseccomp refuses larger numbers (`MAX_ERRNO`).
pub(crate) const ERRNO_MAX: u64 = 4095;

const ACTION: u32 = 0xffff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

/// The answer of a filter, as the kernel's return value with its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Action(u32);

/// Who decides whether the call happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It does not happen.
    Denied,
    /// A tracer or a supervisor decides.
    Asked,
    /// It happens.
    Permitted,
}

// === impl Action ===

impl Action {
    /// The call happens.
    pub const ALLOW: Self = Self(ALLOW);
    /// The process ends.
    pub const KILL_PROCESS: Self = Self(KILL_PROCESS);
    /// What libseccomp does with calls of an ABI that the filter does not list.
    pub const KILL_THREAD: Self = Self(KILL_THREAD);

    /// The answer that the kernel's return value `value` stands for.
    pub const fn from_return_value(value: u32) -> Self {
        Self(value)
    }

    /// The kernel's return value.
    pub const fn return_value(self) -> u32 {
        self.0
    }

    /// The denial with `errno`.
    pub fn errno(errno: u16) -> Self {
        Self(ERRNO | u32::from(errno))
    }

    /// Reads the name of an action and the errno beside it, as runc and crun do: `EPERM` if there
    /// is none, 16 bits of it, and none of it where the action takes no errno.
    pub(crate) fn from_oci(name: &str, errno: Option<u64>) -> Option<Self> {
        let data = errno.map_or(u32::from(EPERM), |errno| {
            u32::try_from(errno & 0xffff).unwrap_or_default()
        });
        Some(Self(match name {
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL_THREAD,
            "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
            "SCMP_ACT_TRAP" => TRAP,
            "SCMP_ACT_ERRNO" => ERRNO | data,
            "SCMP_ACT_NOTIFY" => NOTIFY,
            "SCMP_ACT_TRACE" => TRACE | data,
            "SCMP_ACT_LOG" => LOG,
            "SCMP_ACT_ALLOW" => ALLOW,
            _ => return None,
        }))
    }

    /// The name in OCI; `None` for a return value that no action has.
    pub(crate) const fn name(self) -> Option<&'static str> {
        Some(match self.0 & ACTION {
            KILL_THREAD => "SCMP_ACT_KILL_THREAD",
            KILL_PROCESS => "SCMP_ACT_KILL_PROCESS",
            TRAP => "SCMP_ACT_TRAP",
            ERRNO => "SCMP_ACT_ERRNO",
            NOTIFY => "SCMP_ACT_NOTIFY",
            TRACE => "SCMP_ACT_TRACE",
            LOG => "SCMP_ACT_LOG",
            ALLOW => "SCMP_ACT_ALLOW",
            _ => return None,
        })
    }

    /// The errno or the tracer's message, of the actions that have one.
    pub(crate) const fn data(self) -> Option<u32> {
        match self.0 & ACTION {
            ERRNO | TRACE => Some(self.0 & !ACTION),
            _ => None,
        }
    }

    /// Who decides.
    pub const fn verdict(self) -> Verdict {
        match self.0 & ACTION {
            LOG | ALLOW => Verdict::Permitted,
            NOTIFY | TRACE => Verdict::Asked,
            _ => Verdict::Denied,
        }
    }

    /// True if the data is an errno.
    pub(crate) const fn denies_with_errno(self) -> bool {
        self.0 & ACTION == ERRNO
    }

    /// True if a supervisor is asked.
    pub(crate) const fn notifies(self) -> bool {
        self.0 & ACTION == NOTIFY
    }

    /// Which of two the kernel obeys where filters are stacked: the stricter one, and of the
    /// same action that of `self`.
    pub fn stricter(self, other: Self) -> Self {
        match self.order().cmp(&other.order()) {
            Ordering::Greater => other,
            Ordering::Less | Ordering::Equal => self,
        }
    }

    /// The kernel compares actions as signed numbers (`seccomp_run_filters`).
    const fn order(self) -> i32 {
        (self.0 & ACTION).cast_signed()
    }
}

impl fmt::Display for Action {
    /// Without the prefix: `ALLOW`, `ERRNO 38`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name().unwrap_or("SCMP_ACT_KILL_PROCESS");
        formatter.write_str(name.trim_start_matches("SCMP_ACT_"))?;
        match self.data() {
            Some(data) => write!(formatter, " {data}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strictness_is_that_of_the_kernel() {
        let order = [
            "KILL_PROCESS",
            "KILL_THREAD",
            "TRAP",
            "ERRNO",
            "NOTIFY",
            "TRACE",
            "LOG",
            "ALLOW",
        ]
        .map(|name| Action::from_oci(&format!("SCMP_ACT_{name}"), None).unwrap());
        for pair in order.windows(2) {
            assert_eq!(pair[0].stricter(pair[1]), pair[0]);
            assert_eq!(pair[1].stricter(pair[0]), pair[0]);
        }
    }

    #[test]
    fn errno_is_read_as_the_runtimes_read_it() {
        let errno = |errno| Action::from_oci("SCMP_ACT_ERRNO", errno).unwrap();
        assert_eq!(errno(None), errno(Some(1)));
        assert_eq!(errno(Some(0x1_0026)), errno(Some(38)));
        assert_ne!(errno(Some(0)), errno(None));
        assert_eq!(
            Action::from_oci("SCMP_ACT_ALLOW", Some(5)),
            Some(Action::ALLOW)
        );
        assert_eq!(Action::from_oci("SCMP_ACT_DENY", None), None);
        assert_eq!(errno(Some(38)).to_string(), "ERRNO 38");
    }
}
