//! The tasks of one pod: what exists, in which state, and who waits for what.
//!
//! There is one thread. The lock around the state is therefore never contended; it is held for
//! the length of a look or an edit, never while a runtime command runs, so a hung `create` of
//! one container delays nobody else. What must not happen twice at once to one container is
//! serialised by that container's own [`Lifecycle`].

use std::collections::HashMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::signal::SIGKILL;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::sync::{Notify, oneshot, watch};

use crate::child::Child;
use crate::events::Events;
use crate::runtime::{COMMAND_LIMIT, Call, RuntimeError};
use crate::server::Settings;
use crate::status::TaskError;

mod container;
mod create;
mod early;
mod exec;
mod exec_stop;
mod exit;
mod lifecycle;
mod process;
mod query;

pub(crate) use container::Container;
use early::{EarlyExits, LaunchNumber};
pub(crate) use process::{Exit, Phase, Process};

/// How long a killed runtime command is waited for; one that hangs in the kernel takes longer.
const KILLED_LIMIT: Duration = Duration::from_secs(2);

/// Serialises create, start, pause, resume, update and delete of one container.
pub(crate) type Lifecycle = Arc<tokio::sync::Mutex<()>>;

/// Everything the server knows.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) settings: Settings,
    pub(crate) events: Events,
    state: Mutex<State>,
    end: Notify,
    /// The last container is gone.
    emptied: Notify,
}

/// The part that changes.
#[derive(Debug, Default)]
struct State {
    containers: HashMap<String, Slot>,
    /// Children that are not a container's: runtime commands, logging programs.
    children: HashMap<i32, watch::Sender<Option<ExitStatus>>>,
    /// Inits that are to stop at execve, and who is told then.
    traced: HashMap<i32, oneshot::Sender<()>>,
    /// Ends of processes that nobody knows yet, kept while a launch may still name them.
    early_exits: EarlyExits,
    /// Numbers the files of runtime calls.
    calls_made: u64,
    ended: bool,
}

/// A container id is taken from the moment Create begins.
#[derive(Debug)]
enum Slot {
    Creating(Arc<Creating>),
    Ready(Box<Container>),
}

/// A Create that is not over. Whoever asked for it may give up and send Delete: then it is
/// undone as soon as it ends, and Delete waits for that.
#[derive(Debug, Default)]
struct Creating {
    cancelled: AtomicBool,
    /// Ends the OCI runtime's command at once.
    give_up: Notify,
    over: Notify,
}

/// A launch during which an unknown process may end before we learn its pid.
struct Launching<'a>(&'a Shim, LaunchNumber);

// === impl Shim ===

impl Shim {
    /// A server without tasks.
    pub(crate) fn new(settings: Settings, events: Events) -> Self {
        Self {
            settings,
            events,
            state: Mutex::default(),
            end: Notify::new(),
            emptied: Notify::new(),
        }
    }

    /// Resolves when the server should end.
    pub(crate) async fn ended(&self) {
        self.end.notified().await;
    }

    /// Resolves when the last container is gone.
    pub(crate) async fn emptied(&self) {
        self.emptied.notified().await;
    }

