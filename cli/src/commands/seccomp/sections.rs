//! Reading seccomp sections for the commands that compare and judge them.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use portcullis_json::{JsonError, Limits};
use portcullis_seccomp::{Abi, Circumstances, Section, SectionError};

use crate::failure::Failure;
use crate::files;

/// Objects and lists inside each other; an OCI configuration has a dozen.
const DEPTH: usize = 32;

/// For whom sections are read.
#[derive(Debug, Args)]
pub(super) struct ReadingArguments {
    /// The processor's own architecture [default: this host's].
    #[arg(long, value_enum, value_name = "ARCH")]
    arch: Option<Arch>,
    /// A capability of the container, for profile files with rules for it; may be repeated.
    #[arg(long = "cap", value_name = "CAP_NAME", value_parser = capability)]
    capabilities: Vec<String>,
}

/// An architecture whose calls are known by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    Aarch64,
}

#[derive(Debug, thiserror::Error)]
enum InputError {
    #[error("cannot read '{}' as JSON", path.display())]
    Json {
        path: PathBuf,
        #[source]
        source: JsonError,
    },
    #[error("cannot use '{}'", path.display())]
    Section {
        path: PathBuf,
        #[source]
        source: SectionError,
    },
    #[error("cannot tell the calls of processor '{machine}'; name one with '--arch'")]
    Machine { machine: &'static str },
}

fn capability(text: &str) -> Result<String, String> {
    let name = text.to_ascii_uppercase();
    let known = name.strip_prefix("CAP_").is_some_and(|rest| {
        !rest.is_empty() && rest.chars().all(|it| it.is_ascii_alphabetic() || it == '_')
    });
    known
        .then_some(name)
        .ok_or_else(|| "expected a name such as 'CAP_SYS_ADMIN'".to_owned())
}

/// Input that cannot be judged: exit code 2, as of `diff`.
pub(super) fn unusable(error: impl Error + Send + Sync + 'static) -> Failure {
    Failure::undecided(error)
}

// === impl ReadingArguments ===

impl ReadingArguments {
    /// The architecture asked for, or this host's.
    pub(super) fn native(&self) -> Result<Abi, Failure> {
        let machine = std::env::consts::ARCH;
        match self.arch {
            Some(Arch::X86_64) => Ok(Abi::X86_64),
            Some(Arch::Aarch64) => Ok(Abi::AARCH64),
            None => {
                Abi::from_machine(machine).ok_or_else(|| unusable(InputError::Machine { machine }))
            }
        }
    }

    /// Reads the section in a file; `-` is standard input.
    pub(super) fn section(&self, path: &Path) -> Result<Section, Failure> {
        let bytes = files::read(path, files::INPUT_LIMIT_BYTES).map_err(unusable)?;
        let limits = Limits {
            max_bytes: bytes.len(),
            max_depth: DEPTH,
        };
        let document = portcullis_json::parse(&bytes, limits).map_err(|source| {
            unusable(InputError::Json {
                path: path.to_path_buf(),
                source,
            })
        })?;
        let circumstances = Circumstances {
            native: self.native()?,
            capabilities: self.capabilities.iter().cloned().collect::<BTreeSet<_>>(),
        };
        Section::read(&document, &circumstances).map_err(|source| {
            unusable(InputError::Section {
                path: path.to_path_buf(),
                source,
            })
        })
    }
}
