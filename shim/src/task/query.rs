//! State, wait, pids and stats: requests that change nothing.

use containerd_shim_protos::api::StateResponse;
use containerd_shim_protos::types::task::Status;

use protobuf::well_known_types::any::Any;

use super::{Exit, Phase, Shim};
use crate::cgroup::Cgroup;
use crate::events::timestamp;
use crate::status::TaskError;

/// One process of a container, for the answer to Pids.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its pid.
    pub(crate) pid: u32,
    /// The exec it belongs to, if it is that exec's first process.
    pub(crate) exec_id: Option<String>,
}

impl Shim {
    /// The state of a process as containerd wants it.
    ///
    /// # Errors
    ///
    /// [`TaskError::NoContainer`], [`TaskError::NoExec`].
    pub(crate) fn state(&self, id: &str, exec_id: &str) -> Result<StateResponse, TaskError> {
        self.with(id, |container| {
            let bundle = container.bundle.display().to_string();
            let paused = container.phase() == Phase::Paused;
            let process = container.process(exec_id)?;
            let status = match process.phase {
                // Frozen with its container.
                Phase::Running | Phase::Paused if paused => Status::PAUSED,
                Phase::Created => Status::CREATED,
                Phase::Starting | Phase::Running | Phase::Paused => Status::RUNNING,
                Phase::Stopped => Status::STOPPED,
            };
            let exit = process.exit();
            Ok(StateResponse {
                id: id.to_owned(),
                bundle,
                pid: process.pid,
                status: status.into(),
                stdin: process.streams.stdin.clone(),
                stdout: process.streams.stdout.clone(),
                stderr: process.streams.stderr.clone(),
                terminal: process.streams.terminal,
                exit_status: exit.map_or(0, |exit| exit.status),
                exited_at: exit.map(|exit| timestamp(exit.at)).into(),
                exec_id: exec_id.to_owned(),
                ..StateResponse::default()
            })
        })
    }

    /// Waits for the end of a process.
    ///
    /// # Errors
    ///
    /// [`TaskError::NoContainer`], [`TaskError::NoExec`]; [`TaskError::Finished`] if it was
    /// deleted without ever having run.
    pub(crate) async fn wait(&self, id: &str, exec_id: &str) -> Result<Exit, TaskError> {
        let mut watch = self.with(id, |container| Ok(container.process(exec_id)?.watch()))?;
        let ended = watch
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|exit| *exit);
        ended.ok_or_else(|| TaskError::Finished { id: id.to_owned() })
    }

    /// All processes in the container's cgroup.
    ///
    /// # Errors
    ///
    /// [`TaskError::NoContainer`]; [`TaskError::Bundle`] if the cgroup cannot be read.
    pub(crate) fn pids(&self, id: &str) -> Result<Vec<Listed>, TaskError> {
        self.with(id, |container| {
            let cgroup = container
                .cgroup
                .as_ref()
                .ok_or(std::io::ErrorKind::NotFound.into());
            let pids = cgroup
                .and_then(Cgroup::processes)
                .map_err(|source| TaskError::Bundle {
                    verb: "list processes of",
                    path: id.to_owned(),
                    source,
                })?;
            let exec_of = |pid: u32| {
                let mut execs = container.execs.iter();
                execs
                    .find(|(_, process)| process.pid == pid)
                    .map(|(exec_id, _)| exec_id.clone())
            };
            Ok(pids
                .into_iter()
                .map(|pid| Listed {
                    pid,
                    exec_id: exec_of(pid),
                })
                .collect())
        })
    }

    /// The statistics of the container's cgroup.
    ///
    /// # Errors
    ///
    /// [`TaskError::NoContainer`]; [`TaskError::Bundle`] if there is no cgroup.
    pub(crate) fn stats(&self, id: &str) -> Result<Any, TaskError> {
        let cgroup = self.with(id, |container| Ok(container.cgroup.clone()))?;
        let cgroup = cgroup.ok_or(std::io::ErrorKind::NotFound.into());
        cgroup
            .and_then(|cgroup| crate::metrics::collect(&cgroup))
            .map_err(|source| TaskError::Bundle {
                verb: "read statistics of",
                path: id.to_owned(),
                source,
            })
    }

    /// The pid of a running init.
    ///
    /// # Errors
    ///
    /// [`TaskError::NoContainer`].
    pub(crate) fn init_pid(&self, id: &str) -> Result<u32, TaskError> {
        self.with(id, |container| Ok(container.init.pid))
    }

    /// Sets the size of a process's terminal; without one there is nothing to do.
    ///
    /// # Errors
    ///
    /// [`TaskError`].
    pub(crate) fn resize(
        &self,
        id: &str,
        exec_id: &str,
        columns: u16,
        rows: u16,
    ) -> Result<(), TaskError> {
        self.with(id, |container| {
            let process = container.process(exec_id)?;
            process
                .relay
                .terminal()
                .map_or(Ok(()), |terminal| terminal.resize(columns, rows))?;
            Ok(())
        })
    }

    /// Ends the input of a process.
    ///
    /// # Errors
    ///
    /// [`TaskError::NoContainer`], [`TaskError::NoExec`].
    pub(crate) fn close_stdin(&self, id: &str, exec_id: &str) -> Result<(), TaskError> {
        self.with(id, |container| {
            container.process(exec_id)?.close_stdin();
            Ok(())
        })
    }
}
