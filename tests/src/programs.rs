//! Our own programs, built, and where a package would put them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::failure::{Doing, Failure, Outcome};

/// Names the folder that holds the built programs; default: beside this program.
pub const FOLDER: &str = "PORTCULLIS_PROGRAMS";

/// Each program and the path a package installs it to.
pub const INSTALLED: [(&str, &str); 6] = [
    (
        "containerd-shim-portcullis-v1",
        "/usr/bin/containerd-shim-portcullis-v1",
    ),
    ("portcullis", "/usr/bin/portcullis"),
    (
        "portcullis-agent",
        "/usr/libexec/portcullis/portcullis-agent",
    ),
    ("portcullis-hook", "/usr/libexec/portcullis/portcullis-hook"),
    (
        "portcullis-fetch",
        "/usr/libexec/portcullis/portcullis-fetch",
    ),
    ("portcullis-keylime", "/usr/bin/portcullis-keylime"),
];

/// The folder that holds all of them.
#[must_use]
pub fn find() -> Option<PathBuf> {
    let named = std::env::var_os(FOLDER).map(PathBuf::from);
    // Test programs are in `<profile>/deps`, the programs in `<profile>`.
    let beside = std::env::current_exe().ok();
    let beside = beside
        .iter()
        .flat_map(|path| path.ancestors().skip(1).take(2));
    named
        .into_iter()
        .chain(beside.map(Path::to_path_buf))
        .find(|folder| {
            INSTALLED
                .iter()
                .all(|(name, _)| folder.join(name).is_file())
        })
}

/// A file of the source tree that a package ships.
#[must_use]
pub fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Copies the programs to where a package would install them. Only for use inside a world.
///
/// # Errors
///
/// When a program is missing or cannot be copied.
pub fn install() -> Outcome {
    let folder = find().ok_or_else(|| Failure::new("our programs are not built"))?;
    for (name, place) in INSTALLED {
        if let Some(parent) = Path::new(place).parent() {
            fs::create_dir_all(parent).doing(format!("make '{}'", parent.display()))?;
        }
        fs::copy(folder.join(name), place).doing(format!("copy '{name}' to '{place}'"))?;
        fs::set_permissions(place, fs::Permissions::from_mode(0o755))
            .doing(format!("set the mode of '{place}'"))?;
    }
    Ok(())
}
