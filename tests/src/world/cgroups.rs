//! The cgroups of a world: one of its own in each hierarchy, the root of its cgroup namespace.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::failure::{Doing, Failure, Outcome};
use crate::wait;

/// Where cgroup file systems are mounted.
pub(super) const ROOT: &str = "/sys/fs/cgroup";
/// Name of every cgroup made here, followed by the keeper's process id and a count.
const PREFIX: &str = "portcullis-lab-";
/// Version 2 forbids processes beside child cgroups, so a world's own ones sit in this leaf.
const LEAF: &str = "init";
/// How long the kernel may take to let go of a cgroup whose processes have ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// One mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Mount point.
    pub(super) at: PathBuf,
    /// Mount option that selects it, or `None` for version 2.
    pub(super) controllers: Option<String>,
}

/// The cgroups of one world.
#[derive(Debug)]
pub(super) struct Groups {
    name: String,
    hierarchies: Vec<Hierarchy>,
    /// Where the keeper came from, one per hierarchy, to go back before the end.
    origins: Vec<PathBuf>,
}

// === impl Groups ===

impl Groups {
    /// Makes the cgroups.
    pub(super) fn create() -> Outcome<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let hierarchies = hierarchies()?;
        if hierarchies.is_empty() {
            return Err(Failure::new(format!("no cgroup is mounted below {ROOT}")));
        }
        let origins = hierarchies.iter().map(origin).collect::<Outcome<_>>()?;
        let groups = Self {
            name: format!("{PREFIX}{}-{count}", std::process::id()),
            hierarchies,
            origins,
        };
        for hierarchy in &groups.hierarchies {
            if hierarchy.controllers.is_none() {
                offer_controllers(&hierarchy.at);
            }
            let made = make(&groups.path(hierarchy));
            if made.is_err() {
                groups.remove()?;
                made?;
            }
        }
        Ok(groups)
    }

    fn path(&self, hierarchy: &Hierarchy) -> PathBuf {
        hierarchy.at.join(&self.name)
    }

    /// Moves this process into them.
    pub(super) fn join(&self) -> Outcome {
        self.hierarchies
            .iter()
            .try_for_each(|hierarchy| move_here(&self.path(hierarchy)))
    }

    /// After the cgroup namespace was made: frees the version 2 cgroup for children.
    pub(super) fn settle(&self) -> Outcome {
        for hierarchy in self.hierarchies.iter().filter(|h| h.controllers.is_none()) {
            let top = self.path(hierarchy);
            let leaf = top.join(LEAF);
            fs::create_dir(&leaf).doing(format!("make '{}'", leaf.display()))?;
            move_here(&leaf)?;
            offer_controllers(&top);
        }
        Ok(())
    }

    /// Moves this process back to where it came from.
    pub(super) fn leave(&self) -> Outcome {
        self.origins.iter().try_for_each(|origin| move_here(origin))
    }

    /// Removes them with everything below, and says all that cannot be removed.
    pub(super) fn remove(&self) -> Outcome {
        let stuck: Vec<String> = self
            .hierarchies
            .iter()
            .filter_map(|hierarchy| remove_tree(&self.path(hierarchy)).err())
            .map(|failure| failure.to_string())
            .collect();
        if stuck.is_empty() {
            return Ok(());
        }
        Err(Failure::new(stuck.join("; ")))
    }
}

/// Lets the children of a version 2 cgroup have all controllers that it has, as a runtime would
/// on its way down. One that the kernel does not give is left out; a container that needs it fails.
fn offer_controllers(cgroup: &Path) {
    let offered = fs::read_to_string(cgroup.join("cgroup.controllers")).unwrap_or_default();
    for controller in offered.split_whitespace() {
        let file = cgroup.join("cgroup.subtree_control");
        if let Err(failure) = put(&file, &format!("+{controller}")) {
            eprintln!("{failure}, ignoring");
        }
    }
}

