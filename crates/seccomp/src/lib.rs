//! What a seccomp section permits, exactly.
//!
//! A section of an OCI configuration ([`Section`]) is read with the meaning that runc and crun give
//! it by way of libseccomp, not with the one it seems to have. For each call it is then a function
//! from six arguments of 64 bits to an answer, kept as a decision diagram (`diagram.rs`), in which
//! comparing, intersecting and finding an example are exact. [`lint`] says what means something
//! else than it reads, [`differences`] what one section permits and another does not, [`intersect`]
//! makes one section of two.
//!
//! It is for people who write such sections, and for tests. Launches use the smaller, one-sided
//! rules of `portcullis-hardening`; the reading of conditions is that crate's, and shared.
//!
//! ```
//! use portcullis_seccomp::{Abi, Circumstances, Section, lint};
//! use serde_json::json;
//!
//! let native = Abi::X86_64;
//! let circumstances = Circumstances { native, capabilities: [].into() };
//! let section = json!({
//!     "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
//!     "architectures": ["SCMP_ARCH_X86_64"],
//!     "syscalls": [{
//!         "names": ["socket"], "action": "SCMP_ACT_ALLOW",
//!         "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_NE"}],
//!     }],
//! });
//! let section = Section::read(&section, &circumstances)?;
//! let found = lint(&section, native)?;
//! assert_eq!(found[0].rule.as_str(), "wide-compare-bypass");
//! assert_eq!(found[0].witness.as_ref().unwrap().to_string(), "socket(0x100000026, …)");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is not known
//!
//! - Names that are newer than the libseccomp of a host are left out there; here they count.
//! - Of ABIs other than x86_64 and aarch64 names are taken as they stand: calls that share one
//!   number there (`socketcall`, `ipc`) are not resolved.
//! - runc answers numbers above the highest one that a section names with `ENOSYS`, where the
//!   default is a denial with an errno; crun with the default. Here they have the default.
//!
//! Layer 0: no I/O, no clock. May use `gate` and `hardening`.
#![forbid(unsafe_code)]

mod abi;
mod action;
mod bpf;
mod convention;
mod diagram;
mod difference;
mod filter;
mod floor;
mod intersection;
mod lint;
mod loaded;
mod section;
mod syscall;
mod witness;

#[cfg(test)]
mod by_point;

pub use abi::Abi;
pub use action::{Action, Verdict};
pub use bpf::{CallData, Instruction, run};
pub use diagram::Complex;
pub use difference::{Difference, DifferenceError, Direction, differences};
pub use filter::Answers;
pub use floor::{Floor, FloorError};
pub use intersection::{Intersection, IntersectionError, Note, intersect};
pub use lint::{Finding, LintError, Rule, lint};
pub use loaded::{Weaker, verify_loaded};
pub use section::{Circumstances, Section, SectionError};
pub use syscall::number;
pub use witness::Call;
