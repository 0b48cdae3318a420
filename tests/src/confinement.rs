//! What the kernel holds of a process in a container, seen from outside, against the data file of
//! a profile.
//!
//! The values come from `config/profiles/NAME.toml` itself, so that a profile cannot be changed
//! without this check changing with it. What is the same under every profile (options of `/proc`,
//! `/sys` and `/dev`) stands here once more, because the product has it in code.

mod mount;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::failure::{Doing, Failure, Outcome};
use crate::programs;
use mount::Mount;

/// The five capability sets, and their names in OCI without `CAP_`.
const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
/// Numbers of the capabilities that a profile may let a container keep (`linux/capability.h`).
const CAPABILITIES: [(&str, u32); 14] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_FOWNER", 3),
    ("CAP_FSETID", 4),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SETPCAP", 8),
    ("CAP_NET_BIND_SERVICE", 10),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_CHROOT", 18),
    ("CAP_MKNOD", 27),
    ("CAP_AUDIT_WRITE", 29),
    ("CAP_SETFCAP", 31),
];

/// What a profile promises of every process.
#[derive(Debug, Clone, Deserialize)]
pub struct Promise {
    process: Process,
    capabilities: Capabilities,
    root: Root,
    namespaces: Namespaces,
    mounts: Mounts,
    paths: Paths,
    /// Temporary directories that the caller brings.
    #[serde(skip)]
    brought: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Process {
    no_new_privileges: bool,
    root_user: String,
    mapped_uid_min: u64,
    nofile_max: u64,
    oom_score_adj_min: i64,
}

#[derive(Debug, Clone, Deserialize)]
struct Capabilities {
    keep: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Root {
    read_only: bool,
    #[serde(default)]
    tmpfs: Vec<Tmpfs>,
}

#[derive(Debug, Clone, Deserialize)]
struct Tmpfs {
    path: String,
    size: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Namespaces {
    required: Vec<String>,
    add: Vec<String>,
    user_required: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct Mounts {
    noexec: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Paths {
    masked: Vec<String>,
    read_only: Vec<String>,
}

/// What `/proc/PID` says of a process.
#[derive(Debug, Clone)]
pub struct Held {
    status: String,
    limits: String,
    oom_score_adj: i64,
    mounts: Vec<Mount>,
    /// Kinds of its namespaces that are also those of this process.
    shared_namespaces: Vec<String>,
    /// Leads to its root directory.
    root: PathBuf,
}

// === impl Held ===

impl Held {
    /// Looks at process `pid`.
    ///
    /// # Errors
    ///
    /// When it is gone, or a file about it cannot be read.
    pub fn of(pid: u32) -> Outcome<Self> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).doing(format!("read '{}'", path.display()))
        };
        let mut shared_namespaces = Vec::new();
        for entry in fs::read_dir(folder.join("ns")).doing("list namespaces")? {
            let name = entry.doing("list namespaces")?.file_name();
            let of = |process: &Path| {
                fs::read_link(process.join("ns").join(&name)).doing("read a namespace")
            };
            if of(&folder)? == of(Path::new("/proc/self"))? {
                shared_namespaces.push(name.to_string_lossy().into_owned());
            }
        }
        Ok(Self {
            status: read("status")?,
            limits: read("limits")?,
            oom_score_adj: read("oom_score_adj")?
                .trim()
                .parse()
                .doing("read a score")?,
            mounts: Mount::table(&read("mountinfo")?)?,
            shared_namespaces,
            root: folder.join("root"),
        })
    }

    fn numbers(&self, name: &str, radix: u32) -> Vec<u64> {
        let mut lines = self.status.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let words = line.unwrap_or_default().split_whitespace();
        // What is no number is above every bound.
        words
            .map(|word| u64::from_str_radix(word, radix).unwrap_or(u64::MAX))
            .collect()
    }

    fn number(&self, name: &str, radix: u32) -> u64 {
        *self.numbers(name, radix).first().unwrap_or(&u64::MAX)
    }

