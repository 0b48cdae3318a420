//! The containers of this host, found by their processes, and what can be done to them.
//!
//! Whoever started them, and with whatever runtime: what went past the gate went past the engines'
//! lists, too.

pub(crate) mod ending;
pub(crate) mod freezer;
pub(crate) mod processes;
pub(crate) mod runtimes;

use std::path::Path;

pub(crate) use processes::{Group, ProcessesError};
pub(crate) use runtimes::State;

/// Where the kernel tells of processes.
pub(crate) const PROC: &str = "/proc";

/// What runs apart from the host.
#[derive(Debug)]
pub(crate) struct Found {
    /// The containers, by the start of their first process.
    pub(crate) containers: Vec<Group>,
    /// What the runtimes say about theirs.
    pub(crate) states: Vec<State>,
    /// How many services with a root of their own there are, which are no containers.
    pub(crate) services: usize,
}

/// A container's names, as far as they are known; empty where nothing tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Its id.
    pub(crate) id: String,
    /// The containerd namespace, or Docker's.
    pub(crate) namespace: String,
    /// The runtime.
    pub(crate) runtime: &'static str,
}

// === impl Found ===

impl Found {
    /// Looks at every process there is.
    ///
    /// # Errors
    ///
    /// If that cannot be done, which takes root.
    pub(crate) fn now() -> Result<Self, ProcessesError> {
        let groups = processes::groups(Path::new(PROC))?;
        let states = runtimes::states(Path::new("/"));
        // What a runtime knows is no service, wherever it lives.
        let (services, containers): (Vec<Group>, Vec<Group>) =
            groups.into_iter().partition(|group| {
                group.is_service() && runtimes::state_of(group, &states, Path::new(PROC)).is_none()
            });
        Ok(Self {
            containers,
            states,
            services: services.len(),
        })
    }

    /// What the runtime of `group` says about it.
    pub(crate) fn state_of(&self, group: &Group) -> Option<&State> {
        runtimes::state_of(group, &self.states, Path::new(PROC))
    }

    /// What `group` is called.
    pub(crate) fn names_of(&self, group: &Group) -> Names {
        match self.state_of(group) {
            Some(state) => Names {
                id: state.id.clone(),
                namespace: state.namespace.clone(),
                runtime: state.runtime,
            },
            None => {
                let (id, runtime) = runtimes::named_by_cgroup(&group.cgroup).unwrap_or_default();
                Names {
                    id,
                    namespace: String::new(),
                    runtime,
                }
            }
        }
    }
}
