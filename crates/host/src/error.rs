//! Why something about the host could not be told.

use std::io;
use std::path::PathBuf;

use portcullis_gate::{Code, Refusal, quote};

/// Why something about the host could not be told. Only [`HostError::Read`] may be worth a retry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// A file or directory cannot be opened.
    #[error("cannot open '{}'", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        cause: io::Error,
    },
    /// An open file cannot be read or described.
    #[error("cannot read '{}'", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        cause: io::Error,
    },
    /// A file is not what it must be.
    #[error("cannot trust '{}': expected {expected}, found {found}", path.display())]
    Untrusted {
        /// The path.
        path: PathBuf,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A file is larger than it may be.
    #[error("cannot accept '{}' of more than {limit_bytes} bytes", path.display())]
    Size {
        /// The path.
        path: PathBuf,
        /// The limit.
        limit_bytes: u64,
    },
    /// A program is in none of the directories where runtimes are installed.
    #[error("cannot find program '{name}' in {directories}")]
    Program {
        /// Its name.
        name: String,
        /// The directories, separated by colons.
        directories: &'static str,
    },
    /// A program does not say its version.
    #[error("cannot learn the version of '{}': {why}", path.display())]
    Version {
        /// The program.
        path: PathBuf,
        /// What it said or did.
        why: String,
    },
    /// What is to be kept for other relying parties cannot be written.
    #[error("cannot write '{}'", path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        cause: io::Error,
    },
    /// The kernel has no clock that counts from its start.
    #[error("cannot read CLOCK_BOOTTIME")]
    Clock(#[source] io::Error),
    /// A path leads through more directories than a sane host has.
    #[error("cannot follow '{}' up to the root in {limit} steps", path.display())]
    Depth {
        /// The path.
        path: PathBuf,
        /// The number of steps taken.
        limit: usize,
    },
}

impl HostError {
    /// The refusal that a launch gets for it: `runtime-untrusted` or `config-untrusted` have to
    /// be chosen by the caller, who knows what the file was for; this is `host-unreadable`.
    pub fn refusal(&self) -> Refusal {
        let mut found = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            found.push_str(": ");
            found.push_str(&inner.to_string());
            cause = inner.source();
        }
        Refusal::new(
            Code::HostUnreadable,
            "this host",
            "facts that can be read",
            quote(&found),
        )
    }
}
