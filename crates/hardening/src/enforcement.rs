//! Whether the kernel holds of a container what was decided: looked at when its program has been
//! loaded and has not run yet.
//!
//! A `config.json` is a wish. What becomes of it depends on the runtime, its libraries and the
//! kernel: masks were left out by a race (CVE-2025-31133), filters were merged to weaker ones
//! (GHSA-4q85-33p6-j5g6). [`Enforcement`] is what a configuration promises, [`Held`] what the
//! kernel answers; more confinement than promised is no fault, less is.

mod cgroup;
mod credentials;
mod mounts;

use std::collections::BTreeMap;

use portcullis_gate::{Code, Refusal, Refusals, quote};
use serde_json::Value;

use crate::facts::{NamespaceKind, UserNamespaceMaps};
use crate::oci_config::{OciConfig, text, texts};

pub use credentials::HeldCredentials;
pub use mounts::{HeldMount, HeldPath, MountFlags};

/// What one configuration promises of the process that runs in it.
#[derive(Debug, Clone, Copy)]
pub struct Enforcement<'a>(&'a OciConfig);

/// What the kernel says of a process.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// `/proc/PID/status`.
    pub credentials: HeldCredentials,
    /// How many seccomp filters its runtime was started with.
    pub inherited_filters: u32,
    /// The maps of its user namespace, seen from the host.
    pub ids: UserNamespaceMaps,
    /// For each kind that the configuration names: whose it is.
    pub namespaces: BTreeMap<NamespaceKind, HeldNamespace>,
    /// `/proc/PID/mountinfo`, in order.
    pub mounts: Vec<HeldMount>,
    /// For [`Enforcement::mount_points`] that are no places of the table, because a link leads
    /// elsewhere: the number of the mount that the path leads to.
    pub mounts_by_link: BTreeMap<String, u64>,
    /// What is at each of [`Enforcement::masked`].
    pub masked: Vec<HeldPath>,
    /// What is at each of [`Enforcement::read_only`].
    pub read_only: Vec<HeldPath>,
    /// `/proc/PID/cgroup`.
    pub cgroups: String,
    /// Its `AppArmor` profile or `SELinux` label; empty if no module gives one.
    pub label: String,
}

/// Whose namespace a process is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldNamespace {
    /// That of the host.
    Host,
    /// The one at the path in the configuration.
    Joined,
    /// Another one.
    Other,
}

/// Collects what differs.
struct Differences(Vec<Refusal>);

// === impl Enforcement ===

impl<'a> Enforcement<'a> {
    /// What `config` promises; it must be the one that the runtime was given.
    #[must_use]
    pub const fn of(config: &'a OciConfig) -> Self {
        Self(config)
    }

    /// Paths whose contents nobody sees.
    pub fn masked(self) -> impl Iterator<Item = &'a str> {
        self.linux()
            .into_iter()
            .flat_map(|it| texts(it, "maskedPaths"))
    }

    /// Paths that nobody writes to.
    pub fn read_only(self) -> impl Iterator<Item = &'a str> {
        self.linux()
            .into_iter()
            .flat_map(|it| texts(it, "readonlyPaths"))
    }

    /// Where something is mounted that stays visible, in order.
    pub fn mount_points(self) -> impl Iterator<Item = String> {
        mounts::promised(self.0)
            .into_iter()
            .map(|mount| mount.point)
    }

    /// The namespaces it names: the kind, and the path if it is joined.
    pub fn namespaces(self) -> impl Iterator<Item = (NamespaceKind, Option<&'a str>)> {
        let list = self.linux().and_then(|it| it.get("namespaces")?.as_array());
        list.into_iter().flatten().filter_map(|namespace| {
            let namespace = namespace.as_object()?;
            let kind = NamespaceKind::of_name(text(namespace, "type"))?;
            let path = text(namespace, "path");
            Some((kind, (!path.is_empty()).then_some(path)))
        })
    }

    /// Holds what the kernel says against the promise.
    ///
    /// # Errors
    ///
    /// `enforcement-mismatch`, once for each difference; the subject is the JSON pointer of what
    /// was promised.
    pub fn verify(self, held: &Held) -> Result<(), Refusals> {
        let mut differences = Differences(Vec::new());
        credentials::compare(self.0, held, &mut differences);
        self.compare_namespaces(held, &mut differences);
        mounts::compare(self, held, &mut differences);
        cgroup::compare(self.0, &held.cgroups, &mut differences);
        self.compare_label(&held.label, &mut differences);
        Refusals::from_vec(differences.0).map_or(Ok(()), Err)
    }

    fn linux(self) -> Option<&'a serde_json::Map<String, Value>> {
        self.0.as_map().get("linux")?.as_object()
    }

    fn compare_namespaces(self, held: &Held, differences: &mut Differences) {
        for (kind, path) in self.namespaces() {
            let (wanted, expected) = match path {
                Some(path) => (HeldNamespace::Joined, format!("that of {}", quote(path))),
                None => (HeldNamespace::Other, "one of its own".to_owned()),
            };
            let found = held.namespaces.get(&kind).copied();
            if found != Some(wanted) {
                let found = match found {
                    Some(HeldNamespace::Host) => "that of the host",
                    Some(HeldNamespace::Joined | HeldNamespace::Other) => "another one",
                    None => "none",
                };
                let subject = format!("/linux/namespaces, {kind}");
                differences.push(&subject, expected, found);
            }
        }
    }

    fn compare_label(self, held: &str, differences: &mut Differences) {
        let process = self.0.as_map().get("process").and_then(Value::as_object);
        for key in ["apparmorProfile", "selinuxLabel"] {
            let wanted = process.map_or("", |it| text(it, key));
            // AppArmor adds the mode in parentheses.
            let found = held.split(" (").next().unwrap_or_default();
            if !wanted.is_empty() && found != wanted {
                let subject = format!("/process/{key}");
                differences.push(&subject, quote(wanted), quote(held));
            }
        }
    }
}

// === impl Differences ===

impl Differences {
    fn push(&mut self, subject: &str, expected: impl Into<String>, found: impl Into<String>) {
        let code = Code::EnforcementMismatch;
        self.0
            .push(Refusal::new(code, subject, expected.into(), found.into()));
    }

    /// A count, a flag or an id that is not as promised.
    fn unless(
        &mut self,
        holds: bool,
        subject: &str,
        expected: impl std::fmt::Display,
        found: impl std::fmt::Display,
    ) {
        if !holds {
            self.push(subject, expected.to_string(), found.to_string());
        }
    }
}

#[cfg(test)]
mod tests;
