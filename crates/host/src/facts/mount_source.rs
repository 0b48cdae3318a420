//! What the source of a bind mount is.
//!
//! The source is opened once; it and every directory above it are compared by device and inode
//! with what no container gets and with what it may get. The nearest match decides: a volume in
//! the kubelet's directory is a volume, the directory itself is not.
//!
//! A volume may itself be a bind of a directory of the host (a subpath of a host path, a local
//! volume). It is then judged by where the host has that directory. Not looked at is what is
//! mounted further down in a source, which a recursive bind brings along: only who may mount on
//! the host could have put it there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nix::sys::stat::SFlag;
use nix::sys::statfs::{
    BPF_FS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC, DEVPTS_SUPER_MAGIC,
    FsType, NSFS_MAGIC, PROC_SUPER_MAGIC, SECURITYFS_MAGIC, SELINUX_MAGIC, SYSFS_MAGIC,
    TRACEFS_MAGIC, fstatfs,
};
use portcullis_hardening::MountSource;

use super::FactsPolicy;
use super::inode::{Inode, Place};
use super::mount_table::{MountTable, Origin};
use crate::error::HostError;

/// Parts of a host that no container gets. Those that do not exist are skipped.
const DENIED: [&str; 27] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt/cni",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/lib/portcullis",
    "/var/lib/rancher",
    "/var/log",
    "/var/run",
];

/// File systems through which a container would speak with the kernel, wherever they are mounted.
const KERNEL: [FsType; 11] = [
    BPF_FS_MAGIC,
    CGROUP_SUPER_MAGIC,
    CGROUP2_SUPER_MAGIC,
    DEBUGFS_MAGIC,
    DEVPTS_SUPER_MAGIC,
    NSFS_MAGIC,
    PROC_SUPER_MAGIC,
    SECURITYFS_MAGIC,
    SELINUX_MAGIC,
    SYSFS_MAGIC,
    TRACEFS_MAGIC,
];

/// Volume plugins of the kubelet that carry settings, not programs.
const SETTINGS_PLUGINS: [&str; 4] = [
    "kubernetes.io~configmap",
    "kubernetes.io~downward-api",
    "kubernetes.io~projected",
    "kubernetes.io~secret",
];

/// What a directory on the way up says about a source beneath it.
#[derive(Debug, Clone)]
enum Mark {
    Denied(PathBuf),
    Allowed,
    Containerd,
    Kubelet,
}

/// What was found of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) source: MountSource,
    pub(super) is_directory: bool,
}

/// What the directories above a place say about it.
#[derive(Debug)]
enum Verdict {
    /// What it is.
    Final(MountSource),
    /// `source`, `depth` levels beneath the kubelet's directory, unless it is only shown there.
    Kubelet { depth: usize, source: MountSource },
}

/// Judges sources against one policy.
#[derive(Debug)]
pub(super) struct Judge {
    marks: BTreeMap<Inode, Mark>,
    /// Everything above a denied part: mounting it would mount that part too.
    holders: BTreeMap<Inode, PathBuf>,
    root: BTreeSet<Inode>,
    /// The kubelet's directory, as the kernel knows it.
    kubelet: Option<PathBuf>,
}

// === impl Judge ===

impl Judge {
    pub(super) fn new(policy: &FactsPolicy) -> Result<Self, HostError> {
        let mut judge = Self {
            marks: BTreeMap::new(),
            holders: BTreeMap::new(),
            root: BTreeSet::new(),
            kubelet: None,
        };
        let denied = DENIED.iter().map(Path::new);
        for path in denied.chain(policy.denied.iter().map(PathBuf::as_path)) {
            judge.mark(path, Mark::Denied(path.into()))?;
        }
        for path in &policy.containerd {
            judge.mark(path, Mark::Containerd)?;
        }
        judge.mark(&policy.kubelet, Mark::Kubelet)?;
        if let Some(kubelet) = Place::open(&policy.kubelet)? {
            judge.kubelet = Some(kubelet.canonical_path()?);
        }
        for path in &policy.mounts_allow {
            if let Some(place) = Place::open(path)? {
                judge.marks.insert(place.inode(), Mark::Allowed);
            }
        }
        if let Some(root) = Place::open(Path::new("/"))? {
            judge.root.insert(root.inode());
        }
        Ok(judge)
    }

    /// Marks a part of the host, and notes what is above it.
    fn mark(&mut self, path: &Path, mark: Mark) -> Result<(), HostError> {
        let Some(place) = Place::open(path)? else {
            return Ok(());
        };
        let chain = place.ancestry()?;
        for holder in chain.iter().skip(1) {
            self.holders.entry(*holder).or_insert_with(|| path.into());
        }
        self.marks.insert(place.inode(), mark);
        Ok(())
    }

    /// Judges the source of a bind mount; `None` if it is not an absolute path or leads to
    /// nothing.
    pub(super) fn judge(&self, source: &str) -> Result<Option<Found>, HostError> {
        let path = Path::new(source);
        if !path.is_absolute() {
            return Ok(None);
        }
        let Some(place) = Place::open(path)? else {
            return Ok(None);
        };
        let source = match place.kind() {
            SFlag::S_IFSOCK => MountSource::Socket,
            SFlag::S_IFBLK => MountSource::BlockDevice,
            SFlag::S_IFCHR => MountSource::CharacterDevice,
            _ => self.judge_place(&place, path)?,
        };
        Ok(Some(Found {
            source,
            is_directory: place.kind() == SFlag::S_IFDIR,
        }))
    }

