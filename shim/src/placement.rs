//! Where the server runs, as the operator chose: its cgroup and its core-scheduling group.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::sys;

/// Where cgroups are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// Set by containerd (`sched_core = true`) when pods must not share a core's threads.
const SCHED_CORE: &str = "SCHED_CORE";

/// Why the server cannot run where it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlacementError {
    /// A path that could lead out of the cgroup file system.
    #[error("cannot use shim cgroup '{path}': expected a path without '.' and '..'")]
    Path {
        /// What was asked for, escaped and cut.
        path: String,
    },
    /// No controller has such a cgroup.
    #[error("cannot join shim cgroup '{path}': expected one that exists below {ROOT}")]
    Missing {
        /// What was asked for.
        path: PathBuf,
    },
    /// The kernel said no.
    #[error("cannot join shim cgroup '{path}'")]
    Join {
        /// The file written.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A kernel or machine without core scheduling.
    #[error("cannot give the pod cores of its own, as {SCHED_CORE} in the environment asks")]
    SchedCore(#[source] io::Error),
}

/// Moves this process into `shim_cgroup`, unless that is empty, and gives it a core-scheduling
/// group of its own if containerd asks for one. What it forks later inherits both: the server,
/// and through it every container of the pod.
///
/// # Errors
///
/// [`PlacementError`]: a pod that was to be kept apart is not started anywhere else.
///
/// # Source
///
/// containerd `cmd/containerd-shim-runc-v2/manager/manager_linux.go: Start`.
pub(crate) fn take(shim_cgroup: &str) -> Result<(), PlacementError> {
    if std::env::var_os(SCHED_CORE).is_some_and(|value| !value.is_empty()) {
        sys::create_core_group().map_err(PlacementError::SchedCore)?;
    }
    if shim_cgroup.is_empty() {
        return Ok(());
    }
    let cgroup = below_root(shim_cgroup)?;
    join(Path::new(ROOT), &cgroup)
}

/// `path` relative to the root of a hierarchy.
fn below_root(path: &str) -> Result<PathBuf, PlacementError> {
    let mut relative = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::RootDir => {}
            Component::Normal(name) => relative.push(name),
            Component::CurDir | Component::ParentDir | Component::Prefix(_) => {
                return Err(PlacementError::Path {
                    path: path
                        .chars()
                        .take(64)
                        .flat_map(char::escape_default)
                        .collect(),
                });
            }
        }
    }
    Ok(relative)
}

/// Version 2: one directory. Version 1: in every hierarchy that has it.
fn join(root: &Path, cgroup: &Path) -> Result<(), PlacementError> {
    let unified = root.join("cgroup.controllers").exists();
    let hierarchies = if unified {
        vec![root.to_owned()]
    } else {
        version_1(root)
    };
    let mut joined = false;
    for hierarchy in hierarchies {
        let path = hierarchy.join(cgroup).join("cgroup.procs");
        // "0" means the process that writes.
        match fs::OpenOptions::new().write(true).open(&path) {
            Ok(mut procs) => {
                io::Write::write_all(&mut procs, b"0")
                    .map_err(|source| PlacementError::Join { path, source })?;
                joined = true;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(PlacementError::Join { path, source }),
        }
    }
    if joined {
        Ok(())
    } else {
        Err(PlacementError::Missing {
            path: cgroup.to_owned(),
        })
    }
}

/// The mounted hierarchies; what is a link is another name for one, and `unified` has no
/// controllers on a machine of version 1.
fn version_1(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter(|entry| entry.file_name() != "unified")
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree with these files `cgroup.procs`; gives its root.
    fn tree(cgroups: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for cgroup in cgroups {
            let dir = root.path().join(cgroup);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("cgroup.procs"), "").unwrap();
        }
        root
    }

    fn procs(root: &Path, cgroup: &str) -> String {
        fs::read_to_string(root.join(cgroup).join("cgroup.procs")).unwrap()
    }

    #[test]
    fn joins_the_one_directory_of_version_2() {
        let root = tree(&["shims", "memory/shims"]);
        fs::write(root.path().join("cgroup.controllers"), "memory pids").unwrap();
        join(root.path(), Path::new("shims")).unwrap();
        assert_eq!(procs(root.path(), "shims"), "0");
        assert_eq!(procs(root.path(), "memory/shims"), "");
    }

    #[test]
    fn joins_every_hierarchy_of_version_1_that_has_it() {
        let root = tree(&["memory/shims", "pids/shims", "cpu", "unified/shims"]);
        join(root.path(), Path::new("shims")).unwrap();
        assert_eq!(procs(root.path(), "memory/shims"), "0");
        assert_eq!(procs(root.path(), "pids/shims"), "0");
        assert_eq!(procs(root.path(), "cpu"), "");
        assert_eq!(procs(root.path(), "unified/shims"), "");
    }

    #[test]
    fn makes_no_cgroup() {
        let root = tree(&["memory"]);
        let error = join(root.path(), Path::new("shims")).unwrap_err();
        assert!(matches!(error, PlacementError::Missing { .. }));
        assert!(!root.path().join("memory/shims").exists());
    }

    #[test]
    fn stays_below_the_root() {
        assert_eq!(below_root("/a/b").unwrap(), Path::new("a/b"));
        assert_eq!(below_root("a//b/").unwrap(), Path::new("a/b"));
        for path in ["../a", "/a/../../b", "./a", "a/.."] {
            assert!(below_root(path).is_err(), "{path}");
        }
    }
}
