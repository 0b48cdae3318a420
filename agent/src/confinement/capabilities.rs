//! Dropping every capability.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use caps::CapSet;
use caps::errors::CapsError;
use nix::unistd::{Gid, getgroups, setgroups};

use crate::log;

/// A capability set that could not be emptied.
#[derive(Debug, thiserror::Error)]
#[error("cannot empty the {set:?} set: {source}")]
pub(crate) struct CapabilitiesError {
    set: CapSet,
    source: CapsError,
}

/// Empties the bounding, ambient, inheritable, effective and permitted set of this thread.
///
/// Sets that are empty are left alone, because the service manager's own filter may refuse the
/// call that would change them.
pub(super) fn drop_all() -> Result<(), CapabilitiesError> {
    // The bounding set first: that takes CAP_SETPCAP. The others one by one in the order in which
    // each still allows the next.
    for set in [
        CapSet::Bounding,
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ] {
        let failed = |source| CapabilitiesError { set, source };
        if caps::read(None, set).map_err(failed)?.is_empty() {
            continue;
        }
        caps::clear(None, set).map_err(failed)?;
    }
    Ok(())
}

/// Joins the group to which the TPM's device belongs, because without capabilities the owner of
/// the process no longer overrides the device's mode. Distributions give it to group `tss`.
///
/// Not being able to is no reason to stop: the TPM is then unreachable, and that is said.
pub(super) fn join_group_of(device: &Path) {
    let Ok(metadata) = std::fs::metadata(device) else {
        return;
    };
    let group = Gid::from_raw(metadata.gid());
    let joined = getgroups().and_then(|mut groups| {
        if group.as_raw() == 0 || groups.contains(&group) {
            return Ok(());
        }
        groups.push(group);
        setgroups(&groups)
    });
    if let Err(errno) = joined {
        let fields = [
            ("device", &*device.display().to_string()),
            ("group", &*group.to_string()),
            ("cause", errno.desc()),
        ];
        log::warn("group of the TPM's device not joined", &fields);
    }
}
