//! What the agent does about drift.

use std::time::Duration;

use portcullis_gate::{Code, Refusal};

use super::SECOND;
use super::node::absolute;
use super::remote::{https_or_nothing, path_or_nothing};
use crate::config::{OnDriftPods, WebhookConfig};
use crate::reader::Reader;
use crate::tree::{Table, Value};
use crate::{defaults, duration};

/// Longest time between two looks; beyond it attestation itself is as quick.
const HOUR: Duration = Duration::from_hours(1);

/// Time between two looks; zero for none.
pub(super) fn interval(reader: &mut Reader, root: &Table) -> Duration {
    let section = reader.section(root, "agent", "agent.");
    let expected = "a duration from '1s' to '1h', or '0s' for none";
    reader
        .text(section, "drift_interval", expected, |text| {
            duration::parse(text).filter(|span| span.is_zero() || (SECOND..=HOUR).contains(span))
        })
        .unwrap_or(defaults::DRIFT_INTERVAL)
}

/// What is run when drift is found: a program and its arguments, or nothing.
pub(super) fn command(reader: &mut Reader, root: &Table) -> Vec<String> {
    let section = reader.section(root, "agent", "agent.");
    let expected = "an absolute path and arguments, or nothing";
    let command = reader.optional(section, "on_drift_command", expected, |value| {
        let Value::List(items) = value else {
            return None;
        };
        let words: Option<Vec<String>> = items
            .iter()
            .map(|item| match &item.value {
                Value::Text(text) if !text.contains('\0') => Some(text.clone()),
                _ => None,
            })
            .collect();
        words.filter(|words| {
            words
                .first()
                .is_none_or(|program| absolute(program).is_some())
        })
    });
    command.unwrap_or_default()
}

/// What becomes of running containers when drift is found.
pub(super) fn pods(reader: &mut Reader, root: &Table, interval: Duration) -> OnDriftPods {
    let section = reader.section(root, "agent", "agent.");
    let expected = "'leave', 'pause' or 'stop'";
    let pods = reader.text(section, "on_drift_pods", expected, |text| match text {
        "leave" => Some(OnDriftPods::Leave),
        "pause" => Some(OnDriftPods::Pause),
        "stop" => Some(OnDriftPods::Stop),
        _ => None,
    });
    let pods = pods.unwrap_or(defaults::ON_DRIFT_PODS);
    if pods != OnDriftPods::Leave && interval.is_zero() {
        let subject = section.cited("on_drift_pods", "…");
        reader.faults.push(
            Refusal::new(
                Code::ConfigMismatch,
                subject,
                "a watch for drift, without which nothing is paused or stopped",
                section.cited("drift_interval", &duration::show(interval)),
            )
            .with_remedy("set 'agent.drift_interval=' to '1s'"),
        );
    }
    pods
}

/// The server that is told of drift.
pub(super) fn webhook(reader: &mut Reader, root: &Table) -> Option<WebhookConfig> {
    let section = reader.section(root, "agent", "agent.");
    let url = reader.secret(
        section,
        "on_drift_webhook",
        "an address 'https://…', or nothing",
        https_or_nothing,
    );
    let authority = reader.text(
        section,
        "on_drift_webhook_ca",
        "an absolute path, or nothing",
        path_or_nothing,
    );
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let url = given(url)?;
    let Some(authority) = given(authority) else {
        reader.faults.push(
            Refusal::new(
                Code::ConfigMismatch,
                section.cited("on_drift_webhook_ca", ""),
                "the certificate of an authority that the server at 'on_drift_webhook=' must be of",
                "none",
            )
            .with_remedy("set 'agent.on_drift_webhook_ca=' to a PEM file"),
        );
        return None;
    };
    Some(WebhookConfig { url, authority })
}
