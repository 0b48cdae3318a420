//! What a root filesystem may be made of.
//!
//! A client of containerd names type, source and options of each mount. The shim is root, so it
//! takes no source but one that only containerd can have made, and no option that could name
//! another.
//!
//! - Directories (`bind`, `overlay`): beneath a snapshotter's, or where node policy says.
//! - Files (`erofs`, or a disk image with `loop`): directly in the directory of a snapshot, which no
//!   image and no container writes to. A filesystem made by hand would speak with the kernel.
//! - Block devices and datasets (`ext4`, `xfs`, `btrfs`, `zfs`): nothing about them tells containerd's
//!   from the host's, so node policy has to.

use std::fs::File;
use std::path::{Component, Path};

use containerd_shim_protos::api::Mount;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstat};
use portcullis_config::SourcePattern;
use portcullis_gate::{Code, Refusal, quote};
use portcullis_hardening::OciConfig;

use crate::mount::{id_map, is_general};

/// Directories of this name hold snapshots, beneath containerd's root directory.
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1.";

/// What node policy says about root filesystems.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed<'a> {
    /// Directories, for snapshotters that keep their data elsewhere.
    pub(crate) directories: &'a [String],
    /// Block devices and datasets.
    pub(crate) sources: &'a [SourcePattern],
}

/// What the source of a mount is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Medium {
    Directory,
    /// Only a name for the mount table.
    Nothing,
    /// A file of a snapshotter, or a block device of node policy.
    FileOrDevice,
    /// A block device or dataset of node policy.
    Device,
}

/// One type of filesystem that snapshotters use.
struct Kind {
    medium: Medium,
    /// Keys whose values are directories, separated by colons.
    directories: &'static [&'static str],
    /// Keys whose values are files of a snapshotter.
    files: &'static [&'static str],
    /// Keys that name nothing outside of the filesystem, separated by spaces.
    plain: &'static str,
}

/// What is known about `fstype`; an option that is not here could name anything.
fn kind(fstype: &str) -> Option<Kind> {
    let (medium, plain) = match fstype {
        "bind" => (Medium::Directory, ""),
        "overlay" => (
            Medium::Nothing,
            "index metacopy nfs_export redirect_dir userxattr uuid verity volatile xino",
        ),
        "erofs" => (
            Medium::FileOrDevice,
            "acl cache_strategy directio noacl nouser_xattr user_xattr",
        ),
        "ext2" | "ext3" | "ext4" => (
            Medium::FileOrDevice,
            "acl barrier commit data discard errors noacl nobarrier nodiscard noload norecovery \
             stripe user_xattr",
        ),
        "xfs" => (
            Medium::FileOrDevice,
            "discard inode64 logbsize logbufs nodiscard noquota norecovery nouuid pquota prjquota \
             sunit swidth",
        ),
        "btrfs" => (
            Medium::Device,
            "compress discard nodiscard nossd space_cache ssd subvolid",
        ),
        "zfs" => (Medium::Device, "zfsutil"),
        _ => return None,
    };
    Some(Kind {
        medium,
        directories: match fstype {
            "overlay" => &["lowerdir", "upperdir", "workdir"],
            _ => &[],
        },
        files: if fstype == "erofs" { &["device"] } else { &[] },
        plain,
    })
}

