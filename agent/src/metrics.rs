//! Figures about the agent, in a file that Prometheus' node_exporter can collect.
//!
//! # Source
//!
//! Prometheus, "Exposition formats": text format 0.0.4.

use std::fmt::Write as _;
use std::path::Path;

use portcullis_attestation::trust::TrustTier;
use portcullis_client::method::{LaunchCounts, VerdictSummary};
use portcullis_config::paths;
use portcullis_gate::break_glass::TokenState;

use crate::node::VERSION;
use crate::settings::Exceptions;
use crate::tally::Tally;
use crate::{atomic_file, log};

/// Every status that a verdict can have.
const STATUSES: [TrustTier; 4] = [
    TrustTier::None,
    TrustTier::Affirming,
    TrustTier::Warning,
    TrustTier::Contraindicated,
];

/// The figures. Counts are since the agent started, but for the ledger's.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Launches by outcome.
    pub(crate) launches: LaunchCounts,
    /// The verdict that launches are decided by.
    pub(crate) verdict: Option<VerdictSummary>,
    /// How often drift was found.
    pub(crate) drift_events: u64,
    /// How many attestations ended without a verdict.
    pub(crate) attestation_failures: u64,
    /// Number of the ledger's last line; 0 if the ledger is not usable.
    pub(crate) ledger_sequence: u64,
    /// Whether the host is in quarantine.
    pub(crate) is_quarantined: bool,
    /// Whether an earlier failure stands.
    pub(crate) has_latched: bool,
    /// The relaxations of the settings.
    pub(crate) exceptions: Exceptions,
    /// What was used of them, and what rules in audit found.
    pub(crate) tally: Tally,
    /// Launches that went ahead on the strength of a break-glass token.
    pub(crate) break_glass_launches: u64,
    /// Break-glass tokens on this node, in the order of [`TokenState::ALL`].
    pub(crate) break_glass_tokens: [u64; TokenState::ALL.len()],
    /// Sequence number of the policy bundle that the agent runs by, if there is one.
    pub(crate) policy_sequence: Option<u64>,
}

/// The file, and what it shows.
#[derive(Debug, Default)]
pub(crate) struct MetricsFile {
    shown: String,
}

// === impl MetricsFile ===

impl MetricsFile {
    /// Writes the file, if something changed.
    pub(crate) fn show(&mut self, metrics: &Metrics) {
        let text = metrics.text();
        if text == self.shown {
            return;
        }
        if let Err(error) = atomic_file::write(Path::new(paths::METRICS), text.as_bytes()) {
            log::warn("metrics not written", &[("cause", &log::chain(&error))]);
        }
        // Also if it failed: the next change is the next try, and one warning is enough.
        self.shown = text;
    }
}

/// Removes the file: nobody keeps it true any longer.
pub(crate) fn remove() {
    if let Err(error) = atomic_file::remove(Path::new(paths::METRICS)) {
        log::warn("metrics not removed", &[("cause", &error.to_string())]);
    }
}

// === impl Metrics ===

