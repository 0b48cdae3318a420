//! Containers that nobody is left to remove: their shim was killed, and containerd removed their
//! bundle without running `delete`. containerd 1.6 does so when a shim dies during Create.
//!
//! A note outside the bundle says of each container how it was made. The next server of the
//! namespace looks after the notes whose bundle and shim are gone.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bundle;
use crate::leftover::Leftover;
use crate::options::RuntimeOptions;
use crate::runtime::{Call, Runtime};

/// Folder of the notes, one folder below for each containerd namespace.
const NOTES: &str = "/run/containerd/portcullis";

/// Largest note, in bytes.
const MAX_BYTES: u64 = 16 * 1024;

/// How a container was made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Orphan {
    /// The container's id.
    pub(crate) id: String,
    /// Its bundle, while it has one.
    pub(crate) bundle: PathBuf,
    /// The shim that made it.
    pub(crate) shim: u32,
    /// Absolute path of the OCI runtime.
    pub(crate) binary: PathBuf,
    /// Root of the runtime's state; empty means the default.
    pub(crate) root: String,
    /// Whether cgroups are made through systemd.
    pub(crate) systemd_cgroup: bool,
    /// Its cgroup, if that is named after it.
    pub(crate) cgroup: Option<String>,
}

// === impl Orphan ===

impl Orphan {
    /// Leaves the note, before the runtime is called for the first time.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    pub(crate) fn write(&self, namespace: &str) -> io::Result<()> {
        self.write_in(&folder(namespace))
    }

    fn write_in(&self, folder: &Path) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        bundle::write_private(&folder.join(&self.id), &serde_json::to_vec(self)?)
    }

    /// Takes the note back: the container is gone.
    pub(crate) fn forget(namespace: &str, id: &str) {
        match fs::remove_file(folder(namespace).join(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                crate::log::warn(&format!(
                    "cannot remove the note on '{id}': {error}, ignoring"
                ));
            }
            _ => {}
        }
    }

    /// The containers of `namespace` that have neither bundle nor shim.
    pub(crate) fn all(namespace: &str) -> Vec<Self> {
        all_in(&folder(namespace))
    }

    /// The note on container `id`.
    pub(crate) fn read(namespace: &str, id: &str) -> Option<Self> {
        read(&folder(namespace).join(id)).filter(|noted| noted.id == id)
    }

    /// The runtime, without a bundle.
    pub(crate) fn runtime(&self, namespace: &str) -> Runtime {
        let options = RuntimeOptions {
            root: self.root.clone(),
            ..RuntimeOptions::default()
        };
        let binary = self.binary.clone();
        Runtime::new(
            binary,
            &options,
            namespace,
            &folder(namespace),
            self.systemd_cgroup,
        )
    }

    /// The runtime's command that kills and forgets the container.
    pub(crate) fn delete(&self, namespace: &str) -> Call {
        self.runtime(namespace).delete(&self.id, true)
    }

    /// Removes what the runtime knows nothing of, and the note.
    pub(crate) fn clear(&self, namespace: &str) {
        let left = self.cgroup.as_deref();
        if let Some(left) = left.and_then(|cgroup| Leftover::named(cgroup, &self.id)) {
            left.remove();
        }
        Self::forget(namespace, &self.id);
    }
}

fn folder(namespace: &str) -> PathBuf {
    Path::new(NOTES).join(namespace)
}

fn all_in(folder: &Path) -> Vec<Orphan> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| read(&entry.path()))
        .filter(|orphan| !orphan.bundle.exists() && !is_shim(orphan.shim))
        .collect()
}

fn read(path: &Path) -> Option<Orphan> {
    let bytes = bundle::read(path, MAX_BYTES).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Whether `pid` is a shim of ours; when in doubt it is.
fn is_shim(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => name.trim_end().as_bytes() == crate::start::PROCESS_NAME.to_bytes(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_with_a_bundle_or_a_shim_is_none() {
        let notes = tempfile::tempdir().unwrap();
        let bundle = tempfile::tempdir().unwrap();
        let orphan = |id: &str, bundle: &Path| Orphan {
            id: id.to_owned(),
            bundle: bundle.to_owned(),
            shim: u32::MAX,
            binary: PathBuf::from("/usr/sbin/runc"),
            root: String::new(),
            systemd_cgroup: false,
            cgroup: Some(format!("/default/{id}")),
        };
        orphan("known", bundle.path())
            .write_in(notes.path())
            .unwrap();
        orphan("left", Path::new("/no/such/bundle"))
            .write_in(notes.path())
            .unwrap();
        fs::write(notes.path().join("damaged"), "{").unwrap();
        let found: Vec<_> = all_in(notes.path())
            .into_iter()
            .map(|orphan| orphan.id)
            .collect();
        assert_eq!(found, ["left"]);
    }
}
