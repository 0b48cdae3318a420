//! Who makes the cgroups of containers: the OCI runtime itself, or the machine's systemd.
//!
//! `PORTCULLIS_TEST_CGROUPS=systemd` chooses systemd. It is for a machine that is a test's world as a
//! whole, as the guest of `cargo xtask vm` can be: systemd is told processes by number, and those of
//! a process namespace are not its own.

use std::path::{Path, PathBuf};

/// Names the driver.
pub const VARIABLE: &str = "PORTCULLIS_TEST_CGROUPS";
/// Slice of all containers: one that is there, so that none is left behind.
const SLICE: &str = "system.slice";
/// In front of a container's name in that of its scope.
const PREFIX: &str = "portcullis-test";
/// Says `Y` where AppArmor is on.
const APPARMOR: &str = "/sys/module/apparmor/parameters/enabled";
/// The profile that containerd gives to containers of pods.
const PROFILE: &str = "cri-containerd.apparmor.d";

/// Who makes the cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupDriver {
    /// The OCI runtime.
    Cgroupfs,
    /// systemd, in the name of the OCI runtime.
    Systemd,
}

// === impl CgroupDriver ===

impl CgroupDriver {
    /// The one that the environment names.
    ///
    /// # Panics
    ///
    /// When it names none: this is how the test fails.
    #[must_use]
    pub fn current() -> Self {
        let named = std::env::var(VARIABLE).unwrap_or_default();
        assert!(
            ["", "cgroupfs", "systemd"].contains(&named.as_str()),
            "{VARIABLE} is '{named}', not 'cgroupfs' or 'systemd'"
        );
        if named == "systemd" {
            Self::Systemd
        } else {
            Self::Cgroupfs
        }
    }

    /// Options of `ctr run` for container `id`. Only containerd's own shim is told by containerd
    /// (`is_stock`); ours knows from the node's settings.
    #[must_use]
    pub fn options(self, id: &str, is_stock: bool) -> Vec<String> {
        let mut options = Vec::new();
        if self == Self::Systemd {
            options.extend(["--cgroup".to_owned(), format!("{SLICE}:{PREFIX}:{id}")]);
            if is_stock {
                options.push("--runc-systemd-cgroup".to_owned());
            }
        }
        options
    }

    /// What containerd's configuration says of it, in the options of both its runtimes.
    #[must_use]
    pub const fn of_runtimes(self) -> &'static str {
        match self {
            Self::Cgroupfs => "",
            Self::Systemd => {
                r#"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.portcullis.options]
      SystemdCgroup = true
"#
            }
        }
    }

    /// For the node's settings.
    #[must_use]
    pub const fn is_systemd(self) -> bool {
        matches!(self, Self::Systemd)
    }

    /// The cgroup below which CRI puts a pod, as a kubelet would name it; empty: its own choice.
    #[must_use]
    pub const fn parent(self) -> &'static str {
        match self {
            Self::Cgroupfs => "",
            Self::Systemd => SLICE,
        }
    }

    /// Where the cgroup of container `id` in containerd namespace `namespace` is, in version 2.
    #[must_use]
    pub fn group(self, namespace: &str, id: &str) -> PathBuf {
        let root = Path::new("/sys/fs/cgroup");
        match self {
            Self::Cgroupfs => root.join(namespace).join(id),
            Self::Systemd => root.join(SLICE).join(format!("{PREFIX}-{id}.scope")),
        }
    }
}

/// Options of `ctr run` that confine a container as CRI would, where AppArmor is on.
#[must_use]
pub fn confinement() -> &'static [&'static str] {
    let is_on = std::fs::read_to_string(APPARMOR).is_ok_and(|said| said.trim() == "Y");
    if is_on {
        &["--apparmor-default-profile", PROFILE]
    } else {
        &[]
    }
}

#[cfg(test)]
mod tests {
    use super::CgroupDriver;

    #[test]
    fn a_scope_is_where_the_options_put_it() {
        let driver = CgroupDriver::Systemd;
        let options = driver.options("web", false);
        assert_eq!(options, ["--cgroup", "system.slice:portcullis-test:web"]);
        let group = "/sys/fs/cgroup/system.slice/portcullis-test-web.scope";
        assert_eq!(driver.group("default", "web").to_str(), Some(group));
        let stock = driver.options("web", true);
        assert!(stock.contains(&"--runc-systemd-cgroup".to_owned()));
        assert!(CgroupDriver::Cgroupfs.options("web", true).is_empty());
    }
}
