//! A child process of the server, from its start to its end.

use std::process::ExitStatus;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::sync::watch;

/// A child that is collected by the server's reaper and nobody else.
#[derive(Debug)]
pub(crate) struct Child {
    pid: i32,
    ended: watch::Receiver<Option<ExitStatus>>,
}

// === impl Child ===

impl Child {
    /// A child with this process id, and the way in which the reaper will tell its end.
    pub(crate) fn new(pid: i32) -> (Self, watch::Sender<Option<ExitStatus>>) {
        let (sender, ended) = watch::channel(None);
        (Self { pid, ended }, sender)
    }

    /// Sends a signal to it and to all of the process group that it leads, unless it has ended.
    ///
    /// # Errors
    ///
    /// The errno of `killpg(3)`.
    pub(crate) fn signal_group(&self, signal: Signal) -> nix::Result<()> {
        // The reaper tells in the moment it collects, in this same thread: as long as nothing was
        // told, the number is still the child's own.
        if self.has_ended() {
            return Ok(());
        }
        killpg(Pid::from_raw(self.pid), signal)
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits for its end; `None` if the server ends before.
    pub(crate) async fn ended(&mut self) -> Option<ExitStatus> {
        let ended = self.ended.wait_for(Option::is_some).await;
        ended.ok().and_then(|status| *status)
    }

    /// Another value for the same child, to wait for its end somewhere else.
    pub(crate) fn watch(&self) -> Self {
        Self {
            pid: self.pid,
            ended: self.ended.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[tokio::test]
    async fn no_signal_goes_to_a_number_that_may_be_another_process() {
        // A signal to this process group would end the test.
        let (mut child, sender) = Child::new(nix::unistd::getpgrp().as_raw());
        let mut other = child.watch();
        sender.send_replace(Some(ExitStatus::from_raw(0)));
        child.signal_group(Signal::SIGKILL).unwrap();
        assert!(child.ended().await.is_some_and(|status| status.success()));
        assert!(other.ended().await.is_some());
    }
}
