//! The action `delete`: clean up after a server that is gone.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use containerd_shim_protos::api::DeleteResponse;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use protobuf::Message;

use crate::args::Args;
use crate::events::timestamp;
use crate::launch::Created;
use crate::leftover::{self, Leftover};
use crate::orphan::Orphan;
use crate::runtime::Call;
use crate::{bundle, log, mount, socket};

/// Exit status of a task whose end nobody saw: killed by signal 9.
const KILLED: u32 = 128 + 9;

/// Longest time for the OCI runtime.
const RUNTIME_LIMIT: Duration = Duration::from_secs(3);

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(1);

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
    let pid = bundle::read(&bundle.join("init.pid"), 32)
        .ok()
        .and_then(|bytes| String::from_utf8_lossy(&bytes).trim().parse().ok());
    remove_container(&bundle, args, pid);
    if let Err(error) = mount::unmount_all(&bundle.join("rootfs")) {
        warn(&log::chain(&error));
    }
    Orphan::forget(&args.namespace, &args.id);
    remove_socket(&bundle);
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

/// Has the runtime kill and forget the container; what is left of it then is killed and removed
/// without the runtime. After a Delete that came to its end there is nothing to do: the server took
/// its notes back, the runtime has no state, and starting it would cost more than all the rest.
fn remove_container(bundle: &Path, args: &Args, init: Option<u32>) {
    let made = noted(bundle, args).or_else(|| unnoted(bundle, args));
    if let Some(made) = &made {
        run_limited(made.delete(&args.namespace));
    } else if init.is_none() {
        return;
    }
    let cgroup = made.map_or_else(|| leftover::configured(bundle), |made| made.cgroup);
    if let Some(left) = cgroup.and_then(|cgroup| Leftover::named(&cgroup, &args.id)) {
        if let Some(init) = init {
            left.kill(init);
        }
        left.remove();
    }
}

/// The socket of a server that was killed; one that still serves others of the pod keeps it.
fn remove_socket(bundle: &Path) {
    let address = bundle::read(&bundle.join("address"), 256).unwrap_or_default();
    let address = String::from_utf8_lossy(&address);
    let path = Path::new(address.trim().trim_start_matches("unix://"));
    let identity = socket::file_identity(path);
    let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if identity.is_some() && UnixStream::connect(path).as_ref().is_err_and(refused) {
        socket::remove(path, identity);
    }
}

/// What Create noted, in one place or the other.
fn noted(bundle: &Path, args: &Args) -> Option<Orphan> {
    if let Some(noted) = Orphan::read(&args.namespace, &args.id) {
        return Some(noted);
    }
    match Created::read(bundle) {
        Ok(created) => created.map(|it| made(bundle, args, it)),
        Err(error) => {
            warn(&log::chain(&error));
            None
        }
    }
}

/// How containers of this node are made, if the runtime has state of one that nobody noted.
fn unnoted(bundle: &Path, args: &Args) -> Option<Orphan> {
    let made = |binary: &Path, systemd_cgroup: bool| {
        let created = Created {
            binary: binary.display().to_string(),
            root: String::new(),
            systemd_cgroup,
        };
        made(bundle, args, created)
    };
    // Its state does not depend on the settings, and most often there is none.
    let anyhow = made(Path::new(""), false);
    if !anyhow.runtime(&args.namespace).knows(&args.id) {
        return None;
    }
    let (name, systemd_cgroup) = portcullis_config::load().map_or_else(
        |_faults| ("runc".to_owned(), false),
        |config| (config.runtime.binary, config.runtime.systemd_cgroup),
    );
    let binary = portcullis_host::runtime_binary(Path::new(&name)).ok()?;
    Some(made(binary.path(), systemd_cgroup))
}

fn made(bundle: &Path, args: &Args, created: Created) -> Orphan {
    Orphan {
        id: args.id.clone(),
        bundle: bundle.to_owned(),
        shim: 0,
        binary: created.binary.into(),
        root: created.root,
        systemd_cgroup: created.systemd_cgroup,
        cgroup: leftover::configured(bundle),
    }
}

/// Runs `call` to its end, or kills it: containerd waits for five seconds in all, and mounts
/// are still to be removed.
fn run_limited(mut call: Call) {
    let mut child = match call.command.spawn() {
        Ok(child) => child,
        Err(error) => return warn(&format!("cannot run the OCI runtime: {error}")),
    };
    let since = Instant::now();
    let ended = loop {
        match child.try_wait() {
            Ok(None) if since.elapsed() < RUNTIME_LIMIT => std::thread::park_timeout(PAUSE),
            other => break other,
        }
    };
    match ended {
        Ok(Some(status)) => {
            if let Err(error) = call.finish(status)
                && !error.says_gone()
            {
                warn(&log::chain(&error));
            }
        }
        Ok(None) => {
            let group = i32::try_from(child.id()).unwrap_or(i32::MAX);
            match killpg(Pid::from_raw(group), Signal::SIGKILL) {
                Ok(()) => warn("the OCI runtime did not finish and was killed"),
                Err(errno) => warn(&format!("cannot kill a late OCI runtime: {errno}")),
            }
        }
        Err(error) => warn(&format!("cannot wait for the OCI runtime: {error}")),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "containerd logs what 'delete' writes to stderr"
)]
fn warn(message: &str) {
    eprintln!("portcullis: {message}, ignoring");
}
