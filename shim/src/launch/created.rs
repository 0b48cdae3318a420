//! What the action `delete` must know when the server that created the container is gone.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bundle;
use crate::status::TaskError;

/// File in the bundle.
const FILE: &str = "portcullis.json";

/// Its largest size, in bytes.
const MAX_BYTES: u64 = 16 * 1024;

/// How the container's runtime is called.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Created {
    /// Absolute path of the OCI runtime.
    pub(crate) binary: String,
    /// Root of its state; empty means the default.
    pub(crate) root: String,
    /// Whether cgroups are made through systemd.
    pub(crate) systemd_cgroup: bool,
}

// === impl Created ===

impl Created {
    /// Leaves the note in `bundle`, before the runtime is called for the first time.
    ///
    /// # Errors
    ///
    /// [`TaskError::Bundle`].
    pub(crate) fn write(&self, bundle: &Path) -> Result<(), TaskError> {
        let path = bundle.join(FILE);
        let failed = |source| TaskError::Bundle {
            verb: "write",
            path: path.display().to_string(),
            source,
        };
        let bytes = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        bundle::replace(&path, &bytes).map_err(failed)
    }

    /// Takes the note back: the container was deleted. One that stays does no harm, it has the
    /// action `delete` ask the runtime once more.
    pub(crate) fn forget(bundle: &Path) {
        match std::fs::remove_file(bundle.join(FILE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                crate::log::warn(&format!("cannot remove '{FILE}': {error}, ignoring"));
            }
            _ => {}
        }
    }

    /// Reads the note; `None` if there is none, because nothing was created, or is no more.
    ///
    /// # Errors
    ///
    /// [`TaskError::Bundle`] if it is there and unusable.
    pub(crate) fn read(bundle: &Path) -> Result<Option<Self>, TaskError> {
        let path = bundle.join(FILE);
        let failed = |source| TaskError::Bundle {
            verb: "read",
            path: path.display().to_string(),
            source,
        };
        let bytes = match bundle::read(&path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| failed(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_absence_from_damage() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Created::read(dir.path()).unwrap().is_none());
        let created = Created {
            binary: "/usr/sbin/runc".to_owned(),
            root: String::new(),
            systemd_cgroup: true,
        };
        created.write(dir.path()).unwrap();
        let read = Created::read(dir.path()).unwrap().unwrap();
        assert_eq!(
            (read.binary.as_str(), read.systemd_cgroup),
            ("/usr/sbin/runc", true)
        );
        Created::forget(dir.path());
        assert!(Created::read(dir.path()).unwrap().is_none());
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(matches!(
            Created::read(dir.path()),
            Err(TaskError::Bundle { verb: "read", .. })
        ));
    }
}
