//! Rules made from the event log of a host that is in the state its operator wants.

use super::{BootState, EventRules, PcrRules, SecureBootRules, Step, note_of};
use crate::event_log::{Event, EventLog, ReplayError, Variable};
use crate::hashing;
use crate::pcr::{HashAlg, PcrIndex, PcrValues};

// === impl BootState ===

impl BootState {
    /// A state that approves the host as it is: rules for every PCR of `values` that the log
    /// explains and whose events can be ruled, the exact value of the others.
    ///
    /// `values` are the PCRs as they are now; nothing of the log is taken that does not replay to
    /// them. Secure Boot is demanded where the firmware measured it to be on.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] if the log cannot be replayed in the bank of `values`.
    pub fn captured(
        name: String,
        values: &PcrValues,
        log: &EventLog<'_>,
    ) -> Result<Self, ReplayError> {
        let bank = values.bank();
        let replayed = log.replay(bank)?;
        let mut rules = EventRules::new(bank);
        let mut exact = PcrValues::new(bank);
        for (pcr, value) in values.iter() {
            let is_explained = replayed.value(pcr) == Some(value);
            if is_explained && EventRules::may_rule(pcr) {
                let steps = log.measured(pcr).map(|event| step(event, bank)).collect();
                rules.pcrs.insert(pcr, PcrRules::exactly(steps));
            } else if exact.insert(pcr, value.to_vec()).is_err() {
                // A value of the bank fits the bank.
                return Err(ReplayError::Bank { bank });
            }
        }
        let is_ruled = PcrIndex::new(7).is_some_and(|pcr| rules.pcrs.contains_key(&pcr));
        if is_ruled && is_secure_boot_on(log, bank) {
            rules.secure_boot = Some(SecureBootRules::default());
        }
        let is_empty = rules.pcrs.is_empty();
        Ok(Self {
            name,
            banks: (!exact.is_empty()).then_some(exact).into_iter().collect(),
            events: (!is_empty).then_some(rules).into_iter().collect(),
            ima: None,
        })
    }
}

/// The event as it is, with what its digest proves of it for people; what nothing proves is
/// called a label.
fn step(event: &Event<'_>, bank: HashAlg) -> Step {
    let text = match (event.checked(bank), event.hint()) {
        (Some(checked), _) => checked.describe(),
        (None, Some(hint)) => format!("{}, label '{hint}'", event.kind),
        (None, None) => event.kind.to_string(),
    };
    Step {
        note: Some(note_of(&text)),
        ..Step::measured(event.digest(bank).unwrap_or_default().to_vec())
    }
}

fn is_secure_boot_on(log: &EventLog<'_>, bank: HashAlg) -> bool {
    let on = Variable::to_data(Variable::GLOBAL, "SecureBoot", &[1]);
    let on = hashing::digest(bank, &[&on]);
    PcrIndex::new(7).is_some_and(|pcr| {
        log.measured(pcr)
            .any(|event| event.digest(bank) == on.as_deref())
    })
}
