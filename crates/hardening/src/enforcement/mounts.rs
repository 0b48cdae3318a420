//! Mounts, masks and read-only paths.

use portcullis_gate::quote;
use serde_json::Value;

use super::{Differences, Enforcement, Held};
use crate::mount_line::MountLine;
use crate::oci_config::{OciConfig, text, texts};
use crate::path::{is_within, normal};

/// What a mount does not allow.
#[expect(clippy::struct_excessive_bools, reason = "each is one mount option")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MountFlags {
    /// No writing.
    pub read_only: bool,
    /// No rights from setuid files or file capabilities.
    pub nosuid: bool,
    /// No devices.
    pub nodev: bool,
    /// No programs.
    pub noexec: bool,
}

/// A line of a process's mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldMount {
    /// Number of the mount.
    pub id: u64,
    /// Its place, seen from the root of the process.
    pub point: String,
    /// What it does not allow, by itself or by its file system.
    pub flags: MountFlags,
    /// Type of its file system.
    pub file_system: String,
    /// True if its events travel to other namespaces.
    pub shared: bool,
}

/// What is at a path of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldPath {
    /// Nothing is there, or it lies where a look could hang; nothing is said then.
    Absent,
    /// `/dev/null`, or an unwritable directory in memory.
    Masked,
    /// Something that cannot be written to.
    ReadOnly,
    /// Something that can be read and written to.
    Open,
}

/// A mount of the configuration that no later one hides.
pub(super) struct Promised {
    index: usize,
    is_cgroup: bool,
    pub(super) point: String,
    flags: MountFlags,
}

// === impl MountFlags ===

impl MountFlags {
    /// Reads mount options, of OCI or of the kernel; the last of a pair wins.
    pub fn of<'a>(options: impl Iterator<Item = &'a str>) -> Self {
        let mut flags = Self::default();
        for option in options {
            // The recursive ones say the same of this mount.
            let recursive = option.strip_prefix('r').filter(|it| FLAGS.contains(it));
            match recursive.unwrap_or(option) {
                "ro" => flags.read_only = true,
                "rw" => flags.read_only = false,
                "nosuid" => flags.nosuid = true,
                "suid" => flags.nosuid = false,
                "nodev" => flags.nodev = true,
                "dev" => flags.nodev = false,
                "noexec" => flags.noexec = true,
                "exec" => flags.noexec = false,
                _ => {}
            }
        }
        flags
    }

    /// The first thing that `self` forbids and `other` does not.
    fn beyond(self, other: Self) -> Option<&'static str> {
        let forbidden = [
            (self.read_only && !other.read_only, "ro"),
            (self.nosuid && !other.nosuid, "nosuid"),
            (self.nodev && !other.nodev, "nodev"),
            (self.noexec && !other.noexec, "noexec"),
        ];
        forbidden
            .into_iter()
            .find_map(|(missing, word)| missing.then_some(word))
    }
}

const FLAGS: [&str; 8] = [
    "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec",
];

// === impl HeldMount ===

impl HeldMount {
    /// Reads a line of `/proc/PID/mountinfo`; `None` if it is none.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let line = MountLine::parse(line)?;
        let own = MountFlags::of(line.options.split(','));
        let read_only = line.super_options.split(',').any(|option| option == "ro");
        Some(Self {
            id: line.id,
            point: String::from_utf8_lossy(&line.point()?).into_owned(),
            flags: MountFlags {
                read_only: own.read_only || read_only,
                ..own
            },
            file_system: line.file_system.to_owned(),
            shared: line.shared,
        })
    }
}

// === impl Held ===

impl Held {
    /// What is mounted on top at `point`.
    #[must_use]
    pub fn mount_at(&self, point: &str) -> Option<&HeldMount> {
        let mut mounts = self.mounts.iter().rev();
        match self.mounts_by_link.get(point) {
            Some(id) => mounts.find(|mount| mount.id == *id),
            None => mounts.find(|mount| mount.point == point),
        }
    }

