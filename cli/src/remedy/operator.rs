//! What the operator of a node could do about a refusal: found by trying it.

use std::collections::BTreeSet;

use portcullis_gate::Refusals;
use serde_json::{Value, json};

/// One thing that the operator could give up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// What is offered: `relaxation` or `mounts-allow`.
    pub(crate) kind: &'static str,
    /// The relaxation, or the path.
    pub(crate) name: String,
    /// What it gives up.
    pub(crate) summary: String,
    /// The settings for it.
    pub(crate) settings: String,
    /// True if nothing is refused any more with it alone.
    pub(crate) suffices: bool,
}

/// How many of the refusals `before` an attempt took away, and whether it took all.
pub(crate) fn effect(before: &Refusals, after: &Result<(), Refusals>) -> (usize, bool) {
    let seen = |refusals: &Refusals| -> BTreeSet<String> {
        refusals
            .iter()
            .map(|it| format!("{} {} {}", it.code, it.subject, it.found))
            .collect()
    };
    match after {
        Ok(()) => (before.count(), true),
        Err(after) => (seen(before).difference(&seen(after)).count(), false),
    }
}

// === impl Offer ===

impl Offer {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "kind": self.kind,
            "name": self.name,
            "summary": self.summary,
            "settings": self.settings,
            "suffices": self.suffices,
        })
    }
}