impl Metrics {
    /// The text format.
    fn text(&self) -> String {
        let mut text = String::new();
        let launches = self.launches;
        family(
            &mut text,
            "launches_total",
            "counter",
            "Launch decisions by outcome since the agent started.",
            &[
                ("outcome=\"permitted\"", launches.permitted),
                ("outcome=\"refused\"", launches.refused),
                ("outcome=\"undecided\"", launches.undecided),
            ],
        );
        let labels = STATUSES.map(|status| format!("status=\"{status}\""));
        let verdict = self.verdict.as_ref();
        let statuses: Vec<(&str, u64)> = STATUSES
            .iter()
            .zip(&labels)
            .map(|(status, label)| {
                let holds = verdict.is_some_and(|verdict| verdict.status == status.as_str());
                (label.as_str(), u64::from(holds))
            })
            .collect();
        family(
            &mut text,
            "verdict_status",
            "gauge",
            "1 for the status of the verdict in force, all 0 if there is no verdict.",
            &statuses,
        );
        // Without a verdict there is no sample: an end in 1970 would look like one that is over.
        let expiry: Vec<(&str, u64)> = verdict
            .map(|verdict| ("", verdict.expires_at))
            .into_iter()
            .collect();
        family(
            &mut text,
            "verdict_expiry_timestamp_seconds",
            "gauge",
            "End of the verdict in force, in seconds since 1970.",
            &expiry,
        );
        let labels = TokenState::ALL.map(|state| format!("state=\"{}\"", state.as_str()));
        let tokens: Vec<(&str, u64)> = labels
            .iter()
            .map(String::as_str)
            .zip(self.break_glass_tokens)
            .collect();
        family(
            &mut text,
            "break_glass_tokens",
            "gauge",
            "Break-glass tokens on this node.",
            &tokens,
        );
        let policy: Vec<(&str, u64)> = self
            .policy_sequence
            .map(|it| ("", it))
            .into_iter()
            .collect();
        family(
            &mut text,
            "policy_sequence",
            "gauge",
            "Number of the signed policy bundle that the agent runs by.",
            &policy,
        );
        self.write_numbers(&mut text);
        self.write_exceptions(&mut text);
        text
    }

    /// What of the node's policy is not enforced, and how often that mattered.
    fn write_exceptions(&self, text: &mut String) {
        family(
            text,
            "relaxations",
            "gauge",
            "Relaxations in the settings of the node by whether they still hold.",
            &[
                ("state=\"active\"", self.exceptions.active),
                ("state=\"expired\"", self.exceptions.expired),
            ],
        );
        let labelled = |label: &str, value: &str| format!("{label}=\"{value}\"");
        let relaxed = self.tally.relaxed.iter();
        let relaxed: Vec<_> = relaxed
            .map(|(name, count)| (labelled("name", name), *count))
            .collect();
        counter(
            text,
            "relaxed_launches_total",
            "Containers that went ahead with a relaxation since the agent started.",
            &relaxed,
        );
        let audited = self.tally.audited.iter();
        let audited: Vec<_> = audited
            .map(|(rule, count)| (labelled("rule", rule), *count))
            .collect();
        counter(
            text,
            "audited_findings_total",
            "Findings of rules in audit since the agent started.",
            &audited,
        );
    }

    /// The metrics of one sample each.
    fn write_numbers(&self, text: &mut String) {
        let info = format!("version=\"{VERSION}\"");
        for (name, kind, help, label, value) in [
            (
                "drift_events_total",
                "counter",
                "Times the host was found to differ from its verdict since the agent started.",
                "",
                self.drift_events,
            ),
            (
                "attestation_failures_total",
                "counter",
                "Attestations that ended without a verdict since the agent started.",
                "",
                self.attestation_failures,
            ),
            (
                "break_glass_launches_total",
                "counter",
                "Launches that went ahead on the strength of a token since the agent started.",
                "",
                self.break_glass_launches,
            ),
            (
                "ledger_sequence",
                "gauge",
                "Number of the last line of the ledger.",
                "",
                self.ledger_sequence,
            ),
            (
                "quarantined",
                "gauge",
                "Whether the host is in quarantine.",
                "",
                u64::from(self.is_quarantined),
            ),
            (
                "failure_latched",
                "gauge",
                "Whether an earlier attestation failure stands.",
                "",
                u64::from(self.has_latched),
            ),
            ("agent_info", "gauge", "The agent.", info.as_str(), 1),
        ] {
            family(text, name, kind, help, &[(label, value)]);
        }
    }
}

/// A counter whose labels were made for it.
fn counter(text: &mut String, name: &str, help: &str, samples: &[(String, u64)]) {
    let samples: Vec<(&str, u64)> = samples
        .iter()
        .map(|(label, value)| (label.as_str(), *value))
        .collect();
    family(text, name, "counter", help, &samples);
}

