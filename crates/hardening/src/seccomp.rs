//! The seccomp list of a profile, and its intersection with the list a configuration brings.
//!
//! The result never lets a call pass that either of the two would stop. Where the exact
//! intersection cannot be written as OCI rules, the stricter side is taken; so it is where it would
//! take too long to find.

mod condition;
mod requested;

use std::collections::{BTreeMap, BTreeSet};

use portcullis_gate::quote;
use serde_json::{Map, Value, json};

use crate::oci_config::{text, texts};
use crate::profile::{Relaxation, SeccompRules};
use crate::schema;
pub use condition::{Comparison, Condition, Conjunction, alternatives};
use requested::Requested;

/// `EPERM`, the answer to a call that is not listed.
const DEFAULT_ERRNO: u64 = 1;
/// The call whose first argument is a family of sockets.
const SOCKET: &str = "socket";
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
    /// Under what `socket` passes once more if a relaxation opens netlink.
    netlink: Vec<Conjunction>,
}

// === impl SeccompList ===

impl SeccompList {
    /// Reads the list of a profile, in the shape of `linux.seccomp`.
    ///
    /// Only allow-lists whose meaning does not depend on the reader are accepted: conditions are
    /// masked comparisons, each argument at most once in an entry.
    pub(crate) fn from_oci(list: &Value) -> Result<Self, SeccompError> {
        schema::conform(list, &schema::SECCOMP).map_err(|fault| SeccompError::Shape {
            pointer: fault.pointer,
            expected: fault.expected,
        })?;
        let shape = |pointer: &str, expected: &str| SeccompError::Shape {
            pointer: pointer.to_owned(),
            expected: expected.to_owned(),
        };
        let list = list.as_object().ok_or_else(|| shape("", "an object"))?;
        let errno = list.get("defaultErrnoRet").and_then(Value::as_u64);
        if text(list, "defaultAction") != "SCMP_ACT_ERRNO" || errno != Some(DEFAULT_ERRNO) {
            return Err(SeccompError::DefaultAction);
        }
        let mut read = Self {
            architectures: texts(list, "architectures").map(str::to_owned).collect(),
            plain: BTreeSet::new(),
            conditional: BTreeMap::new(),
            errno: BTreeMap::new(),
            netlink: Vec::new(),
        };
        if read.architectures.is_empty() {
            return Err(shape("/architectures", "the native architecture"));
        }
        let entries = list.get("syscalls").and_then(Value::as_array);
        for (index, entry) in entries.into_iter().flatten().enumerate() {
            let pointer = || format!("/syscalls/{index}");
            let entry = entry
                .as_object()
                .ok_or_else(|| shape(&pointer(), "an object"))?;
            read.take_entry(index, entry)?;
        }
        read.without_contradiction()
    }

    fn take_entry(&mut self, index: usize, entry: &Map<String, Value>) -> Result<(), SeccompError> {
        let wrong = |reason| SeccompError::Condition {
            entry: index,
            reason,
        };
        let args = entry
            .get("args")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let mut conditions = Conjunction::new();
        for arg in args {
            let condition = Condition::from_oci(arg).ok_or_else(|| wrong("unknown comparison"))?;
            if !matches!(condition.comparison, Comparison::Masked { .. }) {
                return Err(wrong(
                    "the kernel reads 32 bits, only masked comparisons are safe",
                ));
            }
            if conditions
                .iter()
                .any(|other| other.index == condition.index)
            {
                return Err(wrong(
                    "an argument stands twice, which runtimes read as 'or'",
                ));
            }
            conditions.push(condition);
        }
        conditions.sort_unstable();
        let errno = entry.get("errnoRet").and_then(Value::as_u64);
        match (text(entry, "action"), errno) {
            ("SCMP_ACT_ALLOW", None) if conditions.is_empty() => {
                self.plain.extend(texts(entry, "names").map(str::to_owned));
            }
            ("SCMP_ACT_ALLOW", None) => {
                for name in texts(entry, "names") {
                    self.conditional
                        .entry(name.to_owned())
                        .or_default()
                        .push(conditions.clone());
                }
            }
            ("SCMP_ACT_ERRNO", Some(errno)) if conditions.is_empty() => {
                self.errno
                    .extend(texts(entry, "names").map(|name| (name.to_owned(), errno)));
            }
            ("SCMP_ACT_ERRNO", _) => return Err(wrong("a denial needs 'errnoRet' and no 'args'")),
            (action, _) => {
                return Err(SeccompError::Action {
                    entry: index,
                    action: quote(action),
                });
            }
        }
        Ok(())
    }

    /// The list with the additions and removals of a profile.
    pub(crate) fn adjusted(mut self, rules: &SeccompRules) -> Result<Self, SeccompError> {
        for name in &rules.remove {
            self.plain.remove(name);
            self.conditional.remove(name);
        }
        self.allow(&rules.add);
        if !rules.netlink {
            let family = Comparison::Masked {
                mask: u32::MAX.into(),
                value: AF_NETLINK,
            };
            let netlink = Condition {
                index: 0,
                comparison: family,
            };
            if let Some(sockets) = self.conditional.get_mut(SOCKET) {
                let closed;
                (closed, *sockets) = std::mem::take(sockets)
                    .into_iter()
                    .partition(|conditions| conditions.contains(&netlink));
                self.netlink = closed;
            }
        }
        self.without_contradiction()
    }

