//! Exceptions from a hardening profile: named, narrow, with a reason and an end.

/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// One exception for one image in one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relaxation {
    /// Which rule is relaxed; the profile knows the name.
    pub name: String,
    /// The namespace, exactly.
    pub namespace: String,
    /// The image's digest, `sha256:` and 64 hex digits.
    pub image: String,
    /// The last day on which it holds, in UTC.
    pub expires: Date,
    /// Why it is there.
    pub reason: String,
}

/// A day of the Gregorian calendar, 1970 or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: u64,
    month: u64,
    day: u64,
}

// === impl Relaxation ===

impl Relaxation {
    /// Whether the day `expires` is over at `unix_s`.
    pub fn is_expired(&self, unix_s: u64) -> bool {
        self.days_left(unix_s).is_none()
    }

    /// Days after today on which it still holds: 0 on the last one, `None` if that is over at
    /// `unix_s`.
    pub fn days_left(&self, unix_s: u64) -> Option<u64> {
        self.expires.days_since_1970().checked_sub(unix_s / DAY_S)
    }
}

// === impl Date ===

impl Date {
    /// Reads `YYYY-MM-DD`; `None` for a day that does not exist.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |part: &str, digits: usize| {
            let plain = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| part.parse::<u64>().ok()).flatten()
        };
        let mut parts = text.split('-');
        let date = Self {
            year: number(parts.next()?, 4)?,
            month: number(parts.next()?, 2)?,
            day: number(parts.next()?, 2)?,
        };
        let exists = date.year >= 1970
            && (1..=12).contains(&date.month)
            && (1..=days_of_month(date.year, date.month)).contains(&date.day);
        (parts.next().is_none() && exists).then_some(date)
    }

    fn days_since_1970(self) -> u64 {
        let years: u64 = (1970..self.year)
            .map(|year| 365 + u64::from(is_leap(year)))
            .sum();
        let months: u64 = (1..self.month)
            .map(|month| days_of_month(self.year, month))
            .sum();
        years + months + self.day - 1
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{:04}-{:02}-{:02}",
            self.year, self.month, self.day
        )
    }
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::{DAY_S, Date, Relaxation};

    #[test]
    fn only_days_that_exist_are_read() {
        for text in ["2027-01-31", "2028-02-29", "2000-02-29", "1970-01-01"] {
            assert_eq!(
                Date::parse(text).map(|date| date.to_string()).as_deref(),
                Some(text)
            );
        }
        for text in [
            "",
            "2027-1-31",
            "2027-02-29",
            "2100-02-29",
            "2027-04-31",
            "2027-00-10",
            "2027-13-01",
            "2027-01-00",
            "1969-12-31",
            "2027-01-31-",
            "2027-01-31T00:00:00Z",
            "+027-01-31",
            "31.1.2027",
        ] {
            assert_eq!(Date::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_relaxation_holds_to_the_end_of_its_last_day() {
        let relaxation = Relaxation {
            name: "tmp-exec".to_owned(),
            namespace: "legacy".to_owned(),
            image: String::new(),
            // date -u -d '2028-03-01' +%s = 1835481600
            expires: Date::parse("2028-02-29").expect("leap day"),
            reason: String::new(),
        };
        assert!(!relaxation.is_expired(1_835_481_599));
        assert!(relaxation.is_expired(1_835_481_600));
        assert_eq!(relaxation.days_left(1_835_481_599), Some(0));
        assert_eq!(relaxation.days_left(1_835_481_599 - DAY_S), Some(1));
        assert_eq!(relaxation.days_left(1_835_481_600), None);
    }
}
