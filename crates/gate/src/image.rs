//! The name of an image, read as registries and runtimes read it.

use std::fmt;

/// Longest reference that is looked at, in bytes: a name, a tag and a digest at their limits.
const LIMIT_BYTES: usize = 255 + 129 + 7 + 129;
/// Longest name, registry and path together, in bytes.
const NAME_LIMIT_BYTES: usize = 255;
/// Longest tag, in bytes.
const TAG_LIMIT_BYTES: usize = 128;
/// What a name without a registry is taken from.
const DEFAULT_REGISTRY: &str = "docker.io";
/// An older name of the same registry.
const LEGACY_REGISTRY: &str = "index.docker.io";
/// Where that registry keeps names of one part.
const DEFAULT_FOLDER: &str = "library/";
/// Digest algorithms and how many hex digits each has.
const ALGORITHMS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// A reference to an image with its registry filled in.
///
/// # Source
///
/// The grammar of the distribution project's package `reference`; names without a registry as
/// Docker, containerd and the kubelet complete them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageReference<'a> {
    registry: &'a str,
    folder: &'static str,
    path: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

// === impl ImageReference ===

impl<'a> ImageReference<'a> {
    /// Reads a reference; `None` for anything that is none, an image's id (`sha256:…`, or 64 hex
    /// digits) among it: it says which bytes, not from where.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > LIMIT_BYTES || is_digest(text) || is_hex(text, 64) {
            return None;
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to a port.
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        let colon = rest.get(last..)?.find(':').map(|at| last + at);
        let (name, tag) = match colon {
            // "host:5000" alone is a name with a tag, as everybody reads it.
            Some(at) => (rest.get(..at)?, Some(rest.get(at + 1..)?)),
            None => (rest, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if is_registry(first) => (first, path),
            _ => (DEFAULT_REGISTRY, name),
        };
        let registry = if registry == LEGACY_REGISTRY {
            DEFAULT_REGISTRY
        } else {
            registry
        };
        let folder = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            DEFAULT_FOLDER
        } else {
            ""
        };
        let fits = is_host(registry)
            && path.split('/').all(is_path_component)
            && registry.len() + 1 + folder.len() + path.len() <= NAME_LIMIT_BYTES
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest);
        fits.then_some(Self {
            registry,
            folder,
            path,
            tag,
            digest,
        })
    }

    /// The registry's host, with its port if one is named; case does not matter in it.
    #[must_use]
    pub const fn registry(&self) -> &'a str {
        self.registry
    }

    /// The parts of the path in the registry.
    pub fn parts(&self) -> impl Iterator<Item = &'a str> {
        let folder: &'a str = self.folder.trim_end_matches('/');
        let folder = (!folder.is_empty()).then_some(folder);
        folder.into_iter().chain(self.path.split('/'))
    }

    /// The tag, if one is named.
    #[must_use]
    pub const fn tag(&self) -> Option<&'a str> {
        self.tag
    }

    /// The digest, if one is named: the algorithm, a colon and lower-case hex digits.
    #[must_use]
    pub const fn digest(&self) -> Option<&'a str> {
        self.digest
    }
}

impl fmt::Display for ImageReference<'_> {
    /// Registry and path: without tag and digest.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in [self.registry, "/", self.folder, self.path] {
            formatter.write_str(piece)?;
        }
        Ok(())
    }
}

/// Whether the first part of a name is a registry and not a folder of the default one.
fn is_registry(first: &str) -> bool {
    let has_upper = first.bytes().any(|byte| byte.is_ascii_uppercase());
    first == "localhost" || first.contains(['.', ':']) || has_upper
}

