//! Launches through containerd's own interface, without the 20 ms and more that `ctr` takes of
//! each. Containers are made ahead of time, as copies of one that `ctr` made.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use prost::Message;

use super::measure::since;
use super::peer::Side;
use crate::containerd::{NAMESPACE, SOCKET};
use crate::failure::{Doing, Failure, Outcome};
use crate::grpc::Channel;
use crate::image;
use crate::node::Node;
use crate::task_message::{Any, Mount, Nothing};
use crate::tasks::Tasks;

/// How long one request may take while 200 others are served.
const PATIENCE: Duration = Duration::from_mins(3);
/// Keeps a snapshot from the garbage collector until its container names it.
const ROOT_LABEL: &str = "containerd.io/gc.root";
/// What every container runs: nothing, for longer than any measurement.
const SLEEP: [&str; 2] = ["sleep", "3600"];
/// SIGKILL.
const KILL: u32 = 9;
/// The process of an exec, as `ctr` would make it for this image.
const TRUE: &[u8] =
    br#"{"args":["true"],"cwd":"/","env":["PATH=/bin"],"user":{"uid":1000,"gid":1000}}"#;

#[derive(Clone, PartialEq, Eq, Message)]
struct Runtime {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    options: Option<Any>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(map = "string, string", tag = "2")]
    labels: HashMap<String, String>,
    #[prost(string, tag = "3")]
    image: String,
    #[prost(message, optional, tag = "4")]
    runtime: Option<Runtime>,
    #[prost(message, optional, tag = "5")]
    spec: Option<Any>,
    #[prost(string, tag = "6")]
    snapshotter: String,
    #[prost(string, tag = "7")]
    snapshot_key: String,
    #[prost(map = "string, message", tag = "10")]
    extensions: HashMap<String, Any>,
}

/// Request and answer of `Create` and `Get`, which have the container at the same place.
#[derive(Clone, PartialEq, Eq, Message)]
struct OneContainer {
    #[prost(message, optional, tag = "1")]
    container: Option<Container>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

/// A snapshot; with `parent`, one that is to be made.
#[derive(Clone, PartialEq, Eq, Message)]
struct Snapshot {
    #[prost(string, tag = "1")]
    snapshotter: String,
    #[prost(string, tag = "2")]
    key: String,
    #[prost(string, tag = "3")]
    parent: String,
    #[prost(map = "string, string", tag = "4")]
    labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct SnapshotInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    parent: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Stat {
    #[prost(message, optional, tag = "1")]
    info: Option<SnapshotInfo>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Mounts {
    #[prost(message, repeated, tag = "1")]
    mounts: Vec<Mount>,
}

/// A container that can be launched again and again. Not removed by being dropped.
#[derive(Debug, Clone)]
pub(super) struct Launchable {
    pub(super) id: String,
    mounts: Vec<Mount>,
}

/// How long the two steps of a launch took, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Launched {
    pub(super) create: f64,
    pub(super) start: f64,
}

/// Makes `number` containers of `side`, named after `what`.
pub(super) fn prepare(
    node: &Node,
    side: &Side,
    what: &str,
    number: usize,
) -> Outcome<Vec<Launchable>> {
    let template = format!("{what}-{}-template", side.word);
    let mut create = vec!["container", "create", "--runtime", &side.runtime];
    create.extend([image::BUSYBOX, &template]);
    create.extend(SLEEP);
    node.containerd.run_ctr(&create)?.success()?;
    let original = containers::<OneContainer>(
        "Get",
        &Id {
            id: template.clone(),
        },
    )?
    .container;
    let original = original.ok_or_else(|| Failure::new("containerd forgot a container"))?;
    let snapshot = Snapshot {
        snapshotter: original.snapshotter.clone(),
        key: original.snapshot_key.clone(),
        ..Snapshot::default()
    };
    let parent = snapshots::<Stat>("Stat", &snapshot)?
        .info
        .unwrap_or_default()
        .parent;
    let made = (0..number).map(|number| {
        let id = format!("{what}-{}-{number}", side.word);
        copy(&original, &template, id, &parent)
    });
    let made = made.collect::<Outcome<_>>()?;
    // In this order: the garbage collector takes a snapshot that no container names.
    snapshots::<Nothing>("Remove", &snapshot)?;
    containers::<Nothing>("Delete", &Id { id: template })?;
    Ok(made)
}

/// A copy of `original`, whose id is `template`, as `id`.
fn copy(original: &Container, template: &str, id: String, parent: &str) -> Outcome<Launchable> {
    let snapshot = Snapshot {
        snapshotter: original.snapshotter.clone(),
        key: id.clone(),
        parent: parent.to_owned(),
        labels: HashMap::from([(ROOT_LABEL.to_owned(), "yes".to_owned())]),
    };
    let mounts = snapshots::<Mounts>("Prepare", &snapshot)?.mounts;
    let mut container = original.clone();
    id.clone_into(&mut container.id);
    id.clone_into(&mut container.snapshot_key);
    if let Some(spec) = &mut container.spec {
        let text = String::from_utf8(std::mem::take(&mut spec.value)).doing("read a spec")?;
        // The cgroup is named after the container.
        spec.value = text.replace(template, &id).into_bytes();
    }
    let container = Some(container);
    containers::<OneContainer>("Create", &OneContainer { container })?;
    Ok(Launchable { id, mounts })
}

/// Removes containers that have no task.
pub(super) fn discard(all: &[Launchable]) -> Outcome {
    for Launchable { id, .. } in all {
        let container: OneContainer = containers("Get", &Id { id: id.clone() })?;
        let container = container.container.unwrap_or_default();
        containers::<Nothing>("Delete", &Id { id: id.clone() })?;
        let snapshot = Snapshot {
            snapshotter: container.snapshotter,
            key: id.clone(),
            ..Snapshot::default()
        };
        snapshots::<Nothing>("Remove", &snapshot)?;
    }
    Ok(())
}

// === impl Launchable ===

impl Launchable {
    /// Creates its task and starts it.
    pub(super) fn launch(&self) -> Outcome<Launched> {
        let tasks = tasks();
        let mounts = self.mounts.clone();
        let begun = Instant::now();
        tasks.create(&self.id, mounts)?.doing("create a task")?;
        let create = since(begun);
        let begun = Instant::now();
        tasks.start(&self.id, "")?.doing("start a task")?;
        let start = since(begun);
        Ok(Launched { create, start })
    }

