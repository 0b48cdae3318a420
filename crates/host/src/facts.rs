//! The facts that a configuration is judged against.

mod hooks;
mod inode;
mod kernel;
mod mount_source;
mod mount_table;
mod namespace;
mod rootfs;
mod user_namespace;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use portcullis_hardening::{HostFacts, OciConfig, Purpose, Rlimit, RootfsFacts};

use crate::error::HostError;
use mount_source::Judge;

pub(crate) use inode::Place;
pub(crate) use user_namespace::maps_of;

pub use mount_source::foreseen_source;
pub use user_namespace::{joined_user_namespace, user_namespace_maps};

/// What node policy and the runtime caller's own settings say about paths of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactsPolicy {
    /// Directories whose contents any container may mount.
    pub mounts_allow: Vec<PathBuf>,
    /// containerd's state and root directories; the files of pod sandboxes lie beneath them.
    pub containerd: Vec<PathBuf>,
    /// The kubelet's root directory; pod volumes lie beneath it.
    pub kubelet: PathBuf,
    /// Further directories and files that no container gets.
    pub denied: Vec<PathBuf>,
    /// Programs of hooks whose digests are wanted.
    pub hooks: Vec<String>,
}

/// Gathers the facts for `config`.
///
/// `rootfs` is the mounted root filesystem of the container, which must be a directory and no
/// link to one; without it no tmpfs is added. What is looked up by path (namespaces, sources of
/// bind mounts) is what the path leads to now.
///
/// # Errors
///
/// [`HostError`] if something cannot be read; the container must then not start.
pub fn facts(
    config: &OciConfig,
    rootfs: Option<&Path>,
    policy: &FactsPolicy,
) -> Result<HostFacts, HostError> {
    let namespaces = namespace::origins(config)?;
    let mut mount_sources = BTreeMap::new();
    let mut file_mounts = Vec::new();
    let mut judge = None;
    for bind in config.bind_mounts() {
        if judge.is_none() {
            judge = Some(Judge::new(policy)?);
        }
        if let Some(judge) = &judge
            && let Some(found) = judge.judge(bind.source)?
        {
            mount_sources.insert(bind.index, found.source);
            if !found.is_directory {
                file_mounts.push(bind.index);
            }
        }
    }
    Ok(HostFacts {
        namespaces,
        user_namespace: user_namespace::maps(config)?,
        mount_sources,
        file_mounts,
        rootfs: match rootfs {
            Some(rootfs) => rootfs::directories(rootfs)?,
            None => RootfsFacts::default(),
        },
        cpu_thermal_paths: kernel::thermal_throttle_paths()?,
        hooks: policy.hooks.iter().map(|path| hooks::file(path)).collect(),
        apparmor: kernel::apparmor(Purpose::of(config))?,
        selinux: kernel::selinux_is_enforcing()?,
        legacy_tiocsti: kernel::legacy_tiocsti_is_permitted()?,
        inherited_nofile: Some(nofile()?),
    })
}

/// The limit of open files of this process, which its children inherit.
fn nofile() -> Result<Rlimit, HostError> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|cause| HostError::Read {
        path: "RLIMIT_NOFILE".into(),
        cause: cause.into(),
    })?;
    Ok(Rlimit { soft, hard })
}

// === impl FactsPolicy ===

impl FactsPolicy {
    /// The usual directories, and what node policy lets any container mount.
    #[must_use]
    pub fn allowing(mounts: &[String]) -> Self {
        Self {
            mounts_allow: mounts.iter().map(PathBuf::from).collect(),
            ..Self::default()
        }
    }

    /// The same, with the digests of what these hooks run.
    #[must_use]
    pub fn hashing(mut self, hooks: &[&str]) -> Self {
        self.hooks = hooks.iter().map(|path| (*path).to_owned()).collect();
        self
    }
}

impl Default for FactsPolicy {
    fn default() -> Self {
        Self {
            mounts_allow: Vec::new(),
            containerd: vec!["/run/containerd".into(), "/var/lib/containerd".into()],
            kubelet: "/var/lib/kubelet".into(),
            denied: Vec::new(),
            hooks: Vec::new(),
        }
    }
}
