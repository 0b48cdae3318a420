//! Which running containers the ledger has a decision for.

use portcullis_ledger::entry::Entry;

/// A record comes before its container, or, by the hook, a moment after the container's first
/// process, which waits for it.
const BEFORE_MS: u64 = 120_000;
/// See [`BEFORE_MS`]; a hook has ten seconds.
const AFTER_MS: u64 = 30_000;

/// A running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Running {
    /// Its id; empty if nothing tells.
    pub(super) id: String,
    /// Its containerd namespace; empty if it has none, or nothing tells.
    pub(super) namespace: String,
    /// Milliseconds from boot to its start.
    pub(super) start_ms: u64,
}

/// A decision about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decided {
    /// Number of the entry.
    pub(super) sequence: u64,
    /// `ref` of the record.
    pub(super) reference: String,
    id: String,
    namespace: String,
    decision: String,
    /// The image, if the record names it.
    pub(super) image: Option<String>,
    at_ms: u64,
}

/// The time now, by both clocks.
#[derive(Debug, Clone)]
pub(super) struct Now {
    /// The kernel's boot id.
    pub(super) boot_id: String,
    /// Milliseconds since boot.
    pub(super) boottime_ms: u64,
    /// Seconds since 1970.
    pub(super) unix_s: u64,
}

/// What the ledger says about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Coverage {
    /// It was permitted, or would be refused were the mode not audit.
    Decided(Decided),
    /// It was refused, and runs.
    Refused(Decided),
    /// There is nothing about it.
    NoRecord,
    /// There is nothing about it, and it is older than the ledger of this boot.
    BeforeLedger,
}

// === impl Coverage ===

impl Coverage {
    /// Its name, kebab-case.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Decided(_) => "covered",
            Self::Refused(_) => "refused",
            Self::NoRecord => "no-record",
            Self::BeforeLedger => "before-ledger",
        }
    }

    /// Whether the gate let it pass.
    pub(super) const fn is_covered(&self) -> bool {
        matches!(self, Self::Decided(_))
    }

    /// The record.
    pub(super) const fn decided(&self) -> Option<&Decided> {
        match self {
            Self::Decided(decided) | Self::Refused(decided) => Some(decided),
            Self::NoRecord | Self::BeforeLedger => None,
        }
    }
}

// === impl Decided ===

impl Decided {
    /// The decision in `entry`, if it is one about a new container in this boot.
    pub(super) fn read(entry: &Entry, now: &Now) -> Option<Self> {
        let operation = entry.text(&["operation"])?;
        if !["create", "hook"].contains(&operation) {
            return None;
        }
        Some(Self {
            sequence: entry.sequence,
            reference: entry.text(&["ref"])?.to_owned(),
            id: entry.text(&["container", "id"])?.to_owned(),
            namespace: entry
                .text(&["container", "namespace"])
                .unwrap_or_default()
                .to_owned(),
            decision: entry.text(&["decision"])?.to_owned(),
            image: entry.text(&["container", "image"]).map(str::to_owned),
            at_ms: at_ms(entry, now)?,
        })
    }

    fn is_of(&self, running: &Running) -> bool {
        let same_namespace = self.namespace == running.namespace
            || self.namespace.is_empty()
            || running.namespace.is_empty();
        let is_near = running.start_ms.saturating_add(AFTER_MS) >= self.at_ms
            && running.start_ms <= self.at_ms.saturating_add(BEFORE_MS);
        !running.id.is_empty() && self.id == running.id && same_namespace && is_near
    }

    fn lets_pass(&self) -> bool {
        ["permitted", "would-refuse", "break-glass"].contains(&self.decision.as_str())
    }
}

/// When an entry was written, in milliseconds since this boot; `None` if that was in another one.
pub(super) fn at_ms(entry: &Entry, now: &Now) -> Option<u64> {
    if let Some((boot_id, boottime_ms)) = &entry.boot {
        return (*boot_id == now.boot_id).then_some(*boottime_ms);
    }
    // A line of version 0.1 has the wall clock only.
    let at: jiff::Timestamp = entry.at.parse().ok()?;
    let at = u64::try_from(at.as_second()).ok()?;
    let age_ms = now.unix_s.saturating_sub(at).saturating_mul(1000);
    now.boottime_ms.checked_sub(age_ms)
}

