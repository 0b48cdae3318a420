//! Processes that live apart from the host, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Clock ticks a second in `/proc/<pid>/stat`: `USER_HZ`, which Linux has kept at 100.
const TICKS_PER_SECOND: u64 = 100;
/// Flag of a kernel thread in `/proc/<pid>/stat`: `PF_KTHREAD` of `include/linux/sched.h`. No program can set it.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Processes that share one mount namespace which is not the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// Inode of the mount namespace.
    pub(crate) namespace: u64,
    /// The first of them.
    pub(crate) pid: u32,
    /// When it started, in clock ticks since boot.
    pub(crate) start_ticks: u64,
    /// Path of its cgroup; the longest one where there are several.
    pub(crate) cgroup: String,
    /// Whether it also has a process namespace of its own.
    pub(crate) own_pids: bool,
    /// All of them.
    pub(crate) pids: Vec<u32>,
}

/// `/proc` cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessesError {
    /// The directory itself, or what is said about this process.
    #[error("cannot read '{}'", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Somebody else's process, and no right to look at it.
    #[error("cannot look at process {pid}: run the command as root")]
    Denied {
        /// The process.
        pid: u32,
    },
}

/// The host as this process sees it: what lives apart from it is a container's.
#[derive(Debug)]
pub(crate) struct Host(Process);

/// One process.
#[derive(Debug)]
struct Process {
    mounts: u64,
    pids: u64,
    root: (u64, u64),
    start_ticks: u64,
    cgroup: String,
    is_kernels: bool,
}

// === impl Group ===

impl Group {
    /// Milliseconds from boot to its start, time asleep included.
    pub(crate) const fn start_ms(&self) -> u64 {
        self.start_ticks.saturating_mul(1000 / TICKS_PER_SECOND)
    }

    /// Whether it looks like a service that its manager gave another root, and no container: it
    /// sees the host's processes and its cgroup is the service's own, not one beneath it.
    pub(crate) fn is_service(&self) -> bool {
        !self.own_pids && self.cgroup.ends_with(".service")
    }
}

// === impl Host ===

impl Host {
    /// The host of the process that runs this.
    pub(crate) fn of_this_process(proc: &Path) -> Result<Self, ProcessesError> {
        look(proc, "self")
            .map(Self)
            .map_err(|source| read(proc.join("self"), source))
    }

    /// Whether `process` lives with the host: in its mount namespace, or with its root and its
    /// process namespace, as services with private directories do; or is the kernel itself, whose
    /// thread kdevtmpfs has a mount namespace and a root of its own.
    fn has(&self, process: &Process) -> bool {
        process.is_kernels
            || process.mounts == self.0.mounts
            || (process.root == self.0.root && process.pids == self.0.pids)
    }

    /// Whether process `pid` lives with the host; `None` if it has ended.
    pub(crate) fn has_pid(&self, proc: &Path, pid: u32) -> Option<bool> {
        match look(proc, &pid.to_string()) {
            Ok(process) => Some(self.has(&process)),
            // A process of an outer namespace has the number 0 here: nothing of ours.
            Err(_) if pid == 0 => Some(true),
            Err(_) => None,
        }
    }

    /// Whether the first process of all has this one's root and process namespace, so that what
    /// lives apart from this one lives apart from the host.
    pub(crate) fn is_the_machines(&self, proc: &Path) -> bool {
        look(proc, "1").is_ok_and(|first| first.root == self.0.root && first.pids == self.0.pids)
    }
}

/// All groups, by the start of their first process.
///
/// A process belongs to one if its mount namespace is another than the host's and it has another
/// root or another process namespace: services with private directories have neither.
pub(crate) fn groups(proc: &Path) -> Result<Vec<Group>, ProcessesError> {
    let host = Host::of_this_process(proc)?;
    let mut groups: BTreeMap<u64, Group> = BTreeMap::new();
    for entry in fs::read_dir(proc).map_err(|source| read(proc.to_path_buf(), source))? {
        let name = entry
            .map_err(|source| read(proc.to_path_buf(), source))?
            .file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let process = match look(proc, &pid.to_string()) {
            Ok(process) => process,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(ProcessesError::Denied { pid });
            }
            // Gone, or a zombie, which has no namespaces to look at.
            Err(_) => continue,
        };
        if host.has(&process) {
            continue;
        }
        let own_pids = process.pids != host.0.pids;
        let group = groups.entry(process.mounts).or_insert_with(|| Group {
            namespace: process.mounts,
            pid,
            start_ticks: u64::MAX,
            cgroup: String::new(),
            own_pids,
            pids: Vec::new(),
        });
        group.pids.push(pid);
        if (process.start_ticks, pid) < (group.start_ticks, group.pid) {
            group.pid = pid;
            group.start_ticks = process.start_ticks;
            group.cgroup = process.cgroup;
            group.own_pids = own_pids;
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| (group.start_ticks, group.pid));
    Ok(groups)
}

