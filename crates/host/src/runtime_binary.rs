//! The OCI runtime that is about to be run.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::error::HostError;
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
}

impl AsFd for RuntimeBinary {
    /// An `O_PATH` descriptor, good for `execveat` and `fstat`.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
