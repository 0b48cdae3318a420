//! Matching of the evidence with approved boot states.

use super::event_rules;
use super::ima::{self, Files};
use super::measured::Measured;
use crate::evidence::Evidence;
use crate::finding::Finding;
use crate::hex;
use crate::pcr::{PcrIndex, PcrValues};
use crate::quarantine;
use crate::reference::{BootState, EventRules, ImaRules, Reference, UnknownFile};
use crate::trust::ClaimValue;

/// A boot state all of whose demands are met.
pub(super) struct Match<'a> {
    /// The state.
    pub(super) state: &'a BootState,
    /// What that says about executables.
    pub(super) executables: ClaimValue,
    /// Files that the state does not know and puts up with.
    pub(super) findings: Vec<Finding>,
}

/// The boot state all of whose demands are met, or why there is none.
///
/// The findings speak of the state that comes nearest, since the operator most likely meant that
/// one: the PCRs and events that differ, or else what the quote does not cover.
pub(super) fn match_state<'a>(
    evidence: &Evidence,
    references: &[&'a Reference],
) -> Result<Match<'a>, Vec<Finding>> {
    let bank = evidence.pcrs.bank();
    let measured = Measured::read(evidence);
    let nearest = references
        .iter()
        .flat_map(|one| &one.values.boot_states)
        .filter(|state| state.bank(bank).is_some() || state.event_rules(bank).is_some())
        .map(|state| Comparison::of(state, evidence, &measured))
        .min_by_key(|comparison| (comparison.distance(), comparison.unknown.len()));
    match nearest {
        None => Err(vec![Finding::new(
            "pcr-bank-missing",
            "reference values",
            format!("a boot state with PCR values of bank {bank}"),
            "none",
        )]),
        Some(comparison) if comparison.distance() == 0 => Ok(comparison.matched()),
        Some(comparison) => Err(comparison.findings(&evidence.pcrs)),
    }
}

struct Comparison<'a> {
    state: &'a BootState,
    /// One for each thing that differs.
    differing: Vec<Finding>,
    /// PCRs that the state speaks of and the quote does not.
    not_quoted: Vec<PcrIndex>,
    /// Files that speak against the run, not against the boot.
    unknown: Vec<Finding>,
}

// === impl Comparison ===

impl<'a> Comparison<'a> {
    fn of(state: &'a BootState, evidence: &Evidence, measured: &Measured<'_>) -> Self {
        let quoted = &evidence.pcrs;
        let mut comparison = Self {
            state,
            differing: Vec::new(),
            not_quoted: Vec::new(),
            unknown: Vec::new(),
        };
        if let Some(approved) = state.bank(quoted.bank()) {
            comparison.compare_values(approved, quoted);
        }
        if let Some(rules) = state.event_rules(quoted.bank()) {
            comparison.compare_events(rules, quoted, measured);
        }
        if let Some(rules) = &state.ima {
            comparison.judge_files(rules, evidence);
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
                    if quarantine::is_marked(bank, value, found) {
                        "host-quarantined"
                    } else {
                        "pcr-mismatch"
                    },
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

    fn judge_files(&mut self, rules: &ImaRules, evidence: &Evidence) {
        let pcr = PcrIndex::new(crate::ima::PCR);
        if let Some(pcr) = pcr.filter(|pcr| evidence.pcrs.value(*pcr).is_none()) {
            self.not_quoted.push(pcr);
            self.not_quoted.sort_unstable();
            return;
        }
        match (ima::judge(rules, &self.state.name, evidence), rules.unknown) {
            (Files::Unproven(finding), _) => self.differing.push(finding),
            (Files::Judged(findings), UnknownFile::Refuse) => self.differing.extend(findings),
            (Files::Judged(findings), UnknownFile::Warn) => self.unknown = findings,
        }
    }

    fn matched(self) -> Match<'a> {
        let executables = match &self.state.ima {
            None => ClaimValue::BOOT_APPROVED,
            Some(_) if self.unknown.is_empty() => ClaimValue::APPROVED,
            Some(_) => ClaimValue::UNRECOGNIZED_RUNTIME,
        };
        Match {
            state: self.state,
            executables,
            findings: self.unknown,
        }
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
