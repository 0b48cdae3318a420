//! Create: decided, hardened, recorded, and only then made.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use containerd_shim_protos::api::{CreateTaskRequest, Mount};
use containerd_shim_protos::events::task::{TaskCreate, TaskOOM};

use super::{Container, Creating, Lifecycle, Phase, Process, Shim, Slot};
use crate::bundle::CONFIG;
use crate::cgroup::Cgroup;
use crate::events::topic;
use crate::launch::{self, Admission};
use crate::leftover::{self, Leftover};
use crate::mount;
use crate::oom::OomWatch;
use crate::options::RuntimeOptions;
use crate::orphan::Orphan;
use crate::runtime::Runtime;
use crate::status::TaskError;
use crate::stdio::{ConsoleSocket, Source, Streams};

/// Directory that containerd's runtime plugin keeps bundles in: `<state>/<this>/<ns>/<id>`.
const BUNDLE_PARENT: &str = "io.containerd.runtime.v2.task";

/// Undoes a half-made container unless it is kept.
struct Undo {
    shim: Arc<Shim>,
    id: String,
    rootfs: Option<PathBuf>,
    runtime: Option<Runtime>,
    /// The path of its cgroup: the bundle may be gone by then.
    cgroup: Option<String>,
}

impl Shim {
    /// Makes a container and leaves its init waiting to be started.
    ///
    /// # Errors
    ///
    /// [`TaskError`]; no process, mount or state is left then.
    pub(crate) async fn create(
        self: Arc<Self>,
        request: CreateTaskRequest,
    ) -> Result<u32, TaskError> {
        let id = request.id.clone();
        let creating = self.reserve(&id)?;
        // Held until the container is known: its end may come before its pid does.
        let launching = self.launching();
        let mut undo = Undo {
            shim: Arc::clone(&self),
            id: id.clone(),
            rootfs: None,
            runtime: None,
            cgroup: None,
        };
        let made = match self.make(request, &mut undo, &creating).await {
            Ok(_) if creating.cancelled.load(Ordering::Relaxed) => {
                undo.undo().await;
                Err(TaskError::NoContainer { id })
            }
            Ok((container, pid)) => {
                undo.keep(container);
                self.tell_early_exit(pid);
                Ok(pid)
            }
            Err(error) => {
                undo.undo().await;
                Err(error)
            }
        };
        creating.over.notify_waiters();
        drop(launching);
        crate::sys::trim_heap();
        made
    }

    /// Takes the id, so that no second Create of it can begin.
    fn reserve(&self, id: &str) -> Result<Arc<Creating>, TaskError> {
        crate::args::valid_id("id", id).map_err(|error| TaskError::Malformed {
            what: error.to_string(),
        })?;
        let creating = Arc::new(Creating::default());
        let mut state = self.lock();
        if state.ended {
            return Err(TaskError::Ending);
        }
        if state.containers.contains_key(id) {
            return Err(TaskError::Exists {
                what: "container",
                id: id.to_owned(),
            });
        }
        let slot = Slot::Creating(Arc::clone(&creating));
        state.containers.insert(id.to_owned(), slot);
        Ok(creating)
    }