    /// What the mount that was promised at a place does not allow; `None` if nothing is there.
    fn flags_of(&self, promised: &Promised) -> Option<MountFlags> {
        let mount = self.mount_at(&promised.point)?;
        let mut flags = mount.flags;
        if promised.is_cgroup && mount.file_system == "tmpfs" {
            // Version 1: the hierarchies are mounted in a directory in memory, which runc leaves
            // writable for root.
            let is_hierarchy = |it: &&HeldMount| {
                it.file_system.starts_with("cgroup") && is_within(&it.point, &mount.point)
            };
            let mut hierarchies = self.mounts.iter().filter(is_hierarchy);
            flags.read_only = hierarchies.all(|it| it.flags.read_only);
        }
        Some(flags)
    }
}

/// What stays visible: a mount at the same place, or above, hides what came before.
pub(super) fn promised(config: &OciConfig) -> Vec<Promised> {
    let list = config.as_map().get("mounts").and_then(Value::as_array);
    let mut promised: Vec<Promised> = Vec::new();
    for (index, mount) in list.into_iter().flatten().enumerate() {
        let Some(mount) = mount.as_object() else {
            continue;
        };
        let Some(point) = normal(text(mount, "destination")) else {
            continue;
        };
        promised.retain(|earlier| !is_within(&earlier.point, &point));
        promised.push(Promised {
            index,
            is_cgroup: text(mount, "type") == "cgroup",
            flags: MountFlags::of(texts(mount, "options")),
            point,
        });
    }
    promised
}

pub(super) fn compare(enforcement: Enforcement<'_>, held: &Held, differences: &mut Differences) {
    let config = enforcement.0.as_map();
    let root = config.get("root").and_then(|root| root.get("readonly"));
    if root == Some(&Value::Bool(true)) {
        let is_read_only = held.mount_at("/").is_some_and(|root| root.flags.read_only);
        differences.unless(is_read_only, "/root/readonly", true, false);
    }
    for mount in promised(enforcement.0) {
        let pointer = format!("/mounts/{}", mount.index);
        let Some(flags) = held.flags_of(&mount) else {
            differences.push(&pointer, "a mount", "nothing mounted there");
            continue;
        };
        if let Some(missing) = mount.flags.beyond(flags) {
            let pointer = format!("{pointer}/options");
            differences.push(&pointer, missing, "a mount without it");
        }
    }
    let linux = enforcement.linux();
    let propagation = linux.map_or("", |linux| text(linux, "rootfsPropagation"));
    if !matches!(propagation, "shared" | "rshared")
        && let Some(mount) = held.mounts.iter().find(|mount| mount.shared)
    {
        let found = format!("a shared mount at {}", quote(&mount.point));
        differences.push("/linux/rootfsPropagation", "no shared mount", found);
    }
    compare_paths(enforcement.masked(), &held.masked, true, differences);
    compare_paths(enforcement.read_only(), &held.read_only, false, differences);
}

fn compare_paths<'a>(
    paths: impl Iterator<Item = &'a str>,
    held: &[HeldPath],
    masked: bool,
    differences: &mut Differences,
) {
    let (list, expected) = if masked {
        ("maskedPaths", "nothing to be seen at")
    } else {
        ("readonlyPaths", "nothing to be written at")
    };
    let mut held = held.iter();
    for path in paths {
        let found = match (held.next(), masked) {
            (Some(HeldPath::Absent | HeldPath::Masked), _) => continue,
            (Some(HeldPath::ReadOnly), false) => continue,
            (Some(HeldPath::ReadOnly), true) => "what can be read",
            (Some(HeldPath::Open), _) => "what can be read and written",
            (None, _) => "what nobody looked at",
        };
        let subject = format!("/linux/{list}");
        let expected = format!("{expected} {}", quote(path));
        differences.push(&subject, expected, found);
    }
}
