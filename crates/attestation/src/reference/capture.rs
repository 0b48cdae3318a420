//! Rules made from the logs of a host that is in the state its operator wants.

use super::ima_rules::{MAX_DIGESTS, contents, is_excluded, is_path};
use super::{BootState, EventRules, ImaRules, PcrRules, SecureBootRules, Step, note_of};
use crate::event_log::{Event, EventLog, ReplayError, Variable};
use crate::hashing;
use crate::ima::{self, ImaList};
use crate::pcr::{HashAlg, PcrIndex, PcrValues};

/// Why the files of an IMA list cannot be captured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureFilesError {
    /// PCR 10 was not read.
    #[error("cannot capture files: PCR 10 is not among 'agent.pcrs'")]
    NotQuoted,
    /// The list does not explain PCR 10.
    #[error("cannot capture files: no part of the IMA list gives the value of PCR 10")]
    Unproven,
    /// One path had more contents than rules can hold.
    #[error(
        "cannot capture files: '{}' had more than {MAX_DIGESTS} different contents; \
         exclude its directory", path.escape_debug()
    )]
    Contents {
        /// The path.
        path: String,
    },
}

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

impl BootState {
    /// The same state, with `rules` in place of a value for PCR 10: their files, and each file that
    /// `list` proves to have been run or read until `values` were.
    ///
    /// What is excluded by the rules is left out, and so are paths that are not text, files that
    /// were changed while they were measured, and the boot aggregate if `values` give it.
    ///
    /// # Errors
    ///
    /// [`CaptureFilesError`].
    pub fn with_files(
        mut self,
        values: &PcrValues,
        list: &ImaList<'_>,
        mut rules: ImaRules,
    ) -> Result<Self, CaptureFilesError> {
        let pcr = PcrIndex::new(ima::PCR).ok_or(CaptureFilesError::NotQuoted)?;
        let value = values.value(pcr).ok_or(CaptureFilesError::NotQuoted)?;
        let entries = list
            .proven(values.bank(), value)
            .ok_or(CaptureFilesError::Unproven)?;
        let gives_aggregate = (0..10)
            .all(|index| PcrIndex::new(index).is_some_and(|pcr| values.value(pcr).is_some()));
        for entry in entries.iter().filter(|entry| !entry.is_violation) {
            let path = entry.file.and_then(|file| str::from_utf8(file.path).ok());
            let (Some(file), Some(path)) = (entry.file, path.filter(|path| is_path(path))) else {
                continue;
            };
            let is_aggregate = path == "boot_aggregate" && gives_aggregate;
            if is_aggregate || is_excluded(&rules.excluded, file.path) {
                continue;
            }
            let allowed = rules.files.entry(path.to_owned()).or_default();
            allowed.insert(contents(&file));
            if allowed.len() > MAX_DIGESTS {
                let path = path.to_owned();
                return Err(CaptureFilesError::Contents { path });
            }
        }
        for values in &mut self.banks {
            values.remove(pcr);
        }
        self.banks.retain(|values| !values.is_empty());
        self.ima = Some(rules);
        Ok(self)
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
