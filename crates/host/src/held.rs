//! What the kernel says of a process that is about to run, or runs, as a container.
//!
//! Nothing here opens a file on a file system that a container's user chose: such a look can hang.
//! Mounts are read from the mount table; masks and read-only paths are looked at beneath `/proc`
//! and `/sys` only, where the kernel itself answers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstat, major, minor};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use portcullis_hardening::{
    Enforcement, Held, HeldCredentials, HeldMount, HeldNamespace, HeldPath, NamespaceKind,
};

use crate::error::HostError;
use crate::facts::{Place, maps_of};

/// Where masks lie that can be looked at without a wait.
const KERNEL_FILE_SYSTEMS: [&str; 2] = ["/proc/", "/sys/"];
/// `/dev/null`, which runtimes bind over files.
const NULL_DEVICE: (u64, u64) = (1, 3);

/// Reads what `enforcement` is to be held against of the process `pid`, which must be stopped, or
/// known not to be collected, so that the number stays its own.
///
/// # Errors
///
/// [`HostError`] if something cannot be read: nothing can be said then.
pub fn held(pid: i32, enforcement: Enforcement<'_>) -> Result<Held, HostError> {
    let process = Process(Path::new("/proc").join(pid.to_string()));
    let root = process.open_root()?;
    let mounts = process.mounts()?;
    let mut mounts_by_link = BTreeMap::new();
    for point in enforcement.mount_points() {
        let is_known = mounts.iter().any(|mount| mount.point == point);
        if !is_known && let Some(id) = root.mount_id(&point)? {
            mounts_by_link.insert(point, id);
        }
    }
    Ok(Held {
        credentials: process.credentials()?,
        inherited_filters: Process("/proc/self".into())
            .credentials()?
            .filters
            .unwrap_or(0),
        ids: process
            .opened("")?
            .map(|it| maps_of(&it))
            .transpose()?
            .flatten()
            .unwrap_or_default(),
        namespaces: process.namespaces(enforcement)?,
        mounts,
        mounts_by_link,
        masked: root.paths(enforcement.masked())?,
        read_only: root.paths(enforcement.read_only())?,
        cgroups: process.text("cgroup")?,
        label: process.label(),
    })
}

/// A directory in `/proc`.
struct Process(PathBuf);

// === impl Process ===

impl Process {
    fn bytes(&self, name: &str) -> Result<Vec<u8>, HostError> {
        let path = self.0.join(name);
        fs::read(&path).map_err(|cause| HostError::Read { path, cause })
    }

