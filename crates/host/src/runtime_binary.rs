//! The OCI runtime that is about to be run.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::error::HostError;
use crate::runtime_version::FileIdentity;
use crate::trusted_file::refuse_foreign;

/// Where runtimes are installed; never taken from the environment.
const DIRECTORIES: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A runtime that only root can have installed, held open.
#[derive(Debug)]
pub struct RuntimeBinary {
    path: PathBuf,
    file: File,
}

/// Finds the runtime called `name` and checks that only root can change it.
///
/// An absolute path is taken as it is; a bare name is looked for in the directories where
/// distributions install programs, never in `PATH`. Links are followed, what they lead to is
/// judged. Does not look at the directories above it.
///
/// # Errors
///
/// [`HostError::Program`] if it is nowhere, [`HostError::Open`], [`HostError::Untrusted`].
pub fn runtime_binary(name: &Path) -> Result<RuntimeBinary, HostError> {
    if name.is_absolute() {
        return open(name.to_path_buf());
    }
    if name.components().count() == 1 {
        for directory in DIRECTORIES.split(':') {
            match open(Path::new(directory).join(name)) {
                Err(HostError::Open { cause, .. })
                    if cause.kind() == std::io::ErrorKind::NotFound => {}
                found => return found,
            }
        }
    }
    Err(HostError::Program {
        name: name.display().to_string(),
        directories: DIRECTORIES,
    })
}

fn open(path: PathBuf) -> Result<RuntimeBinary, HostError> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_PATH | OFlag::O_CLOEXEC).bits())
        .open(&path);
    let file = match opened {
        Ok(file) => file,
        Err(cause) => return Err(HostError::Open { path, cause }),
    };
    let metadata = match file.metadata() {
        Ok(metadata) => metadata,
        Err(cause) => return Err(HostError::Read { path, cause }),
    };
    refuse_foreign(&path, &metadata)?;
    if std::os::unix::fs::MetadataExt::mode(&metadata) & 0o111 == 0 {
        return Err(HostError::Untrusted {
            path,
            expected: "a program",
            found: "no right to execute".to_owned(),
        });
    }
    Ok(RuntimeBinary { path, file })
}

// === impl RuntimeBinary ===

impl RuntimeBinary {
    /// Its absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which file it is, and which content it has.
    ///
    /// # Errors
    ///
    /// [`HostError::Read`].
    pub fn identity(&self) -> Result<FileIdentity, HostError> {
        let metadata = self.file.metadata().map_err(|cause| HostError::Read {
            path: self.path.clone(),
            cause,
        })?;
        Ok(FileIdentity::of(&metadata))
    }

    /// Makes sure that its path still leads to the file `identity`.
    ///
    /// # Errors
    ///
    /// [`HostError`]: it was replaced meanwhile.
    pub fn is_still(&self, identity: &FileIdentity) -> Result<(), HostError> {
        if open(self.path.clone())?.identity()? == *identity {
            return Ok(());
        }
        Err(HostError::Version {
            path: self.path.clone(),
            why: "it was replaced meanwhile".to_owned(),
        })
    }
}

impl AsFd for RuntimeBinary {
    /// An `O_PATH` descriptor, good for `execveat` and `fstat`.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_bare_name_is_found_where_programs_are_installed() {
        let shell = runtime_binary(Path::new("sh")).unwrap();
        assert!(shell.path().is_absolute() && shell.path().ends_with("sh"));
    }

    #[test]
    fn what_is_nowhere_is_named() {
        let missing = runtime_binary(Path::new("no-such-runtime"))
            .unwrap_err()
            .to_string();
        assert!(missing.starts_with("cannot find program 'no-such-runtime' in /usr/local/sbin:"));
        let relative = runtime_binary(Path::new("../bin/sh")).unwrap_err();
        assert!(matches!(relative, HostError::Program { .. }));
    }

    #[test]
    fn a_program_that_others_may_change_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("runc");
        for (mode, trusted) in [
            (0o777, false),
            (0o775, false),
            (0o644, false),
            (0o755, true),
        ] {
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let owned_by_root =
                std::os::unix::fs::MetadataExt::uid(&fs::metadata(&path).unwrap()) == 0;
            assert_eq!(
                runtime_binary(&path).is_ok(),
                trusted && owned_by_root,
                "{mode:o}"
            );
        }
    }
}
