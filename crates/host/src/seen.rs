//! What relying parties have seen, kept for each other: the shims, which come and go with their
//! pods, and the hook, which lives for one container.
//!
//! The agent cannot reach the directory where that is: it lies outside what the agent's confinement leaves open,
//! so a carrier cannot make a relying party forget what it has seen.

use std::path::Path;

use portcullis_attestation::boot_id::BootId;
use portcullis_gate::{Moment, Seen};

use crate::error::HostError;
use crate::kept::{self, Lasting, lock};

/// The file in it.
const FILE: &str = "seen";
/// A line is about 250 bytes, and there is one for each verifier's key.
const LIMIT_BYTES: u64 = 64 * 1024;

/// Keeps what was seen in `moment`, if it is new, before anything is allowed on the strength of it.
/// `directory` is root's, of mode 0700, in memory; it is made if it is not there.
///
/// # Errors
///
/// [`HostError`]: it is not kept, so nothing may start.
pub fn remember(directory: &Path, moment: &Moment) -> Result<(), HostError> {
    if !moment.seen.has_changed() {
        return Ok(());
    }
    write(directory, &moment.boot_id, &moment.seen)
}

/// What was seen in the boot `boot_id`; nothing if there is no file yet.
pub(crate) fn read(directory: &Path, boot_id: &BootId) -> Result<Seen, HostError> {
    let path = directory.join(FILE);
    let Some(text) = kept::read(&path, LIMIT_BYTES)? else {
        return Ok(Seen::default());
    };
    Seen::parse(&text, boot_id).ok_or_else(|| HostError::Untrusted {
        path,
        expected: "lines of verdicts that were seen",
        found: "others".to_owned(),
    })
}

fn write(directory: &Path, boot_id: &BootId, seen: &Seen) -> Result<(), HostError> {
    let _lock = lock(directory)?;
    let mut all = seen.clone();
    all.merge(read(directory, boot_id)?);
    let text = all.to_text(boot_id);
    kept::replace(&directory.join(FILE), text.as_bytes(), Lasting::Boot)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt};

    use super::*;
    use crate::root_only::is_root;

    fn boot() -> BootId {
        BootId::parse("9b0b3ffa-6b1c-4f3e-9d52-0d1f2a3b4c5d").unwrap()
    }

    fn seen(seq: u64) -> Seen {
        let boot = boot();
        let text = format!(
            "portcullis-seen 1 {}\nkid ueid {seq} 100 bm9uY2U 100 7\n",
            boot.as_str()
        );
        Seen::parse(&text, &boot).unwrap()
    }

    mod needs_root {
        use super::*;

        #[test]
        fn what_one_has_seen_the_next_one_knows() {
            if !is_root() {
                return;
            }
            let scratch = tempfile::tempdir().unwrap();
            let directory = scratch.path().join("gate");
            assert_eq!(read(&directory, &boot()).unwrap(), Seen::default());
            write(&directory, &boot(), &seen(7)).unwrap();
            assert_eq!(read(&directory, &boot()).unwrap(), seen(7));
            // One that decided on an older verdict at the same time takes nothing away.
            write(&directory, &boot(), &seen(6)).unwrap();
            assert_eq!(read(&directory, &boot()).unwrap(), seen(7));
            let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
            assert_eq!(mode(&directory), 0o700);
            assert_eq!(mode(&directory.join(FILE)), 0o600);
        }

        #[test]
        fn what_cannot_be_read_is_not_taken_for_nothing() {
            if !is_root() {
                return;
            }
            let scratch = tempfile::tempdir().unwrap();
            let path = scratch.path().join(FILE);
            for damaged in ["", "portcullis-seen 1", "\u{0}", "x\n"] {
                std::fs::write(&path, damaged).unwrap();
                assert!(read(scratch.path(), &boot()).is_err(), "{damaged:?}");
                assert!(write(scratch.path(), &boot(), &seen(1)).is_err());
            }
            std::fs::write(&path, vec![b'x'; 70_000]).unwrap();
            assert!(matches!(
                read(scratch.path(), &boot()),
                Err(HostError::Size { .. })
            ));
            std::fs::write(&path, seen(1).to_text(&boot())).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o622)).unwrap();
            assert!(matches!(
                read(scratch.path(), &boot()),
                Err(HostError::Untrusted { .. })
            ));
        }

        #[test]
        fn a_directory_of_others_or_a_held_lock_is_not_used() {
            if !is_root() {
                return;
            }
            let scratch = tempfile::tempdir().unwrap();
            let held = lock(scratch.path()).unwrap();
            assert!(matches!(
                write(scratch.path(), &boot(), &seen(1)),
                Err(HostError::Open { .. })
            ));
            drop(held);
            write(scratch.path(), &boot(), &seen(1)).unwrap();
            std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o777)).unwrap();
            assert!(matches!(
                write(scratch.path(), &boot(), &seen(2)),
                Err(HostError::Untrusted { .. })
            ));
        }

        #[test]
        fn many_at_once_lose_nothing() {
            if !is_root() {
                return;
            }
            let scratch = tempfile::tempdir().unwrap();
            std::thread::scope(|scope| {
                for seq in 1..=16 {
                    let path = scratch.path();
                    scope.spawn(move || write(path, &boot(), &seen(seq)).unwrap());
                }
            });
            assert_eq!(read(scratch.path(), &boot()).unwrap(), seen(16));
        }
    }
}