    /// Soft and hard limit `name`, as `/proc/PID/limits` spells it.
    fn limit(&self, name: &str) -> [u64; 2] {
        let mut lines = self.limits.lines();
        let line = lines.find_map(|line| line.strip_prefix(name));
        let mut words = line.unwrap_or_default().split_whitespace();
        [(); 2].map(|()| {
            let word = words.next().unwrap_or_default();
            word.parse().unwrap_or(u64::MAX)
        })
    }

    /// What is mounted on top at `point`.
    fn mount(&self, point: &str) -> Option<&Mount> {
        self.mounts.iter().rev().find(|mount| mount.point == point)
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn exists(&self, path: &str) -> bool {
        fs::symlink_metadata(self.inside(path)).is_ok()
    }

    /// True if a device is at `point`: the runtimes mount those of the host one by one where they
    /// cannot make any.
    fn is_device(&self, point: &str) -> bool {
        fs::metadata(self.inside(point)).is_ok_and(|found| found.file_type().is_char_device())
    }

    /// True if there is nothing to be read at `path`: `/dev/null`, or an unwritable and empty
    /// directory in memory.
    fn is_masked(&self, path: &str) -> bool {
        let Some(mount) = self.mount(path) else {
            return false;
        };
        let Ok(found) = fs::metadata(self.inside(path)) else {
            return false;
        };
        if found.file_type().is_char_device() {
            return found.rdev() == nix::sys::stat::makedev(1, 3);
        }
        let is_empty = fs::read_dir(self.inside(path)).is_ok_and(|mut list| list.next().is_none());
        found.is_dir() && mount.is("tmpfs") && mount.has("ro") && is_empty
    }
}

// === impl Promise ===

impl Promise {
    /// Reads the shipped data file of profile `name`.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn of(name: &str) -> Outcome<Self> {
        let path = programs::shipped(&format!("config/profiles/{name}.toml"));
        let text = fs::read_to_string(&path).doing(format!("read '{}'", path.display()))?;
        toml::from_str(&text).doing(format!("read '{}'", path.display()))
    }

    /// The same for containers whose caller mounts a tmpfs at `path` itself, as `ctr` does at
    /// `/run`.
    #[must_use]
    pub fn brought(&self, path: &str) -> Self {
        let mut promise = self.clone();
        promise.brought.push(path.to_owned());
        promise
    }

    /// Looks at process `pid`, and fails with everything that is not as promised.
    ///
    /// # Errors
    ///
    /// When it is gone, or differs.
    pub fn check(&self, pid: u32) -> Outcome {
        let found = self.differences(&Held::of(pid)?);
        if found.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("process {pid}: {}", found.join("; "))))
    }

    /// Everything that is not as promised.
    #[must_use]
    pub fn differences(&self, held: &Held) -> Vec<String> {
        let mut found = Vec::new();
        self.compare_rights(held, &mut found);
        self.compare_limits(held, &mut found);
        self.compare_mounts(held, &mut found);
        self.compare_paths(held, &mut found);
        found
    }

    fn compare_rights(&self, held: &Held, found: &mut Vec<String>) {
        let keep = CAPABILITIES.iter().filter(|(name, _)| {
            let mut kept = self.capabilities.keep.iter();
            kept.any(|it| it == name)
        });
        let keep = keep.fold(0, |keep, (_, number)| keep | (1_u64 << number));
        for set in SETS {
            let has = held.number(set, 16);
            if has & !keep != 0 {
                found.push(format!("{set} is {has:#x}, beyond {keep:#x}"));
            }
        }
        if self.process.no_new_privileges && held.number("NoNewPrivs", 10) != 1 {
            found.push("NoNewPrivs is not 1".to_owned());
        }
        if held.number("Seccomp", 10) != 2 {
            found.push("Seccomp is not 2".to_owned());
        }
        let uids = held.numbers("Uid", 10);
        let least = match (
            self.namespaces.user_required,
            self.process.root_user.as_str(),
        ) {
            (true, _) => self.process.mapped_uid_min,
            (false, "permit") => 0,
            (false, _) => 1,
        };
        if uids.len() != 4 || uids.iter().any(|uid| *uid < least) {
            found.push(format!("Uid is {uids:?}, below {least}"));
        }
        let required = self.namespaces.required.iter().chain(&self.namespaces.add);
        let user = self.namespaces.user_required.then(|| "user".to_owned());
        for kind in required.chain(&user) {
            let link = match kind.as_str() {
                "mount" => "mnt",
                "network" => "net",
                other => other,
            };
            if held.shared_namespaces.iter().any(|shared| shared == link) {
                found.push(format!("the {kind} namespace is the host's"));
            }
        }
    }