/// A host name, an IPv4 address or an IPv6 address in brackets, and a port.
pub(crate) fn is_host(text: &str) -> bool {
    let is_port = |port: &str| {
        (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
    };
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        let is_known = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
        return !address.is_empty()
            && address.bytes().all(is_known)
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_label(label: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !label.is_empty()
        && label.bytes().all(is_known)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Lower-case letters and digits, with one '.', one or two '_' or any number of '-' between.
fn is_path_component(part: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = part.split(|one: char| one.is_ascii() && is_word(one as u8));
    let between =
        |text: &str| matches!(text, "" | "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    let ends = |byte: Option<u8>| byte.is_some_and(is_word);
    ends(part.bytes().next()) && ends(part.bytes().last()) && separators.into_iter().all(between)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_known = |byte: u8| is_word(byte) || matches!(byte, b'.' | b'-');
    tag.len() <= TAG_LIMIT_BYTES
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(is_known)
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, digits)| {
        let mut known = ALGORITHMS.iter();
        known.any(|(name, count)| *name == algorithm && is_hex(digits, *count))
    })
}

fn is_hex(text: &str, digits: usize) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == digits && text.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::ImageReference;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn read(text: &str) -> Option<(String, Option<&str>, bool)> {
        let reference = ImageReference::parse(text)?;
        Some((
            reference.to_string(),
            reference.tag(),
            reference.digest().is_some(),
        ))
    }

    #[test]
    fn names_are_completed_as_runtimes_do_it() {
        let digest = format!("@sha256:{HEX}");
        for (text, name, tag) in [
            ("nginx", "docker.io/library/nginx", None),
            ("nginx:1.27", "docker.io/library/nginx", Some("1.27")),
            ("shop/app", "docker.io/shop/app", None),
            ("index.docker.io/nginx", "docker.io/library/nginx", None),
            ("docker.io/a/b/c", "docker.io/a/b/c", None),
            ("localhost/app:x", "localhost/app", Some("x")),
            (
                "registry.example/prod/app",
                "registry.example/prod/app",
                None,
            ),
            ("registry:5000/app:v1", "registry:5000/app", Some("v1")),
            ("registry:5000", "docker.io/library/registry", Some("5000")),
            ("Registry/app", "Registry/app", None),
            ("[2001:db8::1]:5000/app", "[2001:db8::1]:5000/app", None),
            ("a/b__c--d.e_f", "docker.io/a/b__c--d.e_f", None),
        ] {
            let expected = |digest| Some((name.to_owned(), tag, digest));
            assert_eq!(read(text), expected(false), "{text}");
            let pinned = format!("{text}{digest}");
            let read = ImageReference::parse(&pinned).expect(text);
            assert_eq!(read.to_string(), name);
            assert_eq!(read.digest(), digest.strip_prefix('@'));
        }
    }

    #[test]
    fn what_is_no_reference_is_none() {
        let id = format!("sha256:{HEX}");
        let long = format!("a/{}", "b".repeat(300));
        let tag = format!("a:{}", "b".repeat(129));
        for text in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a/B",
            "a b",
            "a\n",
            "größe",
            "a:",
            "a:-x",
            "a@",
            "a@sha256:",
            "a@sha256:0123",
            "a@md5:0123456789abcdef0123456789abcdef",
            "registry.example@evil/prod/app",
            "evil.example/x@registry.example/prod/app",
            "https://registry.example/app",
            "user:password@registry.example/app",
            "registry.example./app",
            "-registry.example/app",
            "registry.example:/app",
            "registry.example:99999999/app",
            "registry.example/../evil",
            "registry.example/.",
            "a.-b/c/",
            "a/b..c",
            "a/b___c",
            "a/b_-c",
            "[::1/app",
            id.as_str(),
            HEX,
            long.as_str(),
            tag.as_str(),
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
        let upper = format!("a@sha256:{}", HEX.to_uppercase());
        assert_eq!(read(&upper), None);
        let twice = format!("a@sha256:{HEX}@sha256:{HEX}");
        assert_eq!(read(&twice), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic_and_a_completed_name_stands(text in "\\PC{0,80}") {
            if let Some(reference) = ImageReference::parse(&text) {
                let name = reference.to_string();
                let again = ImageReference::parse(&name).expect("a completed name is one");
                prop_assert_eq!(again.to_string(), name.as_str());
                prop_assert_eq!(again.parts().count(), reference.parts().count());
            }
        }

        #[test]
        fn what_the_grammar_makes_is_read_back(
            registry in "[a-z0-9]{1,8}(\\.[a-zA-Z0-9]{1,8}){1,2}(:[0-9]{1,5})?",
            path in "[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}(/[a-z0-9]{1,6}){0,3}",
            tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
            digest in proptest::option::of("sha256:[0-9a-f]{64}"),
        ) {
            prop_assume!(!["docker.io", "index.docker.io"].contains(&registry.as_str()));
            let mut text = format!("{registry}/{path}");
            if let Some(tag) = &tag {
                text.push_str(&format!(":{tag}"));
            }
            if let Some(digest) = &digest {
                text.push_str(&format!("@{digest}"));
            }
            let read = ImageReference::parse(&text).expect("of the grammar");
            prop_assert_eq!(read.registry(), registry.as_str());
            prop_assert_eq!(read.to_string(), format!("{registry}/{path}"));
            prop_assert_eq!(read.tag(), tag.as_deref());
            prop_assert_eq!(read.digest(), digest.as_deref());
        }
    }
}
