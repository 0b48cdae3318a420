//! The seccomp list of a profile, and its intersection with the list a configuration brings.
//!
//! The result never lets a call pass that either of the two would stop. Where the exact
//! intersection cannot be written as OCI rules, the stricter side is taken.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::profile::{Relaxation, SeccompRules};
type Conjunction = ();

/// `EPERM`, the answer to a call that is not listed.
const DEFAULT_ERRNO: u64 = 1;
/// The kernel's number of `AF_NETLINK`.
const AF_NETLINK: u64 = 16;

/// Why a seccomp list cannot be part of a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeccompError {
    /// The shape is not that of `linux.seccomp`.
    #[error("cannot read {pointer}: expected {expected}")]
    Shape {
        /// JSON pointer.
        pointer: String,
        /// What should stand there.
        expected: String,
    },
    /// The default action is not `SCMP_ACT_ERRNO` with errno 1.
    #[error("cannot accept a default action other than SCMP_ACT_ERRNO with errno 1")]
    DefaultAction,
    /// An entry has an action other than `SCMP_ACT_ALLOW` or `SCMP_ACT_ERRNO`.
    #[error("cannot accept action {action} of entry {entry}")]
    Action {
        /// Index in `syscalls`.
        entry: usize,
        /// The action, quoted.
        action: String,
    },
    /// A condition that runc, crun or the kernel would read otherwise than it looks.
    #[error("cannot accept the conditions of entry {entry}: {reason}")]
    Condition {
        /// Index in `syscalls`.
        entry: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// A call is both allowed and denied.
    #[error("cannot both allow and deny call '{name}'")]
    Contradiction {
        /// The call.
        name: String,
    },
}

/// An allow-list: what is not named gets `EPERM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeccompList {
    architectures: Vec<String>,
    /// Calls that pass whatever their arguments.
    plain: BTreeSet<String>,
    /// Calls that pass if one of the conjunctions holds.
    conditional: BTreeMap<String, Vec<Conjunction>>,
    /// Calls that get an errno other than the default.
    errno: BTreeMap<String, u64>,
}

impl SeccompList {
    pub(crate) fn from_oci(_list: &Value) -> Result<Self, SeccompError> {
        Err(SeccompError::DefaultAction)
    }
    pub(crate) fn adjusted(self, _rules: &SeccompRules) -> Result<Self, SeccompError> {
        Ok(self)
    }
    pub(crate) fn allowed_calls(&self) -> usize {
        self.plain.len() + self.conditional.len()
    }
}
