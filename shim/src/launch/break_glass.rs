//! Break-glass: a launch that would be refused, and a token that waives just that.
//!
//! Tokens are looked for only when a launch would be refused, and used only when nothing else
//! stands against it any more: one that was used for nothing would be missing later.

use std::path::Path;

use portcullis_attestation::break_glass::BreakGlass;
use portcullis_attestation::ueid::Ueid;
use portcullis_config::paths::{GATE_STATE, SEEN};
use portcullis_config::{Identity, Mode};
use portcullis_gate::break_glass::{Hindrance, Launching, Need, are_of_host, fitting, rules_of};
use portcullis_gate::record::{BreakGlassRecord, Outcome, RefusalRecord};
use portcullis_gate::{Refusals, Rule};
use portcullis_hardening::OciConfig;
use portcullis_host::User;

use super::docket::{Docket, unix_s};
use crate::log;

/// What stands against a launch, and tokens that waive it; at least one.
#[derive(Debug)]
pub(super) struct Waiver {
    refusals: Refusals,
    /// The rules that are waived; none if it is the host's verdict.
    rules: Vec<Rule>,
    tokens: Vec<BreakGlass>,
}

/// A token that waives what the host did not prove.
///
/// # Errors
///
/// The refusals, and why no token that is there helps.
pub(super) fn of_host(
    docket: &Docket,
    oci: &OciConfig,
    refusals: Refusals,
) -> Result<Waiver, Refusals> {
    if docket.config.mode == Mode::Audit || !are_of_host(&refusals) {
        return Err(refusals);
    }
    match portcullis_host::quarantine_is_noted(Path::new(SEEN)) {
        Ok(false) => find(docket, oci, refusals, None, Vec::new()),
        Ok(true) => Err(refusals),
        Err(error) => {
            let mut refusals = refusals;
            refusals.push(error.refusal());
            Err(refusals)
        }
    }
}

/// A token that waives the rules that `refusals` are about, and those of `before`.
///
/// # Errors
///
/// As [`of_host`].
pub(super) fn of_rules(
    docket: &Docket,
    oci: &OciConfig,
    refusals: Refusals,
    ueid: Option<&Ueid>,
    before: Vec<Rule>,
) -> Result<Waiver, Refusals> {
    if docket.config.mode == Mode::Audit {
        return Err(refusals);
    }
    let Some(more) = rules_of(&refusals) else {
        return Err(refusals);
    };
    let mut rules = before;
    for rule in more {
        if rules.contains(&rule) {
            // It is waived already, and does not go away.
            return Err(refusals);
        }
        rules.push(rule);
    }
    find(docket, oci, refusals, ueid, rules)
}

fn find(
    docket: &Docket,
    oci: &OciConfig,
    refusals: Refusals,
    ueid: Option<&Ueid>,
    rules: Vec<Rule>,
) -> Result<Waiver, Refusals> {
    let found = portcullis_config::break_glass_tokens();
    let identity = identity(docket, oci);
    let launching = Launching {
        node: &docket.config.node_name,
        ueid,
        namespace: identity.namespace,
        pod: identity.pod,
        container: identity.container,
        image: identity.image,
    };
    let need = if rules.is_empty() {
        Need::HostTrust
    } else {
        Need::Rules(&rules)
    };
    let policy = &docket.config.break_glass;
    let (tokens, hindrance) = fitting(&found, policy, &launching, need, unix_s());
    if tokens.is_empty() {
        return Err(match hindrance {
            Some(hindrance) => hindrance.told(refusals),
            None => refusals,
        });
    }
    let tokens = tokens.into_iter().cloned().collect();
    Ok(Waiver {
        refusals,
        rules,
        tokens,
    })
}

fn identity<'a>(docket: &'a Docket, oci: &'a OciConfig) -> Identity<'a> {
    let container = &docket.record.container;
    Identity::of(&container.namespace, &container.id, |name| {
        oci.annotation(name)
    })
}

// === impl Waiver ===

impl Waiver {
    /// The rules that are in audit for this launch.
    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The same, to be waived together with others.
    pub(super) fn into_rules(self) -> Vec<Rule> {
        self.rules
    }

    /// Uses one of the tokens, for good, and notes that in the record and in the log. Returns when it
    /// ends, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// What the token would have waived: all of them were used before, or nobody can tell.
    pub(super) fn claim(self, docket: &mut Docket, oci: &OciConfig) -> Result<u64, Refusals> {
        let directory = Path::new(GATE_STATE);
        let mut hindrance = None;
        for token in &self.tokens {
            let identity = identity(docket, oci);
            let user = match identity.sandbox {
                Some(sandbox) => User::Pod {
                    sandbox,
                    container: identity.container.unwrap_or_default(),
                },
                None => User::Container(&docket.record.container.id),
            };
            match portcullis_host::claim(directory, &token.id, token.expires_s, user) {
                Ok(None) => {
                    portcullis_host::forget_claims(directory, unix_s());
                    self.note(token, docket);
                    return Ok(token.expires_s);
                }
                Ok(Some(by_whom)) => hindrance = Some(Hindrance::used(token, &by_whom)),
                Err(error) => {
                    let mut refusals = self.refusals;
                    refusals.push(error.refusal());
                    return Err(refusals);
                }
            }
        }
        Err(match hindrance {
            Some(hindrance) => hindrance.told(self.refusals),
            None => self.refusals,
        })
    }

    fn note(&self, token: &BreakGlass, docket: &mut Docket) {
        let host_trust = self.rules.is_empty();
        log::warn(&format!(
            "{} starts by break-glass token {} ({}: {}) against {}",
            docket.subject(),
            token.id.as_str(),
            token.ticket,
            token.reason,
            self.refusals,
        ));
        let record = &mut docket.record;
        record.decision = Outcome::BreakGlass;
        if host_trust {
            let refusals = self.refusals.iter().map(RefusalRecord::from);
            record.refusals.extend(refusals);
        }
        record.break_glass.push(BreakGlassRecord {
            jti: token.id.as_str().to_owned(),
            reason: token.reason.clone(),
            ticket: token.ticket.clone(),
            rules: self.rules.iter().map(|rule| rule.id().to_owned()).collect(),
            host_trust,
        });
    }
}
