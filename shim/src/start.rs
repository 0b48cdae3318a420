//! The action `start`: bind the socket, fork the server, answer containerd.

use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::prctl;
use nix::sys::stat::Mode;

use crate::args::Args;
use crate::bootstrap::{self, BootstrapError, Caller};
use crate::options;
use crate::placement::{self, PlacementError};
use crate::server::{self, ServerError};
use crate::socket::{self, Socket, SocketError};
use crate::{group, rights, sys};

/// Name shown by `ps`, at most 15 bytes.
pub(crate) const PROCESS_NAME: &std::ffi::CStr = c"portcullis-shim";

/// Why `start` failed; containerd shows it in front of its own text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The working directory, which is the bundle, is gone.
    #[error("cannot find the bundle: the working directory is not readable")]
    Bundle(#[source] io::Error),
    /// The message on stdin.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The runtime options in the message.
    #[error(transparent)]
    Options(#[from] options::OptionsError),
    /// The cgroup or the cores that the server should run in.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// fork(2).
    #[error("cannot fork the server")]
    Fork(#[source] io::Error),
    /// Capabilities, after the fork.
    #[error("cannot give up rights")]
    Rights(#[source] io::Error),
    /// The file `address` in the bundle, which containerd 1.6 and 1.7 reconnect by.
    #[error("cannot write '{path}'")]
    Address {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// stdout.
    #[error("cannot answer on stdout")]
    Answer(#[source] io::Error),
    /// The server, after the fork.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// Serves the task group of `args.id`, in this process or in one that already does.
///
/// Returns in the parent once containerd has its answer; in the forked server, when the server
/// ends.
///
/// # Errors
///
/// [`StartError`]; nothing stays behind then: no process, no socket.
pub(crate) fn run(args: &Args) -> Result<(), StartError> {
    let bundle = std::env::current_dir().map_err(StartError::Bundle)?;
    let caller = bootstrap::read_caller(stdin_or_empty(), &args.id, &args.namespace)?;
    let group = group::of(&bundle, &args.namespace, &args.id);
    let address = caller.grpc_address(&args.address).to_owned();
    let default_options = options::find(caller.options())?;
    let path = socket::path(caller.socket_dir(), &address, &args.namespace, &group);
    let socket = socket::bind_or_join(path)?;
    let answer = match prepare_answer(&caller, &bundle, &socket) {
        Ok(answer) => answer,
        Err(error) => {
            socket.abandon();
            return Err(error);
        }
    };
    if let Socket::Bound { listener, path } = socket {
        if let Err(error) = placement::take(&default_options.shim_cgroup) {
            Socket::Bound { listener, path }.abandon();
            return Err(error.into());
        }
        if let Err(error) = server::hold_requests() {
            Socket::Bound { listener, path }.abandon();
            return Err(error.into());
        }
        match sys::fork_server() {
            Ok(sys::Side::Server) => {
                let settings = server::Settings {
                    namespace: args.namespace.clone(),
                    socket: path,
                    events_address: caller.events_address(std::env::var("TTRPC_ADDRESS").ok()),
                    default_options,
                };
                return serve(settings, &bundle, listener);
            }
            Ok(sys::Side::Parent) => {}
            Err(error) => {
                Socket::Bound { listener, path }.abandon();
                return Err(StartError::Fork(error));
            }
        }
    }
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(&answer)
        .and_then(|()| stdout.flush())
        .map_err(StartError::Answer)
}

/// What containerd reads, on stdout and, from 1.6 on after a restart, in the bundle.
fn prepare_answer(caller: &Caller, bundle: &Path, socket: &Socket) -> Result<Vec<u8>, StartError> {
    let address = socket.address();
    let answer = caller.answer(&address)?;
    write_address(bundle, &address)?;
    Ok(answer)
}

/// The server's half: leave containerd's session, then serve until the last task is gone.
fn serve(
    settings: server::Settings,
    bundle: &Path,
    listener: UnixListener,
) -> Result<(), StartError> {
    if let Err(error) = detach() {
        Socket::Bound {
            listener,
            path: settings.socket,
        }
        .abandon();
        return Err(StartError::Fork(error));
    }
    crate::log::open(bundle);
    if let Err(error) = rights::limit() {
        socket::remove(&settings.socket, socket::file_identity(&settings.socket));
        return Err(StartError::Rights(error));
    }
    server::run(settings, listener)?;
    Ok(())
}

/// New session, no standard streams of containerd's, orphans of the runtime become ours.
fn detach() -> io::Result<()> {
    nix::unistd::setsid()?;
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    prctl::set_child_subreaper(true)?;
    prctl::set_name(PROCESS_NAME)?;
    // A huge page for a heap of 100 KiB would be memory spent on nothing.
    prctl::set_thp_disable(true)?;
    raise_oom_score();
    Ok(())
}

/// One more than containerd's, as the stock shim does, so that the kernel prefers a shim over
/// containerd itself. Being refused (no `CAP_SYS_RESOURCE`) is no reason not to run containers.
fn raise_oom_score() {
    let Ok(text) = std::fs::read_to_string("/proc/self/oom_score_adj") else {
        return;
    };
    let Ok(score) = text.trim().parse::<i32>() else {
        return;
    };
    drop(std::fs::write(
        "/proc/self/oom_score_adj",
        (score + 1).min(1000).to_string(),
    ));
}

/// Writes `address` into the bundle, whole or not at all.
fn write_address(bundle: &Path, address: &str) -> Result<(), StartError> {
    let path = bundle.join("address");
    crate::bundle::replace(&path, address.as_bytes())
        .map_err(|source| StartError::Address { path, source })
}

/// stdin, unless it is a terminal, where waiting for a message would only confuse a person.
fn stdin_or_empty() -> Box<dyn io::Read> {
    if io::IsTerminal::is_terminal(&io::stdin()) {
        Box::new(io::empty())
    } else {
        Box::new(io::stdin().lock())
    }
}