    async fn make(
        self: &Arc<Self>,
        request: CreateTaskRequest,
        undo: &mut Undo,
        creating: &Creating,
    ) -> Result<(Container, u32), TaskError> {
        let id = request.id.clone();
        let bundle = PathBuf::from(&request.bundle);
        verify_bundle(&bundle, &self.settings.namespace, &id)?;
        let streams = Streams::parse(
            request.terminal,
            request.stdin.clone(),
            request.stdout.clone(),
            request.stderr.clone(),
        )?;
        let restore = !request.checkpoint.is_empty() || !request.parent_checkpoint.is_empty();
        let mut launch =
            launch::Launch::open(&self.settings.namespace, &id, &bundle, restore).await?;
        let options = launch
            .options(request.options.as_ref(), &self.settings.default_options)
            .await?;
        let decided = launch.decide(&request.rootfs).await?;
        let rootfs = bundle.join("rootfs");
        mount_rootfs(&request.rootfs, &rootfs, undo).await?;
        let admission = decided
            .admit(&options, &|command| self.spawn(command))
            .await?;

        let mut runtime = Runtime::new(
            admission.runtime_binary().to_owned(),
            &options,
            &self.settings.namespace,
            &bundle,
            admission.wants_systemd_cgroup(),
        );
        runtime.confine(admission.floor());
        undo.cgroup = leftover::configured(&bundle);
        self.note(&id, &bundle, &options, &admission, undo.cgroup.clone())?;
        undo.runtime = Some(runtime.clone());
        let (init, pid) = self
            .create_init(&id, &bundle, &runtime, &options, streams, creating)
            .await?;
        // A new containerd clears up what it does not know, and this task it did not know yet.
        if !bundle.join(CONFIG).exists() {
            return Err(TaskError::Finished { id });
        }
        self.events.send(
            topic::CREATE,
            &TaskCreate {
                container_id: id.clone(),
                bundle: request.bundle,
                rootfs: request.rootfs,
                checkpoint: request.checkpoint,
                pid,
                ..TaskCreate::default()
            },
        );
        let mut container = container(id, bundle, runtime, options, admission, init);
        self.watch_memory(&mut container);
        Ok((container, pid))
    }

    /// Says outside the bundle that the container is there, for the case that this process and the
    /// bundle are gone one day and the container is not.
    fn note(
        &self,
        id: &str,
        bundle: &Path,
        options: &RuntimeOptions,
        admission: &Admission,
        cgroup: Option<String>,
    ) -> Result<(), TaskError> {
        let orphan = Orphan {
            id: id.to_owned(),
            bundle: bundle.to_owned(),
            shim: std::process::id(),
            binary: admission.runtime_binary().to_owned(),
            root: options.root.clone(),
            systemd_cgroup: admission.wants_systemd_cgroup(),
            cgroup,
        };
        orphan
            .write(&self.settings.namespace)
            .map_err(|source| TaskError::Bundle {
                verb: "note the making of",
                path: id.to_owned(),
                source,
            })
    }

    /// Removes containers whose shim was killed and whose bundle is gone.
    pub(crate) async fn remove_orphans(self: Arc<Self>) {
        let namespace = &self.settings.namespace;
        for orphan in Orphan::all(namespace) {
            crate::log::warn(&format!("removing '{}', whose shim was killed", orphan.id));
            if let Err(error) = self.run(orphan.delete(namespace)).await
                && !error.says_gone()
            {
                crate::log::warn(&crate::log::chain(&error));
            }
            orphan.clear(namespace);
        }
    }

    /// Tells containerd of out-of-memory kills from now on, before the program runs.
    fn watch_memory(&self, container: &mut Container) {
        let Some(cgroup) = &container.cgroup else {
            return;
        };
        let (events, container_id) = (self.events.clone(), container.id.clone());
        let watch = OomWatch::start(cgroup, move || {
            let container_id = container_id.clone();
            events.send(
                topic::OOM,
                &TaskOOM {
                    container_id,
                    ..TaskOOM::default()
                },
            );
        });
        match watch {
            Ok(watch) => container.oom = watch,
            Err(error) => crate::log::warn(&format!(
                "cannot watch the memory of '{}': {error}, ignoring",
                container.id
            )),
        }
    }

    async fn create_init(
        &self,
        id: &str,
        bundle: &Path,
        runtime: &Runtime,
        options: &RuntimeOptions,
        streams: Streams,
        creating: &Creating,
    ) -> Result<(Process, u32), TaskError> {
        let source = Source {
            id,
            namespace: &self.settings.namespace,
            spawn: &|command| self.spawn(command),
        };
        let (child, mut relay) = streams.open(options, source).await?;
        let console = streams
            .terminal
            .then(|| ConsoleSocket::listen(bundle, "init"))
            .transpose()?;
        let call = runtime.create(id, child, console.as_ref().map(ConsoleSocket::name));
        let pid = self
            .run_unless(call, creating.give_up.notified())
            .await?
            .unwrap_or_default();
        if let Some(console) = console {
            relay.attach_terminal(console.receive()?)?;
        }
        let mut init = Process::new(streams);
        init.pid = pid;
        init.attach(relay);
        init.phase = Phase::Created;
        Ok((init, pid))
    }
}

