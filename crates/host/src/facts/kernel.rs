//! What the running kernel shows of itself.

use std::fs;
use std::io;
use std::path::Path;

use portcullis_hardening::{AppArmor, Purpose, SANDBOX_PROFILE};

use crate::error::HostError;

/// One directory for each processor.
const PROCESSORS: &str = "/sys/devices/system/cpu";
/// `Y` or `N`; absent if the module is not built in.
const APPARMOR: &str = "/sys/module/apparmor/parameters/enabled";
/// One line for each profile: `cri-containerd.apparmor.d (enforce)`.
const APPARMOR_PROFILES: &str = "/sys/kernel/security/apparmor/profiles";
/// `1` if enforcing; absent if the module is not active.
const SELINUX: &str = "/sys/fs/selinux/enforce";

/// `0` if only the mighty may type into a terminal; absent before Linux 6.2, where all may.
const LEGACY_TIOCSTI: &str = "/proc/sys/dev/tty/legacy_tiocsti";

/// The `thermal_throttle` directories, by the number of the processor. They count events that
/// other containers cause, which makes them a channel between containers.
pub(super) fn thermal_throttle_paths() -> Result<Vec<String>, HostError> {
    let unreadable = |cause| HostError::Read {
        path: PROCESSORS.into(),
        cause,
    };
    let entries = match fs::read_dir(PROCESSORS) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(unreadable(cause)),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("cpu")?.parse::<u32>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    let paths = numbers
        .into_iter()
        .map(|it| format!("{PROCESSORS}/cpu{it}/thermal_throttle"));
    Ok(paths.filter(|path| Path::new(path).is_dir()).collect())
}

/// The profile of pod sandboxes is looked for if `purpose` is to be one.
pub(super) fn apparmor(purpose: Purpose) -> Result<AppArmor, HostError> {
    if !starts_with(APPARMOR, b'Y')? {
        return Ok(AppArmor::Off);
    }
    if purpose == Purpose::PodSandbox && has_sandbox_profile()? {
        return Ok(AppArmor::WithSandboxProfile);
    }
    Ok(AppArmor::On)
}

/// One that only complains is none.
fn has_sandbox_profile() -> Result<bool, HostError> {
    let wanted = format!("{SANDBOX_PROFILE} (enforce)");
    match fs::read_to_string(APPARMOR_PROFILES) {
        Ok(profiles) => Ok(profiles.lines().any(|line| line == wanted)),
        // Without securityfs nobody knows; the sandbox is refused for it.
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(HostError::Read {
            path: APPARMOR_PROFILES.into(),
            cause,
        }),
    }
}

pub(super) fn selinux_is_enforcing() -> Result<bool, HostError> {
    starts_with(SELINUX, b'1')
}

pub(super) fn legacy_tiocsti_is_permitted() -> Result<bool, HostError> {
    Ok(!starts_with(LEGACY_TIOCSTI, b'0')?)
}

/// False if there is no such file.
fn starts_with(path: &str, byte: u8) -> Result<bool, HostError> {
    match fs::read(path) {
        Ok(content) => Ok(content.first() == Some(&byte)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(HostError::Read {
            path: path.into(),
            cause,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thermal_path_is_a_directory_of_a_processor() {
        for path in thermal_throttle_paths().unwrap() {
            assert!(Path::new(&path).is_dir());
            assert!(path.starts_with(PROCESSORS) && path.ends_with("/thermal_throttle"));
        }
    }

    #[test]
    fn a_terminal_is_safe_only_if_the_kernel_says_so() {
        let says = fs::read_to_string(LEGACY_TIOCSTI).ok();
        let safe = says.is_some_and(|says| says.trim() == "0");
        assert_eq!(legacy_tiocsti_is_permitted().unwrap(), !safe);
    }

    #[test]
    fn a_module_that_is_not_there_is_not_active() {
        assert!(!starts_with("/sys/module/no-such-module/parameters/enabled", b'Y').unwrap());
        assert!(starts_with("/proc/self/status", b'N').unwrap());
    }
}
