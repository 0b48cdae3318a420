//! What the host must tell before a configuration can be judged.
//!
//! The crate `portcullis-host` gathers these; this crate only reads them. A fact that is missing
//! is never taken as permission.

use std::collections::BTreeMap;

/// A kind of Linux namespace, as OCI names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamespaceKind {
    /// `cgroup`
    Cgroup,
    /// `ipc`
    Ipc,
    /// `mount`
    Mount,
    /// `network`
    Network,
    /// `pid`
    Pid,
    /// `time`
    Time,
    /// `user`
    User,
    /// `uts`
    Uts,
}

/// Whose namespace a path in `linux.namespaces` leads to, compared by inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceOrigin {
    /// The namespace of the host itself.
    Host,
    /// Another one, for example that of the pod sandbox.
    Foreign,
}

/// What the source of a bind mount is, judged by device and inode.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MountSource {
    /// A part of the host that no container gets, or something that holds such a part;
    /// `what` names it, for example `/etc`.
    Denied {
        /// The protected path that the source is, is in, or contains.
        what: String,
    },
    /// A unix socket.
    Socket,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharacterDevice,
    /// A volume that the kubelet prepared for a pod.
    KubeletVolume {
        /// True for volumes that only carry settings (config map, secret, projected, downward
        /// API): nothing in them needs to be executed.
        settings: bool,
    },
    /// A file that containerd or the kubelet made for the pod sandbox (hosts, hostname,
    /// resolv.conf, shm, termination log).
    SandboxFile,
    /// Within a directory that node policy allows.
    Allowed,
    /// None of these.
    Unlisted,
}

/// What a path in the root filesystem is, without following symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DirectoryFact {
    /// A real directory.
    Directory,
    /// Nothing there; also the answer when nobody looked.
    #[default]
    Absent,
    /// Something else: a file, or a symbolic link on the way.
    NotDirectory,
}

/// The three directories that programs expect to be able to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RootfsFacts {
    /// `/tmp`
    pub tmp: DirectoryFact,
    /// `/var/tmp`
    pub var_tmp: DirectoryFact,
    /// `/run`
    pub run: DirectoryFact,
}

/// A soft and a hard limit; `u64::MAX` is "unlimited".
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rlimit {
    /// What applies.
    pub soft: u64,
    /// What the soft limit may be raised to.
    pub hard: u64,
}

/// A range of ids of a user namespace, and what they are on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdRange {
    /// First id inside.
    pub inside: u64,
    /// First id on the host.
    pub host: u64,
    /// How many.
    pub count: u64,
}

/// What the ids of a user namespace are on the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserNamespaceMaps {
    /// User ids.
    pub uids: Vec<IdRange>,
    /// Group ids.
    pub gids: Vec<IdRange>,
}

/// The `AppArmor` profile of pod sandboxes, which the package of Portcullis brings along.
pub const SANDBOX_PROFILE: &str = "portcullis-sandbox";

/// What is known of `AppArmor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AppArmor {
    /// The module is not there, or switched off.
    #[default]
    Off,
    /// It is active. [`SANDBOX_PROFILE`] is not loaded, or was not looked for: only a pod sandbox
    /// needs it.
    On,
    /// It is active, and holds [`SANDBOX_PROFILE`].
    WithSandboxProfile,
}

/// The program of a hook whose digest the profile asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookFile {
    /// Its path, as the configuration has it.
    pub path: String,
    /// SHA-256 of the file in lower-case hex, or why it cannot be relied on.
    pub sha256: Result<String, String>,
}

/// Everything a configuration is judged against besides itself and the profile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// For each kind that the configuration joins by path: whose it is. A path without an entry
    /// was not looked at and is refused.
    pub namespaces: BTreeMap<NamespaceKind, NamespaceOrigin>,
    /// The maps of the user namespace that the configuration joins by path; `None` if it joins
    /// none, or if they could not be read. Such a namespace counts for nothing.
    pub user_namespace: Option<UserNamespaceMaps>,
    /// For each bind mount, by its index in `mounts`: what its source is. A bind without an
    /// entry is refused.
    pub mount_sources: BTreeMap<usize, MountSource>,
    /// The bind mounts, by their index in `mounts`, whose source is no directory.
    pub file_mounts: Vec<usize>,
    /// The directories of the root filesystem that may get a tmpfs.
    pub rootfs: RootfsFacts,
    /// The `thermal_throttle` directories of this host's processors.
    pub cpu_thermal_paths: Vec<String>,
    /// The programs of hooks that the profile wants by digest; see [`Profile::hashed_hooks`].
    ///
    /// [`Profile::hashed_hooks`]: crate::Profile::hashed_hooks
    pub hooks: Vec<HookFile>,
    /// Whether `AppArmor` is active.
    pub apparmor: AppArmor,
    /// True if `SELinux` is enforcing.
    pub selinux: bool,
    /// True if a process may type into its terminal for others (`TIOCSTI`).
    pub legacy_tiocsti: bool,
    /// The `RLIMIT_NOFILE` that a container without one of its own would inherit.
    pub inherited_nofile: Option<Rlimit>,
}

// === impl NamespaceKind ===

impl NamespaceKind {
    /// All kinds that OCI names.
    pub const ALL: [Self; 8] = [
        Self::Cgroup,
        Self::Ipc,
        Self::Mount,
        Self::Network,
        Self::Pid,
        Self::Time,
        Self::User,
        Self::Uts,
    ];

    /// The value of `type` in `linux.namespaces`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Mount => "mount",
            Self::Network => "network",
            Self::Pid => "pid",
            Self::Time => "time",
            Self::User => "user",
            Self::Uts => "uts",
        }
    }

    /// The kind that OCI calls `name`.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The name of its link in `/proc/PID/ns/`.
    #[must_use]
    pub const fn proc_name(self) -> &'static str {
        match self {
            Self::Mount => "mnt",
            Self::Network => "net",
            Self::Cgroup | Self::Ipc | Self::Pid | Self::Time | Self::User | Self::Uts => {
                self.as_str()
            }
        }
    }
}

impl std::fmt::Display for NamespaceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