/// What speaks against `mount` as a part of the root filesystem of `oci`.
pub(super) fn refusal(oci: &OciConfig, mount: &Mount, allowed: Allowed<'_>) -> Option<Refusal> {
    let denied = |expected: &str, found: String| {
        let subject = "root filesystem";
        Refusal::new(Code::RootFilesystemDenied, subject, expected, found)
    };
    let ours = "snapshots of containerd, or a directory in 'mounts.allow='";
    let Some(kind) = kind(&mount.type_) else {
        return Some(denied(
            ours,
            format!("a mount of type {}", quote(&mount.type_)),
        ));
    };
    let foreign = |path: &str| Some(denied(ours, quote(path)));
    let source = mount.source.as_str();
    match kind.medium {
        Medium::Nothing => {}
        Medium::Directory if is_snapshot(Path::new(source), allowed.directories) => {}
        Medium::FileOrDevice if is_snapshot_file(Path::new(source)) => {}
        Medium::Directory => return foreign(source),
        Medium::FileOrDevice | Medium::Device => {
            if !is_allowed_source(source, &mount.options, allowed.sources) {
                let expected = "a file of a snapshotter, or a device in 'mounts.root_sources='";
                return Some(denied(expected, quote(source)));
            }
        }
    }
    for option in &mount.options {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        if let Some((key, map)) = id_map(option) {
            if !is_map_of(oci, key, map) {
                let expected = "the id mapping of config.json";
                return Some(denied(expected, quote(option)));
            }
        } else if option.contains(',') {
            // The kernel would read it as several.
            return Some(denied("one mount option in each text", quote(option)));
        } else if kind.directories.contains(&key) {
            let mut paths = value.split(':');
            let outside = paths.find(|path| !is_snapshot(Path::new(path), allowed.directories));
            if let Some(path) = outside {
                return foreign(path);
            }
        } else if kind.files.contains(&key) {
            if !is_snapshot_file(Path::new(value)) {
                return foreign(value);
            }
        } else if !is_general(option) && !kind.plain.split(' ').any(|plain| plain == key) {
            let expected = format!("known options of '{}'", mount.type_);
            return Some(denied(&expected, quote(option)));
        }
    }
    None
}

/// Opens `path` if no link leads there and no part of it is `.` or `..`.
fn open(path: &Path) -> Option<File> {
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain {
        return None;
    }
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(AT_FDCWD, path, how).map(File::from).ok()
}

fn is_of_type(file: &File, kind: SFlag) -> bool {
    fstat(file).is_ok_and(|stat| stat.st_mode & SFlag::S_IFMT.bits() == kind.bits())
}

/// Whether `path` is a directory beneath a snapshotter's, reached through no link at all.
pub(super) fn is_snapshot(path: &Path, allowed: &[String]) -> bool {
    let beneath_snapshotter = path
        .parent()
        .is_some_and(|parent| beneath_snapshotter(parent).is_some());
    let beneath_allowed = allowed.iter().any(|allowed| path.starts_with(allowed));
    (beneath_snapshotter || beneath_allowed)
        && open(path).is_some_and(|file| is_of_type(&file, SFlag::S_IFDIR))
}

/// The names in `path` that follow the directory of a snapshotter.
fn beneath_snapshotter(path: &Path) -> Option<Vec<&str>> {
    let mut names = path.iter().map(|name| name.to_str().unwrap_or_default());
    names.find(|name| name.starts_with(SNAPSHOTTER))?;
    Some(names.collect())
}

/// Whether `path` is a regular file that a snapshotter made: `snapshots/7`, or a file that stands
/// in the directory `snapshots/7` itself. What images and containers hold lies deeper.
fn is_snapshot_file(path: &Path) -> bool {
    let names = beneath_snapshotter(path).unwrap_or_default();
    let id = match names.as_slice() {
        ["snapshots", id] | ["snapshots", id, _] => *id,
        _ => return false,
    };
    let number = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    number && open(path).is_some_and(|file| is_of_type(&file, SFlag::S_IFREG))
}

/// Whether node policy names `source`, which must not be a file behind a loop device then: its
/// device would be another one.
fn is_allowed_source(source: &str, options: &[String], allowed: &[SourcePattern]) -> bool {
    allowed.iter().any(|pattern| pattern.matches(source))
        && !options.iter().any(|option| option == "loop")
}

/// Whether `map`, the value of `uidmap=` or `gidmap=`, is the one in `config.json`: that one the
/// profile judges.
fn is_map_of(oci: &OciConfig, key: &str, map: &str) -> bool {
    let field = match key {
        "uidmap" => "uidMappings",
        _ => "gidMappings",
    };
    let ranges = oci.as_map().get("linux").and_then(|linux| linux.get(field));
    let number = |range: &serde_json::Value, name: &str| {
        range
            .get(name)
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0)
    };
    let written = |range: &serde_json::Value| {
        let (inside, host) = (number(range, "containerID"), number(range, "hostID"));
        format!("{inside}:{host}:{}", number(range, "size"))
    };
    let ranges = ranges.and_then(|ranges| ranges.as_array());
    let texts: Vec<String> = ranges.into_iter().flatten().map(written).collect();
    !texts.is_empty() && texts.join(",") == map
}

#[cfg(test)]
mod tests;
