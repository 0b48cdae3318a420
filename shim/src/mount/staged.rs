//! A mount put together out of sight, and shown when it is complete.
//!
//! `mount(2)` takes a page of options, and the lower directories of an overlay that shows other
//! ids must be mounts of their own. Both are solved in one way: in a mount namespace that ends
//! with the process, the lower directories are mounted at names that are short, `0`, `1`, `2`.
//! What comes of it is attached to the real place in one step, so that nothing is left of an
//! attempt that fails, however it ends.
//!
//! # Source
//!
//! containerd does the same on directories of the host: `core/mount/mount_linux.go`,
//! `prepareIDMappedOverlay` and `compactLowerdirOption`. Overlayfs takes lower directories that
//! are attached somewhere only (until Linux 6.15), which is why they are not left detached.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::unistd::chdir;

use super::id_map::user_namespace;
use super::options::{BIND, Options};
use super::{OVERLAY, Source, mount_plainly};
use crate::errand::Failed;
use crate::sys;

/// Where the mount is put together, beside the lower directories.
const ROOT: &str = "root";

/// Mounts `source` on `target`.
///
/// # Preconditions
///
/// This process is a child made for the purpose, with one thread: it changes its mount namespace
/// and its working directory.
///
/// # Errors
///
/// [`Failed`]; nothing is mounted then.
pub(super) fn run(source: Source<'_>, options: &Options, target: &Path) -> Result<(), Failed> {
    let show = |step: &str| format!("{step} '{}'", target.display());
    let host = File::open("/proc/self/ns/mnt")
        .map_err(|error| failed("open the mount namespace", error))?;
    let place = open_place(target).map_err(|errno| failed(&show("open"), errno))?;
    let users = match (&options.uids, &options.gids) {
        (Some(uids), Some(gids)) => Some(user_namespace(uids, gids)?),
        _ => None,
    };
    leave_for(target).map_err(|errno| failed("prepare a mount namespace", errno))?;

    let overlay = source.fstype == OVERLAY;
    let mut lowers = Vec::with_capacity(options.lowers.len());
    for (index, lower) in options.lowers.iter().enumerate() {
        let name = PathBuf::from(index.to_string());
        let step = || format!("mount lower directory '{}'", lower.display());
        show_lower(lower, &name, users.as_ref().filter(|_| overlay))
            .map_err(|error| failed(&step(), error))?;
        lowers.push(name);
    }
    make_directory(Path::new(ROOT)).map_err(|error| failed("make a directory", error))?;
    mount_plainly(source, options, &lowers, Path::new(ROOT))?;

    let recursive = options.flags.contains(BIND);
    let tree = sys::clone_tree(Path::new(ROOT), recursive)
        .map_err(|errno| failed("copy a mount", errno))?;
    if let Some(users) = users.filter(|_| !overlay) {
        sys::set_tree(
            tree.as_fd(),
            libc::MOUNT_ATTR_IDMAP,
            Some(users.as_fd()),
            recursive,
        )
        .map_err(|errno| failed(&format!("map the ids of '{}'", source.fstype), errno))?;
    }
    setns(host, CloneFlags::CLONE_NEWNS)
        .map_err(|errno| failed("return to the mount namespace", errno))?;
    sys::attach_tree(tree.as_fd(), place.as_fd())
        .map_err(|errno| failed(&show("attach a mount to"), errno))
}

fn failed(step: &str, source: impl Into<io::Error>) -> Failed {
    Failed {
        step: step.to_owned(),
        source: source.into(),
    }
}

fn open_place(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty())
}

/// Goes to an empty directory over `target`, in a mount namespace of its own. What the host
/// unmounts meanwhile goes from there too, so that no device stays busy because of us.
fn leave_for(target: &Path) -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let away = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, away, None::<&str>)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("tmpfs"),
        target,
        Some("tmpfs"),
        flags,
        Some("mode=0700"),
    )?;
    chdir(target)
}

/// Mounts directory `lower` at `name`, with its ids mapped if `users` says how.
fn show_lower(lower: &Path, name: &Path, users: Option<&OwnedFd>) -> io::Result<()> {
    if !lower.is_absolute() {
        return Err(Errno::EINVAL.into());
    }
    make_directory(name)?;
    let tree = sys::clone_tree(lower, false)?;
    if let Some(users) = users {
        sys::set_tree(
            tree.as_fd(),
            libc::MOUNT_ATTR_IDMAP,
            Some(users.as_fd()),
            false,
        )?;
    }
    sys::attach_tree(tree.as_fd(), open_place(name)?.as_fd())?;
    Ok(())
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}
