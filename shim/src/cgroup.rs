//! The container's cgroup, version 1 or 2: its processes and the files that statistics come from.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where cgroups are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// A cgroup as one process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cgroup {
    /// One directory for each controller.
    V1(BTreeMap<String, PathBuf>),
    /// One directory.
    V2(PathBuf),
}

impl Cgroup {
    /// The cgroup of the process `pid`.
    ///
    /// # Errors
    ///
    /// The error of reading `/proc`; `NotFound` if the process is in no cgroup we can see.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        Self::parse(&text, Path::new(ROOT)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Reads `/proc/PID/cgroup`: lines `hierarchy:controllers:path`; hierarchy 0 is version 2.
    fn parse(text: &str, root: &Path) -> Option<Self> {
        let mut controllers = BTreeMap::new();
        let mut unified = None;
        for line in text.lines() {
            let mut parts = line.splitn(3, ':');
            let (hierarchy, names, path) = (parts.next()?, parts.next()?, parts.next()?);
            let path = path.trim_start_matches('/');
            if hierarchy == "0" {
                unified = Some(root.join(path));
                continue;
            }
            for name in names.split(',').filter(|name| !name.is_empty()) {
                let name = name.trim_start_matches("name=");
                // Controllers mounted together are reachable under each one's name by links.
                controllers.insert(name.to_owned(), root.join(name).join(path));
            }
        }
        if controllers.contains_key("memory") || controllers.contains_key("pids") {
            return Some(Self::V1(controllers));
        }
        unified.map(Self::V2)
    }

    /// Whether it was told to stand still, by whomever; `None` where that cannot be asked.
    pub(crate) fn is_frozen(&self) -> Option<bool> {
        let told = match self {
            Self::V1(controllers) => number(controllers.get("freezer")?, "freezer.self_freezing"),
            Self::V2(path) => number(path, "cgroup.freeze"),
        };
        told.map(|told| told == 1)
    }

    /// Every process in this cgroup and below it, in the order of the kernel.
    ///
    /// # Errors
    ///
    /// The error of reading `cgroup.procs`.
    pub(crate) fn processes(&self) -> io::Result<Vec<u32>> {
        let top = match self {
            Self::V2(path) => path,
            // Any controller the runtime always joins; `devices` is joined by runc and crun.
            Self::V1(controllers) => ["pids", "devices", "memory"]
                .iter()
                .find_map(|name| controllers.get(*name))
                .ok_or(io::ErrorKind::NotFound)?,
        };
        let mut pids = listed(&fs::read_to_string(top.join("cgroup.procs"))?);
        let mut open = children(top);
        // A group below may go away while it is looked at, or hold threads only.
        while let Some(dir) = open.pop() {
            pids.extend(listed(
                &fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default(),
            ));
            open.extend(children(&dir));
        }
        Ok(pids)
    }
}

fn listed(processes: &str) -> Vec<u32> {
    processes
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect()
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// A file that holds one number; `max` and anything unreadable are `None`.
pub(crate) fn number(dir: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok()
}

/// A limit: `max` reads as the largest number, as containerd reports it.
pub(crate) fn limit(dir: &Path, file: &str) -> u64 {
    let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
    if text.trim() == "max" {
        u64::MAX
    } else {
        text.trim().parse().unwrap_or(0)
    }
}

/// A file of `name value` lines; what is missing is zero.
pub(crate) fn table(dir: &Path, file: &str) -> BTreeMap<String, u64> {
    read_table(&fs::read_to_string(dir.join(file)).unwrap_or_default())
}

/// What such a file says.
pub(crate) fn read_table(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_version_1_with_a_hybrid_line() {
        let text = "9:name=systemd:/\n4:memory:/k8s.io/web\n3:cpuset:/k8s.io/web\n\
                    2:cpu,cpuacct:/k8s.io/web\n0::/init\n";
        let Some(Cgroup::V1(controllers)) = Cgroup::parse(text, Path::new("/cg")) else {
            panic!("memory is a version 1 controller here");
        };
        assert_eq!(controllers["memory"], Path::new("/cg/memory/k8s.io/web"));
        assert_eq!(controllers["cpuacct"], Path::new("/cg/cpuacct/k8s.io/web"));
        assert_eq!(controllers["systemd"], Path::new("/cg/systemd"));
    }

    #[test]
    fn reads_version_2() {
        let parsed = Cgroup::parse("0::/kubepods.slice/web.scope\n", Path::new("/cg"));
        assert_eq!(
            parsed,
            Some(Cgroup::V2(PathBuf::from("/cg/kubepods.slice/web.scope")))
        );
    }

    #[test]
    fn lists_processes_of_nested_groups() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("inner")).unwrap();
        fs::write(dir.path().join("cgroup.procs"), "10\n11\n").unwrap();
        fs::write(dir.path().join("inner/cgroup.procs"), "12\n").unwrap();
        assert_eq!(
            Cgroup::V2(dir.path().to_owned()).processes().unwrap(),
            [10, 11, 12]
        );
    }

    #[test]
    fn reads_limits_and_tables() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("pids.max"), "max\n").unwrap();
        fs::write(
            dir.path().join("cpu.stat"),
            "usage_usec 12\nuser_usec 7\nodd\n",
        )
        .unwrap();
        assert_eq!(limit(dir.path(), "pids.max"), u64::MAX);
        assert_eq!(number(dir.path(), "pids.max"), None);
        assert_eq!(table(dir.path(), "cpu.stat")["usage_usec"], 12);
    }
}
