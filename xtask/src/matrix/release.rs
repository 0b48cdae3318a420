//! Debian releases, and folders with their root file systems.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::privilege;
use crate::step::{self, Failed, Outcome};

/// Where the packages come from.
pub(crate) const MIRROR: &str = "http://deb.debian.org/debian";
/// Keys by which apt knows them. An installed keyring may be older than the release.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What the suites need inside, by names that all releases have.
const PACKAGES: &str = "containerd,runc,crun,containernetworking-plugins,busybox-static,\
                        swtpm,swtpm-tools,tpm2-tools,openssl,libtss2-dev,bsdutils,procps,apparmor";
/// For apt: a release that is not published any more counts as well, and nothing extra.
pub(crate) const SETTINGS: [&str; 2] = [
    "Acquire::Check-Valid-Until \"false\"",
    "APT::Install-Recommends \"false\"",
];
/// An installer would write this file, which pods get a copy of.
const HOSTS: &str = "echo 127.0.0.1 localhost >\"$1/etc/hosts\"";
/// Packages whose versions the table shows.
const SHOWN: [&str; 3] = ["containerd", "runc", "crun"];

/// A Debian release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Release {
    /// Debian 12: containerd 1.6.
    Bookworm,
    /// Debian 13: containerd 1.7.
    Trixie,
    /// To become Debian 14: containerd 2.1.
    Forky,
}

// === impl Release ===

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Forky => "forky",
        })
    }
}

impl Release {
    /// All of them, oldest first.
    pub(crate) const ALL: [Self; 3] = [Self::Bookworm, Self::Trixie, Self::Forky];

    /// What its root folder is made from.
    fn recipe(self) -> String {
        format!("{self} {MIRROR} {PACKAGES}\n{HOSTS}\n")
    }

    /// Makes its root folder below `matrix`, unless a complete one is there; returns its path.
    pub(crate) fn provide(self, matrix: &Path) -> Outcome<PathBuf> {
        let folder = matrix.join(self.to_string());
        // Written when the folder is complete; holds what it was made from.
        let mark = matrix.join(format!("{self}.made"));
        let recipe = self.recipe();
        if folder.is_dir() && fs::read_to_string(&mark).is_ok_and(|made| made == recipe) {
            return Ok(folder);
        }
        fs::create_dir_all(matrix).map_err(|source| Failed::File {
            deed: format!("make '{}'", matrix.display()),
            source,
        })?;
        step::run(
            privilege::as_root("rm")
                .args(["--recursive", "--force"])
                .args([&mark, &folder]),
        )?;
        let mut make = privilege::as_root("mmdebstrap");
        make.arg("--variant=minbase")
            .arg(format!("--keyring={KEYRING}"))
            .arg(format!("--include={PACKAGES}"))
            .arg(format!("--customize-hook={HOSTS}"))
            .args(SETTINGS.map(|setting| format!("--aptopt={setting}")))
            .arg(self.to_string())
            .arg(&folder)
            .arg(MIRROR)
            .stdout(io::stderr());
        step::run(&mut make)?;
        fs::write(&mark, recipe).map_err(|source| Failed::File {
            deed: format!("write '{}'", mark.display()),
            source,
        })?;
        Ok(folder)
    }
}

/// Names and upstream versions of the packages that matter, in a root folder.
pub(crate) fn versions(folder: &Path) -> Outcome<String> {
    versions_of(folder, &SHOWN)
}

/// Names and upstream versions of `packages`, in a root folder.
pub(crate) fn versions_of(folder: &Path, packages: &[&str]) -> Outcome<String> {
    let mut query = Command::new("dpkg-query");
    query.arg("--admindir").arg(folder.join("var/lib/dpkg"));
    query.args(["--showformat", "${Package} ${Version}\\n", "--show"]);
    let output = query
        .args(packages)
        .output()
        .map_err(|source| Failed::Run {
            line: "dpkg-query".to_owned(),
            source,
        })?;
    if !output.status.success() {
        let line = format!("dpkg-query for '{}'", folder.display());
        return Err(Failed::Ended {
            line,
            status: output.status,
        });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(upstream).collect::<Vec<_>>().join(", "))
}

/// Takes from a package's version what Debian has added: `runc 1.1.5+ds1-1+deb12u1` is 1.1.5,
/// `redis-server 5:7.0.15-1` is 7.0.15.
fn upstream(line: &str) -> String {
    let (name, version) = line.split_once(' ').unwrap_or((line, ""));
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let number = version.split(['~', '+', '-']).next().unwrap_or_default();
    format!("{name} {number}")
}

#[cfg(test)]
mod tests {
    use super::{Release, upstream};

    #[test]
    fn versions_are_shown_as_upstream_numbers_them() {
        assert_eq!(
            upstream("containerd 1.7.24~ds1-6+deb13u1"),
            "containerd 1.7.24"
        );
        assert_eq!(upstream("runc 1.3.6+ds1-2"), "runc 1.3.6");
        assert_eq!(upstream("crun 1.28-1"), "crun 1.28");
        assert_eq!(
            upstream("redis-server 5:7.0.15-1~deb12u10"),
            "redis-server 7.0.15"
        );
    }

    #[test]
    fn a_complete_folder_is_kept_and_not_made_again() {
        let matrix = tempfile::tempdir().unwrap();
        let release = Release::Trixie;
        std::fs::create_dir(matrix.path().join("trixie")).unwrap();
        std::fs::write(matrix.path().join("trixie.made"), release.recipe()).unwrap();
        let folder = release.provide(matrix.path()).unwrap();
        assert_eq!(folder, matrix.path().join("trixie"));
    }
}