    /// Whether there are no tasks, nor any being made.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().containers.is_empty()
    }

    /// Forgets a container or the reservation of its id.
    fn forget(&self, id: &str) -> Option<Slot> {
        let mut state = self.lock();
        let removed = state.containers.remove(id);
        if state.containers.is_empty() {
            self.emptied.notify_one();
        }
        removed
    }

    /// Ends the server if it has no tasks; says whether it does.
    pub(crate) fn end_if_empty(&self) -> bool {
        let mut state = self.lock();
        if state.containers.is_empty() {
            state.ended = true;
            self.end.notify_one();
        }
        state.ended
    }

    /// Runs `call` to its end, or kills it after [`COMMAND_LIMIT`].
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    pub(crate) async fn run(&self, call: Call) -> Result<Option<u32>, RuntimeError> {
        self.run_unless(call, std::future::pending()).await
    }

    /// Runs `call` to its end, or kills it after [`COMMAND_LIMIT`] or when `given_up` resolves.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    async fn run_unless(
        &self,
        mut call: Call,
        given_up: impl Future<Output = ()>,
    ) -> Result<Option<u32>, RuntimeError> {
        let verb = call.verb;
        let spawned = self.spawn(&mut call.command);
        let mut child = spawned.map_err(|source| RuntimeError::Spawn {
            binary: call.command.get_program().into(),
            source,
        })?;
        // The command holds the child's ends of the pipes: as long as it lives, no end of file.
        call.command.stdin(Stdio::null());
        call.command.stdout(Stdio::null());
        call.command.stderr(Stdio::null());
        let error = tokio::select! {
            status = child.ended() => {
                return call.finish(status.ok_or(RuntimeError::Interrupted { verb })?);
            }
            () = tokio::time::sleep(COMMAND_LIMIT) => RuntimeError::TimedOut {
                verb,
                limit: COMMAND_LIMIT,
            },
            () = given_up => RuntimeError::GivenUp { verb },
        };
        // The group, because a runtime may be a script around one.
        if let Err(errno) = child.signal_group(SIGKILL) {
            crate::log::error(&format!("cannot kill late OCI runtime {verb}: {errno}"));
        }
        // What follows is a clean-up, which must not meet a runtime that is still at work.
        drop(tokio::time::timeout(KILLED_LIMIT, child.ended()).await);
        Err(error)
    }

    /// Starts a command and registers for its end before anybody can collect it.
    ///
    /// # Errors
    ///
    /// Why it did not start.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let mut state = self.lock();
        let pid = i32::try_from(command.spawn()?.id()).unwrap_or(i32::MAX);
        let (child, sender) = Child::new(pid);
        state.children.insert(pid, sender);
        Ok(child)
    }

    /// Collects all children that have ended, and attends to those that have stopped.
    pub(crate) fn reap(self: &Arc<Self>) {
        while let Some((pid, raw)) = crate::sys::collect_child() {
            if let Some(stop) = crate::sys::trace::stop_of(raw) {
                self.child_stopped(pid, stop);
                continue;
            }
            let ended = ExitStatus::from_raw(raw);
            let child = {
                let mut state = self.lock();
                state.traced.remove(&pid);
                state.children.remove(&pid)
            };
            if let Some(child) = child {
                // Nobody waits any more if it was killed for being late.
                if child.send(Some(ended)).is_err() {
                    crate::log::warn("a child that was given up ended after all");
                }
            } else {
                let by_signal = || ended.signal().map(|signal| 128 + signal);
                let status = ended.code().or_else(by_signal).unwrap_or_default();
                let exit = Exit {
                    status: status.unsigned_abs(),
                    at: SystemTime::now(),
                };
                self.process_ended(pid.unsigned_abs(), exit);
            }
        }
    }

    /// A name for the files of one runtime call.
    fn call_tag(&self, what: &str) -> String {
        let mut state = self.lock();
        state.calls_made += 1;
        format!("{what}-{}", state.calls_made)
    }

    /// Keeps ends of unknown processes until the returned guard is dropped.
    fn launching(&self) -> Launching<'_> {
        let number = self.lock().early_exits.begin();
        Launching(self, number)
    }

    /// The state; a panic aborts the process, so it cannot be poisoned.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at or edits one container.
    pub(crate) fn with<T>(
        &self,
        id: &str,
        work: impl FnOnce(&mut Container) -> Result<T, TaskError>,
    ) -> Result<T, TaskError> {
        match self.lock().containers.get_mut(id) {
            Some(Slot::Ready(container)) => work(container),
            Some(Slot::Creating(_)) | None => Err(TaskError::NoContainer { id: id.to_owned() }),
        }
    }

    /// The container's lifecycle lock, to be held across runtime commands.
    async fn lifecycle(&self, id: &str) -> Result<tokio::sync::OwnedMutexGuard<()>, TaskError> {
        let lifecycle = self.with(id, |container| Ok(Arc::clone(&container.lifecycle)))?;
        Ok(lifecycle.lock_owned().await)
    }
}

// === impl Launching ===

impl Drop for Launching<'_> {
    fn drop(&mut self) {
        self.0.lock().early_exits.end(self.1);
    }
}

/// Whether `pid` is a child of ours that was not collected yet: then the number is its own, and
/// its end is still to come.
fn is_uncollected(pid: u32) -> bool {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    // Another error comes of an end by a real-time signal, which `nix` does not know.
    i32::try_from(pid)
        .is_ok_and(|pid| pid > 0 && waitid(Id::Pid(Pid::from_raw(pid)), look) != Err(Errno::ECHILD))
}

#[cfg(test)]
mod tests;
