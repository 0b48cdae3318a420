//! The break-glass tokens of this node, and how each stands.

use std::path::Path;

use portcullis_attestation::break_glass::BreakGlass;
use portcullis_config::{Config, paths};
use portcullis_gate::Refusals;
use portcullis_gate::break_glass::TokenState;
use serde_json::{Value, json};

use crate::clock;
use crate::commands::waived;
use crate::paint::{Rows, bad, caution, good, plain};

/// One token.
#[derive(Debug)]
pub(crate) struct Listed {
    /// Its file.
    pub(crate) file: String,
    /// How it stands.
    pub(crate) state: TokenState,
    /// What it says, or why nobody knows.
    token: Result<BreakGlass, String>,
    used_by: Option<String>,
}

/// All tokens of this node.
///
/// # Errors
///
/// `host-unreadable`: nobody can tell which were used.
pub(crate) fn list(settings: &Config, now: u64) -> Result<Vec<Listed>, Refusals> {
    let mut listed = Vec::new();
    for found in portcullis_config::break_glass_tokens() {
        let used_by = match &found.token {
            Ok(token) => portcullis_host::claimed_by(Path::new(paths::GATE_STATE), &token.id)
                .map_err(|error| error.refusal())?,
            Err(_) => None,
        };
        let (policy, node) = (&settings.break_glass, &settings.node_name);
        listed.push(Listed {
            state: found.state(policy, node, now, used_by.is_some()),
            file: found.file,
            token: found.token,
            used_by,
        });
    }
    Ok(listed)
}

// === impl Listed ===

impl Listed {
    /// The state, and what there is to say about it, on one line.
    pub(crate) fn line(&self, now: u64) -> String {
        let word = self.state.as_str();
        let state = match self.state {
            TokenState::Open => caution(word),
            TokenState::Used => good(word),
            _ => bad(word),
        };
        match &self.token {
            Err(reason) => format!("{state}: {}", plain(reason)),
            Ok(token) => format!(
                "{state}, {}: {}, until {}",
                token.id.as_str(),
                waived(token),
                clock::utc_and_distance(token.expires_s, now)
            ),
        }
    }

    /// The same at length.
    pub(crate) fn rows(&self, now: u64) -> Rows {
        let mut rows = Rows::default();
        rows.add("state", self.line(now));
        if let Ok(token) = &self.token {
            rows.add("namespace", plain(&token.namespace));
            for (name, value) in [("pod", &token.pod), ("container", &token.container)] {
                if let Some(value) = value {
                    rows.add(name, plain(value));
                }
            }
            let why = format!("{} ({})", plain(&token.reason), plain(&token.ticket));
            rows.add("reason", why);
        }
        if let Some(by_whom) = &self.used_by {
            rows.add("used by", plain(by_whom));
        }
        rows
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "file": self.file,
            "state": self.state.as_str(),
            "used_by": self.used_by,
            "claims": self.token.as_ref().ok().map(BreakGlass::to_claims),
            "defect": self.token.as_ref().err(),
        })
    }
}
