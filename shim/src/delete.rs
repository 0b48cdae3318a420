//! The action `delete`: clean up after a server that is gone.

use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use containerd_shim_protos::api::DeleteResponse;
use protobuf::Message;

use crate::args::Args;
use crate::events::timestamp;
use crate::options::RuntimeOptions;
use crate::runtime::Runtime;
use crate::{bundle, launch, log, mount};

/// Exit status of a task whose end nobody saw: killed by signal 9.
const KILLED: u32 = 128 + 9;

/// Why the answer could not be given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeleteError {
    /// The bundle is not known.
    #[error("cannot find the bundle: no '-bundle' and no readable working directory")]
    Bundle(#[source] io::Error),
    /// The answer did not encode.
    #[error("cannot encode the answer")]
    Encode(#[source] protobuf::Error),
    /// stdout.
    #[error("cannot answer on stdout")]
    Answer(#[source] io::Error),
}

/// Kills what is left of the task, unmounts its root filesystem and says how it ended. Missing
/// files are no failure: whatever is still there is removed.
///
/// # Errors
///
/// [`DeleteError`] only where containerd could not be answered at all.
pub(crate) fn run(args: &Args) -> Result<(), DeleteError> {
    let bundle = match &args.bundle {
        Some(bundle) => bundle.clone(),
        None => std::env::current_dir().map_err(DeleteError::Bundle)?,
    };
    remove_container(&bundle, args);
    if let Err(error) = mount::unmount_all(&bundle.join("rootfs")) {
        warn(&log::chain(&error));
    }
    let pid = bundle::read(&bundle.join("init.pid"), 32)
        .ok()
        .and_then(|bytes| String::from_utf8_lossy(&bytes).trim().parse().ok());
    let answer = DeleteResponse {
        pid: pid.unwrap_or_default(),
        exit_status: KILLED,
        exited_at: Some(timestamp(SystemTime::now())).into(),
        ..DeleteResponse::default()
    };
    let bytes = answer.write_to_bytes().map_err(DeleteError::Encode)?;
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(&bytes)
        .and_then(|()| stdout.flush())
        .map_err(DeleteError::Answer)
}

fn remove_container(bundle: &Path, args: &Args) {
    let created = match launch::Created::read(bundle) {
        Ok(Some(created)) => created,
        Ok(None) => return,
        Err(error) => return warn(&log::chain(&error)),
    };
    let options = RuntimeOptions {
        root: created.root,
        ..RuntimeOptions::default()
    };
    let binary = created.binary.into();
    let runtime = Runtime::new(
        binary,
        &options,
        &args.namespace,
        bundle,
        created.systemd_cgroup,
    );
    let mut call = runtime.delete(&args.id, true);
    match call.command.status() {
        Ok(status) => {
            if let Err(error) = call.finish(status)
                && !error.says_gone()
            {
                warn(&log::chain(&error));
            }
        }
        Err(error) => warn(&format!("cannot run the OCI runtime: {error}")),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "containerd logs what 'delete' writes to stderr"
)]
fn warn(message: &str) {
    eprintln!("portcullis: {message}, ignoring");
}