/// One metric and its samples, each with its label.
fn family(text: &mut String, name: &str, kind: &str, help: &str, samples: &[(&str, u64)]) {
    let mut lines = format!("# HELP portcullis_{name} {help}\n# TYPE portcullis_{name} {kind}\n");
    for (label, value) in samples {
        let labels = if label.is_empty() {
            String::new()
        } else {
            format!("{{{label}}}")
        };
        // Writing to a string does not fail.
        let _written = writeln!(lines, "portcullis_{name}{labels} {value}");
    }
    text.push_str(&lines);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        Metrics {
            launches: LaunchCounts {
                permitted: 7,
                refused: 2,
                undecided: 1,
            },
            verdict: Some(VerdictSummary {
                status: "affirming".to_owned(),
                issued_at: 1_795_290_484,
                expires_at: 1_795_291_084,
                sequence: 41,
                boot_state: None,
            }),
            drift_events: 3,
            attestation_failures: 4,
            ledger_sequence: 99,
            is_quarantined: false,
            has_latched: true,
            exceptions: Exceptions {
                active: 5,
                expired: 6,
            },
            tally: Tally {
                relaxed: [("tmp-exec".to_owned(), 8)].into(),
                audited: [("non-root", 12), ("seccomp", 13)].into(),
            },
            break_glass_launches: 5,
            break_glass_tokens: [1, 2, 0, 0, 0, 0, 3],
            policy_sequence: Some(12),
        }
    }

    #[test]
    fn every_sample_follows_the_help_and_the_type_of_its_metric() {
        let text = metrics().text();
        assert!(text.ends_with('\n'));
        let (mut name, mut kind, mut samples) = ("", "", 0);
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                (name, _) = help.split_once(' ').expect("a name and a text");
                let type_line = lines.next().expect("a type");
                let (typed, found) = type_line
                    .strip_prefix("# TYPE ")
                    .and_then(|rest| rest.split_once(' '))
                    .expect("a type line");
                assert_eq!(typed, name);
                assert!(matches!(found, "counter" | "gauge"), "{type_line}");
                kind = found;
                continue;
            }
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            let (metric, labels) = series.split_once('{').unwrap_or((series, "}"));
            assert_eq!(metric, name, "{line}");
            assert!(labels.ends_with('}'), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            value.parse::<u64>().expect("a number");
            samples += 1;
        }
        assert_eq!(samples, 28);
    }

    #[test]
    fn the_figures_are_in_their_places() {
        let text = metrics().text();
        for line in [
            "portcullis_launches_total{outcome=\"permitted\"} 7",
            "portcullis_launches_total{outcome=\"refused\"} 2",
            "portcullis_launches_total{outcome=\"undecided\"} 1",
            "portcullis_verdict_status{status=\"affirming\"} 1",
            "portcullis_verdict_status{status=\"contraindicated\"} 0",
            "portcullis_verdict_expiry_timestamp_seconds 1795291084",
            "portcullis_drift_events_total 3",
            "portcullis_attestation_failures_total 4",
            "portcullis_ledger_sequence 99",
            "portcullis_quarantined 0",
            "portcullis_failure_latched 1",
            "portcullis_relaxations{state=\"active\"} 5",
            "portcullis_relaxations{state=\"expired\"} 6",
            "portcullis_relaxed_launches_total{name=\"tmp-exec\"} 8",
            "portcullis_audited_findings_total{rule=\"non-root\"} 12",
            "portcullis_audited_findings_total{rule=\"seccomp\"} 13",
            "portcullis_break_glass_launches_total 5",
            "portcullis_break_glass_tokens{state=\"open\"} 1",
            "portcullis_break_glass_tokens{state=\"used\"} 2",
            "portcullis_break_glass_tokens{state=\"unverified\"} 3",
            "portcullis_policy_sequence 12",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
        }
    }

    #[test]
    fn without_a_verdict_none_is_in_force_and_none_ends() {
        let without = Metrics {
            verdict: None,
            ..metrics()
        };
        let text = without.text();
        assert!(!text.contains("portcullis_verdict_expiry_timestamp_seconds 1"));
        assert!(!text.contains("\"} 1\n# HELP portcullis_verdict_expiry"));
        assert_eq!(text.matches("portcullis_verdict_status{").count(), 4);
        assert!(!text.contains("status=\"affirming\"} 1"));
    }
}
