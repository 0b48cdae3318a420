//! Ends of processes: told once, in the right order.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use containerd_shim_protos::events::task::TaskExit;

use super::{Container, Exit, Phase, Shim, Slot, is_uncollected};
use crate::events::{timestamp, topic};
use crate::log;

/// Exit status of a process whose end was seen and lost, as containerd has it.
const UNKNOWN: u32 = 255;

/// Whose process it was.
enum Owner {
    Init,
    Exec(String),
}

impl Shim {
    /// A process that is not a runtime command has ended.
    pub(super) fn process_ended(self: &Arc<Self>, pid: u32, exit: Exit) {
        let mut state = self.lock();
        let found = state.containers.iter().find_map(|(id, slot)| match slot {
            Slot::Ready(container) => Some((id.clone(), owner(container, pid)?)),
            Slot::Creating(_) => None,
        });
        let Some((id, owner)) = found else {
            state.early_exits.note(pid, exit);
            return;
        };
        drop(state);
        self.tell_exit(&id, owner, exit);
    }

    /// After a launch: tells the end of `pid` if it came before its pid was known.
    pub(super) fn tell_early_exit(self: &Arc<Self>, pid: u32) {
        let early = self.lock().early_exits.claim(pid);
        if is_uncollected(pid) {
            // An end under this number was another process's.
            return;
        }
        let exit = match early {
            Some(exit) => exit,
            // Not our child, as far as one can tell: nobody will ever say how it ends.
            None if Path::new(&format!("/proc/{pid}")).exists() => {
                return log::warn(&format!("process {pid} is not a child of the shim"));
            }
            // Collected, and its end was pushed out by others'.
            None => Exit {
                status: UNKNOWN,
                at: SystemTime::now(),
            },
        };
        self.process_ended(pid, exit);
    }

    /// Kills a process that must not go on, unless it is over and its number may be another's.
    pub(super) fn kill_child(pid: u32) {
        if is_uncollected(pid) {
            crate::sys::kill_process(pid);
        }
    }

    fn tell_exit(self: &Arc<Self>, id: &str, owner: Owner, exit: Exit) {
        // The container can only be gone if it was deleted in between: nobody is left to tell.
        let kill_rest = self.with(id, |container| {
            let process = match &owner {
                Owner::Init => &mut container.init,
                Owner::Exec(exec_id) => container.process(exec_id)?,
            };
            if process.phase == Phase::Starting {
                // Start must be told before the end.
                process.end_before_start = Some(exit);
                return Ok(false);
            }
            match owner {
                Owner::Init if container.shares_pid_namespace => {
                    container.init_exit_held = Some(exit);
                    return Ok(true);
                }
                Owner::Init => self.init_ended(container, exit),
                Owner::Exec(exec_id) => self.exec_ended(container, &exec_id, exit),
            }
            Ok(false)
        });
        if let Ok(true) = kill_rest {
            tokio::spawn(Arc::clone(self).kill_rest(id.to_owned()));
        }
    }

    /// Init has ended but the pid namespace lives on: the container's other processes are
    /// killed by cgroup before the end is told.
    async fn kill_rest(self: Arc<Self>, id: String) {
        let tag = self.call_tag("kill");
        let Ok(call) = self.with(&id, |container| {
            Ok(container
                .runtime
                .kill(&container.id, &tag, libc::SIGKILL.unsigned_abs(), true))
        }) else {
            return;
        };
        if let Err(error) = self.run(call).await
            && !error.says_gone()
        {
            log::warn(&format!(
                "cannot kill what is left of '{id}': {}",
                log::chain(&error)
            ));
        }
        drop(self.with(&id, |container| {
            if let Some(exit) = container.init_exit_held.take() {
                self.init_ended(container, exit);
            }
            Ok(())
        }));
    }

    /// An exec is over; if it was the last one that a finished init waited for, so is init.
    pub(super) fn exec_ended(&self, container: &mut Container, exec_id: &str, exit: Exit) {
        let Ok(process) = container.process(exec_id) else {
            return;
        };
        if process.phase == Phase::Stopped {
            return;
        }
        process.end(exit);
        let pid = process.pid;
        self.publish_exit(&container.id, exec_id, pid, exit);
        self.exec_gone(container);
    }

    /// One exec fewer is alive.
    pub(super) fn exec_gone(&self, container: &mut Container) {
        container.execs_alive = container.execs_alive.saturating_sub(1);
        if container.execs_alive == 0
            && let Some(exit) = container.init_exit_held.take()
        {
            self.init_ended(container, exit);
        }
    }

    /// Init is over, unless execs are still to be told first.
    pub(super) fn init_ended(&self, container: &mut Container, exit: Exit) {
        if container.execs_alive > 0 {
            container.init_exit_held = Some(exit);
            return;
        }
        container.init.end(exit);
        self.publish_exit(&container.id, &container.id, container.init.pid, exit);
    }

    fn publish_exit(&self, container_id: &str, id: &str, pid: u32, exit: Exit) {
        self.events.send(
            topic::EXIT,
            &TaskExit {
                container_id: container_id.to_owned(),
                id: id.to_owned(),
                pid,
                exit_status: exit.status,
                exited_at: Some(timestamp(exit.at)).into(),
                ..TaskExit::default()
            },
        );
    }
}

fn owner(container: &Container, pid: u32) -> Option<Owner> {
    if container.init.pid == pid && !container.init_collected() {
        return Some(Owner::Init);
    }
    let alive = |process: &super::Process| process.pid == pid && process.exit().is_none();
    let exec = container.execs.iter().find(|(_, process)| alive(process));
    exec.map(|(exec_id, _)| Owner::Exec(exec_id.clone()))
}
