//! Asking an OCI runtime which version it is of, while others are served.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use nix::sys::signal::Signal;
use nix::unistd::pipe2;
use portcullis_config::paths::SEEN;
use portcullis_gate::RuntimeVersion;
use portcullis_host::{ANSWER_LIMIT, HostError, RuntimeBinary, SAID_LIMIT_BYTES};

use crate::log::chain;
use crate::look::look;
use crate::stdio::Spawn;
use crate::sys;

/// The version of `binary`: if it may be `remembered`, what it said before; else it is asked.
///
/// # Errors
///
/// Why it is not known, in a few words.
pub(super) async fn of(
    binary: &RuntimeBinary,
    remembered: bool,
    spawn: Spawn<'_>,
) -> Result<RuntimeVersion, String> {
    let failed = |error: HostError| chain(&error);
    let directory = Path::new(SEEN);
    let identity = binary.identity().map_err(failed)?;
    if remembered {
        let known = portcullis_host::remembered_version(directory, &identity).map_err(failed)?;
        if let Some(version) = known {
            return Ok(version);
        }
    }
    let said = said(binary.path(), spawn).await?;
    let version = portcullis_host::told(binary.path(), &said).map_err(failed)?;
    // The one that was asked is the one that is going to run.
    binary.is_still(&identity).map_err(failed)?;
    portcullis_host::remember_version(directory, &identity, &version).map_err(failed)?;
    Ok(version)
}

/// What `program` prints when it is asked.
async fn said(program: &Path, spawn: Spawn<'_>) -> Result<Vec<u8>, String> {
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| errno.to_string())?;
    let mut command = portcullis_host::version_command(program);
    sys::die_with_parent(&mut command);
    command.stdout(theirs);
    let mut child = spawn(&mut command).map_err(|error| error.to_string())?;
    // It holds the child's end of the pipe.
    drop(command);
    let ended = tokio::time::timeout(ANSWER_LIMIT, child.ended()).await;
    if !matches!(ended, Ok(Some(_))) {
        // The group, because a runtime may be a script around one.
        let _gone = child.signal_group(Signal::SIGKILL);
        return Err(format!("no answer within {} s", ANSWER_LIMIT.as_secs()));
    }
    // One that is over has printed all it will, and a process that it left behind is not waited for.
    let mut said = vec![0; SAID_LIMIT_BYTES];
    let waiting = look(ours.as_fd(), PollFlags::POLLIN).map_err(|error| error.to_string())?;
    let count = if waiting.contains(PollFlags::POLLIN) {
        File::from(ours).read(&mut said)
    } else {
        Ok(0)
    };
    said.truncate(count.map_err(|error| error.to_string())?);
    Ok(said)
}
