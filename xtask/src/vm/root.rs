//! The guest's root folder: Debian packages, and the boot chain's programs beside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::product::{Product, install};
use crate::privilege;
use crate::step::{self, Failed, Outcome};

/// The guest's Debian release; its libraries are those of the oldest machine we build on.
const RELEASE: &str = "bookworm";
/// Where the packages come from.
const MIRROR: &str = "http://deb.debian.org/debian";
/// Keys by which apt knows them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What a node has, and what the suites need.
const PACKAGES: &str = "systemd-sysv,udev,dbus,kmod,apparmor,iproute2,procps,bsdutils,jq,\
                        containerd,runc,crun,containernetworking-plugins,busybox-static,\
                        tpm2-tools,libtss2-dev,swtpm,swtpm-tools";
/// Fetches and unpacks the boot chain.
const BOOT_PACKAGES: &str = include_str!("boot-packages.sh");
/// Runs jobs in the guest.
const JOB: &str = include_str!("job.sh");
/// See [`JOB`].
const JOB_UNIT: &str = include_str!("job.service");
/// Files of an administrator: name, place, contents.
const SETTINGS: [(&str, &str, &str); 6] = [
    ("fstab", "/etc/fstab", "/dev/vda2 / ext4 rw 0 0\n"),
    ("hostname", "/etc/hostname", "node-1\n"),
    ("hosts", "/etc/hosts", "127.0.0.1 localhost node-1\n"),
    // With an id, no boot is a first boot, at which systemd would decide what is enabled.
    (
        "machine-id",
        "/etc/machine-id",
        "4f1c6d20b5a84e0f9d3a7c51e2b80a64\n",
    ),
    // A verdict shall not be refused for its age while another of its faults is looked at.
    (
        "portcullis",
        "/etc/portcullis/portcullis.d/10-guest.toml",
        "[attestation]\nmax_verdict_age = \"24h\"\n[agent]\nverdict_lifetime = \"24h\"\n",
    ),
    // As `packaging/containerd/portcullis-v2.toml` says.
    (
        "containerd",
        "/etc/containerd/config.toml",
        "version = 2\nimports = [\"/etc/containerd/conf.d/portcullis.toml\"]\n",
    ),
];
/// What is started at boot.
const ENABLED: [&str; 3] = [
    "containerd.service",
    "portcullis-agent.service",
    "portcullis-vm-job.service",
];

/// The folder, and the boot chain's.
#[derive(Debug, Clone)]
pub(super) struct Root {
    /// Root file system without Portcullis.
    folder: PathBuf,
    /// Unpacked packages of shim, grub and kernel.
    pub(super) boot: PathBuf,
}

// === impl Root ===

impl Root {
    /// What it is made from.
    pub(super) fn recipe() -> String {
        format!("{RELEASE} {MIRROR} {PACKAGES}\n{BOOT_PACKAGES}")
    }

    /// What Portcullis and the job's runner add.
    pub(super) fn additions() -> String {
        let settings: Vec<String> = SETTINGS
            .iter()
            .map(|(_, place, text)| format!("{place}\n{text}"))
            .collect();
        format!("{JOB}{JOB_UNIT}{}{ENABLED:?}", settings.concat())
    }

    /// Makes it below `vm`, unless a complete one is there.
    pub(super) fn provide(vm: &Path) -> Outcome<Self> {
        let root = Self {
            folder: vm.join("root"),
            boot: vm.join("boot"),
        };
        // Written when the folder is complete; holds what it was made from.
        let mark = vm.join("root.made");
        if fs::read_to_string(&mark).is_ok_and(|made| made == Self::recipe()) {
            return Ok(root);
        }
        remove(&[&mark, &root.folder, &root.boot])?;
        let hook = vm.join("boot-packages.sh");
        write(&hook, BOOT_PACKAGES)?;
        let mut make = privilege::as_root("mmdebstrap");
        make.args(["--variant=minbase", "--quiet"])
            .arg(format!("--keyring={KEYRING}"))
            .arg(format!("--include={PACKAGES}"))
            .arg(format!("--customize-hook=sh '{}' \"$1\"", hook.display()))
            .arg("--aptopt=APT::Install-Recommends \"false\"")
            .arg(RELEASE)
            .arg(&root.folder)
            .arg(MIRROR)
            .stdout(io::stderr());
        step::run(&mut make)?;
        write(&mark, &Self::recipe())?;
        Ok(root)
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The kernel's release.
    pub(super) fn kernel(&self) -> Outcome<String> {
        let file = self.boot.join("release");
        let text = fs::read_to_string(&file).map_err(|source| Failed::File {
            deed: format!("read '{}'", file.display()),
            source,
        })?;
        Ok(text.trim().to_owned())
    }

    /// A copy at `to` with Portcullis installed and enabled. Files are shared with the original:
    /// what is added replaces them, and never writes into them.
    pub(super) fn with(&self, product: &Product, to: &Path) -> Outcome {
        remove(&[to])?;
        let mut copy = privilege::as_root("cp");
        step::run(copy.args(["--archive", "--link"]).args([&self.folder, to]))?;
        product.install(to)?;
        let files = to.with_extension("files");
        fs::create_dir_all(&files).map_err(|source| Failed::File {
            deed: format!("make '{}'", files.display()),
            source,
        })?;
        let unit = (
            "unit",
            "/etc/systemd/system/portcullis-vm-job.service",
            JOB_UNIT,
        );
        for (name, place, text) in SETTINGS.iter().copied().chain([unit]) {
            let file = files.join(name);
            write(&file, text)?;
            install(&file, to, place, "0644")?;
        }
        let job = files.join("job");
        write(&job, JOB)?;
        install(&job, to, "/usr/local/sbin/portcullis-vm-job", "0755")?;
        // What the package's scripts would do.
        let mut users = privilege::as_root("chroot");
        step::run(users.arg(to).arg("systemd-sysusers"))?;
        let mut enable = privilege::as_root("chroot");
        enable.arg(to).args(["systemctl", "--root=/", "enable"]);
        step::run(enable.args(ENABLED).stdout(io::stderr()))?;
        // A terminal on the serial line would take what the job writes there.
        let mut mask = privilege::as_root("chroot");
        mask.arg(to).args(["systemctl", "--root=/", "mask"]);
        step::run(mask.arg("serial-getty@ttyS0.service").stdout(io::stderr()))
    }
}

/// Removes folders and files that may be root's.
pub(super) fn remove(paths: &[&Path]) -> Outcome {
    let mut remove = privilege::as_root("rm");
    step::run(remove.args(["--recursive", "--force"]).args(paths))
}

/// Writes a file of ours.
pub(super) fn write(file: &Path, text: &str) -> Outcome {
    fs::write(file, text).map_err(|source| Failed::File {
        deed: format!("write '{}'", file.display()),
        source,
    })
}