    /// Kills its task and removes it.
    pub(super) fn end(&self) -> Outcome {
        let tasks = tasks();
        tasks.kill(&self.id, "", KILL)?.doing("kill a task")?;
        tasks.wait(&self.id, "")?.doing("wait for a task")?;
        tasks.delete(&self.id)?.doing("delete a task")
    }

    /// Adds a process that runs `true`, and waits until containerd knows of its end; returns the
    /// milliseconds that took.
    pub(super) fn exec(&self, exec_id: &str) -> Outcome<f64> {
        let (tasks, id) = (tasks(), self.id.as_str());
        let begun = Instant::now();
        tasks.exec(id, exec_id, TRUE, "")?.doing("add a process")?;
        tasks.start(id, exec_id)?.doing("start a process")?;
        let exit = tasks.wait(id, exec_id)?.doing("wait for a process")?;
        let took = since(begun);
        tasks
            .delete_process(id, exec_id)?
            .doing("delete a process")?;
        if exit == 0 {
            return Ok(took);
        }
        Err(Failure::new(format!(
            "'true' in '{}' ended with {exit}",
            self.id
        )))
    }
}

fn containers<Answer: Message + Default>(method: &str, question: &impl Message) -> Outcome<Answer> {
    call("containers.v1.Containers", method, question)
}

fn snapshots<Answer: Message + Default>(method: &str, question: &impl Message) -> Outcome<Answer> {
    call("snapshots.v1.Snapshots", method, question)
}

fn tasks() -> Tasks<'static> {
    Tasks::new(Path::new(SOCKET), NAMESPACE).within(PATIENCE)
}

fn call<Answer: Message + Default>(
    service: &str,
    method: &str,
    question: &impl Message,
) -> Outcome<Answer> {
    let channel = Channel {
        socket: Path::new(SOCKET),
        namespace: Some(NAMESPACE),
        deadline: PATIENCE,
    };
    let answer = channel.call(
        &format!("/containerd.services.{service}/{method}"),
        question,
    )?;
    answer.map_err(|status| Failure::new(format!("containerd's {method} answers {status}")))
}
