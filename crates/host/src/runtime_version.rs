//! Which version an OCI runtime is of. To ask costs a process, so what one file has said is
//! remembered for as long as that file is the same.

use std::fmt;
use std::fmt::Write as _;
use std::fs::Metadata;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use portcullis_gate::RuntimeVersion;

use crate::error::HostError;
use crate::kept::{self, Lasting, lock};
use crate::runtime_binary::RuntimeBinary;

/// The file in the directory.
const FILE: &str = "runtimes";
/// Files that are remembered; a host has two or three.
const KEPT: usize = 16;
/// A line is at most 500 bytes.
const LIMIT_BYTES: u64 = 16 * 1024;
/// Most that is read of what a runtime prints, in bytes.
pub const SAID_LIMIT_BYTES: usize = 4096;
/// How long a runtime may take to say it.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks at whether it has ended.
const PAUSE: Duration = Duration::from_millis(2);

/// One file, as it is now: another one, or another content, has another identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileIdentity(String);

/// What the file `identity` has said before; `None` if it was not asked. `directory` is that of
/// the verdicts that were seen.
///
/// # Errors
///
/// [`HostError`] if others could have written what is remembered.
pub fn remembered_version(
    directory: &Path,
    identity: &FileIdentity,
) -> Result<Option<RuntimeVersion>, HostError> {
    let text = kept::read(&directory.join(FILE), LIMIT_BYTES)?;
    let said = text.as_deref().and_then(|text| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(identity.0.as_str())?.strip_prefix(' '))
    });
    // What cannot be read is asked for again.
    Ok(said.and_then(RuntimeVersion::parse))
}

/// Remembers what the file `identity` has said.
///
/// # Errors
///
/// [`HostError`].
pub fn remember_version(
    directory: &Path,
    identity: &FileIdentity,
    version: &RuntimeVersion,
) -> Result<(), HostError> {
    let _lock = lock(directory)?;
    let path = directory.join(FILE);
    let mut text = String::new();
    // Writing to a text cannot fail.
    let _infallible = writeln!(text, "{identity} {version}");
    let before = kept::read(&path, LIMIT_BYTES)?.unwrap_or_default();
    let others = before.lines().filter(|line| !line.starts_with(&identity.0));
    for line in others.take(KEPT - 1) {
        text.push_str(line);
        text.push('\n');
    }
    kept::replace(&path, text.as_bytes(), Lasting::Boot)
}

/// The command that makes a runtime say its version.
#[must_use]
pub fn version_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        // A group of its own, so that one that hangs is killed with all that it started.
        .process_group(0);
    command
}

/// Asks `program` and waits for the answer.
///
/// # Errors
///
/// [`HostError::Version`].
pub fn ask_version(program: &Path) -> Result<RuntimeVersion, HostError> {
    let failed = |why: String| HostError::Version {
        path: program.into(),
        why,
    };
    let mut child = version_command(program)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let end = Instant::now() + ANSWER_LIMIT;
    // What it prints fits into the pipe; one that prints more does not end.
    loop {
        match child.try_wait() {
            Ok(Some(_status)) => break,
            Ok(None) if Instant::now() < end => std::thread::park_timeout(PAUSE),
            late => {
                let _ended = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
                let _collected = child.wait();
                return Err(failed(match late {
                    Err(error) => error.to_string(),
                    Ok(_) => format!("no answer within {} s", ANSWER_LIMIT.as_secs()),
                }));
            }
        }
    }
    let mut said = vec![0; SAID_LIMIT_BYTES];
    let count = match child.stdout.take() {
        Some(mut output) => output.read(&mut said),
        None => Ok(0),
    };
    let count = count.map_err(|error| failed(error.to_string()))?;
    said.truncate(count);
    told(program, &said)
}

/// What `said` says, which `program` has printed.
///
/// # Errors
///
/// [`HostError::Version`].
pub fn told(program: &Path, said: &[u8]) -> Result<RuntimeVersion, HostError> {
    let text = String::from_utf8_lossy(said);
    RuntimeVersion::parse(&text).ok_or_else(|| HostError::Version {
        path: program.into(),
        why: text.lines().next().unwrap_or("no answer").to_owned(),
    })
}

/// The version of `binary`: if it may be `remembered`, what it said before as `directory` has it;
/// else it is asked.
///
/// # Errors
///
/// [`HostError`].
pub fn runtime_version(
    directory: &Path,
    binary: &RuntimeBinary,
    remembered: bool,
) -> Result<RuntimeVersion, HostError> {
    let identity = binary.identity()?;
    if remembered && let Some(version) = remembered_version(directory, &identity)? {
        return Ok(version);
    }
    let version = ask_version(binary.path())?;
    binary.is_still(&identity)?;
    remember_version(directory, &identity, &version)?;
    Ok(version)
}

// === impl FileIdentity ===

impl FileIdentity {
    /// The identity of an open file.
    pub(crate) fn of(file: &Metadata) -> Self {
        Self(format!(
            "{}:{}:{}:{}.{}:{}.{}",
            file.dev(),
            file.ino(),
            file.size(),
            file.mtime(),
            file.mtime_nsec(),
            file.ctime(),
            file.ctime_nsec(),
        ))
    }
}

impl fmt::Display for FileIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::root_only::is_root;
    use crate::runtime_binary::runtime_binary;

    fn script(path: &Path, text: &str) {
        let next = path.with_extension("next");
        std::fs::write(&next, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(next, path).unwrap();
    }

    mod needs_root {
        use super::*;

        #[test]
        fn a_file_is_asked_once_and_another_in_its_place_again() {
            if !is_root() {
                return;
            }
            let scratch = tempfile::tempdir().unwrap();
            let (directory, path) = (scratch.path().join("gate"), scratch.path().join("runc"));
            let asked = scratch.path().join("asked");
            let says = |version: &str| {
                let count = format!("echo >> {}", asked.display());
                script(&path, &format!("{count}\necho 'runc version {version}'"));
            };
            let told = || {
                let binary = runtime_binary(&path).unwrap();
                let version = runtime_version(&directory, &binary, true).unwrap();
                let count = std::fs::read_to_string(&asked).unwrap().lines().count();
                (version.version.as_str().to_owned(), count)
            };
            says("1.1.5");
            assert_eq!(told(), ("1.1.5".to_owned(), 1));
            assert_eq!(told(), ("1.1.5".to_owned(), 1));
            says("1.2.8");
            assert_eq!(told(), ("1.2.8".to_owned(), 2));
            for number in 0..40 {
                says(&format!("1.2.{number}"));
                told();
            }
            let kept = std::fs::read_to_string(directory.join(FILE)).unwrap();
            assert_eq!(kept.lines().count(), KEPT);
            // What was damaged is asked for again.
            std::fs::write(directory.join(FILE), "x").unwrap();
            assert_eq!(told(), ("1.2.39".to_owned(), 43));
        }

        #[test]
        fn a_runtime_that_hangs_fails_or_says_something_else_has_no_version() {
            if !is_root() {
                return;
            }
            let scratch = tempfile::tempdir().unwrap();
            let path = scratch.path().join("runc");
            for text in ["exit 1", "echo hello", "yes", "sleep 60 & wait"] {
                script(&path, text);
                let begin = Instant::now();
                let error = ask_version(&path).unwrap_err();
                assert!(
                    matches!(error, HostError::Version { .. }),
                    "{text}: {error}"
                );
                assert!(begin.elapsed() < 6 * ANSWER_LIMIT);
            }
        }
    }
}