    fn compare_limits(&self, held: &Held, found: &mut Vec<String>) {
        for (name, most) in [
            ("Max core file size", 0),
            ("Max open files", self.process.nofile_max),
            ("Max realtime priority", 0),
        ] {
            let has = held.limit(name);
            if has.iter().any(|limit| *limit > most) {
                found.push(format!("{name} is {has:?}, above {most}"));
            }
        }
        if held.oom_score_adj < self.process.oom_score_adj_min {
            found.push(format!("oom_score_adj is {}", held.oom_score_adj));
        }
    }

    fn compare_mounts(&self, held: &Held, found: &mut Vec<String>) {
        let mut demand = |point: &str, kind: Option<&str>, options: &[&str]| {
            let Some(mount) = held.mount(point) else {
                return found.push(format!("nothing is mounted at {point}"));
            };
            if let Some(kind) = kind.filter(|kind| !mount.is(kind)) {
                found.push(format!("{point} is not of type {kind}"));
            }
            for option in options.iter().filter(|option| !mount.has(option)) {
                found.push(format!("{point} lacks {option}"));
            }
        };
        if self.root.read_only {
            demand("/", None, &["ro"]);
        }
        demand("/proc", Some("proc"), &["nosuid", "noexec", "nodev"]);
        demand("/sys", Some("sysfs"), &["ro", "nosuid", "noexec", "nodev"]);
        demand("/dev", Some("tmpfs"), &["nosuid", "noexec"]);
        for tmpfs in &self.root.tmpfs {
            let size = format!("size={}", mount::size(&tmpfs.size));
            let options = ["rw", "nosuid", "nodev", "noexec", &size];
            // Of one that the caller brought, the profile sets neither.
            let set = if self.brought.contains(&tmpfs.path) {
                3
            } else {
                5
            };
            demand(&tmpfs.path, Some("tmpfs"), &options[..set]);
        }
        for mount in &held.mounts {
            let point = &mount.point;
            if mount.shared {
                found.push(format!("{point} is shared"));
            }
            if mount.is("cgroup") && !mount.has("ro") {
                found.push(format!("{point} lacks ro"));
            }
            let is_mask = self.paths.masked.contains(point) && held.is_masked(point);
            // crun makes these anew without the options of /proc, which itself has no devices and
            // no programs (`SB_I_NODEV`, `SB_I_NOEXEC`).
            let is_part_of_proc = self.paths.read_only.contains(point) && mount.is("proc");
            if point == "/" || held.is_device(point) || is_mask || is_part_of_proc {
                continue;
            }
            let holds_devices = point == "/dev" || mount.is("devpts");
            if !mount.has("nosuid") {
                found.push(format!("{point} lacks nosuid"));
            }
            if !holds_devices && !mount.has("nodev") {
                found.push(format!("{point} lacks nodev"));
            }
            if self.mounts.noexec == "all" && !mount.has("noexec") {
                found.push(format!("{point} lacks noexec"));
            }
        }
    }

    fn compare_paths(&self, held: &Held, found: &mut Vec<String>) {
        for path in self.paths.masked.iter().filter(|path| held.exists(path)) {
            if !held.is_masked(path) {
                found.push(format!("{path} can be seen"));
            }
        }
        for path in self.paths.read_only.iter().filter(|path| held.exists(path)) {
            let read_only = held.mount(path).is_some_and(|mount| mount.has("ro"));
            if !read_only {
                found.push(format!("{path} can be written to"));
            }
        }
    }
}

#[cfg(test)]
mod tests;