    /// Judges a directory or file that was opened at `path`.
    fn judge_place(&self, place: &Place, path: &Path) -> Result<MountSource, HostError> {
        let system = fstatfs(place).map_err(|cause| HostError::Read {
            path: path.into(),
            cause: cause.into(),
        })?;
        if KERNEL.contains(&system.filesystem_type()) {
            let what = "a file system of the kernel".to_owned();
            return Ok(MountSource::Denied { what });
        }
        match self.classify(place)? {
            Verdict::Kubelet { depth, source } => self.judge_origin(place, depth, source),
            Verdict::Final(source) => Ok(source),
        }
    }

    /// Judges `source`, a place `depth` levels beneath the kubelet's directory, by where it comes
    /// from.
    fn judge_origin(
        &self,
        place: &Place,
        depth: usize,
        source: MountSource,
    ) -> Result<MountSource, HostError> {
        let path = place.canonical_path()?;
        let kubelet = path.ancestors().nth(depth).unwrap_or(&path);
        // The host may show the kubelet's directory by another name too.
        let names = [kubelet, self.kubelet.as_deref().unwrap_or(kubelet)];
        let origin = MountTable::read()?
            .origin(place.mount_id()?, &path, &names)
            .ok_or_else(|| place.vanished())?;
        let paths = match origin {
            Origin::Here | Origin::Own => return Ok(source),
            Origin::Elsewhere(paths) => paths,
        };
        let mut found = None;
        for path in paths {
            let Some(other) = Place::open(&path)? else {
                continue;
            };
            // Otherwise something else is mounted over it.
            if other.inode() != place.inode() {
                continue;
            }
            let judged = match self.classify(&other)? {
                Verdict::Kubelet { .. } => source.clone(),
                Verdict::Final(judged) => judged,
            };
            match judged {
                MountSource::Denied { .. } => return Ok(judged),
                MountSource::Unlisted => {}
                _ => found = Some(judged),
            }
        }
        Ok(found.unwrap_or(MountSource::Unlisted))
    }

    fn classify(&self, place: &Place) -> Result<Verdict, HostError> {
        let denied = |path: &Path| {
            Verdict::Final(MountSource::Denied {
                what: path.display().to_string(),
            })
        };
        let chain = place.ancestry()?;
        if let Some(held) = self.holders.get(&place.inode()) {
            return Ok(denied(held));
        }
        for (depth, inode) in chain.iter().enumerate() {
            // The root is denied itself, not for what lies in it.
            if depth > 0 && self.root.contains(inode) {
                break;
            }
            match self.marks.get(inode) {
                None => {}
                Some(Mark::Allowed) => return Ok(Verdict::Final(MountSource::Allowed)),
                Some(Mark::Denied(path)) => return Ok(denied(path)),
                Some(Mark::Containerd) => {
                    let names = names_beneath(place, depth)?;
                    let judged = of_containerd(&names).map(Verdict::Final);
                    return Ok(judged.unwrap_or_else(|| denied("containerd".as_ref())));
                }
                Some(Mark::Kubelet) => {
                    let names = names_beneath(place, depth)?;
                    let judged =
                        of_kubelet(&names).map(|source| Verdict::Kubelet { depth, source });
                    return Ok(judged.unwrap_or_else(|| denied("kubelet".as_ref())));
                }
            }
        }
        Ok(Verdict::Final(MountSource::Unlisted))
    }
}

/// What `source` will be once the kubelet or containerd has made it: told by its words alone, for a
/// pod that is not there yet. `None` if it lies beneath neither of their directories.
#[must_use]
pub fn foreseen_source(source: &Path, policy: &FactsPolicy) -> Option<MountSource> {
    let names = |directory: &Path| -> Option<Vec<String>> {
        let beneath = source.strip_prefix(directory).ok()?;
        let name = |name: &std::ffi::OsStr| name.to_string_lossy().into_owned();
        Some(beneath.iter().map(name).collect())
    };
    let (found, what) = match names(&policy.kubelet) {
        Some(names) => (of_kubelet(&names), "kubelet"),
        None => {
            let names = policy.containerd.iter().find_map(|it| names(it))?;
            (of_containerd(&names), "containerd")
        }
    };
    Some(found.unwrap_or_else(|| MountSource::Denied {
        what: what.to_owned(),
    }))
}

/// The last `depth` names of the path of `place`.
fn names_beneath(place: &Place, depth: usize) -> Result<Vec<String>, HostError> {
    let path = place.canonical_path()?;
    let names: Vec<String> = path
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    Ok(names.into_iter().rev().take(depth).rev().collect())
}

/// What lies at `names` beneath containerd's state or root directory.
fn of_containerd(names: &[String]) -> Option<MountSource> {
    match as_strs(names).as_slice() {
        [
            "io.containerd.grpc.v1.cri",
            "sandboxes",
            _,
            "hostname" | "hosts" | "resolv.conf" | "shm",
        ] => Some(MountSource::SandboxFile),
        // A volume that the image declares.
        [
            "io.containerd.grpc.v1.cri",
            "containers",
            _,
            "volumes",
            _,
            ..,
        ] => Some(MountSource::Allowed),
        _ => None,
    }
}

/// What lies at `names` beneath the kubelet's directory.
fn of_kubelet(names: &[String]) -> Option<MountSource> {
    match as_strs(names).as_slice() {
        ["pods", _, "volumes", plugin, _, ..] => Some(MountSource::KubeletVolume {
            settings: SETTINGS_PLUGINS.contains(plugin),
        }),
        ["pods", _, "volume-subpaths", _, _, _, ..] => {
            Some(MountSource::KubeletVolume { settings: false })
        }
        ["pods", _, "etc-hosts"] | ["pods", _, "containers", _, _] => {
            Some(MountSource::SandboxFile)
        }
        _ => None,
    }
}

fn as_strs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests;
