//! Whose namespaces a configuration joins.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use portcullis_hardening::{NamespaceKind, NamespaceOrigin, OciConfig};

use super::inode::Place;
use crate::error::HostError;

/// Processes whose namespaces are the host's: the first one, and this one, which a runtime caller
/// could have started in namespaces of its own.
const HOST_PROCESSES: [&str; 2] = ["1", "self"];

/// For each kind that `config` joins by path: whose it is. What is not a namespace gets no entry.
pub(super) fn origins(
    config: &OciConfig,
) -> Result<BTreeMap<NamespaceKind, NamespaceOrigin>, HostError> {
    let mut origins = BTreeMap::new();
    for (kind, path) in config.joined_namespaces() {
        let Some(joined) = Place::open(Path::new(path))? else {
            continue;
        };
        let system = fstatfs(&joined).map_err(|cause| HostError::Read {
            path: path.into(),
            cause: cause.into(),
        })?;
        if system.filesystem_type() != NSFS_MAGIC {
            continue;
        }
        let mut origin = NamespaceOrigin::Foreign;
        for process in HOST_PROCESSES {
            let own = format!("/proc/{process}/ns/{}", kind.proc_name());
            match Place::open(Path::new(&own)) {
                Ok(Some(own)) if own.inode() == joined.inode() => origin = NamespaceOrigin::Host,
                Ok(_) => {}
                // Who may not look at the first process (a machine that is itself a container)
                // may not enter its namespaces either; its own are the host then.
                Err(HostError::Open { cause, .. })
                    if cause.kind() == io::ErrorKind::PermissionDenied && process != "self" => {}
                Err(error) => return Err(error),
            }
        }
        origins.insert(kind, origin);
    }
    Ok(origins)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(path: &str) -> BTreeMap<NamespaceKind, NamespaceOrigin> {
        let config =
            format!(r#"{{"linux": {{"namespaces": [{{"type": "network", "path": "{path}"}}]}}}}"#);
        origins(&OciConfig::parse(config.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn the_namespaces_of_this_process_are_the_hosts() {
        let own = format!("/proc/{}/ns/net", std::process::id());
        for path in ["/proc/self/ns/net", own.as_str(), "//proc/self/./ns/net"] {
            assert_eq!(
                joined(path).get(&NamespaceKind::Network),
                Some(&NamespaceOrigin::Host)
            );
        }
    }

    #[test]
    fn what_is_no_namespace_has_no_origin() {
        for path in ["/proc/self/status", "/no/such/namespace", "/"] {
            assert!(joined(path).is_empty(), "{path}");
        }
    }

    #[test]
    fn a_namespace_of_another_kind_is_not_the_hosts_network() {
        // Joining it as a network namespace fails in the runtime; here it only must not pass
        // for the host's own.
        let origin = joined("/proc/self/ns/uts").remove(&NamespaceKind::Network);
        assert_eq!(origin, Some(NamespaceOrigin::Foreign));
    }
}
