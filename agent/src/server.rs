//! Start, accepting clients, and shutdown.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use portcullis_config::{Config, paths};
use portcullis_tpm::{Tcti, TctiMalformed, Tpm};

use crate::confinement::{self, Confinement, ConfinementError, Device};
use crate::metrics::MetricsFile;
use crate::node::Node;
use crate::notifier::{self, Notifier};
use crate::notify::Manager;
use crate::privileged::{self, Privileged, PrivilegedError};
use crate::settings::Settings;
use crate::tpm_thread::TpmThread;
use crate::{boot, connection, log, metrics, notify};

/// Clients served at the same time; the next one is told that the agent is busy.
const CLIENT_LIMIT: usize = 512;
/// Stack of a client's thread: a call is parsed without deep recursion.
const CLIENT_STACK_BYTES: usize = 256 * 1024;
/// Stack of a thread that reads settings, whose tables are within each other.
const SETTINGS_STACK_BYTES: usize = 1024 * 1024;
/// Stack of the TPM's thread: the codec keeps whole frames on it, and the TPM software stack too.
const TPM_STACK_BYTES: usize = 2 * 1024 * 1024;
/// How long readiness waits for the first attestation.
const READY_LIMIT: Duration = Duration::from_secs(10);
/// How long the shutdown waits for the TPM.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How often the ledger is written through to the disk, and the metrics are shown.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// How often the TPM's device node is looked at.
const DEVICE_CHECK: Duration = Duration::from_secs(15);
/// Pause when the process is out of descriptors or threads.
const BREATHER: Duration = Duration::from_millis(50);

