//! Start, kill, pause, resume, update and delete.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use containerd_shim_protos::events::task::{TaskDelete, TaskPaused, TaskResumed, TaskStart};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use portcullis_hardening::OciConfig;

use super::exec_stop::ExecStop;
use super::{Exit, Phase, Shim, Slot};
use crate::events::{timestamp, topic};
use crate::launch::{self, Admission};
use crate::mount;
use crate::orphan::Orphan;
use crate::runtime::COMMAND_LIMIT;
use crate::status::TaskError;

impl Shim {
    /// Starts the created init; the decision made at Create is looked at once more.
    ///
    /// # Errors
    ///
    /// [`TaskError`]: refused, not created, or the runtime's own failure.
    pub(crate) async fn start_init(self: Arc<Self>, id: String) -> Result<u32, TaskError> {
        let _lifecycle = self.lifecycle(&id).await?;
        let (admission, bundle) = self.with(&id, |container| {
            container.init.expect(Phase::Created, "start", &id)?;
            if container.init_collected() {
                return Err(TaskError::Finished { id: id.clone() });
            }
            Ok((container.admission.clone(), container.bundle.clone()))
        })?;
        let oci = launch::recheck(&admission, &bundle).await?;
        let (call, pid) = self.with(&id, |container| {
            container.init.phase = Phase::Starting;
            Ok((container.runtime.plain("start", &id), container.init.pid))
        })?;
        let stop = oci.as_ref().map(|_| self.stop_at_exec(pid));
        let started = match self.run(call).await {
            Ok(_no_pid) => match (oci, stop) {
                (Some(oci), Some(stop)) => self.verify_init(&admission, &oci, pid, stop).await,
                _ => Ok(()),
            },
            Err(error) => Err(error.into()),
        };
        let (started, early) = self.with(&id, |container| {
            let early = container.init.end_before_start.take();
            if container.init.phase == Phase::Starting {
                container.init.phase = if started.is_ok() {
                    Phase::Running
                } else {
                    Phase::Created
                };
            }
            if started.is_ok() {
                let container_id = id.clone();
                self.events.send(
                    topic::START,
                    &TaskStart {
                        container_id,
                        pid,
                        ..TaskStart::default()
                    },
                );
            }
            Ok((started.map(|()| pid), early))
        })?;
        if let Some(exit) = early {
            self.process_ended(pid, exit);
        }
        started
    }

    /// Looks at what the kernel holds of the init `pid` before its program runs, and kills it if
    /// that is not what was decided. Where it cannot be stopped, that is done at once after its
    /// start.
    async fn verify_init(
        &self,
        admission: &Admission,
        oci: &OciConfig,
        pid: u32,
        mut stop: nix::Result<ExecStop>,
    ) -> Result<(), TaskError> {
        let verified = match &mut stop {
            Ok(stop) => match tokio::time::timeout(COMMAND_LIMIT, stop.reached()).await {
                Ok(true) => launch::verify_stopped(admission, oci, pid),
                // It ended without a program: there is nothing to be held to anything.
                Ok(false) => Ok(()),
                Err(_late) => Err(launch::never_began()),
            },
            Err(errno) => launch::verify_running(admission, oci, pid, *errno).await,
        };
        match verified {
            Ok(()) => Ok(()),
            Err(refusals) => {
                // Before it is recorded, which takes time, and before `stop` is dropped, which would
                // let it run.
                Self::kill_child(pid);
                Err(launch::refuse(admission, refusals).await)
            }
        }
    }

