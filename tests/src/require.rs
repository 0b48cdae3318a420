//! What a test needs of the machine: a loud skip on a laptop, a failure where it is promised.
//!
//! `PORTCULLIS_TEST_REQUIRE=root,swtpm,containerd` lists what this machine promises to have
//! (`cargo xtask test` sets it); a need on that list that is not met fails the test.
//! `PORTCULLIS_TEST_SKIPPED` may name a file to which one line is added for each skip.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{containerd, keylime, programs, world};

/// Names the needs that this machine promises to meet, separated by commas.
pub const PROMISED: &str = "PORTCULLIS_TEST_REQUIRE";
/// Names the file that collects the skips.
pub const SKIPPED: &str = "PORTCULLIS_TEST_SKIPPED";
/// Set to run the long forms.
pub const LONG: &str = "PORTCULLIS_TEST_LONG";

/// One thing a test may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Effective user id 0, with the right to make namespaces and mounts.
    Root,
    /// The software TPM and its setup tool.
    Swtpm,
    /// The TPM tools that an attacker with root would use.
    TpmTools,
    /// containerd and its client `ctr`.
    Containerd,
    /// A containerd that knows pods with users of their own: 2.0 or newer.
    Containerd2,
    /// The OCI runtime runc.
    Runc,
    /// The OCI runtime crun.
    Crun,
    /// A statically linked busybox, for images.
    Busybox,
    /// The CNI plugins `ptp`, `host-local` and `loopback`.
    Cni,
    /// containerd's own shim for runc.
    RuncShim,
    /// Our programs, built: shim, hook, agent and `portcullis`.
    Programs,
    /// Keylime's verifier and registrar, and the tools around its agent's stand-in.
    Keylime,
    /// Time: the long forms are asked for.
    Long,
}

/// Returns from the test with a loud notice unless every named need is met.
#[macro_export]
macro_rules! needs {
    ($($need:ident),+ $(,)?) => {
        if !$crate::require::met(&[$($crate::require::Need::$need),+]) {
            return $crate::require::Skip::skipped();
        }
    };
}

/// What a test returns when it is skipped.
pub trait Skip {
    /// The value that is no failure.
    fn skipped() -> Self;
}

impl Skip for () {
    fn skipped() -> Self {}
}

impl<E> Skip for Result<(), E> {
    fn skipped() -> Self {
        Ok(())
    }
}

// === impl Need ===

impl Need {
    /// All of them, in the order of the list that `cargo xtask test` promises.
    pub const ALL: [Self; 12] = [
        Self::Root,
        Self::Swtpm,
        Self::Containerd,
        Self::Runc,
        Self::Crun,
        Self::Busybox,
        Self::Cni,
        Self::RuncShim,
        Self::Programs,
        Self::Keylime,
        Self::Containerd2,
        Self::Long,
    ];

    /// The word used in [`PROMISED`] and in notices.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Swtpm => "swtpm",
            Self::TpmTools => "tpm-tools",
            Self::Containerd => "containerd",
            Self::Containerd2 => "containerd-2",
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Busybox => "busybox",
            Self::Cni => "cni",
            Self::RuncShim => "runc-shim",
            Self::Programs => "programs",
            Self::Keylime => "keylime",
            Self::Long => "long",
        }
    }

    /// What to do when it is missing.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Root => "run as root, or with 'cargo xtask test'",
            Self::Swtpm => "install packages 'swtpm' and 'swtpm-tools'",
            Self::TpmTools => "install package 'tpm2-tools'",
            Self::Containerd | Self::RuncShim => "install package 'containerd'",
            Self::Containerd2 => "run 'cargo xtask matrix'",
            Self::Runc => "install package 'runc'",
            Self::Crun => "install package 'crun'",
            Self::Busybox => "install package 'busybox-static'",
            Self::Cni => "install package 'containernetworking-plugins'",
            Self::Keylime => "run 'cargo xtask test', which installs it from PyPI if it can",
            Self::Programs => "build them with 'cargo xtask test', or 'cargo build --workspace'",
            Self::Long => "set PORTCULLIS_TEST_LONG=1",
        }
    }

    /// Whether this machine has it.
    #[must_use]
    pub fn is_met(self) -> bool {
        match self {
            Self::Root => nix::unistd::geteuid().is_root(),
            Self::Swtpm => has("swtpm") && has("swtpm_setup"),
            Self::TpmTools => has("tpm2_nvdefine") && has("tpm2_nvwrite"),
            Self::Containerd => has("containerd") && has("ctr"),
            Self::Containerd2 => {
                containerd::generation(world::other_root().as_deref()).is_ok_and(|first| first >= 2)
            }
            Self::Runc => has("runc"),
            Self::Crun => has("crun"),
            Self::Busybox => crate::image::busybox().is_some(),
            Self::Cni => Path::new(containerd::CNI_PLUGINS).join("ptp").exists(),
            Self::RuncShim => has("containerd-shim-runc-v2"),
            Self::Programs => programs::find().is_some(),
            Self::Keylime => {
                keylime::Keylime::is_installed()
                    && ["tpm2_quote", "openssl", "curl"].into_iter().all(has)
            }
            Self::Long => std::env::var_os(LONG).is_some(),
        }
    }
}

/// Whether all `needs` are met; says on standard error which one is not.
///
/// # Panics
///
/// When a need is not met although [`PROMISED`] lists it: this is how the test fails.
#[must_use]
pub fn met(needs: &[Need]) -> bool {
    let promised = std::env::var(PROMISED).unwrap_or_default();
    let unmet: Vec<Need> = needs
        .iter()
        .copied()
        .filter(|need| !need.is_met())
        .collect();
    for need in &unmet {
        let (name, remedy) = (need.name(), need.remedy());
        assert!(
            !promised.split(',').any(|word| word.trim() == name),
            "needs {name}, which {PROMISED} promises; {remedy}"
        );
        eprintln!("skipped: needs {name}; {remedy}");
    }
    if let Some(need) = unmet.first() {
        note_skip(need.name());
    }
    unmet.is_empty()
}

/// `long` if the long forms are asked for, else `short`.
#[must_use]
pub fn count(short: usize, long: usize) -> usize {
    if Need::Long.is_met() { long } else { short }
}

/// Where on `PATH`, or in the folders of system programs, `program` is.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|at| at.is_file())
}

fn has(program: &str) -> bool {
    find(program).is_some()
}

fn note_skip(name: &str) {
    let Some(file) = std::env::var_os(SKIPPED) else {
        return;
    };
    let noted = OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .and_then(|mut file| writeln!(file, "{name}"));
    if let Err(error) = noted {
        eprintln!("cannot note the skip: {error}, ignoring");
    }
}

#[cfg(test)]
mod tests {
    use super::{Need, find};

    #[test]
    fn every_need_has_its_own_name_and_a_remedy() {
        let mut names: Vec<_> = Need::ALL.iter().map(|need| need.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Need::ALL.len());
        assert!(Need::ALL.iter().all(|need| !need.remedy().is_empty()));
    }

    #[test]
    fn finds_the_shell_and_not_what_is_not_there() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }
}
