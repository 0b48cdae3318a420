//! What the kernel holds of a container whose program is about to run, against what was decided.

use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use portcullis_gate::record::Operation;
use portcullis_gate::{Code, Refusal, Refusals, quote};
use portcullis_hardening::{Enforcement, OciConfig};
use portcullis_seccomp::verify_loaded;

use super::Admission;
use super::docket::Docket;
use crate::status::TaskError;
use crate::{log, sys};

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
    let compared = compare(admission, oci, pid).and_then(|()| compare_filters(admission, oci, pid));
    match compared {
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
        let Err(refusals) = compare(admission, oci, pid) else {
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

fn compare(admission: &Admission, oci: &OciConfig, pid: u32) -> Result<(), Refusals> {
    let enforcement = Enforcement::of(oci);
    let mut held = portcullis_host::held(number(pid), enforcement).map_err(|it| it.refusal())?;
    held.inherited_filters += u32::from(!admission.floor().is_empty());
    enforcement.verify(&held)
}

/// Reads back the filters of a stopped process: the floor is the one that was loaded, and the last
/// one denies what the configuration denies. Says so in the log where the kernel does not tell; that
/// there are enough of them was seen already.
fn compare_filters(admission: &Admission, oci: &OciConfig, pid: u32) -> Result<(), Refusals> {
    let floor = admission.floor();
    let mut loaded = Vec::new();
    loop {
        match sys::filter::of(number(pid), loaded.len()) {
            Ok(Some(program)) => loaded.push(program),
            Ok(None) => break,
            Err(errno) => {
                let id = &admission.container.id;
                log::warn(&format!(
                    "cannot read the filters of '{id}': {errno}, ignoring"
                ));
                return Ok(());
            }
        }
    }
    let mismatch = |subject: &str, expected: &str, found: String| {
        Refusals::from(Refusal::new(
            Code::EnforcementMismatch,
            subject,
            expected,
            found,
        ))
    };
    if !floor.is_empty() && !loaded.iter().any(|program| **program == *floor) {
        let expected = "the floor of this node";
        return Err(mismatch(
            "filters in the kernel",
            expected,
            "other filters".to_owned(),
        ));
    }
    let section = oci.as_map().get("linux").and_then(|it| it.get("seccomp"));
    let (Some(section), Some(newest)) = (section.and_then(|it| it.as_object()), loaded.last())
    else {
        return Ok(());
    };
    verify_loaded(section, newest).map_err(|weaker| {
        let expected = "a filter that denies what it denies";
        mismatch("/linux/seccomp", expected, quote(&weaker.to_string()))
    })
}

fn number(pid: u32) -> i32 {
    i32::try_from(pid).unwrap_or(i32::MAX)
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
