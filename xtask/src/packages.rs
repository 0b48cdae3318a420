//! Debian packages: which are missing, and installing them.

use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::privilege;
use crate::screen;
use crate::step::{self, Failed, Outcome};

/// A package and the files, one of which shows that it, or an equal, is there.
#[derive(Debug, Clone, Copy)]
struct Package {
    name: &'static str,
    proof: &'static [&'static str],
}

/// Whether to ask before installing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    /// Ask the person at the terminal.
    Ask,
    /// Go ahead.
    Given,
}

/// Needed to build the agent and to run anything.
const RUN: [Package; 9] = [
    package("pkg-config", &["pkg-config", "pkgconf"]),
    package(
        "libtss2-dev",
        &[
            "/usr/lib/x86_64-linux-gnu/pkgconfig/tss2-esys.pc",
            "/usr/lib/aarch64-linux-gnu/pkgconfig/tss2-esys.pc",
        ],
    ),
    package("containerd", &["containerd"]),
    package("runc", &["runc"]),
    package("swtpm", &["swtpm"]),
    package("swtpm-tools", &["swtpm_setup"]),
    package("busybox-static", &["/bin/busybox"]),
    package("containernetworking-plugins", &["/usr/lib/cni/ptp"]),
    package("ca-certificates", &["/etc/ssl/certs/ca-certificates.crt"]),
];
/// Needed by the suites only.
const TEST: [Package; 7] = [
    package("crun", &["crun"]),
    package("systemd", &["systemd-analyze"]),
    package("tpm2-tools", &["tpm2_quote"]),
    package("openssl", &["openssl"]),
    // What Keylime takes from Debian.
    package("curl", &["curl"]),
    package(
        "python3-gpg",
        &["/usr/lib/python3/dist-packages/gpg/__init__.py"],
    ),
    package(
        "python3-venv",
        &[
            "/usr/lib/python3.11/ensurepip/__init__.py",
            "/usr/lib/python3.13/ensurepip/__init__.py",
        ],
    ),
];
/// Needed to make root folders of other releases.
const MATRIX: [Package; 2] = [
    package("mmdebstrap", &["mmdebstrap"]),
    package(
        "debian-archive-keyring",
        &["/usr/share/keyrings/debian-archive-keyring.gpg"],
    ),
];
/// Needed to build and to run a guest, beyond those for root folders.
const VM: [Package; 7] = [
    package("qemu-system-x86", &["qemu-system-x86_64"]),
    package("ovmf", &["/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"]),
    package("mtools", &["mcopy"]),
    package("dosfstools", &["mkfs.vfat"]),
    package("gdisk", &["sgdisk"]),
    package("cpio", &["cpio"]),
    package("e2fsprogs", &["mke2fs"]),
];
/// Comes with QEMU's other packages, or not at all: one from another release keeps them out.
const QEMU_UTILITIES: (&str, &str) = ("qemu-utils", "qemu-img");

const fn package(name: &'static str, proof: &'static [&'static str]) -> Package {
    Package { name, proof }
}

/// Installs what the demo needs and is missing.
pub(crate) fn provide_for_demo(consent: Consent) -> Outcome {
    provide(&RUN, consent)
}

/// Installs what the tests need and is missing.
pub(crate) fn provide_for_tests() -> Outcome {
    let all: Vec<Package> = RUN.iter().chain(&TEST).copied().collect();
    provide(&all, Consent::Given)
}

/// Installs what the tests on other releases need and is missing.
pub(crate) fn provide_for_matrix() -> Outcome {
    let all: Vec<Package> = RUN.iter().chain(&TEST).chain(&MATRIX).copied().collect();
    provide(&all, Consent::Given)
}

/// Installs what a guest needs and is missing.
pub(crate) fn provide_for_vm() -> Outcome {
    let all: Vec<Package> = RUN.iter().chain(&MATRIX).chain(&VM).copied().collect();
    provide(&all, Consent::Given)
}

fn provide(packages: &[Package], consent: Consent) -> Outcome {
    let missing: Vec<&str> = packages
        .iter()
        .filter(|package| !package.is_there())
        .map(|package| package.name)
        .collect();
    if missing.is_empty() {
        screen::say("all Debian packages are there");
        return Ok(());
    }
    let list = missing.join(" ");
    if find("apt-get").is_none() {
        return Err(Failed::Missing(format!(
            "these Debian packages, or their equals here, are missing: {list}"
        )));
    }
    screen::say(&format!("missing Debian packages: {list}"));
    if consent == Consent::Ask && !agreed()? {
        return Err(Failed::Missing(format!(
            "not installed; do it yourself with 'apt-get install {list}'"
        )));
    }
    step::run(apt_get().arg("update"))?;
    install(&missing)
}

/// Installs packages, and removes none to make room for them.
fn install(missing: &[&str]) -> Outcome {
    let line = |also: &[&str]| {
        let mut line = apt_get();
        line.args(["install", "--yes", "--no-install-recommends", "--no-remove"]);
        line.args(also).args(missing);
        line
    };
    let first = step::run(&mut line(&[]));
    let (utilities, proof) = QEMU_UTILITIES;
    if first.is_ok() || !missing.contains(&"qemu-system-x86") || find(proof).is_none() {
        return first;
    }
    // A newer one, from backports say, conflicts with this release's QEMU.
    screen::say(&format!("once more, with this release's '{utilities}'"));
    let release = release().map_or_else(
        || utilities.to_owned(),
        |name| format!("{utilities}/{name}"),
    );
    step::run(&mut line(&["--allow-downgrades", &release]))
}

/// Name of the release that runs here: `VERSION_CODENAME=bookworm`.
fn release() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
}

/// apt-get as root, with its chatter kept off standard output.
fn apt_get() -> Command {
    let mut command = privilege::as_root("env");
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"]);
    command.stdout(io::stderr());
    command
}

fn agreed() -> Outcome<bool> {
    if !io::stdin().is_terminal() {
        return Err(Failed::Missing(
            "nobody to ask whether to install them; say so with '--yes'".to_owned(),
        ));
    }
    screen::say("install them now? [y/N]");
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|source| Failed::File {
            deed: "read your answer".to_owned(),
            source,
        })?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Where `program` is, among the folders of programs.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|at| at.is_file())
}

// === impl Package ===

impl Package {
    fn is_there(self) -> bool {
        self.proof.iter().any(|proof| {
            if proof.starts_with('/') {
                Path::new(proof).exists()
            } else {
                find(proof).is_some()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{MATRIX, RUN, TEST, VM, package};

    #[test]
    fn a_program_or_a_file_shows_that_a_package_is_there() {
        assert!(package("dash", &["no-such-program", "sh"]).is_there());
        assert!(package("base-files", &["/etc/passwd"]).is_there());
        assert!(!package("ghost", &["/no/such/file", "no-such-program"]).is_there());
    }

    #[test]
    fn each_package_is_listed_once() {
        let mut names: Vec<_> = RUN
            .iter()
            .chain(&TEST)
            .chain(&MATRIX)
            .chain(&VM)
            .map(|package| package.name)
            .collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
    }
}