    /// Sends a signal to one process, or to all of the container.
    ///
    /// # Errors
    ///
    /// [`TaskError::Finished`] if there is nothing left to signal.
    pub(crate) async fn kill(
        self: Arc<Self>,
        id: String,
        exec_id: String,
        signal: u32,
        all: bool,
    ) -> Result<(), TaskError> {
        let tag = self.call_tag("kill");
        let through_runtime = self.with(&id, |container| {
            let paused = container.phase() == Phase::Paused;
            let collected = exec_id.is_empty() && container.init_collected();
            let runtime = container.runtime.clone();
            let process = container.process(&exec_id)?;
            if !(all && exec_id.is_empty()) && (process.exit().is_some() || collected) {
                return Err(TaskError::Finished {
                    id: named(&id, &exec_id),
                });
            }
            if process.pid == 0 {
                let phase = process.phase.word();
                return Err(TaskError::WrongPhase {
                    verb: "kill",
                    id: named(&id, &exec_id),
                    phase,
                });
            }
            if exec_id.is_empty() && (all || paused) {
                // By cgroup, and thawing a frozen one, is the runtime's knowledge.
                let call = runtime.kill(&id, &tag, signal, all);
                return Ok(Some((call, runtime)));
            }
            // The process is our child and not collected yet, so its pid is still its own.
            signal_process(process.pid, signal, &named(&id, &exec_id))?;
            Ok(None)
        })?;
        match through_runtime {
            None => Ok(()),
            Some((call, runtime)) => match self.run(call).await {
                Err(error) if error.says_gone() || !runtime.knows(&id) => {
                    Err(TaskError::Finished { id })
                }
                other => other.map(drop).map_err(TaskError::from),
            },
        }
    }

    /// Freezes or thaws all processes.
    ///
    /// # Errors
    ///
    /// [`TaskError::WrongPhase`] unless the container runs (or is paused).
    pub(crate) async fn set_paused(
        self: Arc<Self>,
        id: String,
        pause: bool,
    ) -> Result<(), TaskError> {
        let _lifecycle = self.lifecycle(&id).await?;
        let (verb, from, to) = if pause {
            ("pause", Phase::Running, Phase::Paused)
        } else {
            ("resume", Phase::Paused, Phase::Running)
        };
        let call = self.with(&id, |container| {
            container.init.phase = container.phase();
            container.init.expect(from, verb, &id)?;
            Ok(container.runtime.plain(verb, &id))
        })?;
        self.run(call).await?;
        self.with(&id, |container| {
            if container.init.phase == from {
                container.init.phase = to;
            }
            Ok(())
        })?;
        let container_id = id;
        if pause {
            self.events.send(
                topic::PAUSED,
                &TaskPaused {
                    container_id,
                    ..TaskPaused::default()
                },
            );
        } else {
            self.events.send(
                topic::RESUMED,
                &TaskResumed {
                    container_id,
                    ..TaskResumed::default()
                },
            );
        }
        Ok(())
    }

    /// Applies new resource limits, clamped to what was decided at Create.
    ///
    /// # Errors
    ///
    /// [`TaskError`]: refused, or the runtime's own failure.
    pub(crate) async fn update(
        self: Arc<Self>,
        id: String,
        resources: Vec<u8>,
    ) -> Result<(), TaskError> {
        let _lifecycle = self.lifecycle(&id).await?;
        let (admission, runtime) = self.with(&id, |container| {
            if container.init.phase == Phase::Stopped {
                return Err(TaskError::Finished { id: id.clone() });
            }
            Ok((container.admission.clone(), container.runtime.clone()))
        })?;
        let clamped = launch::admit_update(&admission, &resources).await?;
        let call = runtime.update(&id, &self.call_tag("update"), &clamped)?;
        self.run(call).await?;
        Ok(())
    }

    /// Forgets an ended process; for init, removes the container from runtime and mounts.
    ///
    /// # Errors
    ///
    /// [`TaskError::WrongPhase`] if it still runs.
    pub(crate) async fn delete(
        self: Arc<Self>,
        id: String,
        exec_id: String,
    ) -> Result<(u32, Exit), TaskError> {
        if exec_id.is_empty() {
            self.delete_init(id).await
        } else {
            self.delete_exec(&id, &exec_id).await
        }
    }

    /// A Delete during Create comes from a caller that has given up: the Create is undone, and
    /// this returns when that is done.
    async fn cancel_creation(&self, id: &str) {
        let creating = match self.lock().containers.get(id) {
            Some(Slot::Creating(creating)) => Arc::clone(creating),
            Some(Slot::Ready(_)) | None => return,
        };
        // Registered before the flag is set, so that the end cannot slip by.
        let over = creating.over.notified();
        creating.cancelled.store(true, Ordering::Relaxed);
        creating.give_up.notify_one();
        over.await;
    }

