//! Durations as the files write them: a whole number and one unit.

use std::time::Duration;

/// What a fault says about the form.
pub(crate) const FORM: &str = "a duration such as '1500ms', '30s', '10m' or '24h'";

/// Reads `1500ms`, `30s`, `10m` or `24h`; `None` for anything else.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

/// Writes a duration in the largest unit that it is whole in.
pub(crate) fn show(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.as_millis());
    if !millis.is_multiple_of(1000) {
        format!("{millis}ms")
    } else if seconds == 0 || !seconds.is_multiple_of(60) {
        format!("{seconds}s")
    } else if seconds.is_multiple_of(3600) {
        format!("{}h", seconds / 3600)
    } else {
        format!("{}m", seconds / 60)
    }
}

#[cfg(test)]
mod tests {
    use super::{parse, show};

    #[test]
    fn durations_read_back() {
        for text in [
            "1ms", "1500ms", "0s", "59s", "61s", "1m", "90m", "1h", "24h",
        ] {
            assert_eq!(parse(text).map(show).as_deref(), Some(text));
        }
        assert_eq!(parse("60s"), parse("1m"));
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "10",
            "m",
            "-1s",
            "+1s",
            "1.5s",
            "10 m",
            "1h30m",
            "10min",
            "10M",
            "1d",
            "18446744073709551616s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
