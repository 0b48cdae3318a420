//! Whose namespaces a configuration joins.

use std::collections::BTreeMap;
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
            if Place::open(Path::new(&own))?.is_some_and(|own| own.inode() == joined.inode()) {
                origin = NamespaceOrigin::Host;
            }
        }
        origins.insert(kind, origin);
    }
    Ok(origins)
}