/// Inode of the mount namespace of process `pid`; `None` if it has ended.
pub(crate) fn mount_namespace(proc: &Path, pid: u32) -> Option<u64> {
    let path = proc.join(pid.to_string()).join("ns/mnt");
    fs::metadata(path).ok().map(|namespace| namespace.ino())
}

/// When process `pid` started, in clock ticks since boot.
pub(crate) fn start_ticks(proc: &Path, pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?;
    start_in(&stat)
}

fn look(proc: &Path, name: &str) -> io::Result<Process> {
    let directory = proc.join(name);
    let inode = |what: &str| fs::metadata(directory.join(what)).map(|it| it.ino());
    let root = fs::metadata(directory.join("root"))?;
    let stat = fs::read_to_string(directory.join("stat"))?;
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    Ok(Process {
        mounts: inode("ns/mnt")?,
        pids: inode("ns/pid")?,
        root: (root.dev(), root.ino()),
        start_ticks: start_in(&stat).ok_or_else(invalid)?,
        is_kernels: flags_in(&stat).ok_or_else(invalid)? & KERNEL_THREAD != 0,
        cgroup: longest_path(&fs::read_to_string(directory.join("cgroup"))?),
    })
}

/// Field 22 of `/proc/<pid>/stat`.
fn start_in(stat: &str) -> Option<u64> {
    field(stat, 22)
}

/// Field 9.
fn flags_in(stat: &str) -> Option<u64> {
    field(stat, 9)
}

/// A field of `/proc/<pid>/stat` from the third on; the second one is a name in parentheses that may
/// hold anything.
fn field(stat: &str, number: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let field = rest.split_ascii_whitespace().nth(number.checked_sub(3)?)?;
    field.parse().ok()
}

/// The longest path in `/proc/<pid>/cgroup`: with cgroup v1 there are several, and those of
/// controllers that a runtime does not use stay at the top.
fn longest_path(cgroup: &str) -> String {
    cgroup
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .max_by_key(|path| path.len())
        .unwrap_or_default()
        .to_owned()
}

fn read(path: PathBuf, source: io::Error) -> ProcessesError {
    ProcessesError::Read { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_be_called_anything() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
        assert_eq!(start_in(&format!("7 (a) b) {rest}")), Some(777));
        for stat in ["", "7 (a", "7 (a) S 1 2", "7 (a) S x"] {
            assert_eq!(start_in(stat), None, "{stat}");
        }
    }

    #[test]
    fn the_cgroup_of_a_container_is_the_longest_one() {
        let v1 = "12:pids:/default/web\n3:misc:/\n0::/\n";
        assert_eq!(longest_path(v1), "/default/web");
        assert_eq!(
            longest_path("0::/system.slice/a:b.scope\n"),
            "/system.slice/a:b.scope"
        );
        assert_eq!(longest_path(""), "");
    }

    #[test]
    fn a_container_within_a_service_is_no_service() {
        let group = |cgroup: &str, own_pids| Group {
            namespace: 1,
            pid: 1,
            start_ticks: 1,
            cgroup: cgroup.to_owned(),
            own_pids,
            pids: vec![1],
        };
        assert!(group("/system.slice/a.service", false).is_service());
        assert!(!group("/system.slice/a.service", true).is_service());
        assert!(!group("/system.slice/a.service/libpod-payload-5a", false).is_service());
        assert!(!group("/default/web", false).is_service());
    }

    #[test]
    fn the_kernels_own_thread_is_no_container() {
        let scratch = tempfile::tempdir().unwrap();
        let proc = scratch.path();
        // As on a machine: this program, a container, and kdevtmpfs.
        for (name, flags) in [("self", 0), ("7", 0x0040_0100), ("26", 0x0020_8040)] {
            let folder = proc.join(name);
            fs::create_dir_all(folder.join("root")).unwrap();
            fs::create_dir_all(folder.join("ns")).unwrap();
            fs::write(folder.join("ns/mnt"), "").unwrap();
            fs::write(folder.join("ns/pid"), "").unwrap();
            fs::write(folder.join("cgroup"), "0::/\n").unwrap();
            let rest = "0 0 0 0 0 0 0 0 0 0 20 0 1 0 49 0 0";
            let stat = format!("{name} (any) S 2 0 0 0 -1 {flags} {rest}\n");
            fs::write(folder.join("stat"), stat).unwrap();
        }
        let groups = groups(proc).unwrap();
        let pids: Vec<u32> = groups.iter().map(|group| group.pid).collect();
        assert_eq!(pids, [7], "{groups:?}");
    }

    #[test]
    fn this_process_is_the_hosts() {
        let mine = groups(Path::new("/proc"));
        if let Ok(groups) = mine {
            let me = std::process::id();
            assert!(groups.iter().all(|group| !group.pids.contains(&me)));
        }
    }
}
