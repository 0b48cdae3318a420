//! What was fixed in which version of an OCI runtime.

use portcullis_gate::Version;

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
    since: &'static [&'static str],
}

/// Source: release notes of the runtimes.
const FIXES: [Fix; 3] = [
    Fix {
        runtime: "runc",
        issues: "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881",
        since: &["1.2.8", "1.3.3", "1.4.0"],
    },
    Fix {
        runtime: "runc",
        issues: "CVE-2026-41579",
        since: &["1.3.6", "1.4.3", "1.5.0"],
    },
    Fix {
        runtime: "crun",
        issues: "CVE-2026-47766",
        since: &["1.28.0"],
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
        let has = |since: &Version| version >= since;
        let line = |version: &Version| [version.part(0), version.part(1)];
        let since: Vec<Version> = self
            .since
            .iter()
            .copied()
            .filter_map(Version::parse)
            .collect();
        match since.iter().find(|since| line(since) == line(version)) {
            Some(since) => has(since),
            None => since.last().is_some_and(has),
        }
    }

    fn remedy(&self) -> String {
        format!("{} not fixed before {}", self.issues, self.since.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(name: &str, line: &str) -> Finding {
        let told = Version::told(line);
        judge(name, told.as_ref().map(|(_program, version)| version))
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
        ] {
            assert_eq!(judged(name, line), Finding::Unknown, "{name}: {line}");
        }
    }
}
