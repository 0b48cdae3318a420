//! Where the host mounts what: other paths to the same file.
//!
//! The root of a bind mount looks like any directory, and `..` leads from it to the parent of the
//! mountpoint, not of the source. What a mount really shows is in the mount table: its file
//! system, and the path within.
//!
//! # Source
//!
//! `proc_pid_fdinfo(5)`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use portcullis_hardening::MountLine;

use crate::error::HostError;

/// Of this thread, because its mount namespace is what paths are resolved in.
const MOUNTINFO: &str = "/proc/thread-self/mountinfo";

/// One line of the table, as far as it says where a file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    id: u64,
    /// `major:minor` of the file system.
    device: String,
    /// What of the file system is shown.
    root: PathBuf,
    point: PathBuf,
}

/// The mounts that this thread sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MountTable(Vec<Mount>);

/// Whether a file beneath a directory lies there, or is only shown there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// No mount beneath the directory shows it.
    Here,
    /// It is of a file system that is mounted nowhere but beneath the directory.
    Own,
    /// The host has the file system elsewhere; these paths lead to the file, unless something
    /// else is mounted over them. None if only other parts of it are mounted.
    Elsewhere(Vec<PathBuf>),
}

// === impl MountTable ===

impl MountTable {
    pub(super) fn read() -> Result<Self, HostError> {
        let table = fs::read(MOUNTINFO).map_err(|cause| HostError::Read {
            path: MOUNTINFO.into(),
            cause,
        })?;
        Self::parse(&table).ok_or_else(|| HostError::Untrusted {
            path: MOUNTINFO.into(),
            expected: "a table of mounts",
            found: "another text".to_owned(),
        })
    }

    fn parse(table: &[u8]) -> Option<Self> {
        let lines = table.split(|byte| *byte == b'\n');
        let mounts = lines.filter(|line| !line.is_empty()).map(Mount::parse);
        mounts.collect::<Option<Vec<_>>>().map(Self)
    }

    /// Where the file at `path` comes from, which mount `id` shows beneath a directory that the
    /// host knows by the paths `directory`; `None` if the table does not know that mount there.
    /// All paths are as the kernel gives them.
    pub(super) fn origin(&self, id: u64, path: &Path, directory: &[&Path]) -> Option<Origin> {
        let beneath = |mount: &Mount| {
            let mut names = directory.iter();
            names.any(|it| mount.point != *it && mount.point.starts_with(it))
        };
        let mount = self.0.iter().find(|mount| mount.id == id)?;
        let inner = path.strip_prefix(&mount.point).ok()?;
        if !beneath(mount) {
            return Some(Origin::Here);
        }
        let within = join(&mount.root, inner);
        let mut elsewhere = self
            .0
            .iter()
            .filter(|other| other.device == mount.device && !beneath(other))
            .peekable();
        if elsewhere.peek().is_none() {
            return Some(Origin::Own);
        }
        let paths = elsewhere.filter_map(|other| {
            let inner = within.strip_prefix(&other.root).ok()?;
            Some(join(&other.point, inner))
        });
        Some(Origin::Elsewhere(paths.collect()))
    }
}

/// Joins without a slash at the end, which a file must not have.
fn join(base: &Path, inner: &Path) -> PathBuf {
    if inner.as_os_str().is_empty() {
        base.to_owned()
    } else {
        base.join(inner)
    }
}

// === impl Mount ===

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let line = MountLine::parse(line)?;
        let path = |bytes| PathBuf::from(OsString::from_vec(bytes));
        Some(Self {
            id: line.id,
            device: line.device.to_owned(),
            root: path(line.root()?),
            point: path(line.point()?),
        })
    }
}

#[cfg(test)]
mod tests;
