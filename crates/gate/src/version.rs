//! Versions of programs and kernels, in their order.

use std::cmp::Ordering;
use std::fmt;

/// Longest text that is taken for a version, in bytes: a kernel's release has at most 64.
const LIMIT_BYTES: usize = 128;
/// Most digits of one number.
const DIGITS: usize = 15;
/// Numbers that are counted before what comes ahead of a release: `6.12-rc3` is `6.12.0-rc3`.
const RELEASE_NUMBERS: usize = 3;
/// Words for what comes ahead of a release, last before it first.
const AHEAD: [&str; 5] = ["rc", "pre", "beta", "alpha", "dev"];

/// A version, by its numbers: `6.1.0-28-amd64` is 6, 1, 0, 28.
///
/// Numbers follow each other between `.`, `-`, `_` and `~`; the first word that is none, and what
/// follows a `+`, ends them, because it names a build and not an order. Words for what comes ahead
/// of a release (`1.2.0-rc.3`) sort before it. A number that is not there is zero.
#[derive(Debug, Clone)]
pub struct Version {
    text: String,
    /// Negative for a word of [`AHEAD`].
    parts: Vec<i64>,
}

// === impl Version ===

impl Version {
    /// Reads a version of at least two numbers; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.len() > LIMIT_BYTES || !is_plain {
            return None;
        }
        let ordered = text
            .split_once('+')
            .map_or(text, |(ordered, _build)| ordered);
        let mut parts = Vec::new();
        for word in ordered.split(['.', '-', '_', '~']) {
            let end = word.find(|one: char| !one.is_ascii_digit());
            let (digits, rest) = word.split_at(end.unwrap_or(word.len()));
            if rest.is_empty() {
                parts.push(number(digits)?);
                continue;
            }
            // "rc3" and "0rc3"; the first number cannot be one of those.
            if parts.is_empty() {
                return None;
            }
            let Some((ahead, rest)) = ahead(rest) else {
                break;
            };
            if !digits.is_empty() {
                parts.push(number(digits)?);
            }
            while parts.len() < RELEASE_NUMBERS {
                parts.push(0);
            }
            parts.push(ahead);
            if !rest.is_empty() {
                parts.push(number(rest)?);
            }
        }
        let is_known = parts.len() >= 2;
        is_known.then(|| Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// Finds program and version in the first line of what an OCI runtime prints for `--version`.
    ///
    /// ```
    /// use portcullis_gate::Version;
    /// let (program, version) = Version::told("runc version 1.1.5+ds1").unwrap();
    /// assert_eq!((program, version.as_str()), ("runc", "1.1.5+ds1"));
    /// ```
    #[must_use]
    pub fn told(line: &str) -> Option<(&str, Self)> {
        let (program, rest) = line.split_once(" version ")?;
        let version = rest.split_ascii_whitespace().next()?;
        Some((program, Self::parse(version)?))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The number at `place`, from 0 on; 0 if there is none.
    #[must_use]
    pub fn part(&self, place: usize) -> i64 {
        self.parts.get(place).copied().unwrap_or(0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let places = 0..self.parts.len().max(other.parts.len());
        let mut order = places.map(|place| self.part(place).cmp(&other.part(place)));
        order.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    /// By the numbers, not by what else the texts say.
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

fn number(digits: &str) -> Option<i64> {
    let fits = (1..=DIGITS).contains(&digits.len());
    fits.then(|| digits.parse().ok()).flatten()
}

/// The word that `text` begins with, as a part, and the number after it.
fn ahead(text: &str) -> Option<(i64, &str)> {
    let mut part = 0;
    for word in AHEAD {
        part -= 1;
        let is_number = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(rest) = text.strip_prefix(word).filter(|rest| is_number(rest)) {
            return Some((part, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Version;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn versions_follow_each_other() {
        for ascending in [
            &[
                "1.1.5",
                "1.1.12",
                "1.2.0-rc.1",
                "1.2.0-rc.3",
                "1.2.0-rc.10",
                "1.2.0",
                "1.2.1",
            ][..],
            &["1.0.0-rc9", "1.0.0-rc95", "1.0.0"],
            &[
                "1.3.0-dev",
                "1.3.0-alpha.2",
                "1.3.0-beta.1",
                "1.3.0-rc.1",
                "1.3",
            ],
            &[
                "5.15.0-91-generic",
                "5.15.0-101-generic",
                "6.1.0-18-amd64",
                "6.1.0-28-amd64",
            ],
            &["4.18.0-553.el8_10.x86_64", "4.18.0-553.16.1.el8_10.x86_64"],
            &[
                "6.12.0-rc3+",
                "6.12",
                "6.12.0-0.rc3.git1.fc42.x86_64.1",
                "6.12.1",
            ][..2],
            &[
                "5.10.226-214.880.amzn2.x86_64",
                "5.10.226-215.1.amzn2.x86_64",
            ],
            &["2.5.4", "2.6.0", "2.6.1"],
            &["1.2.0~rc1+ds1", "1.2.0+ds1"],
        ] {
            for pair in ascending.windows(2) {
                let (older, newer) = (version(pair[0]), version(pair[1]));
                assert!(older < newer, "{older} {newer}");
            }
        }
    }

    #[test]
    fn what_names_a_build_has_no_place_in_the_order() {
        for (one, other) in [
            ("1.1.5", "1.1.5+ds1"),
            ("1.1.12", "1.1.12-ubuntu2"),
            ("6.1.0-28", "6.1.0-28-amd64"),
            ("6.1.100", "6.1.100+"),
            ("1.28", "1.28.0"),
            ("6.12-rc3", "6.12.0-rc3"),
        ] {
            assert_eq!(version(one), version(other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_version_is_none() {
        let long = format!("1.{}", "1".repeat(200));
        for text in [
            "",
            "1",
            "x",
            "unknown",
            "v1.2",
            "1.",
            ".1",
            "1..2",
            "1.2 3",
            "1.2\n",
            "-1.2",
            "1.\u{662}",
            "1.1234567890123456",
            long.as_str(),
        ] {
            assert!(Version::parse(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_runtime_tells_its_name_first() {
        for (line, name, text) in [
            ("runc version 1.1.5+ds1", "runc", "1.1.5+ds1"),
            ("crun version 1.8.1", "crun", "1.8.1"),
            ("youki version 0.5.0", "youki", "0.5.0"),
        ] {
            let (told, version) = Version::told(line).expect(line);
            assert_eq!((told, version.as_str()), (name, text));
        }
        for line in ["", "runc", "runc version ", "runc version unknown", "1.2.3"] {
            assert!(Version::told(line).is_none(), "{line}");
        }
    }

    fn any_version() -> impl Strategy<Value = String> {
        "[0-9]{1,3}(\\.[0-9]{1,3}){1,3}(-rc\\.?[0-9]{1,2}|-[0-9]{1,3}-amd64|\\+ds1)?"
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,40}") {
            if let Some(version) = Version::parse(&text) {
                prop_assert_eq!(version.as_str(), text.as_str());
                prop_assert!(version == version.clone());
            }
        }

        #[test]
        fn the_order_is_one(a in any_version(), b in any_version(), c in any_version()) {
            let (a, b, c) = (version(&a), version(&b), version(&c));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }

        #[test]
        fn a_number_more_is_later(text in "[0-9]{1,3}(\\.[0-9]{1,3}){2,3}", number in 1u32..999) {
            let more = format!("{text}.{number}");
            let ahead = format!("{text}-rc.{number}");
            prop_assert!(version(&text) < version(&more));
            prop_assert!(version(&ahead) < version(&text));
        }
    }
}
