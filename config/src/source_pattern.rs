//! Patterns of devices and datasets, part by part: a `*` never covers a slash.

use crate::pattern::Pattern;

/// A pattern such as `/dev/mapper/pool-snap-*` or `tank/containerd/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePattern {
    absolute: bool,
    parts: Vec<Pattern>,
}

// === impl SourcePattern ===

impl SourcePattern {
    /// Reads a pattern whose parts are as [`Pattern`] has them, with at least two of them;
    /// `None` for anything else, and for parts that go nowhere or up.
    pub fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix('/').unwrap_or(text);
        let parts: Vec<Pattern> = inner.split('/').map(part).collect::<Option<_>>()?;
        (parts.len() >= 2).then_some(Self {
            absolute: inner.len() != text.len(),
            parts,
        })
    }

    /// Whether the whole of `name` is covered.
    pub fn matches(&self, name: &str) -> bool {
        let inner = name.strip_prefix('/').unwrap_or(name);
        let mut names = inner.split('/');
        self.absolute == (inner.len() != name.len())
            && self.parts.iter().all(|pattern| {
                let mut next = names.next().into_iter();
                next.any(|name| !matches!(name, "" | "." | "..") && pattern.matches(name))
            })
            && names.next().is_none()
    }
}

fn part(text: &str) -> Option<Pattern> {
    (!matches!(text, "." | "..")).then(|| Pattern::parse(text))?
}

#[cfg(test)]
mod tests {
    use super::SourcePattern;

    #[test]
    fn a_star_stays_within_its_part() {
        for (pattern, name, expected) in [
            ("/dev/mapper/pool-snap-*", "/dev/mapper/pool-snap-7", true),
            ("/dev/mapper/pool-snap-*", "/dev/mapper/pool-snap-", true),
            ("/dev/mapper/pool-snap-*", "/dev/mapper/vg-root", false),
            (
                "/dev/mapper/pool-snap-*",
                "/dev/mapper/pool-snap-/../vg-root",
                false,
            ),
            ("/dev/mapper/pool-snap-*", "dev/mapper/pool-snap-7", false),
            ("/dev/*", "/dev/..", false),
            ("/dev/*", "/dev/", false),
            ("/dev/*", "/dev/a/b", false),
            ("tank/containerd/*", "tank/containerd/42", true),
            ("tank/containerd/*", "tank/containerd", false),
            ("tank/containerd/*", "/tank/containerd/42", false),
        ] {
            let parsed = SourcePattern::parse(pattern).expect(pattern);
            assert_eq!(parsed.matches(name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn patterns_of_one_part_and_crooked_ones_are_refused() {
        for text in [
            "",
            "/",
            "*",
            "/dev",
            "tank",
            "/dev/",
            "/dev//sda",
            "/dev/../x",
            "/dev/a b",
        ] {
            assert_eq!(SourcePattern::parse(text), None, "{text:?}");
        }
    }
}
