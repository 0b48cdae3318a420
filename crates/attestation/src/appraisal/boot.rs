//! Matching of quoted PCRs with approved boot states.

use crate::finding::Finding;
use crate::hex;
use crate::pcr::PcrValues;
use crate::reference::{BootState, Reference};

/// The name of a boot state all of whose values were quoted, or why there is none.
///
/// The findings speak of the state that comes nearest, since the operator most likely meant that
/// one: the PCRs that differ, or else those the quote does not cover.
pub(super) fn match_state<'a>(
    pcrs: &PcrValues,
    references: &[&'a Reference],
) -> Result<&'a str, Vec<Finding>> {
    let bank = pcrs.bank();
    let states: Vec<(&BootState, &PcrValues)> = references
        .iter()
        .flat_map(|one| &one.values.boot_states)
        // No event log is appraised yet, and rules that nobody checked are not met.
        .filter(|state| state.events.is_empty())
        .filter_map(|state| Some((state, state.bank(bank)?)))
        .collect();
    let nearest = states
        .into_iter()
        .map(|(state, approved)| Comparison::of(state, approved, pcrs))
        .min_by_key(|comparison| comparison.distance());
    match nearest {
        None => Err(vec![Finding::new(
            "pcr-bank-missing",
            "reference values",
            format!("a boot state with PCR values of bank {bank}"),
            "none",
        )]),
        Some(comparison) if comparison.distance() == 0 => Ok(&comparison.state.name),
        Some(comparison) => Err(comparison.findings(pcrs)),
    }
}

struct Comparison<'a> {
    state: &'a BootState,
    differing: Vec<Finding>,
    not_quoted: Vec<String>,
}

// === impl Comparison ===

impl<'a> Comparison<'a> {
    fn of(state: &'a BootState, approved: &PcrValues, quoted: &PcrValues) -> Self {
        let bank = approved.bank();
        let mut differing = Vec::new();
        let mut not_quoted = Vec::new();
        for (pcr, value) in approved.iter() {
            match quoted.value(pcr) {
                None => not_quoted.push(pcr.to_string()),
                Some(found) if found == value => {}
                Some(found) => differing.push(Finding::new(
                    "pcr-mismatch",
                    format!("PCR {pcr} ({bank})"),
                    format!("{} of boot state '{}'", hex::encode(value), state.name),
                    hex::encode(found),
                )),
            }
        }
        Self {
            state,
            differing,
            not_quoted,
        }
    }

    const fn distance(&self) -> usize {
        self.differing.len().saturating_add(self.not_quoted.len())
    }

    fn findings(self, quoted: &PcrValues) -> Vec<Finding> {
        let mut findings = self.differing;
        if !self.not_quoted.is_empty() {
            let name = &self.state.name;
            findings.push(Finding::new(
                "quote-selection-short",
                format!("quote ({})", quoted.bank()),
                format!(
                    "also PCR {} of boot state '{name}'",
                    self.not_quoted.join(",")
                ),
                format!("PCR {}", quoted.selection()),
            ));
        }
        findings
    }
}