/// What the ledger says about each of `running`. A decision is for one container: of two that fit,
/// the one that started nearer to it has it.
pub(super) fn cover(
    running: &[Running],
    decided: &[Decided],
    ledger_begins_ms: Option<u64>,
) -> Vec<Coverage> {
    let mut pairs: Vec<(u64, usize, usize)> = Vec::new();
    for (container, one) in running.iter().enumerate() {
        for (record, decision) in decided.iter().enumerate() {
            if decision.is_of(one) {
                pairs.push((one.start_ms.abs_diff(decision.at_ms), container, record));
            }
        }
    }
    pairs.sort_unstable();
    let mut found: Vec<Option<&Decided>> = vec![None; running.len()];
    let mut is_taken = vec![false; decided.len()];
    for (_, container, record) in pairs {
        let (Some(place), Some(taken)) = (found.get_mut(container), is_taken.get_mut(record))
        else {
            continue;
        };
        if place.is_none() && !*taken {
            *place = decided.get(record);
            *taken = true;
        }
    }
    running
        .iter()
        .zip(found)
        .map(|(one, decision)| match decision {
            Some(decision) if decision.lets_pass() => Coverage::Decided(decision.clone()),
            Some(decision) => Coverage::Refused(decision.clone()),
            None if ledger_begins_ms.is_some_and(|begins| one.start_ms < begins) => {
                Coverage::BeforeLedger
            }
            None => Coverage::NoRecord,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Now {
        Now {
            boot_id: "b".to_owned(),
            boottime_ms: 1_000_000,
            unix_s: 1_795_290_484,
        }
    }

    fn entry(fields: &Value) -> Entry {
        let mut line = json!({
            "seq": 41, "prev": "00".repeat(32), "at": "2026-11-21T19:48:04Z",
            "boot_id": "b", "boottime_ms": 500_000, "ref": "8d21c0aa", "operation": "create",
            "decision": "permitted", "container": {"namespace": "default", "id": "web"},
        });
        for (name, value) in fields.as_object().unwrap() {
            line[name] = value.clone();
        }
        Entry::parse(line.to_string().as_bytes()).unwrap()
    }

    fn decided(fields: &Value) -> Decided {
        Decided::read(&entry(fields), &now()).unwrap()
    }

    fn running(namespace: &str, id: &str, start_ms: u64) -> Running {
        Running {
            id: id.to_owned(),
            namespace: namespace.to_owned(),
            start_ms,
        }
    }

    fn states(running: &[Running], decided: &[Decided]) -> Vec<&'static str> {
        cover(running, decided, Some(400_000))
            .iter()
            .map(Coverage::as_str)
            .collect()
    }

    #[test]
    fn a_decision_covers_the_container_that_followed_it() {
        let record = [decided(&json!({}))];
        for (container, state) in [
            (running("default", "web", 500_200), "covered"),
            (running("", "web", 500_200), "covered"),
            (running("default", "web", 480_000), "covered"),
            (running("k8s.io", "web", 500_200), "no-record"),
            (running("default", "web-1", 500_200), "no-record"),
            (running("default", "", 500_200), "no-record"),
            // The same name, much later: another container.
            (running("default", "web", 900_000), "no-record"),
            (running("default", "web", 100_000), "before-ledger"),
        ] {
            assert_eq!(
                states(std::slice::from_ref(&container), &record),
                [state],
                "{container:?}"
            );
        }
    }

    #[test]
    fn a_decision_is_for_one_container_only() {
        let record = [decided(&json!({}))];
        let twins = [
            running("", "web", 510_000),
            running("default", "web", 500_100),
        ];
        assert_eq!(states(&twins, &record), ["no-record", "covered"]);
        let again = [
            decided(&json!({})),
            decided(&json!({"boottime_ms": 510_000})),
        ];
        assert_eq!(states(&twins, &again), ["covered", "covered"]);
    }

    #[test]
    fn what_was_refused_and_runs_is_told() {
        for (decision, state) in [
            ("refused", "refused"),
            ("undecided", "refused"),
            ("fault", "refused"),
            ("would-refuse", "covered"),
            ("break-glass", "covered"),
        ] {
            let record = [decided(&json!({"decision": decision}))];
            let container = [running("default", "web", 500_000)];
            assert_eq!(states(&container, &record), [state], "{decision}");
        }
    }

    #[test]
    fn only_new_containers_of_this_boot_count() {
        let read = |fields: Value| Decided::read(&entry(&fields), &now());
        assert_eq!(read(json!({"operation": "exec"})), None);
        assert_eq!(read(json!({"boot_id": "a"})), None);
        assert!(read(json!({"operation": "hook"})).is_some());
    }

    #[test]
    fn a_line_without_a_boot_counts_by_the_wall_clock() {
        let mut old = entry(&json!({}));
        old.boot = None;
        assert_eq!(at_ms(&old, &now()), Some(1_000_000));
        old.at = "2026-11-21T19:47:04Z".to_owned();
        assert_eq!(at_ms(&old, &now()), Some(940_000));
        old.at = "2026-11-20T19:47:04Z".to_owned();
        assert_eq!(at_ms(&old, &now()), None);
    }
}
