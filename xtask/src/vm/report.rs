//! What was claimed of the guest, and whether it held.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::scenario::Scenario;

/// One claim about one boot.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Check {
    scenario: Scenario,
    claim: String,
    observed: String,
    ok: bool,
}

/// All claims, in the order in which they were looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Report {
    checks: Vec<Check>,
    broken: bool,
}

// === impl Report ===

impl Report {
    /// Notes whether `claim` held, and what was seen.
    pub(super) fn check(&mut self, scenario: Scenario, claim: &str, ok: bool, observed: &str) {
        self.checks.push(Check {
            scenario,
            claim: claim.to_owned(),
            observed: observed.trim().replace('\n', " / "),
            ok,
        });
    }

    /// Notes that a boot came to nothing.
    pub(super) fn did_not_boot(&mut self, scenario: Scenario, why: &str) {
        self.broken = true;
        self.check(scenario, "the guest boots and powers off", false, why);
    }

    /// Whether no boot came to nothing.
    pub(super) fn is_whole(&self) -> bool {
        !self.broken
    }

    /// How many claims held, and how many did not.
    pub(super) fn counts(&self) -> (usize, usize) {
        let held = self.checks.iter().filter(|check| check.ok).count();
        (held, self.checks.len() - held)
    }

    /// Whether anything was looked at and all of it held.
    pub(super) fn all_held(&self) -> bool {
        !self.checks.is_empty() && self.counts().1 == 0
    }

    /// For people: one line each, with what was seen where a claim did not hold.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let word = if check.ok { "ok    " } else { "FAILED" };
            let (scenario, claim) = (check.scenario, &check.claim);
            // Writing to a string cannot fail.
            let _written = writeln!(text, "{word} {scenario}: {claim}");
            if !check.ok {
                let _written = writeln!(text, "       observed: {}", check.observed);
            }
        }
        text
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        self.checks
            .iter()
            .map(|check| {
                json!({
                    "scenario": check.scenario.to_string(),
                    "claim": check.claim,
                    "observed": check.observed,
                    "ok": check.ok,
                })
            })
            .collect()
    }

    /// A Markdown table.
    pub(super) fn table(&self) -> String {
        let mut text = "| scenario | claim | held |\n| --- | --- | --- |\n".to_owned();
        for check in &self.checks {
            let held = if check.ok {
                "yes".to_owned()
            } else {
                format!("**no**: {}", check.observed.replace('|', "\\|"))
            };
            let _written = writeln!(text, "| {} | {} | {held} |", check.scenario, check.claim);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, Scenario};

    #[test]
    fn one_claim_that_does_not_hold_fails_all() {
        let mut report = Report::default();
        assert!(!report.all_held(), "nothing was looked at");
        report.check(Scenario::Trusted, "it starts", true, "hello");
        assert!(report.all_held());
        report.check(Scenario::Reboot, "it is refused", false, "it\nstarted");
        assert!(!report.all_held());
        assert_eq!(report.counts(), (1, 1));
        let text = report.text();
        assert!(text.contains("ok     trusted: it starts\n"), "{text}");
        assert!(text.contains("observed: it / started"), "{text}");
        assert_eq!(report.json()[1]["ok"], false);
        let row = "| reboot | it is refused | **no**: it / started |";
        assert!(report.table().contains(row));
    }
}
