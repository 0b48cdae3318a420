//! Moving data between descriptors inside the event loop.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{read, write};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use super::StdioError;
use crate::sys;

/// Most bytes moved by one `splice`; the default capacity of a pipe.
const SPLICE_BYTES: usize = 64 * 1024;

/// Buffer of a terminal's copy, in bytes; a terminal line is 4096 at most.
const TERMINAL_BYTES: usize = 4096;

/// Moves everything from `from` to `to` inside the kernel, one of them a pipe, until the writer
/// is gone.
///
/// # Errors
///
/// [`StdioError::Pipe`] if a descriptor cannot be watched.
pub(super) fn splice_all(
    stream: &'static str,
    from: OwnedFd,
    to: OwnedFd,
) -> Result<JoinHandle<()>, StdioError> {
    let (from, to) = (
        watch(stream, from, Interest::READABLE)?,
        watch(stream, to, Interest::WRITABLE)?,
    );
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
    Ok(spawn(async move {
        loop {
            let mut readable = from.readable().await?;
            let mut writable = to.writable().await?;
            match splice(&from, None, &to, None, SPLICE_BYTES, flags) {
                Ok(0) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => {}
                // One of the two was not ready, and the kernel does not say which. Each is asked for
                // itself: what became ready in between must not be taken for the other's doing,
                // or the wait for an event that is past never ends.
                Err(Errno::EAGAIN) => {
                    if !is_ready(&to, PollFlags::POLLOUT)? {
                        writable.clear_ready();
                    } else if !is_ready(&from, PollFlags::POLLIN)? {
                        readable.clear_ready();
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }))
}

/// Copies a terminal's output until its last user has closed it.
///
/// # Errors
///
/// [`StdioError::Pipe`] if a descriptor cannot be watched.
pub(super) fn copy_from_terminal(
    terminal: OwnedFd,
    to: OwnedFd,
) -> Result<JoinHandle<()>, StdioError> {
    copy("terminal", terminal, to)
}

/// Copies input to a terminal until the writer is gone.
///
/// # Errors
///
/// [`StdioError::Pipe`] if a descriptor cannot be watched.
pub(super) fn copy_to_terminal(
    from: OwnedFd,
    terminal: OwnedFd,
) -> Result<JoinHandle<()>, StdioError> {
    copy("terminal", from, terminal)
}

fn copy(stream: &'static str, from: OwnedFd, to: OwnedFd) -> Result<JoinHandle<()>, StdioError> {
    let (from, to) = (
        watch(stream, from, Interest::READABLE)?,
        watch(stream, to, Interest::WRITABLE)?,
    );
    Ok(spawn(async move {
        let mut buffer = vec![0; TERMINAL_BYTES];
        loop {
            let ready = from
                .readable()
                .await?
                .try_io(|fd| Ok(read(fd, &mut buffer)?));
            let count = match ready {
                // EIO: no process has the terminal open any more.
                Ok(Ok(0)) => return Ok(()),
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Ok(()),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(count) => count?,
                Err(_would_block) => continue,
            };
            let mut rest = buffer.get(..count).unwrap_or_default();
            while !rest.is_empty() {
                match to.writable().await?.try_io(|fd| Ok(write(fd, rest)?)) {
                    Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(written) => rest = rest.get(written?..).unwrap_or_default(),
                    Err(_would_block) => {}
                }
            }
        }
    }))
}

/// Runs a copy; a broken stream ends it, which the process and containerd both see as the end
/// of the stream.
fn spawn(copy: impl Future<Output = io::Result<()>> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = copy.await
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            crate::log::warn(&format!("a standard stream broke: {error}, ignoring"));
        }
    })
}

fn watch(
    stream: &'static str,
    fd: OwnedFd,
    interest: Interest,
) -> Result<AsyncFd<OwnedFd>, StdioError> {
    let failed = |source| StdioError::Pipe { stream, source };
    let flags = fcntl(&fd, FcntlArg::F_GETFL).map_err(|errno| failed(errno.into()))?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(&fd, FcntlArg::F_SETFL(flags)).map_err(|errno| failed(errno.into()))?;
    sys::watch(fd, interest).map_err(failed)
}

/// Whether `fd` is ready for what `wanted` says, or broken.
fn is_ready(fd: &AsyncFd<OwnedFd>, wanted: PollFlags) -> io::Result<bool> {
    let mut fds = [PollFd::new(fd.get_ref().as_fd(), wanted)];
    Ok(poll(&mut fds, PollTimeout::ZERO)? > 0)
}
