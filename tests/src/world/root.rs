//! Another root file system for a world: a copy of a folder, with a few of the machine's in it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

use super::mounts::overlay;
use crate::failure::{Doing, Failure, Outcome};
use crate::programs;

/// Names the folder with the root file system that the worlds of tests shall have; unset: this
/// machine's. `cargo xtask matrix` sets it.
const VARIABLE: &str = "PORTCULLIS_TEST_ROOT";
/// Folders with which the kernel speaks to programs.
const KERNEL: [&str; 2] = ["dev", "sys"];

/// The root file system of another system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Folder that holds it.
    pub folder: PathBuf,
    /// Folders of this machine to be seen there at their paths, and not to be written.
    pub shown: Vec<PathBuf>,
}

// === impl Root ===

impl Root {
    /// The one for the worlds of tests, with `program`, ours, and our source tree to be seen, if
    /// the environment names one.
    pub(super) fn for_tests(program: &Path) -> Option<Self> {
        Some(Self::showing(other()?, program, programs::find()))
    }

    /// The one in `folder`, with the folder of `program`, our source tree and `others` to be seen.
    #[must_use]
    pub fn showing(
        folder: PathBuf,
        program: &Path,
        others: impl IntoIterator<Item = PathBuf>,
    ) -> Self {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let mut shown: Vec<PathBuf> = [program.parent(), sources]
            .into_iter()
            .flatten()
            .map(Path::to_path_buf)
            .chain(others)
            .collect();
        // Outer ones first, so that none hides another.
        shown.sort();
        Self { folder, shown }
    }

    /// Makes a writable copy of it the root. The caller has its own mount namespace, and memory
    /// on `world`, which lies in `scratch`; both keep their paths. `/proc` is left to the caller.
    pub(super) fn enter(&self, scratch: &Path, world: &Path) -> Outcome {
        let root = world.join("root");
        fs::create_dir(&root).doing(format!("make '{}'", root.display()))?;
        overlay(world, &self.folder, &root)?;
        for name in KERNEL {
            bind(&Path::new("/").join(name), &root, MsFlags::MS_REC)?;
        }
        for shown in &self.shown {
            let at = bind(shown, &root, MsFlags::empty())?;
            let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
            mount(None::<&str>, &at, None::<&str>, read_only, None::<&str>)
                .doing(format!("protect '{}'", shown.display()))?;
        }
        // Last, because it may lie in one of them.
        bind(scratch, &root, MsFlags::empty())?;
        bind(world, &root, MsFlags::empty())?;
        chdir(&root).doing(format!("go to '{}'", root.display()))?;
        // The old root comes to lie on the new one, from where it is taken away.
        pivot_root(".", ".").doing(format!("make '{}' the root", root.display()))?;
        umount2(".", MntFlags::MNT_DETACH).doing("take the machine's files away")?;
        chdir("/").doing("go to the new root")
    }
}

/// The folder that the environment names.
pub(super) fn other() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).map(PathBuf::from)
}

/// Shows folder `from` at the same path below `root`; returns where.
fn bind(from: &Path, root: &Path, also: MsFlags) -> Outcome<PathBuf> {
    let below = from.strip_prefix("/").map_err(|error| {
        Failure::new(format!("'{}' is not a full path: {error}", from.display()))
    })?;
    let at = root.join(below);
    fs::create_dir_all(&at).doing(format!("make '{}'", at.display()))?;
    let flags = MsFlags::MS_BIND | also;
    mount(Some(from), &at, None::<&str>, flags, None::<&str>)
        .doing(format!("show '{}'", from.display()))?;
    Ok(at)
}
