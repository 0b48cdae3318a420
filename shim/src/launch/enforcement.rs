//! What the kernel holds of a container whose program is about to run, against what was decided.

use std::path::Path;
use std::time::{Duration, Instant};

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
/// `enforcement-mismatch`, or `host-unreadable` if the kernel does not answer. The process must be
/// killed then, and after that [`refuse`]d.
pub(crate) fn verify_stopped(
    admission: &Admission,
    oci: &OciConfig,
    pid: u32,
) -> Result<(), Refusals> {
    let begun = Instant::now();
    compare(admission, oci, pid)?;
    compare_filters(admission, oci, pid)?;
    let id = &admission.container.id;
    log::took(&format!("look at '{id}' at its execve"), begun);
    Ok(())
}

/// The same of a process that could not be stopped, because of `errno`, and runs already; of its
/// filters there is only the number. One that has ended before it was looked at passes.
///
/// # Errors
///
/// As of [`verify_stopped`].
pub(crate) async fn verify_running(
    admission: &Admission,
    oci: &OciConfig,
    pid: u32,
    errno: Errno,
) -> Result<(), Refusals> {
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
            log::warn(&format!(
                "container '{id}' ended before it could be looked at"
            ));
            return Ok(());
        }
        if looks == LOOKS {
            return Err(refusals);
        }
        looks += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Of a container whose program did not begin in time to be looked at.
pub(crate) fn never_began() -> Refusals {
    let (expected, found) = ("a program that begins", "none that was executed in time");
    mismatch("/process/args", expected, found.to_owned())
}

/// Records why a container that was made must not run.
pub(crate) async fn refuse(admission: &Admission, refusals: Refusals) -> TaskError {
    let id = &admission.container.id;
    match Docket::open(&admission.namespace, id, Operation::Start) {
        Ok(mut docket) => {
            docket.record.container = admission.container.clone();
            docket.refuse_always(refusals).await
        }
        Err(error) => error,
    }
}

fn compare(admission: &Admission, oci: &OciConfig, pid: u32) -> Result<(), Refusals> {
    let enforcement = Enforcement::of(oci);
    let mut held = portcullis_host::held(number(pid), enforcement).map_err(|it| it.refusal())?;
    held.inherited_filters += u32::from(!admission.floor().is_empty());
    enforcement.verify(&held)
}

/// Reads back the filters of a stopped process: the floor is the one that was loaded, and the last
/// one denies what the configuration denies. Where the kernel tells nobody, or not a process that is
/// under a filter itself, the log says so; that there are enough of them was seen already. Any other
/// failure to read them is a refusal.
fn compare_filters(admission: &Admission, oci: &OciConfig, pid: u32) -> Result<(), Refusals> {
    let floor = admission.floor();
    let mut loaded = Vec::new();
    loop {
        match sys::filter::of(number(pid), loaded.len()) {
            Ok(Some(program)) => loaded.push(program),
            Ok(None) => break,
            Err(errno @ (Errno::EACCES | Errno::EINVAL | Errno::EIO)) => {
                let id = &admission.container.id;
                log::warn(&format!(
                    "cannot read the filters of '{id}': {errno}, only their number is known"
                ));
                return Ok(());
            }
            Err(errno) => {
                let expected = "filters that can be read back";
                return Err(mismatch(
                    "filters in the kernel",
                    expected,
                    errno.to_string(),
                ));
            }
        }
    }
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

fn mismatch(subject: &str, expected: &str, found: String) -> Refusals {
    Refusal::new(Code::EnforcementMismatch, subject, expected, found).into()
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
