//! What a test leaves in its world: processes, mounts, sockets, cgroups.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cgroups;
use crate::failure::{Failure, Outcome};
use crate::wait;

/// Everything of the four kinds that exists in this world right now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// What tells a thing from all others, and how to call it.
    things: BTreeMap<String, String>,
}

/// What is there and was not there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains(Vec<String>);

// === impl Census ===

impl Census {
    /// Counts what is there.
    #[must_use]
    pub fn take() -> Self {
        let mut things = BTreeMap::new();
        processes(&mut things);
        mounts(&mut things);
        sockets(&mut things);
        for hierarchy in cgroups::hierarchies().unwrap_or_default() {
            groups(&hierarchy.at, &mut things);
        }
        Self { things }
    }

    /// What is there now and was not there at this census.
    #[must_use]
    pub fn remains(&self) -> Remains {
        let mut now = Self::take().things;
        now.retain(|key, _| !self.things.contains_key(key));
        Remains(now.into_values().collect())
    }

    /// Waits until nothing is there that was not there at this census.
    ///
    /// # Errors
    ///
    /// When something stays; the text lists it.
    pub fn until_clean(&self, deadline: Duration) -> Outcome {
        self.until_clean_but(deadline, "")
    }

    /// As [`Census::until_clean`], but processes named `restarted` may be new.
    ///
    /// # Errors
    ///
    /// When something else stays; the text lists it.
    pub fn until_clean_but(&self, deadline: Duration, restarted: &str) -> Outcome {
        let ending = format!(" ({restarted})");
        let left = || {
            let mut remains = self.remains();
            remains.0.retain(|thing| !thing.ends_with(&ending));
            remains
        };
        wait::until_true("the end of what was started", deadline, || {
            left().0.is_empty()
        })
        .map_err(|failure| Failure::new(format!("{failure}; left: {}", left())))
    }
}

impl fmt::Display for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// Adds a thing that its name tells from all others.
fn add(things: &mut BTreeMap<String, String>, name: String) {
    things.insert(name.clone(), name);
}

/// Processes of this process namespace, except this one, with their names. A machine as a whole has
/// threads of the kernel too, which come and go.
fn processes(things: &mut BTreeMap<String, String>) {
    let own = std::process::id().to_string();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == own || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // A process changes its name when it executes a program, and a number is used again.
        let (Ok(command), Ok(stat)) = (
            fs::read_to_string(entry.path().join("comm")),
            fs::read_to_string(entry.path().join("stat")),
        ) else {
            continue;
        };
        let Some(start) = start_of(&stat) else {
            continue;
        };
        let key = format!("process {name} since {start}");
        things.insert(key, format!("process {name} ({})", command.trim()));
    }
}

/// When a process started, in clock ticks since boot: the twentieth field after its name. None for a
/// thread of the kernel: bit `PF_KTHREAD` of the seventh.
///
/// Sample of `/proc/PID/stat`: `7 (sh) S 1 7 7 0 -1 4194560 100 0 0 0 1 0 0 0 20 0 1 0 8331 …`.
fn start_of(stat: &str) -> Option<u64> {
    const PF_KTHREAD: u64 = 0x0020_0000;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let flags: u64 = fields.nth(6)?.parse().ok()?;
    if flags & PF_KTHREAD != 0 {
        return None;
    }
    fields.nth(12)?.parse().ok()
}

fn mounts(things: &mut BTreeMap<String, String>) {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    // crun works on a mount of its own while it makes a container and forgets it when it is killed.
    for point in points.filter(|point| !point.starts_with("/tmp/crun.")) {
        add(things, format!("mount {point}"));
    }
}

/// Listening sockets that have a path and whose file still exists.
///
/// Sample: `0000000000000000: 00000002 00000000 00010000 0001 01 1234 /run/a.sock`.
fn sockets(things: &mut BTreeMap<String, String>) {
    let text = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    for line in text.lines().skip(1) {
        let mut fields = line.split_whitespace();
        let listens = fields.nth(3).is_some_and(|flags| flags == "00010000");
        if let (true, Some(path)) = (listens, fields.nth(3)) {
            add(things, format!("socket {path}"));
        }
    }
}

/// Cgroups of containers. Those at the top (`default`, `k8s.io`) are the containerd
/// namespaces'; runtimes make them on the way and leave them for the next container.
fn groups(at: &Path, things: &mut BTreeMap<String, String>) {
    for namespace in folders(at) {
        let mut below = folders(&namespace);
        while let Some(group) = below.pop() {
            add(things, format!("cgroup {}", group.display()));
            below.extend(folders(&group));
        }
    }
}

fn folders(at: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(at).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Census, start_of};
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_process_has_a_start_and_a_thread_of_the_kernel_does_not_count() {
        let shell = "7 (sh) S 1 7 7 0 -1 4194560 100 0 0 0 1 0 0 0 20 0 1 0 8331 2 1";
        assert_eq!(start_of(shell), Some(8331));
        let worker = "33 (kworker/0:1-mm) I 2 0 0 0 -1 69238880 0 0 0 0 0 0 0 0 20 0 1 0 9 0 0";
        assert_eq!(start_of(worker), None);
    }

    #[test]
    fn a_listening_socket_is_found_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("left.sock");
        let before = Census::take();
        let listener = UnixListener::bind(&path).unwrap();
        let text = before.remains().to_string();
        assert!(
            text.contains(&format!("socket {}", path.display())),
            "{text}"
        );
        drop(listener);
    }
}
