//! The seccomp section that a configuration brings.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::condition::{Conjunction, alternatives};
use crate::oci_config::{text, texts};

/// Most alternatives of one call that are understood. Filters in use have a dozen; what follows
/// is compared with each other, so a configuration of 10 MiB must not bring a hundred thousand.
pub(super) const ALTERNATIVES_LIMIT: usize = 256;

/// What a requested filter does with one call.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// The call passes if one of these holds.
    pub pass: Vec<Conjunction>,
    /// The call is stopped if one of these holds.
    pub stop: Vec<Conjunction>,
    /// There were more than [`ALTERNATIVES_LIMIT`]; nothing passes.
    pub excess: bool,
}

/// A requested filter, by call.
#[derive(Debug)]
pub(super) struct Requested<'a> {
    default_passes: bool,
    calls: HashMap<&'a str, Rules>,
}

// === impl Rules ===

impl Rules {
    fn add(&mut self, all: &[Conjunction], list: fn(&mut Self) -> &mut Vec<Conjunction>) {
        if self.excess {
            return;
        }
        let known = self.pass.len().saturating_add(self.stop.len());
        if known.saturating_add(all.len()) > ALTERNATIVES_LIMIT {
            *self = Self {
                excess: true,
                ..Self::default()
            };
            return;
        }
        list(self).extend(all.iter().cloned());
    }
}

// === impl Requested ===

impl<'a> Requested<'a> {
    /// Reads a `linux.seccomp` section that conforms to the schema.
    ///
    /// What cannot be understood, and what is too much, is read so that less passes. Only calls
    /// that are `listed` are kept.
    pub(super) fn from_oci(section: &'a Map<String, Value>, listed: impl Fn(&str) -> bool) -> Self {
        let default_action = text(section, "defaultAction");
        let mut calls: HashMap<&str, Rules> = HashMap::with_capacity(512);
        let entries = section.get("syscalls").and_then(Value::as_array);
        for entry in entries.into_iter().flatten().filter_map(Value::as_object) {
            let action = text(entry, "action");
            // The runtimes skip an entry that does what happens anyway.
            if action == default_action {
                continue;
            }
            let args = entry.get("args").and_then(Value::as_array);
            let conjunctions = alternatives(args.map_or(&[][..], Vec::as_slice));
            for name in texts(entry, "names").filter(|name| listed(name)) {
                let rules = calls.entry(name).or_default();
                match (&conjunctions, passes(action)) {
                    (Some(all), true) => rules.add(all, |rules| &mut rules.pass),
                    (Some(all), false) => rules.add(all, |rules| &mut rules.stop),
                    (None, true) => {}
                    (None, false) => rules.add(&[Vec::new()], |rules| &mut rules.stop),
                }
            }
        }
        Self {
            default_passes: passes(default_action),
            calls,
        }
    }

    /// How many calls and alternatives are kept.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        let alternatives = |rules: &Rules| rules.pass.len() + rules.stop.len();
        (
            self.calls.len(),
            self.calls.values().map(alternatives).sum(),
        )
    }

    /// The conjunctions under which `name` passes, and those that stop it all the same.
    pub(super) fn rules(&self, name: &str) -> (&[Conjunction], &[Conjunction]) {
        const ALWAYS: &[Conjunction] = &[Vec::new()];
        match (self.calls.get(name), self.default_passes) {
            (None, true) => (ALWAYS, &[]),
            (None, false) => (&[], &[]),
            (Some(rules), _) if rules.excess => (&[], &[]),
            (Some(rules), true) => (ALWAYS, &rules.stop),
            (Some(rules), false) => (&rules.pass, &rules.stop),
        }
    }
}

/// True for actions that let the call happen.
fn passes(action: &str) -> bool {
    matches!(action, "SCMP_ACT_ALLOW" | "SCMP_ACT_LOG")
}
