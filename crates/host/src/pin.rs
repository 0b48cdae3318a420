//! The level of sensitivity that this host took of its first workload, kept over reboots.
//!
//! It is the relying parties' own: the agent, which only carries, can neither set nor lift it.

use std::path::Path;

use crate::error::HostError;
use crate::kept::{self, Lasting, lock};

/// The file in the directory.
const FILE: &str = "sensitivity";
/// The first word of its line, and the version of its form.
const MAGIC: &str = "portcullis-sensitivity 1";
/// A line is at most 130 bytes.
const LIMIT_BYTES: u64 = 1024;
/// Longest level, in bytes.
const LEVEL_LIMIT_BYTES: usize = 63;

/// A level that the host keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The level.
    pub level: String,
    /// When it was taken, in seconds since 1970.
    pub since_unix_s: u64,
}

/// The level that this host has taken; `None` if it has taken none. `directory` is root's, and
/// outlives a reboot.
///
/// # Errors
///
/// [`HostError`]: what cannot be read is not taken for nothing.
pub fn pinned(directory: &Path) -> Result<Option<Pin>, HostError> {
    let path = directory.join(FILE);
    let Some(text) = kept::read(&path, LIMIT_BYTES)? else {
        return Ok(None);
    };
    match Pin::parse(&text) {
        Some(pin) => Ok(Some(pin)),
        None => Err(HostError::Untrusted {
            path,
            expected: "a line with the host's level",
            found: "another".to_owned(),
        }),
    }
}

/// Takes `level` unless the host has one already, and returns what it has then. Of many at once one
/// is the first.
///
/// # Errors
///
/// [`HostError`]: it is not kept, so nothing may start.
pub fn pin(directory: &Path, level: &str, now_unix_s: u64) -> Result<Pin, HostError> {
    if let Some(pin) = pinned(directory)? {
        return Ok(pin);
    }
    let _lock = lock(directory)?;
    if let Some(pin) = pinned(directory)? {
        return Ok(pin);
    }
    let pin = Pin {
        level: level.to_owned(),
        since_unix_s: now_unix_s,
    };
    let text = format!("{MAGIC} {level} {now_unix_s}\n");
    kept::replace(&directory.join(FILE), text.as_bytes(), Lasting::Always)?;
    Ok(pin)
}

/// Gives up the host's level, if it has taken one and `may` lets it; nobody takes one meanwhile.
/// Returns the one it had.
///
/// # Errors
///
/// That of `may`, and [`HostError`]; the host keeps its level then.
pub fn unpin<E: From<HostError>>(
    directory: &Path,
    may: impl FnOnce(&Pin) -> Result<(), E>,
) -> Result<Option<Pin>, E> {
    let _lock = lock(directory)?;
    let Some(pin) = pinned(directory)? else {
        return Ok(None);
    };
    may(&pin)?;
    kept::remove(&directory.join(FILE))?;
    Ok(Some(pin))
}

// === impl Pin ===

impl Pin {
    fn parse(text: &str) -> Option<Self> {
        let line = text.strip_prefix(MAGIC)?.strip_prefix(' ')?;
        let (level, since) = line.strip_suffix('\n')?.split_once(' ')?;
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let fits = (1..=LEVEL_LIMIT_BYTES).contains(&level.len()) && level.bytes().all(is_known);
        let since_unix_s = since.parse().ok()?;
        fits.then(|| Self {
            level: level.to_owned(),
            since_unix_s,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;
    use crate::root_only::is_root;

    mod needs_root {
        use super::*;

        #[test]
        fn the_first_level_stays_until_it_is_given_up() {
            if !is_root() {
                return;
            }
            let scratch = tempfile::tempdir().unwrap();
            let directory = scratch.path().join("gate");
            assert_eq!(pinned(&directory).unwrap(), None);
            let first = pin(&directory, "pci", 7).unwrap();
            assert_eq!(pin(&directory, "public", 8).unwrap(), first);
            assert_eq!(pinned(&directory).unwrap(), Some(first.clone()));
            let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
            assert_eq!(mode(&directory), 0o700);
            assert_eq!(mode(&directory.join(FILE)), 0o600);
            let busy = |_: &Pin| {
                Err(HostError::Program {
                    name: String::new(),
                    directories: "",
                })
            };
            unpin(&directory, busy).unwrap_err();
            assert_eq!(pinned(&directory).unwrap(), Some(first.clone()));
            let given = unpin::<HostError>(&directory, |_| Ok(())).unwrap();
            assert_eq!(given, Some(first));
            assert_eq!(unpin::<HostError>(&directory, |_| Ok(())).unwrap(), None);
            assert_eq!(pin(&directory, "public", 9).unwrap().level, "public");
        }

        #[test]
        fn of_many_at_once_all_see_the_same_level() {
            if !is_root() {
                return;
            }
            let scratch = tempfile::tempdir().unwrap();
            let directory = scratch.path();
            let mut levels: Vec<String> = std::thread::scope(|scope| {
                let all: Vec<_> = (0..20)
                    .map(|number| {
                        let level = ["pci", "public"][number % 2];
                        scope.spawn(move || pin(directory, level, 1).unwrap().level)
                    })
                    .collect();
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            levels.dedup();
            assert_eq!(levels, [pinned(directory).unwrap().unwrap().level]);
        }

        #[test]
        fn what_cannot_be_read_is_not_taken_for_nothing() {
            if !is_root() {
                return;
            }
            let scratch = tempfile::tempdir().unwrap();
            let path = scratch.path().join(FILE);
            for damaged in [
                "",
                "portcullis-sensitivity 1",
                "portcullis-sensitivity 1 pci 7",
                "portcullis-sensitivity 1  7\n",
                "portcullis-sensitivity 1 a/b 7\n",
                "portcullis-sensitivity 1 pci x\n",
                "portcullis-sensitivity 2 pci 7\n",
                "\u{0}",
            ] {
                std::fs::write(&path, damaged).unwrap();
                pinned(scratch.path()).unwrap_err();
                pin(scratch.path(), "pci", 1).unwrap_err();
                unpin::<HostError>(scratch.path(), |_| Ok(())).unwrap_err();
            }
            std::fs::write(&path, "portcullis-sensitivity 1 pci 7\n").unwrap();
            assert_eq!(pin(scratch.path(), "x", 1).unwrap().level, "pci");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
            pinned(scratch.path()).unwrap_err();
        }
    }
}
