//! Terminals: the socket on which the runtime sends one, and its size.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::stat::{Mode, umask};
use tokio::sync::watch;

use super::StdioError;
use crate::sys;

/// The controlling end of a process's terminal, until it is hung up.
#[derive(Debug, Clone)]
pub(crate) struct Terminal(Arc<watch::Sender<Option<OwnedFd>>>);

/// Tells when a terminal is hung up.
#[derive(Debug, Clone)]
pub(super) struct HungUp(watch::Receiver<Option<OwnedFd>>);

/// Where the runtime sends the terminal; the file is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
    name: String,
}

fn no_terminal(errno: Errno) -> StdioError {
    StdioError::NoTerminal {
        source: errno.into(),
    }
}

// === impl ConsoleSocket ===

impl ConsoleSocket {
    /// Listens on a socket in `bundle`, readable by root only. Both sides use a short path (ours
    /// through a descriptor, the runtime's relative to the bundle, its working directory),
    /// because a pod's bundle is longer than a socket address may be.
    ///
    /// # Errors
    ///
    /// [`StdioError::ConsoleSocket`].
    pub(crate) fn listen(bundle: &Path, tag: &str) -> Result<Self, StdioError> {
        let name = format!("{tag}.pty.sock");
        let path = bundle.join(&name);
        let failed = |source| StdioError::ConsoleSocket {
            path: path.clone(),
            source,
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = open(bundle, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        drop(std::fs::remove_file(&path));
        let old = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()));
        umask(old);
        let listener = bound.map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            listener,
            path,
            name,
        })
    }

    /// The name to give to the runtime.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Takes the terminal after the runtime has returned: it sends before it exits, so nothing
    /// is waited for.
    ///
    /// # Errors
    ///
    /// [`StdioError::NoTerminal`].
    pub(crate) fn receive(self) -> Result<Terminal, StdioError> {
        let (stream, _) = self
            .listener
            .accept()
            .map_err(|source| StdioError::NoTerminal { source })?;
        let mut name = [0; 4096];
        let mut buffers = [IoSliceMut::new(&mut name)];
        let mut control = nix::cmsg_space!([std::os::fd::RawFd; 1]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut buffers, Some(&mut control), flags)
            .map_err(no_terminal)?;
        let messages = message.cmsgs().map_err(no_terminal)?;
        for message in messages {
            if let ControlMessageOwned::ScmRights(fds) = message {
                // All are owned at once, so that none leaks if there are more than one.
                let owned: Vec<OwnedFd> = fds.into_iter().map(sys::own_received).collect();
                if let Some(first) = owned.into_iter().next() {
                    return Ok(Terminal(Arc::new(watch::Sender::new(Some(first)))));
                }
            }
        }
        Err(no_terminal(Errno::ENOMSG))
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

// === impl Terminal ===

impl Terminal {
    /// Another descriptor of the same terminal, for one direction of the copy.
    ///
    /// # Errors
    ///
    /// [`StdioError::Pipe`] if there are no descriptors left, or it was hung up.
    pub(super) fn duplicate(&self) -> Result<OwnedFd, StdioError> {
        let fd = self.0.borrow();
        let copy = fd.as_ref().ok_or(io::ErrorKind::NotConnected.into());
        copy.and_then(OwnedFd::try_clone).map_err(broken)
    }

    /// Sets the size in character cells; one that was hung up has none.
    ///
    /// # Errors
    ///
    /// [`StdioError::Pipe`] with the errno of the ioctl.
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> Result<(), StdioError> {
        let fd = self.0.borrow();
        fd.as_ref().map_or(Ok(()), |fd| {
            sys::set_terminal_size(fd.as_fd(), columns, rows).map_err(broken)
        })
    }

    /// Closes it. The kernel hangs up the other end when the last descriptor is closed.
    pub(super) fn hang_up(&self) {
        self.0.send_replace(None);
    }

    /// A way to hear of [`Terminal::hang_up`].
    pub(super) fn hung_up(&self) -> HungUp {
        HungUp(self.0.subscribe())
    }
}

fn broken(source: io::Error) -> StdioError {
    StdioError::Pipe {
        stream: "terminal",
        source,
    }
}

// === impl HungUp ===

impl HungUp {
    /// Resolves when the terminal was hung up and then `delay` has passed.
    pub(super) async fn for_a(&mut self, delay: Duration) {
        if self.0.wait_for(Option::is_none).await.is_err() {
            // Nobody can hang it up any more.
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(delay).await;
    }
}
