//! What the agent does about drift.

use std::time::Duration;

use super::SECOND;
use super::node::absolute;
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
