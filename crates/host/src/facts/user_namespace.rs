//! What the ids of a user namespace that is joined by path are on the host.
//!
//! The kernel shows the maps of a namespace through a process that lives in it only. A path
//! `/proc/PID/ns/user`, which is how a container joins the namespace of its pod, names one; for
//! another path somebody has to send one in. Its directory is opened once: when the process ends, nothing more can be read through it, and
//! another process of the same number has another directory. Maps are written once and never
//! change. So what is read is what the runtime joins if the namespace of the process is the one
//! that the path leads to, before and after.
//!
//! # Source
//!
//! `user_namespaces(7)`, "User and group ID mappings"; `proc_pid_ns(5)`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use portcullis_hardening::{IdRange, NamespaceKind, OciConfig, UserNamespaceMaps};

use super::inode::{Inode, Place};
use crate::error::HostError;

/// The kernel takes 340 lines, each of three numbers.
const MAP_LIMIT_BYTES: u64 = 16 * 1024;

/// The maps of the user namespace that `config` joins; `None` if it joins none, or by a path from
/// which they cannot be told.
pub(super) fn maps(config: &OciConfig) -> Result<Option<UserNamespaceMaps>, HostError> {
    let path = joined_user_namespace(config);
    match path.and_then(|path| Some((path, process(path)?))) {
        Some((path, process)) => user_namespace_maps(path, process),
        None => Ok(None),
    }
}

/// The path by which `config` joins a user namespace.
#[must_use]
pub fn joined_user_namespace(config: &OciConfig) -> Option<&str> {
    let mut joined = config.joined_namespaces();
    joined.find_map(|(kind, path)| (kind == NamespaceKind::User).then_some(path))
}

/// The maps of the user namespace that `path` leads to; `process` is the directory in `/proc` of
/// one that lives in it. `None` if it does not, or has ended.
///
/// # Errors
///
/// [`HostError`] if something cannot be read.
pub fn user_namespace_maps(
    path: &str,
    process: &Path,
) -> Result<Option<UserNamespaceMaps>, HostError> {
    let (Some(namespace), Some(process)) = (Place::open(Path::new(path))?, Place::open(process)?)
    else {
        return Ok(None);
    };
    let system = fstatfs(&process).map_err(|errno| unreadable(path, errno.into()))?;
    let of_process = || -> Result<Option<Inode>, HostError> {
        let own = Path::new("ns/user");
        let place = Place::open_with(&process, own, OFlag::empty(), Path::new(path))?;
        Ok(place.map(|place| place.inode()))
    };
    let same = || Ok(of_process()? == Some(namespace.inode()));
    if system.filesystem_type() != PROC_SUPER_MAGIC || !same()? {
        return Ok(None);
    }
    let maps = maps_of(&process)?;
    Ok(if same()? { maps } else { None })
}

/// The maps of the user namespace that the process lives in whose directory is open; `None` if it
/// has ended.
pub(crate) fn maps_of(process: &Place) -> Result<Option<UserNamespaceMaps>, HostError> {
    let (uids, gids) = (read(process, "uid_map")?, read(process, "gid_map")?);
    Ok(uids
        .zip(gids)
        .map(|(uids, gids)| UserNamespaceMaps { uids, gids }))
}

/// `/proc/PID` of `/proc/PID/ns/user`, written in this one way.
fn process(path: &str) -> Option<&Path> {
    let process = Path::new(path).parent()?.parent()?;
    let parts: Vec<Component<'_>> = process.components().collect();
    let [
        Component::RootDir,
        Component::Normal(proc),
        Component::Normal(id),
    ] = parts.as_slice()
    else {
        return None;
    };
    let number = id.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    (*proc == "proc" && number && path.ends_with("/ns/user")).then_some(process)
}

fn unreadable(path: &str, cause: io::Error) -> HostError {
    HostError::Read {
        path: path.into(),
        cause,
    }
}

/// One map of the process whose directory is open; `None` if it has ended.
fn read(process: &Place, name: &str) -> Result<Option<Vec<IdRange>>, HostError> {
    let opened = openat(
        process,
        name,
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    );
    let file = match opened {
        Ok(fd) => File::from(fd),
        Err(Errno::ENOENT | Errno::ESRCH) => return Ok(None),
        Err(errno) => return Err(unreadable(name, errno.into())),
    };
    let mut text = String::new();
    match file.take(MAP_LIMIT_BYTES).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => return Ok(None),
        Err(error) => return Err(unreadable(name, error)),
    }
    let ranges = text.lines().map(range).collect::<Option<_>>();
    let malformed = || HostError::Untrusted {
        path: name.into(),
        expected: "lines of three numbers",
        found: "another text".to_owned(),
    };
    ranges.ok_or_else(malformed).map(Some)
}

/// Reads `         0     100000      65536`.
fn range(line: &str) -> Option<IdRange> {
    let mut numbers = line.split_ascii_whitespace().map(|it| it.parse().ok());
    let range = IdRange {
        inside: numbers.next()??,
        host: numbers.next()??,
        count: numbers.next()??,
    };
    numbers.next().is_none().then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(path: &str) -> Option<UserNamespaceMaps> {
        let config =
            format!(r#"{{"linux": {{"namespaces": [{{"type": "user", "path": "{path}"}}]}}}}"#);
        maps(&OciConfig::parse(config.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn the_maps_of_a_process_are_those_of_its_namespace() {
        let own = |name| {
            let text = std::fs::read_to_string(format!("/proc/self/{name}")).unwrap();
            text.lines().map(range).collect::<Option<Vec<_>>>().unwrap()
        };
        let maps = joined(&format!("/proc/{}/ns/user", std::process::id())).unwrap();
        assert_eq!((maps.uids, maps.gids), (own("uid_map"), own("gid_map")));
    }

    #[test]
    fn other_ways_to_a_namespace_tell_no_maps() {
        let id = std::process::id();
        for path in [
            "/proc/self/ns/user".to_owned(),
            format!("/proc/{id}/ns/net"),
            format!("/proc/{id}/task/{id}/ns/user"),
            format!("/proc/{id}/../{id}/ns/user"),
            format!("/tmp/../proc/{id}/ns/user"),
            "/proc/4194304999/ns/user".to_owned(),
            "/no/such/user".to_owned(),
        ] {
            assert_eq!(joined(&path), None, "{path}");
        }
        let none = OciConfig::parse(br#"{"linux": {"namespaces": [{"type": "user"}]}}"#).unwrap();
        assert_eq!(maps(&none).unwrap(), None);
    }

    #[test]
    fn reads_lines_as_the_kernel_writes_them() {
        let read = range("         0     100000      65536");
        let expected = IdRange {
            inside: 0,
            host: 100_000,
            count: 65536,
        };
        assert_eq!(read, Some(expected));
        for bad in ["", "0 1", "0 1 2 3", "0 -1 2", "a b c"] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
