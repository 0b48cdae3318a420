//! A program that runs in the background and ends with its value.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::failure::{Doing, Failure, Outcome};
use crate::run::{line_of, wait_for};
use crate::wait;

/// How long a daemon may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running daemon. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    line: String,
    log: PathBuf,
    child: Option<Child>,
}

// === impl Daemon ===

impl Daemon {
    /// Starts `command` with its output added to `log`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Outcome<Self> {
        let line = line_of(command);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .doing(format!("open '{}'", log.display()))?;
        let other = file.try_clone().doing("share the log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(other)
            .spawn()
            .doing(format!("start '{line}'"))?;
        Ok(Self {
            line,
            log: log.to_owned(),
            child: Some(child),
        })
    }

    /// Waits until `probe` is true; fails at once if the daemon ends.
    ///
    /// # Errors
    ///
    /// When it ends or the deadline passes; the text has the end of its log.
    pub fn until_ready(&mut self, probe: impl FnMut() -> bool) -> Outcome {
        self.until_ready_within(wait::PATIENCE, probe)
    }

    /// As [`Daemon::until_ready`], with a patience of the caller's.
    ///
    /// # Errors
    ///
    /// As [`Daemon::until_ready`].
    pub fn until_ready_within(
        &mut self,
        patience: Duration,
        mut probe: impl FnMut() -> bool,
    ) -> Outcome {
        let child = self
            .child
            .as_mut()
            .ok_or_else(|| Failure::new("the daemon was stopped"))?;
        let mut ended = None;
        let ready = wait::until_true(&format!("'{}' to be ready", self.line), patience, || {
            ended = child.try_wait().ok().flatten();
            ended.is_some() || probe()
        });
        match (ready, ended) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(status)) => Err(Failure::new(format!(
                "'{}' ended with {status}: {}",
                self.line,
                self.last_words()
            ))),
            (Err(failure), _) => Err(Failure::new(format!("{failure}: {}", self.last_words()))),
        }
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// When it was stopped before or the signal cannot be sent.
    pub fn signal(&self, signal: Signal) -> Outcome {
        let pid = self
            .pid()
            .ok_or_else(|| Failure::new(format!("'{}' is not running", self.line)))?;
        kill(Pid::from_raw(pid.cast_signed()), signal).doing(format!("signal '{}'", self.line))
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    ///
    /// When it has to be killed.
    pub fn stop(&mut self) -> Outcome<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        let Some(mut child) = self.child.take() else {
            return Err(Failure::new(format!("'{}' is not running", self.line)));
        };
        wait_for(&mut child, &self.line, PATIENCE)
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    ///
    /// When it was stopped before.
    pub fn crash(&mut self) -> Outcome<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        let Some(mut child) = self.child.take() else {
            return Err(Failure::new(format!("'{}' is not running", self.line)));
        };
        wait_for(&mut child, &self.line, PATIENCE)
    }

    /// Leaves it running when this value goes.
    pub fn release(mut self) {
        self.child = None;
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" | ")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.is_some()
            && let Err(failure) = self.crash()
        {
            eprintln!("{failure}, ignoring");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Daemon;
    use std::process::Command;

    #[test]
    fn one_that_ends_early_is_noticed_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no configuration >&2; exit 1"]);
        let mut daemon = Daemon::start(&mut command, &folder.path().join("log")).unwrap();
        let failure = daemon.until_ready(|| false).unwrap_err().to_string();
        assert!(failure.contains("no configuration"), "{failure}");
    }

    #[test]
    fn stops_on_request() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("60");
        let mut daemon = Daemon::start(&mut command, &folder.path().join("log")).unwrap();
        assert!(!daemon.stop().unwrap().success());
        assert_eq!(daemon.pid(), None);
    }
}