    fn allow(&mut self, names: &[String]) {
        for name in names {
            self.errno.remove(name);
            self.conditional.remove(name);
            self.plain.insert(name.clone());
        }
    }

    fn without_contradiction(self) -> Result<Self, SeccompError> {
        let allowed =
            |name: &&String| self.plain.contains(*name) || self.conditional.contains_key(*name);
        let twice = |name: &&String| self.plain.contains(*name);
        match self
            .errno
            .keys()
            .find(allowed)
            .or_else(|| self.conditional.keys().find(twice))
        {
            Some(name) => Err(SeccompError::Contradiction { name: name.clone() }),
            None => Ok(self),
        }
    }

    /// The architectures whose calls are looked at; those of others end the process.
    pub(crate) fn architectures(&self) -> &[String] {
        &self.architectures
    }

    /// How many calls pass, with or without conditions.
    pub(crate) fn allowed_calls(&self) -> usize {
        self.plain.len().saturating_add(self.conditional.len())
    }

    /// The section for a container: this list, opened by `relaxations`, narrowed by what the
    /// configuration brought.
    pub(crate) fn section<'a>(
        &self,
        relaxations: impl Iterator<Item = &'a Relaxation>,
        brought: Option<&Map<String, Value>>,
    ) -> Map<String, Value> {
        let mut relaxed = None;
        for relaxation in relaxations {
            let opens = !relaxation.syscalls.is_empty() || !relaxation.architectures.is_empty();
            if opens || relaxation.netlink {
                let list = relaxed.get_or_insert_with(|| self.clone());
                list.allow(&relaxation.syscalls);
                if let (true, Some(sockets)) =
                    (relaxation.netlink, list.conditional.get_mut(SOCKET))
                {
                    sockets.append(&mut list.netlink);
                }
                list.architectures
                    .extend(relaxation.architectures.iter().cloned());
            }
        }
        let list = relaxed.as_ref().unwrap_or(self);
        let listed = |name: &str| list.plain.contains(name) || list.conditional.contains_key(name);
        let requested = brought.map(|section| Requested::from_oci(section, listed));
        list.narrowed(requested.as_ref())
    }

    fn narrowed(&self, requested: Option<&Requested<'_>>) -> Map<String, Value> {
        let mut plain: Vec<Value> = Vec::with_capacity(self.plain.len());
        let mut entries = Vec::new();
        for name in &self.plain {
            match requested.map(|it| it.rules(name)) {
                None => plain.push(name.as_str().into()),
                Some((pass, [])) if pass.iter().any(Vec::is_empty) => {
                    plain.push(name.as_str().into());
                }
                Some((pass, stop)) => entries.extend(meet(&[Vec::new()], pass, stop, name)),
            }
        }
        for (name, ours) in &self.conditional {
            let (pass, stop) = requested.map_or((ALWAYS, &[][..]), |it| it.rules(name));
            entries.extend(meet(ours, pass, stop, name));
        }
        entries.insert(0, json!({"names": plain, "action": "SCMP_ACT_ALLOW"}));
        let mut by_errno: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for (name, errno) in &self.errno {
            by_errno.entry(*errno).or_default().push(name);
        }
        for (errno, names) in by_errno {
            entries.push(json!({"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno}));
        }
        let mut section = Map::new();
        section.insert("defaultAction".to_owned(), "SCMP_ACT_ERRNO".into());
        section.insert("defaultErrnoRet".to_owned(), DEFAULT_ERRNO.into());
        section.insert("architectures".to_owned(), json!(self.architectures));
        section.insert("syscalls".to_owned(), Value::Array(entries));
        section
    }
}

/// Always passes.
const ALWAYS: &[Conjunction] = &[Vec::new()];

/// The entries under which `name` passes both `ours` and the requested filter.
fn meet(
    ours: &[Conjunction],
    pass: &[Conjunction],
    stop: &[Conjunction],
    name: &str,
) -> Vec<Value> {
    let mut alternatives: Vec<Conjunction> = Vec::new();
    for conditions in ours {
        // If the request lets all of ours pass, its other alternatives add nothing.
        let whole = pass.iter().find(|it| condition::implies(conditions, it));
        let candidates = match whole {
            Some(_) => vec![conditions.clone()],
            None => pass
                .iter()
                .filter_map(|it| condition::both(conditions, it))
                .collect(),
        };
        for candidate in candidates {
            let stopped = stop.iter().any(|it| !condition::excludes(&candidate, it));
            if !stopped && !alternatives.contains(&candidate) {
                alternatives.push(candidate);
            }
        }
    }
    alternatives
        .iter()
        .map(|conditions| {
            let args: Vec<Value> = conditions.iter().map(|it| it.to_oci()).collect();
            json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": args})
        })
        .collect()
}

#[cfg(test)]
mod tests;
