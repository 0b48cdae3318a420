//! What a process in a container finds itself to be.

use std::fmt;

use crate::failure::{Doing, Failure, Outcome};

/// Shell script, for busybox, that prints what [`Confinement::parse`] reads.
pub const SCRIPT: &str = "grep -E '^(Uid|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' \
                          /proc/self/status; \
                          for at in / /tmp; do \
                          if touch $at/.probe 2>/dev/null; then echo $at: writable; \
                          else echo $at: read-only; fi; done";

/// The rights of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// Real user id.
    pub uid: u32,
    /// Union of its five capability sets.
    pub capabilities: u64,
    /// Whether it can gain no rights through set-user-id files.
    pub no_new_privileges: bool,
    /// Seccomp mode; 2 is a filter.
    pub seccomp: u8,
    /// Whether `/` can be written.
    pub root_writable: bool,
    /// Whether `/tmp` can be written.
    pub tmp_writable: bool,
}

/// What follows `name:` in the status of a process.
///
/// # Errors
///
/// When there is no such process, or no such line.
pub fn status(pid: u32, name: &str) -> Outcome<String> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).doing(format!("read '{path}'"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(|rest| rest.trim().to_owned())
        .ok_or_else(|| Failure::new(format!("no '{name}:' in '{path}'")))
}

// === impl Confinement ===

impl Confinement {
    /// What profile `restricted` must come to, for a process of the busybox image.
    pub const RESTRICTED: Self = Self {
        uid: 1000,
        capabilities: 0,
        no_new_privileges: true,
        seccomp: 2,
        root_writable: false,
        tmp_writable: true,
    };

    /// Reads what [`SCRIPT`] printed.
    ///
    /// # Errors
    ///
    /// When a line is missing or has no number.
    pub fn parse(text: &str) -> Outcome<Self> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
                .ok_or_else(|| Failure::new(format!("no '{name}:' in: {}", text.trim())))
        };
        let number = |name: &str, radix: u32| {
            let first = field(name)?.split_whitespace().next().unwrap_or_default();
            u64::from_str_radix(first, radix)
                .map_err(|error| Failure::new(format!("'{name}:' is '{first}': {error}")))
        };
        let mut capabilities = 0;
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            capabilities |= number(set, 16)?;
        }
        Ok(Self {
            uid: u32::try_from(number("Uid", 10)?).unwrap_or(u32::MAX),
            capabilities,
            no_new_privileges: number("NoNewPrivs", 10)? == 1,
            seccomp: u8::try_from(number("Seccomp", 10)?).unwrap_or(u8::MAX),
            root_writable: field("/")? == "writable",
            tmp_writable: field("/tmp")? == "writable",
        })
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = |writable| if writable { "writable" } else { "read-only" };
        write!(
            f,
            "uid {}, capabilities {:#x}, no_new_privs {}, seccomp {}, / {}, /tmp {}",
            self.uid,
            self.capabilities,
            u8::from(self.no_new_privileges),
            self.seccomp,
            access(self.root_writable),
            access(self.tmp_writable),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Confinement;

    #[test]
    fn reads_what_the_script_prints() {
        let text = "Uid:\t1000\t1000\t1000\t1000\nCapInh:\t00\nCapPrm:\t00\nCapEff:\t00\n\
                    CapBnd:\t0000000000000400\nCapAmb:\t00\nNoNewPrivs:\t1\nSeccomp:\t2\n\
                    /: read-only\n/tmp: writable\n";
        let found = Confinement::parse(text).unwrap();
        assert_eq!(
            found,
            Confinement {
                capabilities: 0x400,
                ..Confinement::RESTRICTED
            }
        );
        assert!(Confinement::parse(&text.replace("Seccomp", "Other")).is_err());
    }
}
