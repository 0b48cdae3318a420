//! The facts that a configuration is judged against.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use portcullis_hardening::{HostFacts, OciConfig};

use crate::error::HostError;

/// What node policy and the runtime caller's own settings say about paths of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactsPolicy {
    /// Directories whose contents any container may mount.
    pub mounts_allow: Vec<PathBuf>,
    /// containerd's state and root directories; sandbox files lie beneath them.
    pub containerd: Vec<PathBuf>,
    /// The kubelet's root directory; pod volumes lie beneath it.
    pub kubelet: PathBuf,
    /// Further directories and files that no container gets.
    pub denied: Vec<PathBuf>,
}

impl Default for FactsPolicy {
    fn default() -> Self {
        Self {
            mounts_allow: Vec::new(),
            containerd: vec!["/run/containerd".into(), "/var/lib/containerd".into()],
            kubelet: "/var/lib/kubelet".into(),
            denied: Vec::new(),
        }
    }
}

/// Opens the root filesystem of a bundle.
///
/// # Errors
///
/// [`HostError::Open`] if it is not a directory that can be opened without following a link.
pub fn open_rootfs(_path: &Path) -> Result<OwnedFd, HostError> {
    Err(HostError::Program {
        name: String::new(),
        directories: "",
    })
}

/// Gathers the facts for `config`.
///
/// `rootfs` is the mounted root filesystem of the container; without it no tmpfs is added.
///
/// # Errors
///
/// [`HostError`] if something cannot be read; the launch is then undecided.
pub fn facts(
    _config: &OciConfig,
    _rootfs: Option<BorrowedFd<'_>>,
    _policy: &FactsPolicy,
) -> Result<HostFacts, HostError> {
    Ok(HostFacts::default())
}
