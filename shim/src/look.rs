//! A look at a descriptor, without waiting.

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What is true of `fd` now, of `wanted` and of what is wrong with it.
///
/// A signal that is pending, such as that of a child's end, interrupts even a look that does not
/// wait; it is no fault of what is looked at.
///
/// # Errors
///
/// The errno of `poll(2)`, but for `EINTR`.
pub(crate) fn look(fd: BorrowedFd<'_>, wanted: PollFlags) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(fd, wanted)];
    loop {
        match poll(&mut fds, PollTimeout::ZERO) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => {
                let found = fds.first().and_then(PollFd::revents);
                return Ok(found.unwrap_or(PollFlags::empty()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::fcntl::OFlag;
    use nix::sys::pthread::{pthread_kill, pthread_self};
    use nix::sys::signal::Signal;
    use nix::unistd::pipe2;
    use tokio::signal::unix::{SignalKind, signal};

    use super::*;

    /// A caller was taken for one that cannot be looked at, once in some thousand, as children
    /// ended.
    #[test]
    fn t52_a_signal_cuts_no_look_short() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _inside = runtime.enter();
        let _caught = signal(SignalKind::user_defined1()).unwrap();
        let (reader, _writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let looks = pthread_self();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    pthread_kill(looks, Signal::SIGUSR1).unwrap();
                }
            });
            let cut_short = (0..1_000_000)
                .find_map(|number| Some((number, look(reader.as_fd(), PollFlags::POLLIN).err()?)));
            done.store(true, Ordering::Relaxed);
            assert!(cut_short.is_none(), "{cut_short:?}");
        });
    }
}
