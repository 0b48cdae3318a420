//! The long-lived half: one thread that serves the Task API for one pod.

use std::future::Future;
use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use containerd_shim_protos::shim_async::create_task;
use nix::sys::signal::SigSet;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use ttrpc::asynchronous::Server;
use ttrpc::asynchronous::transport::Listener;

use crate::callers::Callers;
use crate::events::Events;
use crate::options::RuntimeOptions;
use crate::service::TaskService;
use crate::socket::{self, file_identity};
use crate::task::Shim;
use crate::{log, sys};

/// Service names under which the same methods are offered. Their messages are wire-identical;
/// containerd 1.6 and 1.7 call v2, later ones v3.
const TASK_V2: &str = "containerd.task.v2.Task";

/// A server that never got a task, because containerd went away in between, ends itself.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// How often a server without tasks looks whether it is still wanted. One whose last task is gone
/// waits only once: whoever deletes that asks for the end at once, or is gone too.
const LOOK: Duration = Duration::from_secs(10);

/// How long a server that has nothing else to do goes on removing what others left.
const ORPHANS_LIMIT: Duration = Duration::from_secs(10);

/// What `start` hands to the server.
#[derive(Debug)]
pub(crate) struct Settings {
    /// containerd namespace of every task here.
    pub(crate) namespace: String,
    /// The bound socket's path, removed at the end.
    pub(crate) socket: PathBuf,
    /// containerd's ttrpc socket for events, if it has one.
    pub(crate) events_address: Option<String>,
    /// Runtime options of the bootstrap message, used where a Create carries none.
    pub(crate) default_options: RuntimeOptions,
}

/// Why the server could not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// The executor.
    #[error("cannot start the event loop")]
    Runtime(#[source] io::Error),
    /// A signal handler.
    #[error("cannot watch signals")]
    Signals(#[source] io::Error),
    /// The listener.
    #[error("cannot serve on the task socket")]
    Listen(#[source] io::Error),
    /// ttrpc.
    #[error("cannot start the task service")]
    Serve(#[source] ttrpc::Error),
}

/// Makes a SIGTERM wait until the server can obey it: at once, it would end the server before
/// that can remove its socket. To be called before the fork.
///
/// # Errors
///
/// [`ServerError::Signals`].
pub(crate) fn hold_requests() -> Result<(), ServerError> {
    requests().thread_block().map_err(signals)
}

fn requests() -> SigSet {
    SigSet::from(nix::sys::signal::SIGTERM)
}

fn signals(errno: nix::Error) -> ServerError {
    ServerError::Signals(errno.into())
}

/// Serves until the last task is deleted and containerd asks for shutdown.
///
/// # Errors
///
/// [`ServerError`]; the socket is removed in any case.
pub(crate) fn run(settings: Settings, listener: StdListener) -> Result<(), ServerError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(ServerError::Runtime)?;
    let served = runtime.block_on(serve(settings, listener));
    runtime.shutdown_background();
    served
}

async fn serve(settings: Settings, listener: StdListener) -> Result<(), ServerError> {
    let path = settings.socket.clone();
    let identity = file_identity(&path);
    let served = serve_until_ended(settings, listener, || socket::remove(&path, identity)).await;
    socket::remove(&path, identity);
    served
}

async fn serve_until_ended(
    settings: Settings,
    listener: StdListener,
    leave: impl FnOnce(),
) -> Result<(), ServerError> {
    listener
        .set_nonblocking(true)
        .map_err(ServerError::Listen)?;
    let listener = UnixListener::from_std(listener).map_err(ServerError::Listen)?;
    let children = signal(SignalKind::child()).map_err(ServerError::Signals)?;
    let terminate = signal(SignalKind::terminate()).map_err(ServerError::Signals)?;
    requests().thread_unblock().map_err(signals)?;
    let events = Events::forward_to(settings.events_address.clone(), &settings.namespace);
    let shim = Arc::new(Shim::new(settings, events.clone()));

    tokio::spawn(reap(Arc::clone(&shim), children));
    tokio::spawn(end_on_request(Arc::clone(&shim), terminate));

    let service = Arc::new(TaskService::new(Arc::clone(&shim)));
    let v3 = create_task(service.clone());
    let v2 = create_task(service)
        .into_values()
        .map(|service| (TASK_V2.to_owned(), service));
    let mut server = Server::new()
        .add_listener(Listener::new(Callers::new(listener)))
        .register_service(v3)
        .register_service(v2.collect());
    server.start().await.map_err(ServerError::Serve)?;
    let orphans = tokio::spawn(Arc::clone(&shim).remove_orphans());
    sys::trim_heap();

    shim.ended().await;
    leave();
    // The answer to Shutdown is still on its way out.
    server.stop_listen().await;
    events.flush().await;
    // Ended in the middle, the runtime would leave half of what it removes.
    drop(tokio::time::timeout(ORPHANS_LIMIT, orphans).await);
    Ok(())
}

/// Collects every child that ended, the runtime's orphans included.
async fn reap(shim: Arc<Shim>, mut children: Signal) {
    while children.recv().await.is_some() {
        shim.reap();
    }
}

/// SIGTERM ends an empty server; one with tasks stays. So do [`IDLE_LIMIT`] without any task ever,
/// [`LOOK`] after the last one, and the loss of the bundle before the first one.
async fn end_on_request(shim: Arc<Shim>, mut terminate: Signal) {
    let since = Instant::now();
    let look = tokio::time::sleep(LOOK);
    tokio::pin!(look);
    let (mut looking, mut used) = (true, false);
    loop {
        tokio::select! {
            received = terminate.recv() => {
                if received.is_none() || shim.end_if_empty() {
                    return;
                }
                log::warn("asked to end while tasks exist, ignoring");
            }
            () = shim.emptied() => {
                look.as_mut().reset(Instant::now() + LOOK);
                (looking, used) = (true, true);
            }
            () = &mut look, if looking => {
                // The working directory is the bundle.
                let bundle_is_gone = std::env::current_dir().is_err();
                let abandoned = used || bundle_is_gone || since.elapsed() >= IDLE_LIMIT;
                if shim.is_empty() && !abandoned {
                    look.as_mut().reset(Instant::now() + LOOK);
                } else if shim.end_if_empty() {
                    return;
                } else {
                    // Until the last task is gone.
                    looking = false;
                }
            }
        }
    }
}

/// Runs `work` to its end even if the caller's connection goes away in the middle: a launch that
/// is half made must be finished or undone, not forgotten.
pub(crate) async fn uninterrupted<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    tokio::spawn(work).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In programs as they are shipped a panic ends the process; where it does not, the request
    /// fails and nothing is taken for done.
    #[test]
    fn t56_a_request_that_panics_is_not_carried_out() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let broken = async { panic!("on purpose") };
        let done: Option<()> = runtime.block_on(uninterrupted(broken));
        assert_eq!(done, None);
    }
}