/// The agent cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// The TCTI names no TPM.
    #[error("cannot use setting 'tcti='")]
    Tcti(#[from] TctiMalformed),
    /// Directories, lock or socket cannot be had.
    #[error(transparent)]
    Privileged(#[from] PrivilegedError),
    /// A right cannot be given up.
    #[error(transparent)]
    Confinement(#[from] ConfinementError),
    /// The TPM's device came or was made anew after the agent was confined to the one before.
    #[error("cannot open '{path}', which is new: starting again is the way to it")]
    DeviceChanged {
        /// The device.
        path: String,
    },
    /// The kernel refuses what every program may have.
    #[error("cannot {doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Runs until a signal ends it.
pub(crate) fn run(config: Config) -> Result<(), ServerError> {
    let tcti: Tcti = config.agent.tcti.parse()?;
    let notifier = start_notifier(&config);
    // Before any thread is there: each inherits the mask.
    let signals = signals()?;
    let Privileged { listener, lock } = privileged::open()?;
    let manager = find_manager();
    let first_attempt = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(|errno| system("make an event descriptor", errno))?;
    let first_attempt = Arc::new(first_attempt);
    let tpm = Tpm::new(tcti);
    let confinement = confine(&tpm)?;
    let device = confinement.device.clone();
    let node = Arc::new(Node::open(config, confinement, notifier));
    let (tpm_thread, tpm_done) = start_tpm(tpm, &node, Arc::clone(&first_attempt))?;
    let (syncing, ledger_thread) = start_syncing(&node)?;
    log::info("serving", &[("socket", paths::SOCKET)]);

    let watched = Watched {
        listener: &listener,
        signals: &signals,
        first_attempt: &first_attempt,
        device,
    };
    let outcome = accept_until_signal(&watched, manager.as_ref(), &node);

    tell(manager.as_ref(), notify::STOPPING);
    drop(listener);
    if let Err(error) = std::fs::remove_file(Path::new(paths::SOCKET)) {
        log::warn("socket not removed", &[("cause", &error.to_string())]);
    }
    node.queue.stop();
    if tpm_done.recv_timeout(STOP_LIMIT) == Err(RecvTimeoutError::Timeout) {
        log::warn("stopping although the TPM has not answered", &[]);
    } else if tpm_thread.join().is_err() {
        // Joined, because the TPM library's clean-up of a thread must not meet that of the process.
        log::error("the TPM's thread panicked", &[]);
    }
    drop(syncing);
    if ledger_thread.join().is_err() {
        log::error("the ledger's thread panicked", &[]);
    }
    metrics::remove();
    node.sync_ledger();
    drop(lock);
    log::info("stopped", &[]);
    outcome
}

fn system(doing: &'static str, errno: Errno) -> ServerError {
    ServerError::System {
        doing,
        source: errno.into(),
    }
}

/// Starts the notifier, if there is anything to do for it. Without it the agent does its work all the same.
fn start_notifier(config: &Config) -> Option<Notifier> {
    if !notifier::is_wanted(&config.agent) {
        return None;
    }
    let started = Notifier::start();
    if let Err(error) = &started {
        let fields = [("cause", &*error.to_string())];
        log::error("nobody will be told of drift", &fields);
    }
    started.ok()
}

/// Signals that end the agent, as a descriptor.
fn signals() -> Result<SignalFd, ServerError> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.add(Signal::SIGINT);
    mask.thread_block()
        .map_err(|errno| system("block signals", errno))?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|errno| system("take signals from a descriptor", errno))
}

/// Starts the TPM's thread; the channel closes when it ends.
fn start_tpm(
    tpm: Tpm,
    node: &Arc<Node>,
    first_attempt: Arc<EventFd>,
) -> Result<(JoinHandle<()>, Receiver<()>), ServerError> {
    let (done, tpm_done) = sync_channel(0);
    let worker = TpmThread::new(tpm, Arc::clone(node));
    let thread = spawn("tpm", TPM_STACK_BYTES, move || {
        let _done = done;
        worker.run(|| {
            if let Err(errno) = first_attempt.write(1) {
                log::warn("readiness delayed", &[("cause", errno.desc())]);
            }
        });
    })?;
    Ok((thread, tpm_done))
}

/// Starts the thread that writes the ledger through and shows the metrics; it ends when the sender
/// is dropped.
fn start_syncing(node: &Arc<Node>) -> Result<(SyncSender<()>, JoinHandle<()>), ServerError> {
    let (running, ended) = sync_channel::<()>(0);
    let node = Arc::clone(node);
    let thread = spawn("ledger", SETTINGS_STACK_BYTES, move || {
        let mut synced = Some(0);
        let mut settings = Settings::new(node.config.clone());
        let mut metrics = MetricsFile::default();
        while ended.recv_timeout(SYNC_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let exceptions = settings.exceptions(boot::unix_s());
            let figures = node.metrics(exceptions, &settings);
            if synced.is_some_and(|synced| synced != figures.ledger_sequence) {
                synced = node.sync_ledger().then_some(figures.ledger_sequence);
            }
            metrics.show(&figures);
        }
    })?;
    Ok((running, thread))
}

fn spawn(
    name: &str,
    stack_bytes: usize,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, ServerError> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(stack_bytes)
        .spawn(body)
        .map_err(|source| ServerError::System {
            doing: "start a thread",
            source,
        })
}

/// Reads and loads what only an unconfined process can, then gives up all rights.
fn confine(tpm: &Tpm) -> Result<Confinement, ServerError> {
    // Without either the agent still serves: launches are undecided then, and it is said why.
    if let Err(error) = boot::id() {
        log::error("boot id unknown", &[("cause", &log::chain(&error))]);
    }
    if let Err(error) = tpm.preload() {
        log::error(
            "TPM software stack not whole",
            &[("cause", &log::chain(&error))],
        );
    }
    let confinement = confinement::enter(tpm.tcti())?;
    let missing = confinement.missing.join("; ");
    if missing.is_empty() {
        log::info("confined", &[("level", confinement.level())]);
    } else {
        let fields = [("level", confinement.level()), ("missing", &missing)];
        log::warn("confined as far as this kernel can", &fields);
    }
    Ok(confinement)
}

fn find_manager() -> Option<Manager> {
    Manager::find().unwrap_or_else(|error| {
        log::warn(
            "service manager not found",
            &[("cause", &error.to_string())],
        );
        None
    })
}

fn tell(manager: Option<&Manager>, state: &str) {
    if let Some(Err(error)) = manager.map(|manager| manager.tell(state)) {
        log::warn("service manager not told", &[("cause", &error.to_string())]);
    }
}

/// What can wake the main thread.
struct Watched<'a> {
    listener: &'a UnixListener,
    signals: &'a SignalFd,
    first_attempt: &'a EventFd,
    /// Has no descriptor to wait on, so it is looked at from time to time.
    device: Option<Device>,
}

