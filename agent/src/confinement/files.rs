//! Limiting what can be opened and reached, with Landlock.
//!
//! Rules hold for the files that are there when they are made, so a directory or device that is
//! put in the place of another one later is not covered; [`Device`] notices that of the TPM's.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd,
    PathFdError, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use portcullis_config::paths;
use portcullis_tpm::Tcti;

/// The newest rights that are asked for; what the kernel does not know yet is left out.
const NEWEST: ABI = ABI::V6;

/// What stays open.
#[derive(Debug, Default)]
pub(super) struct Access {
    /// Directories whose files can be read.
    pub(super) read: Vec<PathBuf>,
    /// Files of the kernel that can be read.
    pub(super) files: Vec<PathBuf>,
    /// Directories whose files can be read, written, made and removed.
    pub(super) write: Vec<PathBuf>,
    /// The TPM's device.
    pub(super) device: Option<PathBuf>,
    /// TCP ports that can be connected to.
    pub(super) ports: Vec<u16>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Limited {
    /// What this kernel cannot limit.
    pub(super) missing: Option<String>,
    /// See [`Device`]; none if access is not limited.
    pub(super) device: Option<Device>,
}

/// The TPM's device node when its rule was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

/// A rule that could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    /// A directory cannot be opened.
    #[error(transparent)]
    Open(#[from] PathFdError),
    /// The kernel does not take the rules.
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
}

/// Limits this thread, and those it will start, to `access`.
pub(super) fn limit(access: &Access) -> Result<Limited, FilesError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let writing =
        AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
    for directory in &access.read {
        ruleset = allow(ruleset, directory, reading)?;
    }
    for file in &access.files {
        ruleset = allow(ruleset, file, AccessFs::ReadFile.into())?;
    }
    for directory in &access.write {
        ruleset = allow(ruleset, directory, reading | writing)?;
    }
    let mut device = None;
    if let Some(path) = &access.device {
        let talking = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
        // Looked at first: one that is replaced in between is then found to be another.
        device = Some(Device::find(path));
        ruleset = allow(ruleset, path, talking)?;
    }
    for port in &access.ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    let landlock = ruleset.restrict_self()?.landlock;
    let is_limited = matches!(landlock, LandlockStatus::Available { .. });
    Ok(Limited {
        missing: missing(landlock),
        device: device.filter(|_| is_limited),
    })
}

/// Adds a rule for what is at `path`, if something is.
fn allow(
    ruleset: RulesetCreated,
    path: &Path,
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, FilesError> {
    match PathFd::new(path) {
        Ok(file) => Ok(ruleset.add_rule(PathBeneath::new(file, rights))?),
        Err(PathFdError::OpenCall { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Ok(ruleset)
        }
        Err(error) => Err(error.into()),
    }
}

/// What a kernel of this kind leaves open.
fn missing(landlock: LandlockStatus) -> Option<String> {
    let abi = match landlock {
        LandlockStatus::NotEnabled => {
            return Some("files: Landlock is switched off in this kernel".to_owned());
        }
        LandlockStatus::NotImplemented => {
            return Some("files: this kernel has no Landlock".to_owned());
        }
        LandlockStatus::Available { effective_abi, .. } => effective_abi,
    };
    let parts = [
        (ABI::V3, "truncation"),
        (ABI::V4, "TCP ports"),
        (ABI::V5, "commands to devices"),
        (ABI::V6, "signals and abstract sockets"),
    ];
    let absent: Vec<&str> = parts
        .into_iter()
        .filter(|(since, _)| abi < *since)
        .map(|(_, part)| part)
        .collect();
    (!absent.is_empty()).then(|| {
        let absent = absent.join(", ");
        format!("files: Landlock of this kernel does not limit {absent}")
    })
}

// === impl Access ===

impl Access {
    /// What the agent needs once it serves.
    pub(super) fn of_agent(tcti: &Tcti) -> Self {
        let (device, ports) = match tcti {
            Tcti::Device(path) => (Some(path.clone()), Vec::new()),
            // The software stack talks to the control channel too, one above.
            Tcti::Swtpm(at) => (None, vec![at.port(), at.port().saturating_add(1)]),
        };
        Self {
            // The gate's memory is for relying parties; which tokens were used may be looked at.
            read: [paths::CONFIG_DIRECTORY, paths::LIBRARY, paths::GATE_STATE]
                .map(PathBuf::from)
                .to_vec(),
            // The kernel keeps them, with their inodes, for as long as it runs.
            files: [paths::EVENT_LOG, paths::IMA_LIST]
                .map(PathBuf::from)
                .to_vec(),
            write: [paths::STATE, paths::RUN].map(PathBuf::from).to_vec(),
            device,
            ports,
        }
    }
}

// === impl Device ===

impl Device {
    fn find(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            identity: identity(path),
        }
    }

    /// Whether another device node is there now, which a confined agent cannot open.
    pub(crate) fn is_another(&self) -> bool {
        let now = identity(&self.path);
        now.is_some() && now != self.identity
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// File system and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_comes_or_is_made_anew_is_another() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("tpmrm0");
        let absent = Device::find(&path);
        assert!(!absent.is_another());
        std::fs::write(&path, "").unwrap();
        assert!(absent.is_another());
        let first = Device::find(&path);
        assert!(!first.is_another());
        // Keeps the inode, so that the next file cannot have its number.
        std::fs::rename(&path, scratch.path().join("kept")).unwrap();
        // Gone for now is not another: there is nothing that could be opened.
        assert!(!first.is_another());
        std::fs::write(&path, "").unwrap();
        assert!(first.is_another());
    }

    #[test]
    fn what_a_kernel_cannot_limit_is_said_in_one_line() {
        let with = |effective_abi| {
            missing(LandlockStatus::Available {
                effective_abi,
                kernel_abi: None,
            })
        };
        assert_eq!(with(ABI::V6), None);
        assert_eq!(
            with(ABI::V2).unwrap(),
            "files: Landlock of this kernel does not limit truncation, TCP ports, commands to \
             devices, signals and abstract sockets"
        );
        assert_eq!(
            missing(LandlockStatus::NotImplemented).unwrap(),
            "files: this kernel has no Landlock"
        );
    }
}
