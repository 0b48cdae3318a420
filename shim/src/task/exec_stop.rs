//! Stopping a container's init at its execve: everything is in place, and nothing of the image
//! has run.
//!
//! The init that the runtime has made is a child of this server, so its stops come to the same
//! place as the ends of children. It is traced from the moment before `start` until it is released
//! here; should the server die in between, the kernel kills it.
//!
//! # Source
//!
//! `ptrace(2)`, "Attaching and detaching" and "Stopped states".

use nix::errno::Errno;
use tokio::sync::oneshot;

use super::Shim;
use crate::log;
use crate::sys::trace::{self, Stop};

/// An init that stops before its first instruction.
#[derive(Debug)]
pub(super) struct ExecStop {
    pid: i32,
    reached: oneshot::Receiver<()>,
    stopped: bool,
}

// === impl Shim ===

impl Shim {
    /// Has the init `pid`, which waits for its start, stop at execve.
    ///
    /// # Errors
    ///
    /// The errno of `ptrace(2)`.
    pub(super) fn stop_at_exec(&self, pid: u32) -> nix::Result<ExecStop> {
        let pid = i32::try_from(pid).map_err(|_out_of_range| Errno::ESRCH)?;
        let mut state = self.lock();
        trace::seize(pid)?;
        let (tell, reached) = oneshot::channel();
        state.traced.insert(pid, tell);
        Ok(ExecStop {
            pid,
            reached,
            stopped: false,
        })
    }

    /// A traced child has stopped.
    pub(super) fn child_stopped(&self, pid: i32, stop: Stop) {
        let mut state = self.lock();
        let is_awaited = state.traced.get(&pid).is_some_and(|tell| !tell.is_closed());
        let done = match stop {
            Stop::Exec if is_awaited => {
                // It stays stopped until whoever is told releases it.
                let told = state.traced.remove(&pid).map(|tell| tell.send(()));
                if told == Some(Ok(())) {
                    return;
                }
                trace::release(pid, 0)
            }
            _ if !is_awaited => {
                state.traced.remove(&pid);
                trace::release(
                    pid,
                    if let Stop::Signal(signal) = stop {
                        signal
                    } else {
                        0
                    },
                )
            }
            Stop::Signal(signal) => trace::resume(pid, signal),
            Stop::Group => trace::listen(pid),
            Stop::Exec | Stop::Other => trace::resume(pid, 0),
        };
        // Killed meanwhile, it is no longer stopped.
        if let Err(errno) = done
            && errno != Errno::ESRCH
        {
            log::warn(&format!("cannot let process {pid} go on: {errno}"));
        }
    }
}

// === impl ExecStop ===

impl ExecStop {
    /// Waits until it has stopped; false if it has ended instead.
    pub(super) async fn reached(&mut self) -> bool {
        self.stopped = (&mut self.reached).await.is_ok();
        self.stopped
    }
}

impl Drop for ExecStop {
    fn drop(&mut self) {
        self.reached.close();
        // A child that waits for its start cannot be released before it has stopped for us.
        let done = if self.stopped || self.reached.try_recv().is_ok() {
            trace::release(self.pid, 0)
        } else {
            trace::interrupt(self.pid)
        };
        if let Err(errno) = done
            && errno != Errno::ESRCH
        {
            log::warn(&format!("cannot release process {}: {errno}", self.pid));
        }
    }
}