/// Accepts clients until a signal arrives; tells the service manager when the agent is ready.
fn accept_until_signal(
    watched: &Watched<'_>,
    manager: Option<&Manager>,
    node: &Arc<Node>,
) -> Result<(), ServerError> {
    // Counts clients: each holds a clone.
    let clients = Arc::new(());
    let ready_at = Instant::now() + READY_LIMIT;
    let mut is_ready = false;
    loop {
        let mut descriptors = vec![
            PollFd::new(watched.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(watched.listener.as_fd(), PollFlags::POLLIN),
        ];
        let mut patience = watched.device.as_ref().map(|_| DEVICE_CHECK);
        if !is_ready {
            descriptors.push(PollFd::new(
                watched.first_attempt.as_fd(),
                PollFlags::POLLIN,
            ));
            patience = Some(ready_at.saturating_duration_since(Instant::now()));
        }
        let timeout = patience.map_or(PollTimeout::NONE, |patience| {
            PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(system("wait for clients", errno)),
        }
        let has = |index: usize| {
            let descriptor = descriptors.get(index);
            descriptor.and_then(PollFd::any).unwrap_or_default()
        };
        let (is_signalled, has_client) = (has(0), has(1));
        if !is_ready && (has(2) || Instant::now() >= ready_at) {
            is_ready = true;
            tell(manager, notify::READY);
        }
        if is_signalled {
            return Ok(());
        }
        if let Some(device) = watched.device.as_ref().filter(|device| device.is_another()) {
            let path = device.path().display().to_string();
            return Err(ServerError::DeviceChanged { path });
        }
        if has_client {
            accept(watched.listener, node, &clients);
        }
    }
}

/// Takes one client, if one is still there.
fn accept(listener: &UnixListener, node: &Arc<Node>, clients: &Arc<()>) {
    let stream = match listener.accept() {
        Ok((stream, _address)) => stream,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
        Err(error) => {
            log::error("client not accepted", &[("cause", &error.to_string())]);
            breathe();
            return;
        }
    };
    if Arc::strong_count(clients) > CLIENT_LIMIT {
        connection::turn_away(stream);
        return;
    }
    let (node, client) = (Arc::clone(node), Arc::clone(clients));
    let started = spawn("client", CLIENT_STACK_BYTES, move || {
        let _client = client;
        serve(stream, &node);
    });
    if let Err(error) = started {
        log::error("client not served", &[("cause", &log::chain(&error))]);
        breathe();
    }
}

fn serve(stream: UnixStream, node: &Node) {
    if let Err(error) = stream.set_nonblocking(false) {
        let descriptor = stream.as_raw_fd().to_string();
        let fields = [("descriptor", &*descriptor), ("cause", &error.to_string())];
        log::error("client not served", &fields);
        return;
    }
    connection::serve(stream, node);
}

/// Out of descriptors or threads; they come back when clients finish.
fn breathe() {
    let pause = PollTimeout::try_from(BREATHER).unwrap_or(PollTimeout::ZERO);
    if let Err(errno) = poll(&mut [], pause) {
        log::warn("pause cut short", &[("cause", errno.desc())]);
    }
}
