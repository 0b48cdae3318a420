//! Picking entries.

use crate::entry::Entry;

/// What entries must be like; whatever is not set does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Written at this instant or later, in the form of [`Entry::at`].
    pub since: Option<String>,
    /// Written before this instant.
    pub until: Option<String>,
    /// Answered so: `permitted`, `refused`, `undecided`, `fault`, `would-refuse`,
    /// `break-glass`.
    pub decision: Option<String>,
    /// The containerd namespace or the pod's Kubernetes namespace.
    pub namespace: Option<String>,
    /// Begin of the container's id, its name, or the pod's name.
    pub container: Option<String>,
    /// The operation: `create`, `start`, `exec`, `update`, …
    pub operation: Option<String>,
    /// A refusal has this code.
    pub code: Option<String>,
    /// What the ledger notes about itself, too.
    pub events: bool,
}

// === impl Filter ===

impl Filter {
    /// Whether `entry` is one of them.
    #[must_use]
    pub fn accepts(&self, entry: &Entry) -> bool {
        let is_at = |names: &[&str], wanted: &str| entry.text(names) == Some(wanted);
        let unset_or = |wanted: &Option<String>, fits: &dyn Fn(&str) -> bool| {
            wanted.as_deref().is_none_or(fits)
        };
        (self.events || entry.event().is_none())
            && unset_or(&self.since, &|since| entry.at.as_str() >= since)
            && unset_or(&self.until, &|until| entry.at.as_str() < until)
            && unset_or(&self.decision, &|wanted| is_at(&["decision"], wanted))
            && unset_or(&self.operation, &|wanted| is_at(&["operation"], wanted))
            && unset_or(&self.namespace, &|wanted| {
                is_at(&["container", "namespace"], wanted)
                    || is_at(&["container", "pod_namespace"], wanted)
            })
            && unset_or(&self.container, &|wanted| {
                let id = entry.text(&["container", "id"]);
                id.is_some_and(|id| id.starts_with(wanted))
                    || is_at(&["container", "name"], wanted)
                    || is_at(&["container", "pod"], wanted)
            })
            && unset_or(&self.code, &|wanted| has_code(entry, wanted))
    }
}

fn has_code(entry: &Entry, wanted: &str) -> bool {
    let refusals = entry.record.get("refusals").and_then(|it| it.as_array());
    refusals.is_some_and(|refusals| {
        refusals
            .iter()
            .any(|refusal| refusal.get("code").and_then(|code| code.as_str()) == Some(wanted))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry() -> Entry {
        let line = json!({
            "seq": 1, "prev": "00".repeat(32), "at": "2026-11-21T20:58:04Z",
            "decision": "refused", "operation": "create",
            "container": {"namespace": "k8s.io", "id": "0a1b2c", "pod": "web-1",
                "pod_namespace": "shop"},
            "refusals": [{"code": "pcr-drift"}],
        });
        Entry::parse(line.to_string().as_bytes()).expect("a line")
    }

    fn set(change: impl FnOnce(&mut Filter)) -> bool {
        let mut filter = Filter::default();
        change(&mut filter);
        filter.accepts(&entry())
    }

    #[test]
    fn every_condition_counts() {
        let some = |text: &str| Some(text.to_owned());
        assert!(set(|_| {}));
        assert!(set(|it| it.since = some("2026-11-21T20:58:04Z")));
        assert!(!set(|it| it.since = some("2026-11-21T20:58:05Z")));
        assert!(set(|it| it.until = some("2026-11-21T20:58:05Z")));
        assert!(!set(|it| it.until = some("2026-11-21T20:58:04Z")));
        for (wanted, fits) in [("refused", true), ("permitted", false)] {
            assert_eq!(set(|it| it.decision = some(wanted)), fits);
        }
        for (wanted, fits) in [("create", true), ("exec", false)] {
            assert_eq!(set(|it| it.operation = some(wanted)), fits);
        }
        for (wanted, fits) in [("k8s.io", true), ("shop", true), ("sho", false)] {
            assert_eq!(set(|it| it.namespace = some(wanted)), fits);
        }
        for (wanted, fits) in [("0a1", true), ("web-1", true), ("a1b", false)] {
            assert_eq!(set(|it| it.container = some(wanted)), fits);
        }
        for (wanted, fits) in [("pcr-drift", true), ("pcr", false)] {
            assert_eq!(set(|it| it.code = some(wanted)), fits);
        }
    }

    #[test]
    fn what_is_no_decision_is_asked_for() {
        let mut event = entry();
        event.record.insert("event".to_owned(), "anchor".into());
        let mut filter = Filter::default();
        assert!(!filter.accepts(&event));
        filter.events = true;
        assert!(filter.accepts(&event));
    }
}