fn container(
    id: String,
    bundle: PathBuf,
    runtime: Runtime,
    options: RuntimeOptions,
    admission: Admission,
    init: Process,
) -> Container {
    Container {
        oom: None,
        cgroup: Cgroup::of(init.pid).ok(),
        shares_pid_namespace: admission.shares_pid_namespace(),
        id,
        bundle,
        runtime,
        options,
        admission,
        init,
        execs: HashMap::new(),
        execs_alive: 0,
        init_exit_held: None,
        lifecycle: Lifecycle::default(),
    }
}

/// The bundle must be where containerd keeps the bundle of this id and namespace: a request
/// must not be able to point the shim, which is root, at another directory.
fn verify_bundle(bundle: &Path, namespace: &str, id: &str) -> Result<(), TaskError> {
    let expected = Path::new(BUNDLE_PARENT).join(namespace).join(id);
    let plain = bundle.components().all(|part| {
        matches!(
            part,
            std::path::Component::RootDir | std::path::Component::Normal(_)
        )
    });
    if bundle.is_absolute() && plain && bundle.ends_with(&expected) {
        return Ok(());
    }
    let found: String = bundle
        .display()
        .to_string()
        .chars()
        .take(128)
        .flat_map(char::escape_default)
        .collect();
    Err(TaskError::Malformed {
        what: format!(
            "bundle '{found}': expected a path that ends in '{}'",
            expected.display()
        ),
    })
}

/// Mounts the root filesystem, if containerd did not do so itself.
async fn mount_rootfs(mounts: &[Mount], rootfs: &Path, undo: &mut Undo) -> Result<(), TaskError> {
    if mounts.is_empty() {
        return Ok(());
    }
    match std::fs::create_dir(rootfs) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            let path = rootfs.display().to_string();
            return Err(TaskError::Bundle {
                verb: "make directory",
                path,
                source: error,
            });
        }
        _ => {}
    }
    undo.rootfs = Some(rootfs.to_owned());
    mount::mount_all(mounts, rootfs).await?;
    Ok(())
}

// === impl Undo ===

impl Undo {
    /// The container is complete: it takes the reserved id.
    fn keep(self, container: Container) {
        let mut state = self.shim.lock();
        state
            .containers
            .insert(self.id, Slot::Ready(Box::new(container)));
    }

    /// Takes everything back; what cannot be taken back is logged, and the refusal stands.
    async fn undo(self) {
        if let Some(runtime) = &self.runtime
            && let Err(error) = self.shim.run(runtime.delete(&self.id, true)).await
            && !error.says_gone()
            && runtime.knows(&self.id)
        {
            crate::log::warn(&format!(
                "cannot clean up '{}': {}",
                self.id,
                crate::log::chain(&error)
            ));
        }
        let left = self.cgroup.as_deref();
        if let Some(left) = left.and_then(|cgroup| Leftover::named(cgroup, &self.id)) {
            left.remove();
        }
        Orphan::forget(&self.shim.settings.namespace, &self.id);
        if let Some(rootfs) = &self.rootfs
            && let Err(error) = mount::unmount_all(rootfs)
        {
            crate::log::error(&crate::log::chain(&error));
        }
        self.shim.forget(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_bundle_of_this_task_only() {
        let good = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/web";
        verify_bundle(Path::new(good), "k8s.io", "web").unwrap();
        for (bundle, id) in [
            (
                "/run/containerd/io.containerd.runtime.v2.task/k8s.io/other",
                "web",
            ),
            (
                "/run/containerd/io.containerd.runtime.v2.task/default/web",
                "web",
            ),
            ("run/io.containerd.runtime.v2.task/k8s.io/web", "web"),
            (
                "/tmp/../run/io.containerd.runtime.v2.task/k8s.io/web",
                "web",
            ),
            ("/tmp/web", "web"),
        ] {
            let error = verify_bundle(Path::new(bundle), "k8s.io", id);
            assert!(
                matches!(error, Err(TaskError::Malformed { .. })),
                "{bundle}"
            );
        }
    }
}
