//! Matching of the evidence with approved boot states.

use super::event_rules;
use super::measured::Measured;
use crate::evidence::Evidence;
use crate::finding::Finding;
use crate::hex;
use crate::pcr::{PcrIndex, PcrValues};
use crate::reference::{BootState, EventRules, Reference};

/// The boot state all of whose demands are met, or why there is none.
///
/// The findings speak of the state that comes nearest, since the operator most likely meant that
/// one: the PCRs and events that differ, or else what the quote does not cover.
pub(super) fn match_state<'a>(
    evidence: &Evidence,
    references: &[&'a Reference],
) -> Result<&'a BootState, Vec<Finding>> {
    let bank = evidence.pcrs.bank();
    let measured = Measured::read(evidence);
    let nearest = references
        .iter()
        .flat_map(|one| &one.values.boot_states)
        .filter(|state| state.bank(bank).is_some() || state.event_rules(bank).is_some())
        .map(|state| Comparison::of(state, &evidence.pcrs, &measured))
        .min_by_key(Comparison::distance);
    match nearest {
        None => Err(vec![Finding::new(
            "pcr-bank-missing",
            "reference values",
            format!("a boot state with PCR values of bank {bank}"),
            "none",
        )]),
        Some(comparison) if comparison.distance() == 0 => Ok(comparison.state),
        Some(comparison) => Err(comparison.findings(&evidence.pcrs)),
    }
}

struct Comparison<'a> {
    state: &'a BootState,
    /// One for each thing that differs.
    differing: Vec<Finding>,
    /// PCRs that the state speaks of and the quote does not.
    not_quoted: Vec<PcrIndex>,
}

// === impl Comparison ===

impl<'a> Comparison<'a> {
    fn of(state: &'a BootState, quoted: &PcrValues, measured: &Measured<'_>) -> Self {
        let mut comparison = Self {
            state,
            differing: Vec::new(),
            not_quoted: Vec::new(),
        };
        if let Some(approved) = state.bank(quoted.bank()) {
            comparison.compare_values(approved, quoted);
        }
        if let Some(rules) = state.event_rules(quoted.bank()) {
            comparison.compare_events(rules, quoted, measured);
        }
        comparison
    }

    fn compare_values(&mut self, approved: &PcrValues, quoted: &PcrValues) {
        let bank = approved.bank();
        for (pcr, value) in approved.iter() {
            match quoted.value(pcr) {
                None => self.not_quoted.push(pcr),
                Some(found) if found == value => {}
                Some(found) => self.differing.push(Finding::new(
                    "pcr-mismatch",
                    format!("PCR {pcr} ({bank})"),
                    format!("{} of boot state '{}'", hex::encode(value), self.state.name),
                    hex::encode(found),
                )),
            }
        }
    }

    fn compare_events(&mut self, rules: &EventRules, quoted: &PcrValues, measured: &Measured<'_>) {
        let bank = rules.bank;
        let seven = rules.secure_boot.iter().filter_map(|_| PcrIndex::new(7));
        let about: Vec<PcrIndex> = rules.pcrs.keys().copied().chain(seven).collect();
        let is_quoted = |pcr: &PcrIndex| quoted.value(*pcr).is_some();
        for pcr in about.iter().filter(|pcr| !is_quoted(pcr)) {
            if !self.not_quoted.contains(pcr) {
                self.not_quoted.push(*pcr);
            }
        }
        self.not_quoted.sort_unstable();
        // Whoever rules events says what a boot is; a PCR that nothing is said about would be a
        // part of the boot that nobody approved.
        for (pcr, value) in quoted.iter() {
            if !self.state.covers(bank, pcr) {
                self.differing.push(Finding::new(
                    "pcr-uncovered",
                    format!("PCR {pcr} ({bank})"),
                    format!("a value or rules in boot state '{}'", self.state.name),
                    format!("none for {}", hex::encode(value)),
                ));
            }
        }
        let proven = match measured.log(&self.state.name) {
            Ok(log) => log,
            Err(finding) => {
                self.differing.push(finding);
                return;
            }
        };
        let found = event_rules::findings(rules, &self.state.name, quoted, proven);
        self.differing.extend(found);
    }

    const fn distance(&self) -> usize {
        self.differing.len().saturating_add(self.not_quoted.len())
    }

    fn findings(self, quoted: &PcrValues) -> Vec<Finding> {
        let mut findings = self.differing;
        if !self.not_quoted.is_empty() {
            let name = &self.state.name;
            let missing: Vec<String> = self.not_quoted.iter().map(PcrIndex::to_string).collect();
            findings.push(Finding::new(
                "quote-selection-short",
                format!("quote ({})", quoted.bank()),
                format!("also PCR {} of boot state '{name}'", missing.join(",")),
                format!("PCR {}", quoted.selection()),
            ));
        }
        findings
    }
}
