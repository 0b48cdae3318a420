//! The root filesystem: the mounts containerd asks for, and their removal.

use std::io;
use std::path::{Path, PathBuf};

use containerd_shim_protos::api::Mount;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::rights;

/// Longest option string `mount(2)` takes: a page, less its terminating zero.
const MAX_OPTIONS_BYTES: usize = 4095;

/// Why the root filesystem is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    /// The kernel said no.
    #[error("cannot mount '{fstype}' on '{target}'")]
    Mount {
        /// Filesystem type.
        fstype: String,
        /// Where.
        target: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Too many overlay layers for one call.
    #[error(
        "cannot mount '{fstype}' with {length} bytes of options: expected at most {MAX_OPTIONS_BYTES}"
    )]
    OptionsTooLong {
        /// Filesystem type.
        fstype: String,
        /// Their length.
        length: usize,
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

/// Mounts `mounts` one over the other on `target`. All or nothing: what was mounted is removed
/// again when a later one fails.
///
/// # Errors
///
/// [`MountError`].
pub(crate) fn mount_all(mounts: &[Mount], target: &Path) -> Result<(), MountError> {
    for entry in mounts {
        if let Err(error) = mount_one(entry, target) {
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

fn mount_one(entry: &Mount, target: &Path) -> Result<(), MountError> {
    let fstype = entry.type_.as_str();
    let parsed = options(&entry.options);
    if let Some(option) = parsed.not_offered {
        return Err(MountError::NotOffered {
            fstype: fstype.to_owned(),
            option,
        });
    }
    if parsed.data.len() > MAX_OPTIONS_BYTES {
        return Err(MountError::OptionsTooLong {
            fstype: fstype.to_owned(),
            length: parsed.data.len(),
        });
    }
    let failed = |errno: Errno| MountError::Mount {
        fstype: fstype.to_owned(),
        target: target.to_owned(),
        source: errno.into(),
    };
    let data = Some(parsed.data.as_str()).filter(|data| !data.is_empty());
    let source = Some(entry.source.as_str());
    rights::with_all(|| mount(source, target, Some(fstype), parsed.flags, data))
        .map_err(|source| MountError::Mount {
            fstype: fstype.to_owned(),
            target: target.to_owned(),
            source,
        })?
        .map_err(failed)?;
    // A bind mount takes its other flags only when mounted again.
    let later = MsFlags::MS_BIND | MsFlags::MS_REC;
    if parsed.flags.contains(MsFlags::MS_BIND) && !parsed.flags.difference(later).is_empty() {
        let again = parsed.flags | MsFlags::MS_REMOUNT;
        mount(None::<&str>, target, None::<&str>, again, None::<&str>).map_err(failed)?;
    }
    Ok(())
}

/// Options split into what the kernel takes as flags and what the filesystem reads.
struct Options {
    flags: MsFlags,
    data: String,
    not_offered: Option<String>,
}

fn options(all: &[String]) -> Options {
    let mut parsed = Options {
        flags: MsFlags::empty(),
        data: String::new(),
        not_offered: None,
    };
    for option in all {
        let (flag, clear) = match option.as_str() {
            "ro" => (MsFlags::MS_RDONLY, false),
            "rw" => (MsFlags::MS_RDONLY, true),
            "nosuid" => (MsFlags::MS_NOSUID, false),
            "suid" => (MsFlags::MS_NOSUID, true),
            "nodev" => (MsFlags::MS_NODEV, false),
            "dev" => (MsFlags::MS_NODEV, true),
            "noexec" => (MsFlags::MS_NOEXEC, false),
            "exec" => (MsFlags::MS_NOEXEC, true),
            "noatime" => (MsFlags::MS_NOATIME, false),
            "relatime" => (MsFlags::MS_RELATIME, false),
            "strictatime" => (MsFlags::MS_STRICTATIME, false),
            "nodiratime" => (MsFlags::MS_NODIRATIME, false),
            "sync" => (MsFlags::MS_SYNCHRONOUS, false),
            "dirsync" => (MsFlags::MS_DIRSYNC, false),
            "bind" => (MsFlags::MS_BIND, false),
            "rbind" => (MsFlags::MS_BIND.union(MsFlags::MS_REC), false),
            "defaults" | "async" | "atime" | "diratime" => (MsFlags::empty(), false),
            _ if option == "loop"
                || option.starts_with("uidmap=")
                || option.starts_with("gidmap=") =>
            {
                parsed.not_offered = Some(option.clone());
                continue;
            }
            _ => {
                if !parsed.data.is_empty() {
                    parsed.data.push(',');
                }
                parsed.data.push_str(option);
                continue;
            }
        };
        parsed.flags.set(flag, !clear);
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn separates_flags_from_filesystem_options() {
        let parsed = options(&strings(&["ro", "lowerdir=/a:/b", "nosuid", "index=off"]));
        assert_eq!(parsed.flags, MsFlags::MS_RDONLY | MsFlags::MS_NOSUID);
        assert_eq!(parsed.data, "lowerdir=/a:/b,index=off");
    }

    #[test]
    fn lets_a_later_option_take_back_an_earlier_one() {
        assert_eq!(options(&strings(&["ro", "rw"])).flags, MsFlags::empty());
        assert_eq!(options(&strings(&["rw", "ro"])).flags, MsFlags::MS_RDONLY);
    }

    #[test]
    fn refuses_what_would_silently_mean_less() {
        for option in ["loop", "uidmap=0:100000:65536", "gidmap=0:100000:65536"] {
            assert_eq!(
                options(&strings(&[option])).not_offered.as_deref(),
                Some(option)
            );
        }
    }

    #[test]
    fn finds_nothing_to_unmount_where_nothing_is_mounted() {
        let dir = tempfile::tempdir().unwrap();
        unmount_all(dir.path()).unwrap();
        unmount_all(&dir.path().join("missing")).unwrap();
    }
}