/// Removes what keepers that were killed have left. Best effort: a busy one is another's.
pub(super) fn sweep() {
    for hierarchy in hierarchies().unwrap_or_default() {
        for entry in fs::read_dir(&hierarchy.at).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let owner = name
                .to_str()
                .and_then(|name| name.strip_prefix(PREFIX))
                .and_then(|rest| rest.split('-').next());
            let gone = owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists());
            if gone && let Err(failure) = remove_tree(&entry.path()) {
                eprintln!("{failure}, ignoring");
            }
        }
    }
}

/// All hierarchies mounted below [`ROOT`], outermost first.
pub(super) fn hierarchies() -> Outcome<Vec<Hierarchy>> {
    let text = fs::read_to_string("/proc/self/mountinfo").doing("read the mounts")?;
    Ok(parse(&text))
}

/// Sample: `36 35 0:30 / /sys/fs/cgroup/pids rw,relatime shared:9 - cgroup cgroup rw,pids`.
fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    const NOT_CONTROLLERS: [&str; 6] = [
        "rw",
        "ro",
        "xattr",
        "noprefix",
        "clone_children",
        "cpuset_v2_mode",
    ];
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let (Some(at), mut right) = (left.split(' ').nth(4), right.split(' ')) else {
            continue;
        };
        let (kind, options) = (right.next(), right.nth(1).unwrap_or_default());
        let controllers = match kind {
            Some("cgroup2") => None,
            Some("cgroup") => {
                let named = options.contains("name=").then_some("none");
                let parts = options
                    .split(',')
                    .filter(|word| !NOT_CONTROLLERS.contains(word))
                    .filter(|word| !word.contains('=') || word.starts_with("name="));
                Some(named.into_iter().chain(parts).collect::<Vec<_>>().join(","))
            }
            _ => continue,
        };
        let at = PathBuf::from(at);
        if at.starts_with(ROOT) && !found.iter().any(|known| known.at == at) {
            found.push(Hierarchy { at, controllers });
        }
    }
    found
}

/// The cgroup this process is in.
///
/// Sample lines of `/proc/self/cgroup`: `4:memory:/user/1`, `1:name=systemd:/`, `0::/user/1`.
fn origin(hierarchy: &Hierarchy) -> Outcome<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").doing("read own cgroups")?;
    let wanted = hierarchy.controllers.as_deref().unwrap_or_default();
    let wanted = wanted.trim_start_matches("none,");
    let path = text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        (controllers == wanted).then_some(path)
    });
    let below = path.unwrap_or("/").trim_start_matches('/');
    Ok(hierarchy.at.join(below))
}

/// Makes one cgroup; a version 1 cpuset takes no process before it has processors and nodes.
fn make(path: &Path) -> Outcome {
    fs::create_dir(path).doing(format!("make cgroup '{}'", path.display()))?;
    let parent = path.parent().unwrap_or(path);
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if parent.join(file).exists() {
            let value = fs::read_to_string(parent.join(file))
                .doing(format!("read '{file}' of '{}'", parent.display()))?;
            put(&path.join(file), value.trim())?;
        }
    }
    Ok(())
}

fn move_here(cgroup: &Path) -> Outcome {
    put(&cgroup.join("cgroup.procs"), "0")
}

fn put(file: &Path, value: &str) -> Outcome {
    fs::OpenOptions::new()
        .write(true)
        .open(file)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .doing(format!("write '{value}' to '{}'", file.display()))
}

/// Removes a cgroup and all below it, children first.
fn remove_tree(path: &Path) -> Outcome {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).doing(format!("list '{}'", path.display())),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    wait::until_true(
        &format!("removal of cgroup '{}'", path.display()),
        PATIENCE,
        || match fs::remove_dir(path) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_a_hybrid_layout() {
        let text = "35 20 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                    36 35 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:3 - cgroup cgroup rw,cpu,cpuacct\n\
                    37 35 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd\n\
                    38 35 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let found: Vec<_> = parse(text).into_iter().map(|h| h.controllers).collect();
        assert_eq!(
            found,
            [
                Some("cpu,cpuacct".to_owned()),
                Some("none,name=systemd".to_owned()),
                None
            ]
        );
    }

    #[test]
    fn reads_a_unified_layout() {
        let text =
            "30 20 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = parse(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].controllers, None);
    }
}
