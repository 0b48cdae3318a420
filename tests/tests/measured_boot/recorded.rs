//! Boots that were recorded (`tests/data/measured-boot`), played to a software TPM: a machine with a measured boot and no machine.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use portcullis_attestation::event_log::EventLog;
use portcullis_attestation::ima::{self, ImaList};
use portcullis_attestation::pcr::HashAlg;
use portcullis_config::paths;

use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::swtpm::Swtpm;

/// One boot of `tests/data/measured-boot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Boot {
    /// Secure Boot, the approved command line.
    Golden,
    /// The same with another kernel command line.
    CommandLineChanged,
    /// Without Secure Boot.
    Unsecured,
}

// === impl Boot ===

impl Boot {
    fn folder(self) -> PathBuf {
        let name = match self {
            Self::Golden => "secureboot",
            Self::CommandLineChanged => "secureboot-cmdline-changed",
            Self::Unsecured => "no-secureboot",
        };
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("data/measured-boot")
            .join(name)
    }

    /// The event log as it was recorded.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(crate) fn event_log(self) -> Outcome<Vec<u8>> {
        let path = self.folder().join("binary_bios_measurements");
        fs::read(&path).doing(format!("read '{}'", path.display()))
    }

    /// Extends into `tpm`, which was just started, what was measured in this boot.
    ///
    /// # Errors
    ///
    /// When the log cannot be read or the TPM does not take it.
    pub(crate) fn replay(self, tpm: &Swtpm) -> Outcome {
        let bytes = self.event_log()?;
        let log = EventLog::parse(&bytes).doing("read a recorded log")?;
        for event in log.events().iter().filter(|event| event.is_extended()) {
            let digest = event
                .digest(HashAlg::Sha256)
                .and_then(|digest| digest.try_into().ok())
                .ok_or_else(|| Failure::new("an event without a SHA-256 digest"))?;
            tpm.extend(event.pcr, digest).doing("extend a PCR")?;
        }
        Ok(())
    }

    /// The kernel's IMA list as it was recorded.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(crate) fn ima_list(self) -> Outcome<Vec<u8>> {
        let path = self.folder().join("binary_runtime_measurements");
        fs::read(&path).doing(format!("read '{}'", path.display()))
    }

    /// Extends into `tpm` what the first `count` entries of the IMA list measured, and shows the
    /// whole list.
    ///
    /// # Errors
    ///
    /// When the list cannot be read or the TPM does not take it.
    pub(crate) fn run(self, tpm: &Swtpm, count: usize) -> Outcome {
        let bytes = self.ima_list()?;
        let list = ImaList::parse(&bytes).doing("read a recorded list")?;
        for entry in list.entries().iter().take(count) {
            let digest = entry
                .digest(HashAlg::Sha256)
                .and_then(|digest| digest.try_into().ok())
                .ok_or_else(|| Failure::new("an entry without a SHA-256 digest"))?;
            tpm.extend(u32::from(ima::PCR), digest)
                .doing("extend PCR 10")?;
        }
        fs::write(paths::IMA_LIST, bytes).doing("write the IMA list")
    }

    /// Puts this boot's log where the kernel keeps that of its own.
    ///
    /// # Errors
    ///
    /// When it cannot be written; [`mount_kernel_logs`] comes first.
    pub(crate) fn show_event_log(self) -> Outcome {
        fs::write(paths::EVENT_LOG, self.event_log()?).doing("write the event log")
    }
}

/// Puts an empty file system in the place of the kernel's own logs. Only inside a world.
///
/// # Errors
///
/// When it cannot be mounted.
pub(crate) fn mount_kernel_logs() -> Outcome {
    let security = "/sys/kernel/security";
    mount(
        Some("none"),
        security,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        Some("mode=0755"),
    )
    .doing(format!("mount '{security}'"))?;
    for path in [paths::EVENT_LOG, paths::IMA_LIST] {
        if let Some(folder) = Path::new(path).parent() {
            fs::create_dir_all(folder).doing(format!("make '{}'", folder.display()))?;
        }
    }
    Ok(())
}
