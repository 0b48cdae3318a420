//! What the kernel holds of a container whose program is about to run, against what was decided.

use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use portcullis_gate::record::Operation;
use portcullis_gate::{Code, Refusal, Refusals};
use portcullis_hardening::{Enforcement, OciConfig};

use super::Admission;
use super::docket::Docket;
use crate::log;
use crate::status::TaskError;

/// Between two looks at a process that could not be stopped, and how often it is looked at: its
/// runtime may still be at work in it.
const PAUSE: Duration = Duration::from_millis(5);
const LOOKS: u32 = 20;

/// Holds the process `pid`, which is stopped at its execve, against `oci`, with which its runtime
/// was called.
///
/// # Errors
///
/// [`TaskError::Refused`] with `enforcement-mismatch`, or `host-unreadable` if the kernel does not
/// answer; recorded. The process must be killed then.
pub(crate) async fn verify_enforced(
    admission: &Admission,
    oci: &OciConfig,
    pid: u32,
) -> Result<(), TaskError> {
    match compare(oci, pid) {
        Ok(()) => Ok(()),
        Err(refusals) => Err(refuse(admission, refusals).await),
    }
}

/// The same of a process that could not be stopped, because of `errno`, and runs already. One that
/// has ended before it was looked at passes.
///
/// # Errors
///
/// As of [`verify_enforced`].
pub(crate) async fn verify_running(
    admission: &Admission,
    oci: &OciConfig,
    pid: u32,
    errno: Errno,
) -> Result<(), TaskError> {
    let id = &admission.container.id;
    log::warn(&format!(
        "cannot stop container '{id}' at execve: {errno}, looking at it after its start"
    ));
    let mut looks = 1;
    loop {
        let Err(refusals) = compare(oci, pid) else {
            return Ok(());
        };
        if has_ended(pid) {
            return Ok(());
        }
        if looks == LOOKS {
            return Err(refuse(admission, refusals).await);
        }
        looks += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

fn compare(oci: &OciConfig, pid: u32) -> Result<(), Refusals> {
    let enforcement = Enforcement::of(oci);
    let pid = i32::try_from(pid).unwrap_or(i32::MAX);
    let held = portcullis_host::held(pid, enforcement).map_err(|error| error.refusal())?;
    enforcement.verify(&held)
}

/// Whether nothing of the process runs any more: it is gone, or waits to be collected.
fn has_ended(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    status.is_ok_and(|text| text.contains("\nState:\tZ"))
        || !Path::new(&format!("/proc/{pid}")).exists()
}

/// The refusal of a container whose program did not begin in time to be looked at.
pub(crate) async fn never_began(admission: &Admission) -> TaskError {
    let (expected, found) = ("a program that begins", "none that was executed in time");
    let refusal = Refusal::new(Code::EnforcementMismatch, "/process/args", expected, found);
    refuse(admission, refusal.into()).await
}

async fn refuse(admission: &Admission, refusals: Refusals) -> TaskError {
    let id = &admission.container.id;
    match Docket::open(&admission.namespace, id, Operation::Start) {
        Ok(mut docket) => {
            docket.record.container = admission.container.clone();
            docket.refuse_always(refusals).await
        }
        Err(error) => error,
    }
}
