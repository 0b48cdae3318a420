//! The newest policy bundle that was in force on this host, kept across boots for all relying
//! parties, where the agent cannot reach.

use std::path::Path;

use portcullis_gate::{NewestPolicy, Refusals};

use crate::error::HostError;
use crate::kept::{self, Lasting};

/// The file in the directory.
const FILE: &str = "policy";
/// A line is about 100 bytes.
const LIMIT_BYTES: u64 = 512;

/// Holds the bundle in force against the newest one that ever was, before anything is decided by
/// it, and remembers it if it is newer. `directory` is root's, of mode 0700, on a disk; it is made
/// if it is not there.
///
/// # Errors
///
/// `policy-rolled-back`, or `host-unreadable`: nobody can tell, or it is not kept, so nothing may
/// start.
pub fn hold_policy(directory: &Path, in_force: &NewestPolicy) -> Result<(), Refusals> {
    let failed = |error: HostError| Refusals::from(error.refusal());
    if !is_newer(read(directory).map_err(failed)?, in_force)? {
        return Ok(());
    }
    let _lock = kept::lock(directory).map_err(failed)?;
    // Another one may have been faster.
    if !is_newer(read(directory).map_err(failed)?, in_force)? {
        return Ok(());
    }
    let text = in_force.to_text();
    kept::replace(&directory.join(FILE), text.as_bytes(), Lasting::Always).map_err(failed)
}

/// The newest bundle that was ever in force on this host; none if there was none.
///
/// # Errors
///
/// [`HostError`]: what is there cannot be read, and is not taken for nothing.
pub fn newest_policy(directory: &Path) -> Result<Option<NewestPolicy>, HostError> {
    read(directory)
}

fn is_newer(known: Option<NewestPolicy>, offered: &NewestPolicy) -> Result<bool, Refusals> {
    match known {
        None => Ok(true),
        Some(known) => Ok(known.is_succeeded_by(offered)?),
    }
}

fn read(directory: &Path) -> Result<Option<NewestPolicy>, HostError> {
    let path = directory.join(FILE);
    let Some(text) = kept::read(&path, LIMIT_BYTES)? else {
        return Ok(None);
    };
    match NewestPolicy::parse(&text) {
        Some(known) => Ok(Some(known)),
        None => Err(HostError::Untrusted {
            path,
            expected: "the newest policy bundle",
            found: "something else".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_gate::Code;

    use super::*;
    use crate::root_only::is_root;

    fn policy(sequence: u64, digit: char) -> NewestPolicy {
        NewestPolicy {
            sequence,
            sha256: digit.to_string().repeat(64),
        }
    }

    mod needs_root {
        use super::*;

        #[test]
        fn an_older_bundle_is_refused_for_good() {
            if !is_root() {
                return;
            }
            let scratch = tempfile::tempdir().unwrap();
            let directory = scratch.path().join("gate");
            assert_eq!(newest_policy(&directory).unwrap(), None);
            for sequence in [1, 1, 3, 3] {
                hold_policy(&directory, &policy(sequence, 'a')).unwrap();
            }
            for other in [policy(2, 'a'), policy(3, 'b')] {
                let refusals = hold_policy(&directory, &other).unwrap_err();
                assert_eq!(refusals.first().code, Code::PolicyRolledBack);
            }
            assert_eq!(newest_policy(&directory).unwrap(), Some(policy(3, 'a')));
        }

        #[test]
        fn a_memory_that_cannot_be_read_starts_nothing() {
            if !is_root() {
                return;
            }
            let scratch = tempfile::tempdir().unwrap();
            let path = scratch.path().join(FILE);
            for damaged in [
                "",
                "portcullis-policy 1",
                "\u{0}",
                "portcullis-policy 1 1 a\n",
            ] {
                std::fs::write(&path, damaged).unwrap();
                let refusals = hold_policy(scratch.path(), &policy(9, 'a')).unwrap_err();
                assert_eq!(refusals.first().code, Code::HostUnreadable, "{damaged:?}");
            }
        }

        #[test]
        fn of_many_at_once_the_newest_is_remembered() {
            if !is_root() {
                return;
            }
            let scratch = tempfile::tempdir().unwrap();
            let path = scratch.path();
            std::thread::scope(|scope| {
                for sequence in 1..=16 {
                    // An older one that comes later is refused, and that is right.
                    scope.spawn(move || drop(hold_policy(path, &policy(sequence, 'a'))));
                }
            });
            assert_eq!(newest_policy(path).unwrap(), Some(policy(16, 'a')));
        }
    }
}
