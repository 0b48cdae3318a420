//! Reading files that only root can have written.
//!
//! Every directory on the way is opened by descriptor, without following links, and checked on
//! the descriptor; so is the file. What was checked is what is read.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use portcullis_gate::{Code, Refusal, quote};

/// Largest file that is read, in bytes.
pub const FILE_LIMIT_BYTES: u64 = 256 * 1024;

/// Most files that a directory may hold: beyond that it is a mistake or an attack.
const ENTRY_LIMIT: usize = 256;

/// Permission bits with which others than the owner may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// To be passed through and looked at. Not to be listed, so that a program that may read only
/// our own directories gets there.
const DIRECTORY: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// To be listed.
const LISTING: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// Not blocking, so that a FIFO in place of a file cannot hold a launch up.
const FILE: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_CLOEXEC);

/// Beneath which directory the paths of [`crate::paths`] are looked up, and who must own them.
///
/// Programs use [`Root::host`] and nothing else. Tests use a scratch directory of their own user.
#[derive(Debug, Clone)]
pub struct Root {
    path: PathBuf,
    owner: u32,
}

/// A directory that passed the checks.
#[derive(Debug)]
pub(crate) struct TrustedDirectory {
    descriptor: OwnedFd,
    path: String,
    owner: u32,
}

/// The text of a file that passed the checks.
#[derive(Debug)]
pub(crate) struct TrustedFile {
    /// Its path, for faults.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) text: String,
}

// === impl Root ===

impl Root {
    /// The host itself: paths as they are, owned by root.
    pub fn host() -> Self {
        Self {
            path: PathBuf::from("/"),
            owner: 0,
        }
    }

    /// The directory `path`, everything in it owned by user id `owner`. For tests: a program
    /// that reads its policy from here can be given any policy.
    pub fn scratch(path: impl Into<PathBuf>, owner: u32) -> Self {
        Self {
            path: path.into(),
            owner,
        }
    }

    /// Opens the absolute path `path`; `None` if it does not exist.
    pub(crate) fn directory(&self, path: &str) -> Result<Option<TrustedDirectory>, Refusal> {
        let start = self.path.display().to_string();
        let descriptor = open(&self.path, DIRECTORY, Mode::empty())
            .map_err(|errno| unreadable(&start, errno))?;
        let mut directory = TrustedDirectory {
            descriptor,
            path: start,
            owner: self.owner,
        };
        directory.inspect()?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            match directory.subdirectory(name)? {
                Some(next) => directory = next,
                None => return Ok(None),
            }
        }
        Ok(Some(directory))
    }

    /// Reads the file at the absolute path `path`; `None` if it does not exist.
    pub(crate) fn file(&self, path: &str) -> Result<Option<TrustedFile>, Refusal> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        match self.directory(parent)? {
            Some(directory) => directory.file(name),
            None => Ok(None),
        }
    }
}

// === impl TrustedDirectory ===

impl TrustedDirectory {
    fn join(&self, name: &str) -> String {
        Path::new(&self.path).join(name).display().to_string()
    }

