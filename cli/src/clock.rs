//! Instants as people read them.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Seconds since 1970-01-01T00:00:00Z; 0 on a clock that stands before it.
pub(crate) fn now_unix_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

/// An instant in UTC, RFC 3339.
pub(crate) fn utc(unix_s: u64) -> String {
    i64::try_from(unix_s)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(
            || format!("{unix_s} s after 1970"),
            |instant| instant.to_string(),
        )
}

/// An instant in UTC, and how far away it is.
pub(crate) fn utc_and_distance(unix_s: u64, now_unix_s: u64) -> String {
    format!("{} ({})", utc(unix_s), distance(unix_s, now_unix_s))
}

/// How far an instant is away: `4 min 12 s ago`, `in 9 min`, `now`.
pub(crate) fn distance(unix_s: u64, now_unix_s: u64) -> String {
    match unix_s.cmp(&now_unix_s) {
        std::cmp::Ordering::Equal => "now".to_owned(),
        std::cmp::Ordering::Less => format!("{} ago", span(now_unix_s - unix_s)),
        std::cmp::Ordering::Greater => format!("in {}", span(unix_s - now_unix_s)),
    }
}

/// A span in its two largest units.
pub(crate) fn span(seconds: u64) -> String {
    let units = [
        (seconds / 86_400, "d"),
        (seconds % 86_400 / 3600, "h"),
        (seconds % 3600 / 60, "min"),
        (seconds % 60, "s"),
    ];
    let words: Vec<String> = units
        .iter()
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    if words.is_empty() {
        "0 s".to_owned()
    } else {
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_far_an_instant_is_away() {
        for (instant, now, text) in [
            (100, 100, "now"),
            (99, 100, "1 s ago"),
            (100, 352, "4 min 12 s ago"),
            (1600, 1000, "in 10 min"),
            (90_000, 0, "in 1 d 1 h"),
            (86_405, 0, "in 1 d"),
        ] {
            assert_eq!(distance(instant, now), text);
        }
        assert_eq!(span(0), "0 s");
    }

    #[test]
    fn writes_an_instant_in_utc() {
        assert_eq!(utc(1_795_290_484), "2026-11-21T19:48:04Z");
        assert_eq!(utc(u64::MAX), "18446744073709551615 s after 1970");
    }
}
