//! One container: its init, its execs, and what was decided about it.

use std::collections::HashMap;
use std::path::PathBuf;

use super::{Exit, Lifecycle, Phase, Process};
use crate::cgroup::Cgroup;
use crate::launch::Admission;
use crate::oom::OomWatch;
use crate::options::RuntimeOptions;
use crate::runtime::Runtime;
use crate::status::TaskError;

/// One container.
#[derive(Debug)]
pub(crate) struct Container {
    /// Its id.
    pub(crate) id: String,
    /// Its bundle.
    pub(crate) bundle: PathBuf,
    /// How its runtime is called.
    pub(crate) runtime: Runtime,
    /// The options it was created with.
    pub(crate) options: RuntimeOptions,
    /// What the gate and the hardening decided at Create, in memory where no file edit reaches.
    pub(crate) admission: Admission,
    /// Its first process.
    pub(crate) init: Process,
    /// Its further processes, by exec id.
    pub(crate) execs: HashMap<String, Process>,
    /// Execs that are starting or running: init's end is told after theirs.
    pub(crate) execs_alive: usize,
    /// Init's end, held back until the last exec has ended and what is left is killed.
    pub(crate) init_exit_held: Option<Exit>,
    /// Whether its processes outlive init, because the pid namespace is shared.
    pub(crate) shares_pid_namespace: bool,
    /// Its cgroup, looked up while init was certainly there.
    pub(crate) cgroup: Option<Cgroup>,
    /// Tells of out-of-memory kills while the container is there.
    pub(crate) oom: Option<OomWatch>,
    /// One change of state at a time.
    pub(crate) lifecycle: Lifecycle,
}

// === impl Container ===

impl Container {
    /// The init for an empty `exec_id`, else that exec.
    ///
    /// # Errors
    ///
    /// [`TaskError::NoExec`].
    pub(crate) fn process(&mut self, exec_id: &str) -> Result<&mut Process, TaskError> {
        if exec_id.is_empty() {
            return Ok(&mut self.init);
        }
        let id = &self.id;
        self.execs
            .get_mut(exec_id)
            .ok_or_else(|| TaskError::NoExec {
                id: id.clone(),
                exec_id: exec_id.to_owned(),
            })
    }

    /// Whether init's end has been seen, told or not: its pid may be another process's by now.
    pub(crate) fn init_collected(&self) -> bool {
        self.init.exit().is_some()
            || self.init_exit_held.is_some()
            || self.init.end_before_start.is_some()
    }

    /// What its first process does; whether it is paused is for the cgroup to say, which others
    /// freeze and thaw too.
    pub(crate) fn phase(&self) -> Phase {
        let phase = self.init.phase;
        match self.cgroup.as_ref() {
            Some(cgroup) if matches!(phase, Phase::Running | Phase::Paused) => {
                match cgroup.is_frozen() {
                    Some(true) => Phase::Paused,
                    Some(false) => Phase::Running,
                    None => phase,
                }
            }
            _ => phase,
        }
    }

    /// Where the root filesystem is mounted.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.bundle.join("rootfs")
    }
}
