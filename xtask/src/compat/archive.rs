//! The root file system of the containers: an archive of Debian packages, made once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::matrix::release::{self, KEYRING, MIRROR, SETTINGS};
use crate::privilege;
use crate::step::{self, Failed, Outcome};

/// The release that the programs are from: that of the images which most clusters run, or older.
const RELEASE: &str = "bookworm";
/// The programs.
const PACKAGES: &str = "nginx-light,postgresql,redis-server,memcached,python3,nodejs,\
                        openjdk-17-jre-headless,busybox-static";
/// Packages whose versions the document shows.
const SHOWN: [&str; 9] = [
    "nginx-light",
    "postgresql-15",
    "redis-server",
    "memcached",
    "python3.11",
    "nodejs",
    "openjdk-17-jre-headless",
    "busybox-static",
    "libc6",
];
/// What no program needs.
const LEFT_OUT: [&str; 2] = ["/usr/share/doc/*", "/usr/share/locale/*"];
/// Where dpkg keeps its list in a root file system.
const LIST: &str = "var/lib/dpkg";

/// The archive and what it was made from.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    /// Folder with dpkg's list of its packages, where a root folder has it.
    lists: PathBuf,
}

// === impl Archive ===

impl Archive {
    /// Makes it below `folder`, unless a complete one is there.
    pub(super) fn provide(folder: &Path) -> Outcome<Self> {
        let archive = Self {
            path: folder.join(format!("{RELEASE}.tar")),
            lists: folder.join(RELEASE),
        };
        // Written when the archive is complete; holds what it was made from.
        let mark = folder.join(format!("{RELEASE}.made"));
        let recipe = format!(
            "{RELEASE} {MIRROR} {PACKAGES} without {}\n",
            LEFT_OUT.join(" ")
        );
        if archive.path.is_file() && fs::read_to_string(&mark).is_ok_and(|made| made == recipe) {
            return Ok(archive);
        }
        let list = archive.lists.join(LIST);
        fs::create_dir_all(&list).map_err(|source| Failed::File {
            deed: format!("make '{}'", list.display()),
            source,
        })?;
        step::run(
            privilege::as_root("rm")
                .arg("--force")
                .args([&mark, &archive.path]),
        )?;
        let mut make = privilege::as_root("mmdebstrap");
        make.arg("--variant=minbase")
            .arg("--format=tar")
            // The OCI runtime makes the devices.
            .arg("--skip=output/dev")
            .arg(format!("--keyring={KEYRING}"))
            .arg(format!("--include={PACKAGES}"))
            .arg(format!(
                "--customize-hook=copy-out /{LIST}/status '{}'",
                list.display()
            ))
            .args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")))
            .args(SETTINGS.map(|setting| format!("--aptopt={setting}")))
            .args([RELEASE.as_ref(), archive.path.as_os_str(), MIRROR.as_ref()])
            .stdout(io::stderr());
        step::run(&mut make)?;
        fs::write(&mark, recipe).map_err(|source| Failed::File {
            deed: format!("write '{}'", mark.display()),
            source,
        })?;
        Ok(archive)
    }

    /// The archive, uncompressed.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Names and upstream versions of the programs.
    pub(super) fn versions(&self) -> Outcome<String> {
        let versions = release::versions_of(&self.lists, &SHOWN)?;
        Ok(format!("Debian {RELEASE}: {versions}"))
    }
}
