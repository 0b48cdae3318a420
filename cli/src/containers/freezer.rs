//! A container's cgroup freezer, version 1 or 2: where OCI runtimes look for whether it is paused.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use portcullis_hardening::MountLine;

use super::processes::Host;
use super::runtimes::{ANY_HIERARCHY, State};

/// The freezer of one container.
///
/// # Source
///
/// Linux, `Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst`, and
/// `Documentation/admin-guide/cgroup-v2.rst`, "Core Interface Files": `cgroup.freeze`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Freezer {
    directory: PathBuf,
    is_unified: bool,
}

/// Why a container cannot be frozen or thawed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FreezerError {
    /// Nothing stops its processes together.
    #[error("cannot find a cgroup freezer of its own")]
    Absent,
    /// Freezing it would freeze something of the host.
    #[error("cannot freeze cgroup '{}': process {pid} of the host is in it", directory.display())]
    Shared {
        /// The cgroup.
        directory: PathBuf,
        /// The process.
        pid: u32,
    },
    /// The kernel refuses.
    #[error("cannot use freezer '{}'", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Where a hierarchy that can freeze is mounted, and the directory of it that is on top there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    top: PathBuf,
    is_unified: bool,
}

// === impl Freezer ===

impl Freezer {
    /// The freezer of the container whose first process is `pid`.
    ///
    /// That is the cgroup of the process, or the one above it that `state` names, since a
    /// container may make some within its own. `None` if the process has ended.
    ///
    /// # Errors
    ///
    /// [`FreezerError::Absent`], [`FreezerError::File`].
    pub(crate) fn of(
        proc: &Path,
        pid: u32,
        state: Option<&State>,
    ) -> Result<Option<Self>, FreezerError> {
        let mounts = proc.join("self/mountinfo");
        let mounts = fs::read(&mounts).map_err(|source| file(&mounts, source))?;
        let Ok(cgroups) = fs::read_to_string(proc.join(pid.to_string()).join("cgroup")) else {
            return Ok(None);
        };
        let (hierarchy, own) = hierarchies(&mounts)
            .into_iter()
            .find_map(|hierarchy| Some((directory_in(&hierarchy, &cgroups)?, hierarchy)))
            .map(|(own, hierarchy)| (hierarchy, own))
            .ok_or(FreezerError::Absent)?;
        let directory = state
            .and_then(|state| stated(&hierarchy, state))
            .filter(|stated| own.starts_with(stated))
            .unwrap_or(own);
        Ok(Some(Self {
            directory,
            is_unified: hierarchy.is_unified,
        }))
    }

    /// Fails if a process of the host's would be frozen along.
    ///
    /// # Errors
    ///
    /// [`FreezerError::Shared`], [`FreezerError::File`].
    pub(crate) fn holds_no_process_of(&self, host: &Host, proc: &Path) -> Result<(), FreezerError> {
        let mut open = vec![self.directory.clone()];
        while let Some(directory) = open.pop() {
            let path = directory.join("cgroup.procs");
            let pids = match fs::read_to_string(&path) {
                Ok(pids) => pids,
                // Gone meanwhile; or it holds threads, whose processes are listed further up.
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) =>
                {
                    continue;
                }
                Err(source) => return Err(file(&path, source)),
            };
            for pid in pids.lines().filter_map(|pid| pid.parse().ok()) {
                if host.has_pid(proc, pid) == Some(true) {
                    return Err(FreezerError::Shared { directory, pid });
                }
            }
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            let inside = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            open.extend(inside.map(|entry| entry.path()));
        }
        Ok(())
    }

    /// Whether it was told to freeze, by itself and not by a cgroup above it.
    ///
    /// # Errors
    ///
    /// [`FreezerError::File`].
    pub(crate) fn is_told_to_freeze(&self) -> Result<bool, FreezerError> {
        let name = if self.is_unified {
            "cgroup.freeze"
        } else {
            "freezer.self_freezing"
        };
        Ok(self.read(name)?.is_some_and(|text| text.trim() == "1"))
    }

    /// Whether all its processes stand still; also if there is none any more.
    ///
    /// # Errors
    ///
    /// [`FreezerError::File`].
    pub(crate) fn is_frozen(&self) -> Result<bool, FreezerError> {
        let (name, line) = if self.is_unified {
            ("cgroup.events", "frozen 1")
        } else {
            ("freezer.state", "FROZEN")
        };
        let text = self.read(name)?;
        Ok(text.is_none_or(|text| text.lines().any(|it| it == line)))
    }

    /// Tells it to freeze. Version 1 takes another try where a process was being made.
    ///
    /// # Errors
    ///
    /// [`FreezerError::File`].
    pub(crate) fn freeze(&self) -> Result<(), FreezerError> {
        self.write(if self.is_unified { "1" } else { "FROZEN" })
    }

    /// Tells it to go on.
    ///
    /// # Errors
    ///
    /// [`FreezerError::File`].
    pub(crate) fn thaw(&self) -> Result<(), FreezerError> {
        self.write(if self.is_unified { "0" } else { "THAWED" })
    }

    /// Whether a process that stands still does not even end; version 2 lets it.
    pub(crate) const fn holds_the_dying(&self) -> bool {
        !self.is_unified
    }

    fn read(&self, name: &str) -> Result<Option<String>, FreezerError> {
        let path = self.directory.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(source) => Err(file(&path, source)),
        }
    }

    /// A cgroup that has gone needs nothing any more.
    fn write(&self, value: &str) -> Result<(), FreezerError> {
        let name = if self.is_unified {
            "cgroup.freeze"
        } else {
            "freezer.state"
        };
        let path = self.directory.join(name);
        let written = OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(value.as_bytes()));
        match written {
            Err(error) if !is_gone(&error) => Err(file(&path, error)),
            _ => Ok(()),
        }
    }
}

