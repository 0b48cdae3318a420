//! What was expected and what was seen, step by step.

use serde_json::{Value, json};

use crate::failure::Outcome;
use crate::refusal::Refusal;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    name: String,
    expected: String,
    observed: String,
    /// `observed`, short enough for a table.
    short: String,
    ok: bool,
}

/// All steps so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Report {
    steps: Vec<Step>,
}

// === impl Report ===

impl Report {
    /// Notes a step that is right if `observed` is `expected`, and shows it.
    pub(super) fn equal(&mut self, name: &str, expected: &str, observed: Outcome<String>) {
        let observed = observed.unwrap_or_else(|failure| format!("failure: {failure}"));
        let ok = observed == expected;
        self.add(name, expected, observed.clone(), observed, ok);
    }

    /// Notes a step that is right if it was refused with `expected` (`refused [code]`).
    pub(super) fn refused(&mut self, name: &str, expected: &str, observed: Outcome<Refusal>) {
        match observed {
            Ok(refusal) => {
                let (short, ok) = (refusal.short(), refusal.short() == expected);
                self.add(name, expected, refusal.line, short, ok);
            }
            Err(failure) => {
                let text = format!("failure: {failure}");
                self.add(name, expected, text.clone(), text, false);
            }
        }
    }

    fn add(&mut self, name: &str, expected: &str, observed: String, short: String, ok: bool) {
        let mark = if ok { "ok     " } else { "DIFFERS" };
        eprintln!("\n{mark} {name}\n        expected  {expected}\n        observed  {observed}");
        self.steps.push(Step {
            name: name.to_owned(),
            expected: expected.to_owned(),
            observed,
            short,
            ok,
        });
    }

    /// Whether there were steps and all were right.
    pub(super) fn is_ok(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(|step| step.ok)
    }

    /// An array of `{step, expected, observed, ok}`.
    pub(super) fn json(&self) -> Value {
        self.steps
            .iter()
            .map(|step| {
                json!({
                    "step": step.name,
                    "expected": step.expected,
                    "observed": step.observed,
                    "ok": step.ok,
                })
            })
            .collect()
    }

    /// A table for people.
    pub(super) fn table(&self) -> String {
        const LONGEST: usize = 92;
        let widest = |text: fn(&Step) -> &str| {
            self.steps
                .iter()
                .map(|step| text(step).chars().count())
                .max()
                .unwrap_or(0)
        };
        let name_width = widest(|step| &step.name);
        let mut lines = vec![format!(
            "\n{:7}  {:name_width$}  {}",
            "result", "step", "observed"
        )];
        for step in &self.steps {
            let mark = if step.ok { "ok" } else { "DIFFERS" };
            let short: String = step.short.chars().take(LONGEST).collect();
            lines.push(format!("{mark:7}  {:name_width$}  {short}", step.name));
            if !step.ok {
                lines.push(format!(
                    "{:7}  {:name_width$}  expected: {}",
                    "", "", step.expected
                ));
            }
        }
        let right = self.steps.iter().filter(|step| step.ok).count();
        lines.push(format!(
            "\n{right} of {} steps as expected",
            self.steps.len()
        ));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::Report;
    use crate::failure::Failure;
    use crate::refusal::Refusal;

    const LINE: &str =
        "portcullis: refused [pcr-drift] PCR 7: expected 1, found 2; reboot; ref=00000000";

    #[test]
    fn one_step_that_differs_spoils_it() {
        let mut report = Report::default();
        assert!(!report.is_ok());
        report.equal("one", "starts", Ok("starts".to_owned()));
        report.refused("two", "refused [pcr-drift]", Refusal::find(LINE));
        assert!(report.is_ok());
        report.refused("three", "refused [host-rebooted]", Refusal::find(LINE));
        assert!(!report.is_ok());
        assert!(
            report.table().contains("2 of 3 steps as expected"),
            "{}",
            report.table()
        );
    }

    #[test]
    fn a_failure_is_shown_and_differs() {
        let mut report = Report::default();
        report.equal("one", "starts", Err(Failure::new("no space left")));
        let json = report.json();
        assert_eq!(json[0]["observed"], "failure: no space left");
        assert_eq!(json[0]["ok"], false);
    }
}