    fn text(&self, name: &str) -> Result<String, HostError> {
        let bytes = self.bytes(name)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn opened(&self, name: &str) -> Result<Option<Place>, HostError> {
        Place::open(&self.0.join(name))
    }

    fn unexpected(&self, name: &str, expected: &'static str) -> HostError {
        HostError::Untrusted {
            path: self.0.join(name),
            expected,
            found: "another text".to_owned(),
        }
    }

    fn credentials(&self) -> Result<HeldCredentials, HostError> {
        HeldCredentials::parse(&self.text("status")?)
            .ok_or_else(|| self.unexpected("status", "the status of a process"))
    }

    fn mounts(&self) -> Result<Vec<HeldMount>, HostError> {
        let table = self.bytes("mountinfo")?;
        let lines = table.split(|byte| *byte == b'\n');
        let mounts = lines
            .filter(|line| !line.is_empty())
            .map(HeldMount::parse)
            .collect::<Option<_>>();
        mounts.ok_or_else(|| self.unexpected("mountinfo", "a table of mounts"))
    }

    fn namespaces(
        &self,
        enforcement: Enforcement<'_>,
    ) -> Result<BTreeMap<NamespaceKind, HeldNamespace>, HostError> {
        let mut namespaces = BTreeMap::new();
        for (kind, joined) in enforcement.namespaces() {
            let Some(own) = self.opened(&format!("ns/{}", kind.proc_name()))? else {
                continue;
            };
            let is = |path: &Path| -> Result<bool, HostError> {
                Ok(Place::open(path)?.is_some_and(|it| it.inode() == own.inode()))
            };
            let host = Path::new("/proc/self/ns").join(kind.proc_name());
            let whose = match joined {
                Some(path) if is(Path::new(path))? => HeldNamespace::Joined,
                _ if is(&host)? => HeldNamespace::Host,
                _ => HeldNamespace::Other,
            };
            namespaces.insert(kind, whose);
        }
        Ok(namespaces)
    }

    /// Empty where no module gives labels: the kernel refuses to read them then.
    fn label(&self) -> String {
        // AppArmor has a file of its own since 5.8, which it does not share with other modules.
        let label = self
            .text("attr/apparmor/current")
            .or_else(|_| self.text("attr/current"));
        let label = label.unwrap_or_default();
        label.trim_end_matches(['\0', '\n']).to_owned()
    }

    fn open_root(&self) -> Result<Root, HostError> {
        let path = self.0.join("root");
        let absent = || HostError::Open {
            path: path.clone(),
            cause: Errno::ENOENT.into(),
        };
        Ok(Root(self.opened("root")?.ok_or_else(absent)?))
    }
}

/// The root directory of a process.
struct Root(Place);

// === impl Root ===

impl Root {
    fn open(&self, path: &str) -> Result<Option<std::os::fd::OwnedFd>, HostError> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        match openat2(&self.0, path, how) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(cause) => Err(HostError::Open {
                path: path.into(),
                cause: cause.into(),
            }),
        }
    }

    fn mount_id(&self, path: &str) -> Result<Option<u64>, HostError> {
        let place = self
            .open(path)?
            .map(|file| Place::of(file, Path::new(path)));
        place.map(|place| place?.mount_id()).transpose()
    }

    fn paths<'a>(&self, paths: impl Iterator<Item = &'a str>) -> Result<Vec<HeldPath>, HostError> {
        paths.map(|path| self.path(path)).collect()
    }

    fn path(&self, path: &str) -> Result<HeldPath, HostError> {
        if !KERNEL_FILE_SYSTEMS
            .iter()
            .any(|system| path.starts_with(system))
        {
            return Ok(HeldPath::Absent);
        }
        let Some(file) = self.open(path)? else {
            return Ok(HeldPath::Absent);
        };
        let unreadable = |cause: Errno| HostError::Read {
            path: path.into(),
            cause: cause.into(),
        };
        let stat = fstat(&file).map_err(unreadable)?;
        let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        if kind == SFlag::S_IFCHR && (major(stat.st_rdev), minor(stat.st_rdev)) == NULL_DEVICE {
            return Ok(HeldPath::Masked);
        }
        let flags = fstatvfs(&file).map_err(unreadable)?.flags();
        if !flags.contains(FsFlags::ST_RDONLY) {
            return Ok(HeldPath::Open);
        }
        let system = fstatfs(&file).map_err(unreadable)?.filesystem_type();
        let is_blank = kind == SFlag::S_IFDIR && system == TMPFS_MAGIC;
        Ok(if is_blank {
            HeldPath::Masked
        } else {
            HeldPath::ReadOnly
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_hardening::OciConfig;

    fn config(text: &str) -> OciConfig {
        OciConfig::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn this_process_is_what_it_is() {
        let oci = config(
            r#"{"linux": {"namespaces": [{"type": "pid"}, {"type": "network", "path": "/proc/self/ns/net"}],
                "maskedPaths": ["/proc/no-such-file", "/proc/cpuinfo", "/etc/passwd"]}}"#,
        );
        let pid = i32::try_from(std::process::id()).unwrap();
        let held = held(pid, Enforcement::of(&oci)).unwrap();
        assert_eq!(held.namespaces[&NamespaceKind::Pid], HeldNamespace::Host);
        assert_eq!(
            held.namespaces[&NamespaceKind::Network],
            HeldNamespace::Joined
        );
        assert!(held.mount_at("/").is_some());
        assert_eq!(held.masked[0], HeldPath::Absent);
        assert_ne!(held.masked[1], HeldPath::Masked);
        assert_eq!(held.masked[2], HeldPath::Absent);
        assert_eq!(
            held.credentials.uids[1],
            u64::from(nix::unistd::geteuid().as_raw())
        );
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        held(i32::MAX, Enforcement::of(&config("{}"))).unwrap_err();
    }
}