/// What the files of a cgroup answer that was removed, before and after they were opened.
fn is_gone(error: &io::Error) -> bool {
    const ENODEV: i32 = 19;
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(ENODEV)
}

fn file(path: &Path, source: io::Error) -> FreezerError {
    FreezerError::File {
        path: path.to_owned(),
        source,
    }
}

/// Hierarchies in `mountinfo` that can freeze; version 1 first, which is in use where it is there.
fn hierarchies(mountinfo: &[u8]) -> Vec<Hierarchy> {
    let path = |bytes| PathBuf::from(OsString::from_vec(bytes));
    let mut found: Vec<Hierarchy> = mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let line = MountLine::parse(line)?;
            let is_unified = line.file_system == "cgroup2";
            let can_freeze = line.file_system == "cgroup"
                && line.super_options.split(',').any(|it| it == "freezer");
            (is_unified || can_freeze).then_some(Hierarchy {
                mount: path(line.point()?),
                top: path(line.root()?),
                is_unified,
            })
        })
        .collect();
    found.sort_by_key(|hierarchy| hierarchy.is_unified);
    found
}

/// The directory of a process in `hierarchy`; `None` for the uppermost one, which is the host's,
/// and for one that cannot be seen from here.
///
/// Sample lines of `/proc/PID/cgroup`: `4:freezer:/default/web`, `0::/default/web`.
fn directory_in(hierarchy: &Hierarchy, cgroups: &str) -> Option<PathBuf> {
    let path = cgroups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is_it = if hierarchy.is_unified {
            number == "0"
        } else {
            controllers.split(',').any(|it| it == "freezer")
        };
        is_it.then_some(path)
    })?;
    beneath(
        &hierarchy.mount,
        Path::new(path).strip_prefix(&hierarchy.top).ok()?,
    )
}

/// The directory that a runtime's state names.
fn stated(hierarchy: &Hierarchy, state: &State) -> Option<PathBuf> {
    let controller = if hierarchy.is_unified { "" } else { "freezer" };
    if let Some(path) = state.cgroups.get(controller) {
        let path = Path::new(path).strip_prefix(&hierarchy.mount).ok()?;
        return beneath(&hierarchy.mount, path);
    }
    let path = Path::new(state.cgroups.get(ANY_HIERARCHY)?);
    beneath(&hierarchy.mount, path.strip_prefix("/").unwrap_or(path))
}

