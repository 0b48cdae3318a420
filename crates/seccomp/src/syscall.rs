//! Names and numbers of system calls, and which of their arguments the kernel reads as 32 bits.

mod aarch64;
mod elsewhere;
#[cfg(target_arch = "x86_64")]
mod i386;
mod narrow;
mod x86_64;

use std::collections::BTreeSet;

use crate::abi::Abi;

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use aarch64::CALLS as AARCH64_CALLS;
#[cfg(target_arch = "x86_64")]
pub(crate) use i386::CALLS as I386_CALLS;
pub(crate) use narrow::narrow_arguments;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::CALLS as X86_64_CALLS;

/// Calls that hand on to many others by their arguments, or from shared memory, where no filter
/// sees them.
pub(crate) const MULTIPLEXERS: [&str; 5] = [
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ipc",
    "socketcall",
];

/// Calls that the GNU C library or the Go runtime try first and replace by older ones, if the
/// answer is `ENOSYS` and not otherwise.
pub(crate) const TRIED_FIRST: [&str; 6] = [
    "clone3",
    "close_range",
    "epoll_pwait2",
    "faccessat2",
    "fchmodat2",
    "statx",
];

/// What is known of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// The ABI has this call.
    Here,
    /// Another ABI has it; or the calls of this one are not known here.
    Elsewhere,
    /// No ABI has it.
    Nowhere,
}

/// The calls of an ABI: a line for each, with number and name, in the order of the numbers. As text
/// it is a third of the size of an array, and programs that carry it are kept small.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calls(&'static str);

/// The calls of an ABI; `None` if they are not known here.
fn table(abi: Abi) -> Option<Calls> {
    match abi {
        Abi::X86_64 => Some(x86_64::CALLS),
        Abi::AARCH64 => Some(aarch64::CALLS),
        _ => None,
    }
}

/// The names of all calls of an ABI; empty if they are not known here.
pub(crate) fn names(abi: Abi) -> BTreeSet<&'static str> {
    let calls = table(abi).into_iter().flat_map(Calls::iter);
    calls.map(|(_, name)| name).collect()
}

/// The highest number that an ABI gave to a call.
pub(crate) fn last_number(abi: Abi) -> Option<u32> {
    table(abi)?.iter().last().map(|(number, _)| number)
}

/// The number of a call; `None` if the ABI does not have it, or its calls are not known here.
pub fn number(abi: Abi, name: &str) -> Option<u32> {
    table(abi)?.number(name)
}

/// True if an ABI whose calls are known here does not have this one.
pub(crate) fn lacks(abi: Abi, name: &str) -> bool {
    table(abi).is_some_and(|calls| calls.number(name).is_none())
}

/// What is known of `name` under `abi`.
pub(crate) fn look_up(abi: Abi, name: &str) -> Known {
    let has = |abi: Abi| number(abi, name).is_some();
    if has(abi) {
        Known::Here
    } else if elsewhere::NAMES.contains(&name) || Abi::NATIVE.into_iter().any(has) {
        Known::Elsewhere
    } else {
        Known::Nowhere
    }
}

// === impl Calls ===

impl Calls {
    /// Number and name of each.
    pub(crate) fn iter(self) -> impl Iterator<Item = (u32, &'static str)> {
        self.0.lines().filter_map(|line| {
            let (number, name) = line.split_once(' ')?;
            Some((number.parse().ok()?, name))
        })
    }

    /// The number of a call.
    pub(crate) fn number(self, name: &str) -> Option<u32> {
        let mut lines = self.0.lines().filter_map(|line| line.split_once(' '));
        let (number, _) = lines.find(|(_, known)| *known == name)?;
        number.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_ordered_and_name_nothing_twice() {
        for (abi, count) in [(Abi::X86_64, 385), (Abi::AARCH64, 327)] {
            let table: Vec<(u32, &str)> = table(abi).unwrap().iter().collect();
            assert_eq!(table.len(), count, "{abi}");
            assert!(table.windows(2).all(|pair| pair[0].0 < pair[1].0));
            assert_eq!(names(abi).len(), count);
            assert_eq!(last_number(abi), Some(471));
        }
        assert!(elsewhere::NAMES.is_sorted());
    }

    #[test]
    fn numbers_are_those_of_the_kernel() {
        assert_eq!(number(Abi::X86_64, "clone3"), Some(435));
        assert_eq!(number(Abi::X86_64, "getpid"), Some(39));
        assert_eq!(number(Abi::AARCH64, "getpid"), Some(172));
        assert_eq!(number(Abi::AARCH64, "open"), None);
    }

    #[test]
    fn a_name_is_here_elsewhere_or_nowhere() {
        assert_eq!(look_up(Abi::X86_64, "open"), Known::Here);
        assert_eq!(look_up(Abi::AARCH64, "open"), Known::Elsewhere);
        assert_eq!(look_up(Abi::X86_64, "socketcall"), Known::Elsewhere);
        assert_eq!(look_up(Abi::X86_64, "opne"), Known::Nowhere);
    }

    #[test]
    fn every_call_of_the_lists_exists() {
        for name in MULTIPLEXERS.iter().chain(&TRIED_FIRST) {
            assert_ne!(look_up(Abi::X86_64, name), Known::Nowhere, "{name}");
        }
        for (name, _) in narrow::ARGUMENTS {
            assert_ne!(look_up(Abi::X86_64, name), Known::Nowhere, "{name}");
        }
    }
}
