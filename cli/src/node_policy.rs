//! What is signed on this node: the policy bundle in force and the break-glass tokens, for the status.

use std::path::Path;

use portcullis_attestation::policy_bundle::Term;
use portcullis_config::{Config, SignedPolicies, paths};
use portcullis_gate::Refusals;
use serde_json::{Value, json};

use crate::clock;
use crate::paint::{Rows, bad, caution, good, plain};
use crate::tokens::{self, Listed};

/// What is signed on this node.
#[derive(Debug)]
pub(crate) struct NodePolicy<'a> {
    settings: &'a Result<Config, Refusals>,
    tokens: Result<Vec<Listed>, Refusals>,
    /// The refusal that launches get although the bundle is genuine.
    rolled_back: Option<String>,
}

// === impl NodePolicy ===

impl<'a> NodePolicy<'a> {
    /// Looks at the node's files as a launch does, under the settings that one would have.
    pub(crate) fn of(settings: &'a Result<Config, Refusals>, now: u64) -> Self {
        let (tokens, rolled_back) = match settings {
            Ok(settings) => (tokens::list(settings, now), rolled_back(settings)),
            Err(_) => (Ok(Vec::new()), None),
        };
        Self {
            settings,
            tokens,
            rolled_back,
        }
    }

    /// A node on which nothing is signed.
    #[cfg(test)]
    pub(crate) const fn unsigned(settings: &'a Result<Config, Refusals>) -> Self {
        Self {
            settings,
            tokens: Ok(Vec::new()),
            rolled_back: None,
        }
    }

    /// Adds the lines of the status.
    pub(crate) fn add_to(&self, rows: &mut Rows, now: u64) {
        // Settings that cannot be read are told by whoever shows them.
        if let Ok(settings) = self.settings {
            rows.add("policy", self.line(settings, now));
        }
        match &self.tokens {
            Err(refusals) => rows.add("break-glass", bad(&plain(&refusals.to_string()))),
            Ok(tokens) => {
                for token in tokens {
                    rows.add("break-glass", token.line(now));
                }
            }
        }
    }

    fn line(&self, settings: &Config, now: u64) -> String {
        if let Some(refusal) = &self.rolled_back {
            return bad(&plain(refusal));
        }
        let Some(in_force) = &settings.bundle else {
            return "the node's own files, nothing signed".to_owned();
        };
        let bundle = &in_force.bundle;
        let name = format!("{} number {}", plain(&bundle.name), bundle.sequence);
        let until = clock::utc_and_distance(bundle.expires_s, now);
        if in_force.term == Term::Grace {
            let last = clock::utc_and_distance(in_force.counts_until_s, now);
            return caution(&format!(
                "{name}, over since {until}; nothing starts from {last} on"
            ));
        }
        good(&format!("{name}, until {until}"))
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        let bundle = self
            .settings
            .as_ref()
            .ok()
            .and_then(|it| it.bundle.as_ref());
        let bundle = bundle.map(|it| {
            json!({
                "name": it.bundle.name,
                "sequence": it.bundle.sequence,
                "sha256": it.sha256,
                "file": it.path,
                "signer": it.signer,
                "term": it.term.to_string(),
                "expires_at": it.bundle.expires_s,
                "counts_until": it.counts_until_s,
            })
        });
        let required = self
            .settings
            .as_ref()
            .map(|it| it.policy.signed == SignedPolicies::Required);
        let faults = self.settings.as_ref().err().map(ToString::to_string);
        let tokens = self.tokens.iter().flatten().map(Listed::to_json);
        json!({
            "bundle": bundle,
            "required": required.ok(),
            "fault": faults.or_else(|| self.rolled_back.clone()),
            "break_glass": tokens.collect::<Vec<_>>(),
        })
    }
}

/// Why launches refuse the bundle in force, if they do.
fn rolled_back(settings: &Config) -> Option<String> {
    let offered = settings.bundle.as_ref()?.newest();
    match portcullis_host::newest_policy(Path::new(paths::GATE_STATE)) {
        Ok(known) => Some(known?.is_succeeded_by(&offered).err()?.to_string()),
        Err(error) => Some(error.refusal().to_string()),
    }
}
