//! Files and directories by device and inode.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlink};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use crate::error::HostError;

/// No sane path is deeper.
const DEPTH_LIMIT: usize = 256;

/// What identifies a file on this host while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Inode {
    device: u64,
    number: u64,
}

/// An open file that nothing is read from: good for looking at it and at what is above it.
#[derive(Debug)]
pub(crate) struct Place {
    fd: OwnedFd,
    stat: FileStat,
    /// For errors only.
    path: PathBuf,
}

// === impl Place ===

impl Place {
    /// Opens `path`, following links as a runtime does; `None` if there is nothing.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, HostError> {
        Self::open_with(AT_FDCWD, path, OFlag::empty(), path)
    }

    /// The same, from `directory` on and with further flags; `path` is for errors.
    pub(super) fn open_with(
        directory: impl AsFd,
        name: &Path,
        flags: OFlag,
        path: &Path,
    ) -> Result<Option<Self>, HostError> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | flags;
        match openat(directory, name, flags, Mode::empty()) {
            Ok(fd) => Self::of(fd, path).map(Some),
            Err(Errno::ENOENT) => Ok(None),
            Err(cause) => Err(HostError::Open {
                path: path.into(),
                cause: cause.into(),
            }),
        }
    }

    /// What was opened in another way; `path` is for errors.
    pub(crate) fn of(fd: OwnedFd, path: &Path) -> Result<Self, HostError> {
        let stat = fstat(&fd).map_err(|cause| HostError::Read {
            path: path.into(),
            cause: cause.into(),
        })?;
        Ok(Self {
            fd,
            stat,
            path: path.into(),
        })
    }

    pub(crate) const fn inode(&self) -> Inode {
        Inode {
            device: self.stat.st_dev,
            number: self.stat.st_ino,
        }
    }

    pub(crate) fn kind(&self) -> SFlag {
        SFlag::from_bits_truncate(self.stat.st_mode & SFlag::S_IFMT.bits())
    }

    /// The path that the kernel knows it by. It may be renamed at any moment, so it is good for
    /// names beneath a directory that was compared by inode, not for opening.
    pub(super) fn canonical_path(&self) -> Result<PathBuf, HostError> {
        let link = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        readlink(link.as_str())
            .map(PathBuf::from)
            .map_err(|cause| HostError::Read {
                path: self.path.clone(),
                cause: cause.into(),
            })
    }

    /// The number of the mount that it was opened through, as the mount table gives it.
    pub(crate) fn mount_id(&self) -> Result<u64, HostError> {
        let path = format!("/proc/thread-self/fdinfo/{}", self.fd.as_raw_fd());
        let unreadable = |cause| HostError::Read {
            path: self.path.clone(),
            cause,
        };
        let info = fs::read_to_string(path).map_err(unreadable)?;
        let id = info.lines().find_map(|line| {
            let number = line.strip_prefix("mnt_id:")?;
            number.trim().parse().ok()
        });
        id.ok_or_else(|| unreadable(io::Error::from(io::ErrorKind::InvalidData)))
    }

    /// The inodes of itself and of each directory above it, nearest first, up to the root.
    pub(super) fn ancestry(&self) -> Result<Vec<Inode>, HostError> {
        let mut chain = vec![self.inode()];
        let mut place = if self.kind() == SFlag::S_IFDIR {
            None
        } else {
            let directory = self.directory()?;
            chain.push(directory.inode());
            Some(directory)
        };
        for _ in 0..DEPTH_LIMIT {
            let from = place.as_ref().unwrap_or(self);
            let up = Self::open_with(&from.fd, Path::new(".."), OFlag::O_DIRECTORY, &self.path)?;
            let up = up.ok_or_else(|| self.vanished())?;
            // The root is its own parent.
            if Some(&up.inode()) == chain.last() {
                return Ok(chain);
            }
            chain.push(up.inode());
            place = Some(up);
        }
        Err(HostError::Depth {
            path: self.path.clone(),
            limit: DEPTH_LIMIT,
        })
    }

    /// The directory of a file, which has no `..` of its own: found by the kernel's path and
    /// believed only if it still holds this very file.
    fn directory(&self) -> Result<Self, HostError> {
        let path = self.canonical_path()?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(self.vanished());
        };
        let directory = Self::open_with(AT_FDCWD, parent, OFlag::O_DIRECTORY, &self.path)?
            .ok_or_else(|| self.vanished())?;
        let again = Self::open_with(
            &directory.fd,
            Path::new(name),
            OFlag::O_NOFOLLOW,
            &self.path,
        )?;
        match again {
            Some(again) if again.inode() == self.inode() => Ok(directory),
            _ => Err(self.vanished()),
        }
    }

    pub(super) fn vanished(&self) -> HostError {
        let cause = io::Error::new(
            io::ErrorKind::NotFound,
            "it was moved while it was examined",
        );
        HostError::Read {
            path: self.path.clone(),
            cause,
        }
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