    async fn delete_exec(&self, id: &str, exec_id: &str) -> Result<(u32, Exit), TaskError> {
        let process = self.with(id, |container| {
            let process = container.process(exec_id)?;
            if !matches!(process.phase, Phase::Created | Phase::Stopped) {
                let phase = process.phase.word();
                return Err(TaskError::WrongPhase {
                    verb: "delete",
                    id: exec_id.to_owned(),
                    phase,
                });
            }
            container
                .execs
                .remove(exec_id)
                .ok_or_else(|| TaskError::NoExec {
                    id: id.to_owned(),
                    exec_id: exec_id.to_owned(),
                })
        })?;
        let (pid, exit) = (process.pid, process.exit().unwrap_or(NEVER_RAN));
        process.relay.drain().await;
        Ok((pid, exit))
    }

    async fn delete_init(&self, id: String) -> Result<(u32, Exit), TaskError> {
        self.cancel_creation(&id).await;
        let _lifecycle = self.lifecycle(&id).await?;
        let (runtime, bundle, rootfs, relay) = self.with(&id, |container| {
            if !matches!(container.init.phase, Phase::Created | Phase::Stopped) {
                let phase = container.init.phase.word();
                return Err(TaskError::WrongPhase {
                    verb: "delete",
                    id: id.clone(),
                    phase,
                });
            }
            Ok((
                container.runtime.clone(),
                container.bundle.clone(),
                container.rootfs(),
                std::mem::take(&mut container.init.relay),
            ))
        })?;
        match self.run(runtime.delete(&id, false)).await {
            Err(error) if !error.says_gone() && runtime.knows(&id) => return Err(error.into()),
            _ => {}
        }
        relay.drain().await;
        mount::unmount_all(&rootfs)?;
        let (pid, exit) = self.with(&id, |container| {
            Ok((
                container.init.pid,
                container.init.exit().unwrap_or(NEVER_RAN),
            ))
        })?;
        let removed = self.forget(&id);
        Orphan::forget(&self.settings.namespace, &id);
        launch::Created::forget(&bundle);
        if let Some(Slot::Ready(_)) = removed {
            self.events.send(
                topic::DELETE,
                &TaskDelete {
                    container_id: id.clone(),
                    id,
                    pid,
                    exit_status: exit.status,
                    exited_at: Some(timestamp(exit.at)).into(),
                    ..TaskDelete::default()
                },
            );
        }
        crate::sys::trim_heap();
        Ok((pid, exit))
    }
}

/// What Delete answers for a process that was never started.
const NEVER_RAN: Exit = Exit {
    status: 0,
    at: std::time::SystemTime::UNIX_EPOCH,
};

fn named(id: &str, exec_id: &str) -> String {
    if exec_id.is_empty() {
        id.to_owned()
    } else {
        format!("{id}/{exec_id}")
    }
}

/// Signals beyond those nix names (real-time ones) go to the same call by number.
fn signal_process(pid: u32, signal: u32, id: &str) -> Result<(), TaskError> {
    let malformed = || TaskError::Malformed {
        what: format!("signal {signal}: expected 1 to 64"),
    };
    let pid = Pid::from_raw(i32::try_from(pid).map_err(|_excess| malformed())?);
    let number = i32::try_from(signal)
        .ok()
        .filter(|number| (1..=64).contains(number))
        .ok_or_else(malformed)?;
    let sent = match Signal::try_from(number) {
        Ok(signal) => nix::sys::signal::kill(pid, signal),
        Err(_) => crate::sys::kill_by_number(pid.as_raw(), number),
    };
    match sent {
        Ok(()) => Ok(()),
        Err(Errno::ESRCH) => Err(TaskError::Finished { id: id.to_owned() }),
        Err(errno) => Err(TaskError::Bundle {
            verb: "signal",
            path: id.to_owned(),
            source: errno.into(),
        }),
    }
}
