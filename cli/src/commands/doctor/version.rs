//! Versions of OCI runtimes, and what was fixed in which.

use std::fmt;

/// A version: three numbers, and whether it came before the release of that number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    numbers: [u32; 3],
    /// False sorts before true.
    is_release: bool,
}

/// What is to be said of a runtime.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Everything on the list is fixed.
    Fixed,
    /// What is not, and since when it would be.
    Open(Vec<String>),
    /// Another runtime, or no version.
    Unknown,
}

/// Something that was fixed.
struct Fix {
    runtime: &'static str,
    issues: &'static str,
    /// The first version with it in each line that got it, ascending. Later lines have it.
    since: &'static [[u32; 3]],
}

/// Source: release notes of the runtimes.
const FIXES: [Fix; 3] = [
    Fix {
        runtime: "runc",
        issues: "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881",
        since: &[[1, 2, 8], [1, 3, 3], [1, 4, 0]],
    },
    Fix {
        runtime: "runc",
        issues: "CVE-2026-41579",
        since: &[[1, 3, 6], [1, 4, 3], [1, 5, 0]],
    },
    Fix {
        runtime: "crun",
        issues: "CVE-2026-47766",
        since: &[[1, 28, 0]],
    },
];

/// Judges the runtime called `name`, a bare name or a path.
pub(super) fn judge(name: &str, version: Option<&Version>) -> Finding {
    let file = name.rsplit('/').next().unwrap_or(name);
    let fixes: Vec<&Fix> = FIXES.iter().filter(|fix| fix.runtime == file).collect();
    let (Some(version), false) = (version, fixes.is_empty()) else {
        return Finding::Unknown;
    };
    let open: Vec<String> = fixes
        .into_iter()
        .filter(|fix| !fix.is_in(version))
        .map(Fix::remedy)
        .collect();
    if open.is_empty() {
        Finding::Fixed
    } else {
        Finding::Open(open)
    }
}

// === impl Fix ===

impl Fix {
    fn is_in(&self, version: &Version) -> bool {
        let line = |[major, minor, _]: [u32; 3]| [major, minor];
        let has = |since: &[u32; 3]| *version >= Version::release(*since);
        match self
            .since
            .iter()
            .find(|since| line(**since) == line(version.numbers))
        {
            Some(since) => has(since),
            None => self.since.last().is_some_and(has),
        }
    }

    fn remedy(&self) -> String {
        let since: Vec<String> = self
            .since
            .iter()
            .map(|since| Version::release(*since).to_string())
            .collect();
        format!("{} not fixed before {}", self.issues, since.join(", "))
    }
}

// === impl Version ===

impl Version {
    const fn release(numbers: [u32; 3]) -> Self {
        Self {
            numbers,
            is_release: true,
        }
    }

    /// Finds the version in what a runtime prints first.
    ///
    /// ```text
    /// runc version 1.1.5+ds1
    /// crun version 1.8.1
    /// runc version 1.4.0-rc.3
    /// ```
    pub(super) fn find(line: &str) -> Option<Self> {
        let word = line.split_once(" version ")?.1.split_whitespace().next()?;
        let end = word
            .find(|one: char| !one.is_ascii_digit() && one != '.')
            .unwrap_or(word.len());
        let (numbers, rest) = word.split_at_checked(end)?;
        let mut parts = numbers.split('.').map(str::parse);
        let (major, minor) = (parts.next()?.ok()?, parts.next()?.ok()?);
        let patch = parts.next().unwrap_or(Ok(0)).ok()?;
        parts.next().is_none().then_some(Self {
            numbers: [major, minor, patch],
            // What a distribution adds is no earlier than the release.
            is_release: !rest.starts_with("-rc"),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(formatter, "{major}.{minor}.{patch}")?;
        if self.is_release {
            Ok(())
        } else {
            formatter.write_str("-rc")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(name: &str, line: &str) -> Finding {
        judge(name, Version::find(line).as_ref())
    }

    #[test]
    fn t57_each_line_has_its_own_least_version() {
        for (line, open) in [
            ("runc version 1.1.5+ds1", 2),
            ("runc version 1.2.7", 2),
            // Fixed in part: the other issue has no release in this line.
            ("runc version 1.2.8", 1),
            ("runc version 1.3.3", 1),
            ("runc version 1.3.6", 0),
            ("runc version 1.4.0-rc.2", 2),
            ("runc version 1.4.0", 1),
            ("runc version 1.4.3", 0),
            ("runc version 1.5.0", 0),
            ("runc version 1.10.0", 0),
            ("runc version 2.0.0", 0),
        ] {
            match judged("runc", line) {
                Finding::Fixed => assert_eq!(open, 0, "{line}"),
                Finding::Open(found) => assert_eq!(found.len(), open, "{line}: {found:?}"),
                Finding::Unknown => panic!("{line}"),
            }
        }
        assert!(matches!(
            judged("crun", "crun version 1.27.1"),
            Finding::Open(_)
        ));
        assert_eq!(judged("/usr/bin/crun", "crun version 1.28"), Finding::Fixed);
    }

    #[test]
    fn t57_what_is_not_known_is_not_called_fixed() {
        for (name, line) in [
            ("youki", "youki version 0.5.0"),
            ("runc", "no such thing"),
            ("runc", "runc version unknown"),
            ("runc", "runc version 1"),
            ("runc", "runc version 1.2.3.4"),
        ] {
            assert_eq!(judged(name, line), Finding::Unknown, "{name}: {line}");
        }
    }
}
