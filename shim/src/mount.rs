//! The root filesystem: the mounts containerd asks for, and their removal.
//!
//! # Source
//!
//! containerd, `core/mount/mount_linux.go`: what the options mean.

mod id_map;
mod loop_device;
mod options;
mod staged;

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_shim_protos::api::Mount;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;

use crate::errand::{self, Failed};
use crate::{rights, sys};
use loop_device::LoopDevice;
use options::{BIND, Options};
pub(crate) use options::{id_map, is_general};

/// The filesystem type whose options name directories.
const OVERLAY: &str = "overlay";

/// Longest option string `mount(2)` takes: a page, less its terminating zero.
const MAX_OPTIONS_BYTES: usize = 4095;

/// How long a mount may take that is put together in a child.
const LIMIT: Duration = Duration::from_secs(30);

/// Why the root filesystem is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    /// A step of it failed.
    #[error("cannot mount '{fstype}' on '{target}'")]
    Mount {
        /// Filesystem type.
        fstype: String,
        /// Where.
        target: PathBuf,
        /// Which step, and why.
        #[source]
        source: Failed,
    },
    /// A mount that needs something this shim does not have.
    #[error("cannot mount '{fstype}' with option '{option}': not offered by Portcullis")]
    NotOffered {
        /// Filesystem type.
        fstype: String,
        /// The option.
        option: String,
    },
    /// The kernel refused to let go.
    #[error("cannot unmount '{target}'")]
    Unmount {
        /// Where.
        target: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is mounted.
#[derive(Debug, Clone, Copy)]
struct Source<'a> {
    fstype: &'a str,
    /// Device, directory, file or name.
    name: &'a str,
}

/// Mounts `mounts` one over the other on `target`. All or nothing: what was mounted is removed
/// again when a later one fails.
///
/// # Errors
///
/// [`MountError`].
pub(crate) async fn mount_all(mounts: &[Mount], target: &Path) -> Result<(), MountError> {
    for entry in mounts {
        if let Err(error) = mount_one(entry, target).await {
            unmount_all(target)?;
            return Err(error);
        }
    }
    Ok(())
}

/// Removes every mount on `target`, most recent first; none there is fine.
///
/// # Errors
///
/// [`MountError::Unmount`].
pub(crate) fn unmount_all(target: &Path) -> Result<(), MountError> {
    loop {
        match umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // EINVAL: not a mount point (any more); ENOENT: no such directory.
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(errno) => {
                return Err(MountError::Unmount {
                    target: target.to_owned(),
                    source: errno.into(),
                });
            }
        }
    }
}

async fn mount_one(entry: &Mount, target: &Path) -> Result<(), MountError> {
    let not_offered = |option: &str| MountError::NotOffered {
        fstype: entry.type_.clone(),
        option: option.to_owned(),
    };
    let options = Options::parse(&entry.options).map_err(not_offered)?;
    if !entry.target.is_empty() {
        return Err(not_offered(&format!("target={}", entry.target)));
    }
    let source = Source {
        fstype: &entry.type_,
        name: &entry.source,
    };
    let long = options.data_with(&options.lowers).len() > MAX_OPTIONS_BYTES;
    let mounted = if options.uids.is_some() || (long && source.fstype == OVERLAY) {
        errand::run(LIMIT, || {
            with_all_rights(|| staged::run(source, &options, target))
        })
        .await
    } else {
        with_all_rights(|| mount_plainly(source, &options, &options.lowers, target))
    };
    mounted.map_err(|source| MountError::Mount {
        fstype: entry.type_.clone(),
        target: target.to_owned(),
        source,
    })
}

/// An overlay keeps the rights of whoever mounted it.
fn with_all_rights(work: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
    rights::with_all(work).map_err(|source| Failed {
        step: "change the rights in effect".to_owned(),
        source,
    })?
}

/// Mounts in this process's own mount namespace, with `lowers` for the lower directories, and
/// without mapped ids. After a failure there may be a mount on `target`.
fn mount_plainly(
    source: Source<'_>,
    options: &Options,
    lowers: &[PathBuf],
    target: &Path,
) -> Result<(), Failed> {
    let Source { fstype, name } = source;
    let failed = |step: String| {
        move |errno: Errno| Failed {
            step,
            source: errno.into(),
        }
    };
    let data = options.data_with(lowers);
    if data.len() > MAX_OPTIONS_BYTES {
        let step = format!("pass {} bytes of options to '{fstype}'", data.len());
        return Err(failed(step)(Errno::E2BIG));
    }
    let read_only = options.flags.contains(MsFlags::MS_RDONLY);
    let device = if options.loop_device {
        Some(LoopDevice::attach(name, read_only, options.direct_io)?)
    } else {
        None
    };
    let name = device.as_ref().map_or(name, LoopDevice::path);
    let data = Some(data.as_str()).filter(|data| !data.is_empty());
    let flags = options.flags;
    mount(Some(name), target, Some(fstype), flags, data)
        .map_err(failed(format!("mount '{name}'")))?;
    // A bind mount takes its other flags only when mounted again.
    if flags.contains(MsFlags::MS_BIND) && !flags.difference(BIND).is_empty() {
        let again = flags.difference(MsFlags::MS_REC) | MsFlags::MS_REMOUNT;
        mount(None::<&str>, target, None::<&str>, again, None::<&str>)
            .map_err(failed(format!("set the flags of '{name}'")))?;
    }
    match options.attributes_below() {
        0 => Ok(()),
        attributes => set_below(target, attributes)
            .map_err(failed(format!("set the flags of what is below '{name}'"))),
    }
}

fn set_below(target: &Path, attributes: u64) -> nix::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let tree = open(target, flags, Mode::empty())?;
    sys::set_tree(tree.as_fd(), attributes, None, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_nothing_to_unmount_where_nothing_is_mounted() {
        let dir = tempfile::tempdir().unwrap();
        unmount_all(dir.path()).unwrap();
        unmount_all(&dir.path().join("missing")).unwrap();
    }

    #[test]
    fn refuses_options_that_the_kernel_would_cut_off() {
        let source = Source {
            fstype: OVERLAY,
            name: OVERLAY,
        };
        let long = format!("lowerdir={}", "/a:".repeat(2000));
        let options = Options::parse(std::slice::from_ref(&long)).unwrap();
        let error =
            mount_plainly(source, &options, &options.lowers, Path::new("/nowhere")).unwrap_err();
        assert_eq!(error.source.raw_os_error(), Some(libc::E2BIG), "{error}");
    }
}
