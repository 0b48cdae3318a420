//! Images, levels and versions: what the rules about them must know, and the level that the host
//! takes.

use std::path::Path;

use portcullis_config::node_rules::{Asked, HostLevels, Judged, Workload, verify_held};
use portcullis_config::paths::PIN;
use portcullis_gate::{Permit, Refusal, Refusals};
use portcullis_host::{HostError, RuntimeBinary};

use super::{Terms, docket, runtime_version};
use crate::stdio::Spawn;

/// Judges a launch by the rules of its terms.
///
/// # Errors
///
/// `host-unreadable`.
pub(super) async fn judge(
    terms: &Terms,
    permit: Option<&Permit>,
    binary: &RuntimeBinary,
    spawn: Spawn<'_>,
) -> Result<Judged, Refusal> {
    let (rules, modes) = (&terms.rules, &terms.concessions.modes);
    let wants = rules.wants(modes);
    let unreadable = |error: HostError| error.refusal();
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
        asked => runtime_version::of(binary, asked == Asked::Once, spawn).await,
    };
    let host = HostLevels {
        tags: permit.map(|permit| &permit.tags),
        pinned: pin.as_ref().map(|pin| pin.level.as_str()),
    };
    let workload = Workload {
        image: &terms.image,
        host,
        kernel: kernel.as_deref(),
        runtime: runtime.as_ref().map_err(String::as_str),
    };
    Ok(rules.judge(&workload, modes))
}

/// Has the host take `level`, if it is to take one and has none.
///
/// # Errors
///
/// `sensitivity-mismatch` if another launch was first, or `host-unreadable`.
pub(super) fn pin(level: Option<&str>) -> Result<(), Refusals> {
    let Some(level) = level else {
        return Ok(());
    };
    let held = portcullis_host::pin(Path::new(PIN), level, docket::unix_s());
    let held = held.map_err(|error| Refusals::from(error.refusal()))?;
    Ok(verify_held(level, Some(&held.level))?)
}

/// Whether the host still has the level that it took, if it did: one may be released as long as
/// nothing is to be seen of the container.
///
/// # Errors
///
/// `sensitivity-mismatch` or `host-unreadable`.
pub(super) fn still_pinned(level: Option<&str>) -> Result<(), Refusals> {
    let Some(level) = level else {
        return Ok(());
    };
    let held = portcullis_host::pinned(Path::new(PIN));
    let held = held.map_err(|error| Refusals::from(error.refusal()))?;
    let held = held.as_ref().map(|held| held.level.as_str());
    Ok(verify_held(level, held)?)
}