fn beneath(mount: &Path, path: &Path) -> Option<PathBuf> {
    let mut parts = path.components().peekable();
    parts.peek()?;
    parts
        .all(|part| matches!(part, Component::Normal(_)))
        .then(|| mount.join(path))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const HYBRID: &str = "35 20 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        37 35 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
        36 35 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:3 - cgroup cgroup rw,cpu,cpuacct\n\
        38 35 0:30 / /sys/fs/cgroup/freezer rw shared:3 - cgroup cgroup rw,freezer\n";
    const UNIFIED: &str = "30 20 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";

    fn found(mountinfo: &str, cgroups: &str) -> Option<PathBuf> {
        hierarchies(mountinfo.as_bytes())
            .iter()
            .find_map(|hierarchy| directory_in(hierarchy, cgroups))
    }

    #[test]
    fn the_freezer_of_version_1_is_used_where_it_is_there() {
        for (mounts, cgroups, directory) in [
            (
                HYBRID,
                "4:freezer:/default/web\n0::/\n",
                Some("/sys/fs/cgroup/freezer/default/web"),
            ),
            (
                HYBRID,
                "4:memory:/default/web\n0::/default/web\n",
                Some("/sys/fs/cgroup/unified/default/web"),
            ),
            (
                UNIFIED,
                "0::/a.slice/b.scope\n",
                Some("/sys/fs/cgroup/a.slice/b.scope"),
            ),
            // The top of a hierarchy is everybody's.
            (UNIFIED, "0::/\n", None),
            (HYBRID, "4:freezer:/\n0::/\n", None),
            // In another cgroup namespace.
            (UNIFIED, "0::/../b.scope\n", None),
            (UNIFIED, "", None),
            ("", "0::/web\n", None),
        ] {
            assert_eq!(
                found(mounts, cgroups).as_deref(),
                directory.map(Path::new),
                "{cgroups}"
            );
        }
    }

    #[test]
    fn a_state_names_a_cgroup_of_the_hierarchy_or_none() {
        let state = |controller: &str, path: &str| State {
            id: String::new(),
            namespace: String::new(),
            runtime: "runc",
            pid: 1,
            start_ticks: None,
            bundle: None,
            cgroups: BTreeMap::from([(controller.to_owned(), path.to_owned())]),
        };
        let v1 = &hierarchies(HYBRID.as_bytes())[0];
        let v2 = &hierarchies(UNIFIED.as_bytes())[0];
        let freezer = "/sys/fs/cgroup/freezer";
        for (hierarchy, controller, path, named) in [
            (
                v1,
                "freezer",
                format!("{freezer}/a/b"),
                Some("/sys/fs/cgroup/freezer/a/b"),
            ),
            (v1, "freezer", freezer.to_owned(), None),
            (v1, "freezer", format!("{freezer}/a/../b"), None),
            (v1, "freezer", "/etc/a".to_owned(), None),
            (v1, "memory", format!("{freezer}/a"), None),
            (
                v1,
                "*",
                "/a/b".to_owned(),
                Some("/sys/fs/cgroup/freezer/a/b"),
            ),
            (
                v2,
                "",
                "/sys/fs/cgroup/a".to_owned(),
                Some("/sys/fs/cgroup/a"),
            ),
            (v2, "*", "a".to_owned(), Some("/sys/fs/cgroup/a")),
            (v2, "*", "/".to_owned(), None),
        ] {
            assert_eq!(
                stated(hierarchy, &state(controller, &path)).as_deref(),
                named.map(Path::new),
                "{controller} {path}"
            );
        }
    }

    #[test]
    fn both_versions_are_told_in_their_own_words() {
        let scratch = tempfile::tempdir().unwrap();
        let freezer = |is_unified| Freezer {
            directory: scratch.path().to_owned(),
            is_unified,
        };
        let put = |name: &str, text: &str| fs::write(scratch.path().join(name), text).unwrap();
        let get = |name: &str| fs::read_to_string(scratch.path().join(name)).unwrap();
        put("freezer.state", "THAWED\n");
        put("cgroup.freeze", "0\n");
        freezer(false).freeze().unwrap();
        freezer(true).freeze().unwrap();
        assert!(get("freezer.state").starts_with("FROZEN"));
        assert!(get("cgroup.freeze").starts_with('1'));
        for (state, events, is_frozen) in [
            ("FROZEN\n", "populated 1\nfrozen 1\n", true),
            ("FREEZING\n", "populated 1\nfrozen 0\n", false),
        ] {
            put("freezer.state", state);
            put("cgroup.events", events);
            assert_eq!(freezer(false).is_frozen().unwrap(), is_frozen);
            assert_eq!(freezer(true).is_frozen().unwrap(), is_frozen);
        }
        freezer(false).thaw().unwrap();
        assert!(get("freezer.state").starts_with("THAWED"));
    }

    #[test]
    fn a_cgroup_that_is_gone_is_no_failure() {
        let gone = Freezer {
            directory: PathBuf::from("/nonexistent"),
            is_unified: true,
        };
        gone.freeze().unwrap();
        gone.thaw().unwrap();
        assert!(gone.is_frozen().unwrap());
        assert!(!gone.is_told_to_freeze().unwrap());
    }

    #[test]
    fn a_process_of_the_host_keeps_a_cgroup_from_being_frozen() {
        let Ok(host) = Host::of_this_process(Path::new("/proc")) else {
            return;
        };
        let scratch = tempfile::tempdir().unwrap();
        let inner = scratch.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(scratch.path().join("cgroup.procs"), "").unwrap();
        fs::write(inner.join("cgroup.procs"), "4294967295\n").unwrap();
        let freezer = Freezer {
            directory: scratch.path().to_owned(),
            is_unified: true,
        };
        freezer
            .holds_no_process_of(&host, Path::new("/proc"))
            .unwrap();
        let me = std::process::id();
        for pid in [me, 0] {
            fs::write(inner.join("cgroup.procs"), format!("{pid}\n")).unwrap();
            let refused = freezer
                .holds_no_process_of(&host, Path::new("/proc"))
                .unwrap_err();
            assert!(
                matches!(refused, FreezerError::Shared { pid: found, .. } if found == pid),
                "{refused}"
            );
        }
    }
}
