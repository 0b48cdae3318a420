//! Moving data between descriptors inside the event loop.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::poll::PollFlags;
use nix::unistd::{read, write};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use super::StdioError;
use super::fifo::Outlet;
use super::file::LogFile;
use super::terminal::{HungUp, Terminal};
use crate::look::look;
use crate::sys;

/// Most bytes moved by one `splice`; the default capacity of a pipe.
const SPLICE_BYTES: usize = 64 * 1024;

/// Buffer of a copy to a file or of a terminal, in bytes; a terminal line is 4096 at most.
const BUFFER_BYTES: usize = 4096;

/// After the end of a terminal's input, output is over when there was none for this long.
const QUIET: Duration = Duration::from_millis(100);

/// After the end of a terminal's input, no more output is copied than comes in this time.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where a copy writes to.
#[derive(Debug)]
pub(super) enum Sink {
    /// A FIFO that containerd's client reads.
    Fifo(Outlet),
    /// A file.
    File(LogFile),
    /// A pipe that a logging program reads.
    Pipe(OwnedFd),
}

/// Moves a process's input to it inside the kernel until the writer is gone.
///
/// # Errors
///
/// [`StdioError::Pipe`] if a descriptor cannot be watched.
pub(super) fn copy_input(from: OwnedFd, to: OwnedFd) -> Result<JoinHandle<()>, StdioError> {
    let from = watch("stdin", from, Interest::READABLE)?;
    let to = watch("stdin", to, Interest::WRITABLE)?;
    Ok(spawn(async move { splice_all(&from, &to).await }))
}

/// Moves a process's output to `sink` until the last writer is gone.
///
/// # Errors
///
/// [`StdioError::Pipe`] if a descriptor cannot be watched.
pub(super) fn copy_output(
    stream: &'static str,
    from: OwnedFd,
    sink: Sink,
) -> Result<JoinHandle<()>, StdioError> {
    let from = watch(stream, from, Interest::READABLE)?;
    let (to, keeper) = match sink {
        Sink::File(mut file) => {
            return Ok(spawn(async move {
                let mut buffer = vec![0; BUFFER_BYTES];
                loop {
                    let count = read_some(&from, &mut buffer).await?;
                    if count == 0 {
                        return Ok(());
                    }
                    file.append(buffer.get(..count).unwrap_or_default());
                }
            }));
        }
        Sink::Fifo(outlet) => (outlet.writer, Some(outlet.keeper)),
        Sink::Pipe(pipe) => (pipe, None),
    };
    let to = watch(stream, to, Interest::WRITABLE)?;
    Ok(spawn(async move {
        let moved = splice_all(&from, &to).await;
        drop(from);
        if let Some(keeper) = keeper {
            keeper.linger(to.into_inner()).await;
        }
        moved
    }))
}

/// Copies a terminal's output to `sink` until its last user has closed it or it is hung up.
///
/// # Errors
///
/// [`StdioError::Pipe`] if a descriptor cannot be watched.
pub(super) fn copy_from_terminal(
    terminal: OwnedFd,
    mut hung_up: HungUp,
    sink: Sink,
) -> Result<JoinHandle<()>, StdioError> {
    let from = watch("terminal", terminal, Interest::READABLE)?;
    let (mut file, to, keeper) = match sink {
        Sink::File(file) => (Some(file), None, None),
        Sink::Fifo(outlet) => (None, Some(outlet.writer), Some(outlet.keeper)),
        Sink::Pipe(pipe) => (None, Some(pipe), None),
    };
    let to = to.map(|to| watch("stdout", to, Interest::WRITABLE));
    let to = to.transpose()?;
    Ok(spawn(async move {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut late = hung_up.clone();
        let copying = async {
            loop {
                let count = tokio::select! {
                    count = read_some(&from, &mut buffer) => count,
                    () = hung_up.for_a(QUIET) => return Ok(()),
                };
                let bytes = match count {
                    // EIO: no process has the terminal open any more.
                    Ok(0) => return Ok(()),
                    Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(()),
                    count => buffer.get(..count?).unwrap_or_default(),
                };
                match (&mut file, &to) {
                    (Some(file), _) => file.append(bytes),
                    (None, Some(to)) => write_all(to, bytes).await?,
                    (None, None) => {}
                }
            }
        };
        // Nor may a client that is gone and does not read keep the terminal up.
        let copied = tokio::select! {
            copied = copying => copied,
            () = late.for_a(LAST_WORDS) => Ok(()),
        };
        drop(from);
        if let (Some(keeper), Some(to)) = (keeper, to) {
            keeper.linger(to.into_inner()).await;
        }
        copied
    }))
}

/// Copies input to a terminal until the writer is gone; then hangs it up, as a modem would: the
/// client that sat there has left.
///
/// # Errors
///
/// [`StdioError::Pipe`] if a descriptor cannot be watched.
pub(super) fn copy_to_terminal(
    from: OwnedFd,
    terminal: Terminal,
) -> Result<JoinHandle<()>, StdioError> {
    let from = watch("stdin", from, Interest::READABLE)?;
    let to = watch("terminal", terminal.duplicate()?, Interest::WRITABLE)?;
    Ok(spawn(async move {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = read_some(&from, &mut buffer).await?;
            if count == 0 {
                drop(to);
                terminal.hang_up();
                return Ok(());
            }
            write_all(&to, buffer.get(..count).unwrap_or_default()).await?;
        }
    }))
}

/// Moves everything from one to the other, one of them a pipe, inside the kernel.
async fn splice_all(from: &AsyncFd<OwnedFd>, to: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
    loop {
        let mut readable = from.readable().await?;
        let mut writable = to.writable().await?;
        match splice(from, None, to, None, SPLICE_BYTES, flags) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            // One of the two was not ready, and the kernel does not say which. Each is asked for
            // itself: what became ready in between must not be taken for the other's doing,
            // or the wait for an event that is past never ends.
            Err(Errno::EAGAIN) => {
                if !is_ready(to, PollFlags::POLLOUT)? {
                    writable.clear_ready();
                } else if !is_ready(from, PollFlags::POLLIN)? {
                    readable.clear_ready();
                }
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Reads what is there, at least one byte; 0 is the end.
pub(super) async fn read_some(from: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from
            .readable()
            .await?
            .try_io(|fd| Ok(read(fd, &mut *buffer)?))
        {
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(count) => return count,
            Err(_would_block) => {}
        }
    }
}

async fn write_all(to: &AsyncFd<OwnedFd>, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match to.writable().await?.try_io(|fd| Ok(write(fd, rest)?)) {
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(written) => rest = rest.get(written?..).unwrap_or_default(),
            Err(_would_block) => {}
        }
    }
    Ok(())
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
    Ok(!look(fd.get_ref().as_fd(), wanted)?.is_empty())
}
