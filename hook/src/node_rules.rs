//! Images, levels and versions: what the rules about them must know, and the level that the host
//! takes.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use portcullis_config::Demands;
use portcullis_config::node_rules::{Asked, HostLevels, Judged, Workload, verify_held};
use portcullis_config::paths::{PIN, SEEN};
use portcullis_gate::{Permit, Refusal, Refusals, RuntimeVersion};
use portcullis_host::HostError;

/// Judges a container by the rules of its namespace.
///
/// # Errors
///
/// `host-unreadable`.
pub(crate) fn judge(demands: &Demands<'_>, permit: Option<&Permit>) -> Result<Judged, Refusal> {
    let (rules, modes) = (&demands.effective.node_rules, &demands.concessions.modes);
    let unreadable = |error: HostError| error.refusal();
    let wants = rules.wants(modes);
    let pin = if wants.pin {
        portcullis_host::pinned(Path::new(PIN)).map_err(unreadable)?
    } else {
        None
    };
    let kernel = if wants.kernel {
        Some(portcullis_host::kernel_release().map_err(unreadable)?)
    } else {
        None
    };
    let runtime = match wants.runtime {
        Asked::Never => Err(String::new()),
        asked => runtime(asked == Asked::Once).map_err(|error| error.to_string()),
    };
    let workload = Workload {
        image: &demands.image,
        host: HostLevels {
            tags: permit.map(|permit| &permit.tags),
            pinned: pin.as_ref().map(|pin| pin.level.as_str()),
        },
        kernel: kernel.as_deref(),
        runtime: runtime.as_ref().map_err(String::as_str),
    };
    Ok(rules.judge(&workload, modes))
}

/// Has the host take `level`, unless it has it already. Nothing is checked again when the container
/// starts: it waits for this program, and a level is released only where none waits.
///
/// # Errors
///
/// `sensitivity-mismatch` if another launch was first, or `host-unreadable`.
pub(crate) fn pin(level: &str) -> Result<(), Refusals> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let held = portcullis_host::pin(Path::new(PIN), level, now);
    let held = held.map_err(|error| Refusals::from(error.refusal()))?;
    Ok(verify_held(level, Some(&held.level))?)
}

/// The version of the OCI runtime: the program that runs this one.
fn runtime(remembered: bool) -> Result<RuntimeVersion, HostError> {
    let parent = std::os::unix::process::parent_id();
    let program = PathBuf::from(format!("/proc/{parent}/exe"));
    let binary = portcullis_host::runtime_binary(&program)?;
    portcullis_host::runtime_version(Path::new(SEEN), &binary, remembered)
}
