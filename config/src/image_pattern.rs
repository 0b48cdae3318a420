//! Patterns of image names, part by part.

use std::fmt;

use portcullis_gate::ImageReference;

use crate::pattern::Pattern;

/// Stands for the whole rest of a name.
const REST: &str = "**";
/// Begins a host of which any name beneath is meant.
const BENEATH: &str = "*.";

/// A pattern such as `registry.example/prod/*`: a registry in full, and its parts.
///
/// A `*` never covers a slash, and the registry is no pattern but for a leading `*.`; so nothing
/// that an image's name can hold makes another registry look like this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePattern {
    text: String,
    /// In lower case; without the leading `*.`.
    registry: String,
    beneath: bool,
    parts: Vec<Pattern>,
    /// Whether any number of parts, at least one, may follow.
    rest: bool,
}

// === impl ImagePattern ===

impl ImagePattern {
    /// Reads a pattern; `None` for one without a registry in full, without a path, or with what no
    /// name can hold.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, path) = text.split_once('/')?;
        let (registry, beneath) = match host.strip_prefix(BENEATH) {
            Some(parent) => (parent, true),
            None => (host, false),
        };
        // As in names: a folder of docker.io is no registry, and one of two names is the other.
        let (example, at) = if beneath {
            (format!("a.{registry}/x"), "a.".len())
        } else {
            (format!("{registry}/x"), 0)
        };
        let is_read = ImageReference::parse(&example)
            .is_some_and(|read| read.registry().get(at..) == Some(registry));
        let mut parts = Vec::new();
        let mut rest = false;
        for part in path.split('/') {
            if rest {
                return None;
            }
            rest = part == REST;
            if !rest {
                parts.push(part_of(part)?);
            }
        }
        let has_dot = beneath || registry == "localhost" || registry.contains(['.', ':']);
        (is_read && has_dot).then(|| Self {
            text: text.to_owned(),
            registry: registry.to_ascii_lowercase(),
            beneath,
            parts,
            rest,
        })
    }

    /// Whether registry and path of `image` are covered.
    pub fn matches(&self, image: &ImageReference<'_>) -> bool {
        self.covers_registry(&image.registry().to_ascii_lowercase()) && self.covers_path(image)
    }

    fn covers_registry(&self, registry: &str) -> bool {
        if !self.beneath {
            return registry == self.registry;
        }
        registry
            .strip_suffix(self.registry.as_str())
            .and_then(|above| above.strip_suffix('.'))
            .is_some_and(|above| !above.is_empty())
    }

    fn covers_path(&self, image: &ImageReference<'_>) -> bool {
        let mut found = image.parts();
        for pattern in &self.parts {
            if !found.next().is_some_and(|part| pattern.matches(part)) {
                return false;
            }
        }
        found.next().is_some() == self.rest
    }
}

/// A part of a path; `**` has its meaning at the end only.
fn part_of(text: &str) -> Option<Pattern> {
    if text.contains(REST) {
        return None;
    }
    let pattern = Pattern::parse(text)?;
    let is_upper = |byte: u8| byte.is_ascii_uppercase();
    (!text.bytes().any(is_upper) && !matches!(text, "." | "..")).then_some(pattern)
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covers(pattern: &str, image: &str) -> bool {
        let pattern = ImagePattern::parse(pattern).expect(pattern);
        ImageReference::parse(image).is_some_and(|image| pattern.matches(&image))
    }

    #[test]
    fn a_star_stays_within_its_part_and_the_registry_is_exact() {
        for (pattern, image, expected) in [
            ("registry.example/prod/*", "registry.example/prod/app", true),
            (
                "registry.example/prod/*",
                "registry.example/prod/app:v1",
                true,
            ),
            ("registry.example/prod/*", "REGISTRY.example/prod/app", true),
            ("Registry.Example/prod/*", "registry.example/prod/app", true),
            ("registry.example/prod/*", "registry.example/prod", false),
            (
                "registry.example/prod/*",
                "registry.example/prod/a/b",
                false,
            ),
            (
                "registry.example/prod/**",
                "registry.example/prod/a/b",
                true,
            ),
            ("registry.example/prod/**", "registry.example/prod", false),
            (
                "registry.example/prod/**",
                "registry.example/production/a",
                false,
            ),
            ("registry.example/**", "registry.example/a/b/c", true),
            (
                "registry.example/prod/*",
                "registry.example.evil/prod/app",
                false,
            ),
            (
                "registry.example/prod/*",
                "evil-registry.example/prod/app",
                false,
            ),
            (
                "registry.example/prod/*",
                "registry.example:5000/prod/app",
                false,
            ),
            (
                "registry.example/prod/*",
                "registry.example@evil/prod/app",
                false,
            ),
            (
                "registry.example/prod/*",
                "evil.example/registry.example/prod/app",
                false,
            ),
            (
                "registry.example/prod/*",
                "registry.example/prod/../evil",
                false,
            ),
            ("registry.example:5000/*", "registry.example:5000/app", true),
            ("registry.example:5000/*", "registry.example/app", false),
            ("*.example/*", "eu.example/app", true),
            ("*.example/*", "a.eu.example/app", true),
            ("*.example/*", "example/app", false),
            ("*.eu.example/*", "eu.example/app", false),
            ("*.eu.example/*", "evileu.example/app", false),
            ("*.eu.example/*", "fr.eu.example.evil/app", false),
            ("docker.io/library/*", "nginx:1.27", true),
            ("docker.io/library/*", "library/nginx", true),
            ("docker.io/library/*", "index.docker.io/nginx", true),
            ("docker.io/library/*", "shop/nginx", false),
            ("docker.io/library/ngin?", "nginx", true),
            ("localhost/*", "localhost/app", true),
        ] {
            assert_eq!(covers(pattern, image), expected, "{pattern} on {image}");
        }
        let pinned = format!("registry.example/prod/app@sha256:{}", "a".repeat(64));
        assert!(covers("registry.example/prod/*", &pinned));
        // An id says which image, not from where.
        let id = format!("sha256:{}", "a".repeat(64));
        assert!(!covers("docker.io/**", &id));
    }

    #[test]
    fn patterns_that_would_cover_less_or_more_than_they_seem_to_are_refused() {
        for text in [
            "",
            "*",
            "**",
            "/",
            "*/*",
            "*/app",
            "nginx",
            "library/nginx",
            "registry.example",
            "registry.example/",
            "registry.*/app",
            "registry.example*/app",
            "*example/app",
            "*.*.example/app",
            "*./app",
            "registry.example/a/**/b",
            "registry.example/a**",
            "registry.example/***",
            "registry.example//**",
            "registry.example/a//b",
            "registry.example/../b",
            "registry.example/App",
            "registry.example/app:v1",
            "registry.example/app@sha256:aa",
            "https://registry.example/app",
            "a b.example/x",
            "registry.example/a b",
            "index.docker.io/**",
        ] {
            assert_eq!(ImagePattern::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_outside_of_a_registry_is_covered(image in "\\PC{0,60}") {
            let pattern = ImagePattern::parse("registry.example/**").expect("one");
            if let Some(reference) = ImageReference::parse(&image)
                && pattern.matches(&reference)
            {
                prop_assert!(image.to_ascii_lowercase().starts_with("registry.example/"));
            }
        }
    }
}