    fn subdirectory(&self, name: &str) -> Result<Option<Self>, Refusal> {
        let path = self.join(name);
        let descriptor = match openat(self.descriptor.as_fd(), name, DIRECTORY, Mode::empty()) {
            Ok(descriptor) => descriptor,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP | Errno::ENOTDIR) => {
                return Err(untrusted(
                    &path,
                    "a directory, not a link",
                    "something else",
                ));
            }
            Err(errno) => return Err(unreadable(&path, errno)),
        };
        let directory = Self {
            descriptor,
            path,
            owner: self.owner,
        };
        directory.inspect()?;
        Ok(Some(directory))
    }

    fn inspect(&self) -> Result<(), Refusal> {
        let descriptor = self
            .descriptor
            .try_clone()
            .map_err(|error| unreadable(&self.path, error))?;
        let metadata = File::from(descriptor)
            .metadata()
            .map_err(|error| unreadable(&self.path, error))?;
        inspect(&self.path, &metadata, self.owner)
    }

    /// Reads one file of this directory; `None` if it does not exist.
    pub(crate) fn file(&self, name: &str) -> Result<Option<TrustedFile>, Refusal> {
        let path = self.join(name);
        let file = match openat(self.descriptor.as_fd(), name, FILE, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return Err(untrusted(&path, "a regular file", "a symbolic link")),
            // What a socket, or a device without a driver, answers.
            Err(Errno::ENXIO | Errno::ENODEV) => {
                return Err(untrusted(&path, "a regular file", "something else"));
            }
            Err(errno) => return Err(unreadable(&path, errno)),
        };
        let metadata = file.metadata().map_err(|error| unreadable(&path, error))?;
        if !metadata.is_file() {
            return Err(untrusted(&path, "a regular file", "something else"));
        }
        inspect(&path, &metadata, self.owner)?;
        // Of a length that is not known beforehand the standard library reads 32 bytes first.
        let length = metadata.len().min(FILE_LIMIT_BYTES) + 1;
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        file.take(FILE_LIMIT_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(&path, error))?;
        if bytes.len() as u64 > FILE_LIMIT_BYTES {
            let expected = format!("at most {FILE_LIMIT_BYTES} bytes");
            return Err(
                Refusal::new(Code::ConfigMalformed, quote(&path), expected, "more")
                    .with_remedy("shorten the file"),
            );
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let found = format!(
                "another byte at offset {}",
                error.utf8_error().valid_up_to()
            );
            Refusal::new(Code::ConfigMalformed, quote(&path), "UTF-8 text", found)
                .with_remedy("save the file as UTF-8")
        })?;
        Ok(Some(TrustedFile { path, text }))
    }

    /// Reads all files whose names end with `suffix`, in the order of their names. Hidden files
    /// do not count: editors and package managers leave them behind.
    pub(crate) fn files(&self, suffix: &str, faults: &mut Vec<Refusal>) -> Vec<TrustedFile> {
        let names = match self.names(suffix) {
            Ok(names) => names,
            Err(fault) => {
                faults.push(fault);
                return Vec::new();
            }
        };
        let mut files = Vec::new();
        for name in names {
            match self.file(&name) {
                Ok(Some(file)) => files.push(file),
                Ok(None) => faults.push(unreadable(&self.join(&name), Errno::ENOENT)),
                Err(fault) => faults.push(fault),
            }
        }
        files
    }

    fn names(&self, suffix: &str) -> Result<Vec<String>, Refusal> {
        let listing = |errno| unreadable(&self.path, errno);
        let mut directory =
            nix::dir::Dir::openat(self.descriptor.as_fd(), ".", LISTING, Mode::empty())
                .map_err(listing)?;
        let mut names = Vec::new();
        for entry in directory.iter() {
            let name = entry
                .map_err(listing)?
                .file_name()
                .to_string_lossy()
                .into_owned();
            if name.ends_with(suffix) && !name.starts_with('.') {
                names.push(name);
            }
            if names.len() > ENTRY_LIMIT {
                let expected = format!("at most {ENTRY_LIMIT} files '*{suffix}'");
                return Err(Refusal::new(
                    Code::ConfigMalformed,
                    quote(&self.path),
                    expected,
                    "more",
                )
                .with_remedy("remove files"));
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// Refuses what others than `owner` could change.
fn inspect(path: &str, metadata: &std::fs::Metadata, owner: u32) -> Result<(), Refusal> {
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if uid != owner {
        return Err(
            untrusted(path, &format!("owner uid {owner}"), format!("uid {uid}"))
                .with_remedy(format!("run 'chown root:root {path}'")),
        );
    }
    if mode & WRITABLE_BY_OTHERS != 0 {
        let expected = format!("mode {:04o} or stricter", mode & !WRITABLE_BY_OTHERS);
        return Err(untrusted(path, &expected, format!("mode {mode:04o}"))
            .with_remedy(format!("run 'chmod go-w {path}'")));
    }
    Ok(())
}

fn untrusted(path: &str, expected: &str, found: impl Into<String>) -> Refusal {
    Refusal::new(Code::ConfigUntrusted, quote(path), expected, found)
}

fn unreadable(path: &str, cause: impl std::fmt::Display) -> Refusal {
    Refusal::new(
        Code::HostUnreadable,
        quote(path),
        "a readable file",
        cause.to_string(),
    )
}

#[cfg(test)]
pub(crate) mod tests;
