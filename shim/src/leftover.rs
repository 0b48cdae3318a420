//! What an OCI runtime leaves behind when it is killed in the middle of its work: the container's
//! cgroup, which the runtime's own `delete` knows nothing of then.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

use crate::bundle::{CONFIG, MAX_CONFIG_BYTES};

/// Where cgroups are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// How long processes of a killed runtime, or killed ones, may take to leave their cgroup.
const EMPTY_LIMIT: Duration = Duration::from_millis(500);

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// The only part of `config.json` that is read here.
#[derive(Deserialize)]
struct Configured {
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct Linux {
    #[serde(rename = "cgroupsPath")]
    cgroups_path: Option<String>,
}

/// The cgroup of one container as its configuration names it, in every hierarchy.
#[derive(Debug)]
pub(crate) struct Leftover {
    path: PathBuf,
    dirs: Vec<PathBuf>,
}

// === impl Leftover ===

impl Leftover {
    /// The cgroup at `path` of container `id`. Only a path that ends in the container's own id is
    /// taken, so that a configuration cannot name another's; systemd removes its own scopes.
    pub(crate) fn named(path: &str, id: &str) -> Option<Self> {
        Self::at(Path::new(ROOT), path, id)
    }

    fn at(root: &Path, path: &str, id: &str) -> Option<Self> {
        let path = PathBuf::from(path);
        let below = path.strip_prefix("/").ok()?;
        let plain = below
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !plain || below.file_name()?.to_str() != Some(id) || below.components().count() < 2 {
            return None;
        }
        let hierarchies = folders(root);
        let dirs = std::iter::once(root.to_owned())
            .chain(hierarchies)
            .map(|hierarchy| hierarchy.join(below))
            .filter(|dir| dir.is_dir() && !dir.is_symlink())
            .collect();
        Some(Self { path, dirs })
    }

    /// Kills every process in it if `init` is one of them: then it is this container's and no
    /// namesake's.
    pub(crate) fn kill(&self, init: u32) {
        let text = fs::read_to_string(format!("/proc/{init}/cgroup")).unwrap_or_default();
        let is_in = |line: &str| line.splitn(3, ':').nth(2).map(Path::new) == Some(&self.path);
        if !text.lines().any(is_in) {
            return;
        }
        for dir in self.dirs.iter().flat_map(|dir| nested(dir)) {
            let listed = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            for pid in listed.lines().filter_map(|line| line.parse().ok()) {
                match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                    // One that is gone already is what was wanted.
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => crate::log::warn(&format!("cannot kill process {pid}: {errno}")),
                }
            }
        }
    }

    /// Removes it, as far as it is empty, which the kernel checks. Blocks for at most
    /// [`EMPTY_LIMIT`], and only where a runtime was killed.
    pub(crate) fn remove(&self) {
        let since = Instant::now();
        // Leaves first.
        while self
            .dirs
            .iter()
            .flat_map(|dir| nested(dir).into_iter().rev())
            .filter(|dir| fs::remove_dir(dir).is_err() && dir.exists())
            .count()
            > 0
            && since.elapsed() < EMPTY_LIMIT
        {
            thread::park_timeout(PAUSE);
        }
    }
}

/// The cgroup path in the configuration of `bundle`.
pub(crate) fn configured(bundle: &Path) -> Option<String> {
    let bytes = crate::bundle::read(&bundle.join(CONFIG), MAX_CONFIG_BYTES).ok()?;
    let configured: Configured = serde_json::from_slice(&bytes).ok()?;
    configured.linux?.cgroups_path
}

/// `dir` and everything below it, parents before children.
fn nested(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    let mut next = 0;
    while let Some(dir) = found.get(next) {
        let below = folders(dir);
        found.extend(below);
        next += 1;
    }
    found
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_containers_own_cgroup_only() {
        let root = tempfile::tempdir().unwrap();
        for dir in [
            "memory/default/one/sub",
            "default/one",
            "memory/default/two",
        ] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        for foreign in [
            "/default/two",
            "/one",
            "default/one",
            "/default/../x/one",
            "a:b:one",
            "",
        ] {
            assert!(
                Leftover::at(root.path(), foreign, "one").is_none(),
                "{foreign}"
            );
        }
        let found = Leftover::at(root.path(), "/default/one", "one").unwrap();
        assert_eq!(found.dirs.len(), 2);
        found.remove();
        assert!(!root.path().join("memory/default/one").exists());
        assert!(!root.path().join("default/one").exists());
        assert!(root.path().join("memory/default/two").exists());
    }

    #[test]
    fn reads_the_path_from_the_bundle() {
        let bundle = tempfile::tempdir().unwrap();
        assert_eq!(configured(bundle.path()), None);
        let config = r#"{"ociVersion":"1.0.2","linux":{"cgroupsPath":"/default/one"}}"#;
        fs::write(bundle.path().join(CONFIG), config).unwrap();
        assert_eq!(configured(bundle.path()).as_deref(), Some("/default/one"));
    }
}
