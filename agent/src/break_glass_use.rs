//! Which break-glass tokens were used, as far as the agent knows: for metrics and the journal. What
//! counts is known to the relying parties alone.

use std::collections::BTreeSet;
use std::path::Path;

use portcullis_attestation::break_glass::TokenId;
use portcullis_config::{Config, paths};
use portcullis_gate::LaunchRecord;
use portcullis_gate::break_glass::{Found, TokenState};
use portcullis_gate::record::Outcome;

use crate::{boot, log};

/// Ids that are kept; a token lives for a day at most.
const LIMIT: usize = 4096;

/// What was recorded since the agent started.
#[derive(Debug, Default)]
pub(crate) struct BreakGlassUse {
    launches: u64,
    used: BTreeSet<String>,
}

// === impl BreakGlassUse ===

impl BreakGlassUse {
    /// Takes note of a record, with a warning for the journal if a token was used.
    pub(crate) fn note(&mut self, record: &LaunchRecord) {
        if record.decision != Outcome::BreakGlass {
            return;
        }
        self.launches = self.launches.saturating_add(1);
        for token in &record.break_glass {
            let waived = if token.host_trust {
                "host trust".to_owned()
            } else {
                token.rules.join(" ")
            };
            let fields = [
                ("token", &*token.jti),
                ("ticket", &*token.ticket),
                ("reason", &*token.reason),
                ("waived", &*waived),
                ("container", &*record.container.id),
                ("ref", &*record.reference),
            ];
            log::warn("a container starts by a break-glass token", &fields);
            if self.used.len() < LIMIT {
                self.used.insert(token.jti.clone());
            }
        }
    }

    /// Launches that went ahead on the strength of a token.
    pub(crate) const fn launches(&self) -> u64 {
        self.launches
    }

    /// How many of the tokens `found` are in each state.
    pub(crate) fn states(&self, found: &[Found], config: &Config) -> [u64; TokenState::ALL.len()] {
        let now_s = boot::unix_s();
        let states: Vec<TokenState> = found
            .iter()
            .map(|one| {
                let was_used = one.token.as_ref().is_ok_and(|it| self.was_used(&it.id));
                one.state(&config.break_glass, &config.node_name, now_s, was_used)
            })
            .collect();
        TokenState::ALL.map(|wanted| {
            let of_state = states.iter().filter(|state| **state == wanted);
            u64::try_from(of_state.count()).unwrap_or(u64::MAX)
        })
    }

    /// Claims are not the agent's to write, but it may look at them where they are.
    fn was_used(&self, id: &TokenId) -> bool {
        let claims = Path::new(paths::GATE_STATE);
        self.used.contains(id.as_str())
            || portcullis_host::claimed_by(claims, id).is_ok_and(|claimed| claimed.is_some())
    }
}
