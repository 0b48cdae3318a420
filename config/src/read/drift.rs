//! What the agent does about drift.

use std::time::Duration;

use super::SECOND;
use crate::reader::Reader;
use crate::tree::Table;
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
