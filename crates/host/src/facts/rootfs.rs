//! Directories of a root filesystem, which belongs to an image and is not trusted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use portcullis_hardening::{DirectoryFact, RootfsFacts};

use crate::error::HostError;

/// Looks into the root filesystem at `path`, which is opened once.
///
/// # Errors
///
/// [`HostError::Open`] if it is not a directory, or a link to one.
pub(super) fn directories(path: &Path) -> Result<RootfsFacts, HostError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let rootfs = open(path, flags, Mode::empty()).map_err(|cause| HostError::Open {
        path: path.into(),
        cause: cause.into(),
    })?;
    let rootfs = rootfs.as_fd();
    Ok(RootfsFacts {
        tmp: directory(rootfs, "tmp")?,
        var_tmp: directory(rootfs, "var/tmp")?,
        run: directory(rootfs, "run")?,
    })
}

/// Looks at `name` beneath `rootfs` without following any link (CVE-2024-0132, CVE-2025-23359).
fn directory(rootfs: BorrowedFd<'_>, name: &str) -> Result<DirectoryFact, HostError> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(
            ResolveFlag::RESOLVE_IN_ROOT
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        );
    match openat2(rootfs, name, how) {
        Ok(_) => Ok(DirectoryFact::Directory),
        Err(Errno::ENOENT) => Ok(DirectoryFact::Absent),
        Err(Errno::ELOOP | Errno::ENOTDIR) => Ok(DirectoryFact::NotDirectory),
        Err(cause) => {
            let path = Path::new("rootfs").join(name);
            Err(HostError::Read {
                path,
                cause: io::Error::from(cause),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn tells_directories_from_links_and_from_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("tmp")).unwrap();
        fs::create_dir(scratch.path().join("elsewhere")).unwrap();
        fs::create_dir(scratch.path().join("elsewhere/tmp")).unwrap();
        symlink("elsewhere", scratch.path().join("var")).unwrap();
        let facts = directories(scratch.path()).unwrap();
        assert_eq!(facts.tmp, DirectoryFact::Directory);
        assert_eq!(facts.var_tmp, DirectoryFact::NotDirectory);
        assert_eq!(facts.run, DirectoryFact::Absent);
    }

    #[test]
    fn a_file_is_not_a_directory() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("tmp"), "").unwrap();
        fs::write(scratch.path().join("var"), "").unwrap();
        symlink("/", scratch.path().join("run")).unwrap();
        let facts = directories(scratch.path()).unwrap();
        assert_eq!(facts.tmp, DirectoryFact::NotDirectory);
        assert_eq!(facts.var_tmp, DirectoryFact::NotDirectory);
        assert_eq!(facts.run, DirectoryFact::NotDirectory);
    }

    #[test]
    fn a_link_is_not_opened_as_a_root_filesystem() {
        let scratch = tempfile::tempdir().unwrap();
        symlink("/", scratch.path().join("rootfs")).unwrap();
        let refused = directories(&scratch.path().join("rootfs")).unwrap_err();
        assert!(matches!(refused, HostError::Open { .. }));
    }
}
