//! Paths as text, for what has no descriptor: paths inside a container that does not exist yet.

/// Normalises an absolute path by its text: one slash between names, no `.`, none at the end.
///
/// `None` if it is not absolute or goes up with `..`: what that means depends on links.
pub(crate) fn normal(path: &str) -> Option<String> {
    if !path.starts_with('/') || path.contains('\0') {
        return None;
    }
    let mut clean = String::with_capacity(path.len());
    for name in path.split('/').filter(|name| !matches!(*name, "" | ".")) {
        if name == ".." {
            return None;
        }
        clean.push('/');
        clean.push_str(name);
    }
    if clean.is_empty() {
        clean.push('/');
    }
    Some(clean)
}

/// True if the normal path `path` is `directory` or lies in it.
pub(crate) fn is_within(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// True if an absolute path could lead into `/proc` (CVE-2024-21626): by its text, or because it
/// goes up and nobody can say where to.
pub(crate) fn lies_in_proc(path: &str) -> bool {
    normal(path).is_none_or(|path| is_within(&path, "/proc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_normalised_by_its_text() {
        assert_eq!(normal("/a//b/./c/").as_deref(), Some("/a/b/c"));
        assert_eq!(normal("//").as_deref(), Some("/"));
        assert_eq!(normal("/a/../b"), None);
        assert_eq!(normal("a"), None);
        assert_eq!(normal("/a\0b"), None);
    }

    #[test]
    fn within_is_by_whole_names() {
        assert!(is_within("/run", "/run"));
        assert!(is_within("/run/x", "/run"));
        assert!(!is_within("/runner", "/run"));
    }

    #[test]
    fn every_spelling_of_proc_is_found() {
        for path in [
            "/proc",
            "/proc/self/fd/7",
            "//proc/1",
            "/./proc",
            "/x/../proc",
        ] {
            assert!(lies_in_proc(path), "{path}");
        }
        assert!(!lies_in_proc("/process"));
        assert!(!lies_in_proc("/"));
    }
}
