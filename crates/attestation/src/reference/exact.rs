//! The values that PCRs have in a boot state, where it leaves no choice.

use super::{BootState, PcrRules, Step};
use crate::hashing;
use crate::pcr::{HashAlg, PcrValues};

// === impl BootState ===

impl BootState {
    /// Every PCR that the state speaks of in `bank`, with its one value: the exact ones, and those
    /// that the events under rules come to.
    ///
    /// `None` if the state says nothing of the bank, or if rules leave a choice: values of a part
    /// would be met by boots that the whole refuses. PCR 0 is taken to begin with zeros, as it does
    /// unless firmware started the TPM from another locality.
    #[must_use]
    pub fn exact_values(&self, bank: HashAlg) -> Option<PcrValues> {
        let stated = self.bank(bank).cloned();
        let Some(rules) = self.event_rules(bank) else {
            return stated;
        };
        let mut values = stated.unwrap_or_else(|| PcrValues::new(bank));
        for (pcr, rules) in &rules.pcrs {
            values.insert(*pcr, replayed(bank, rules)?).ok()?;
        }
        Some(values).filter(|values| !values.is_empty())
    }
}

fn replayed(bank: HashAlg, rules: &PcrRules) -> Option<Vec<u8>> {
    let [steps] = &*rules.any_of else {
        return None;
    };
    let initial = vec![0; bank.digest_bytes()];
    steps.iter().try_fold(initial, |value, step| {
        let Step {
            digests,
            optional: false,
            ..
        } = step
        else {
            return None;
        };
        let [digest] = &**digests else {
            return None;
        };
        hashing::digest(bank, &[&value, digest])
    })
}
