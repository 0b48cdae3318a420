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

/// How long one request may take while 200 others are served.
const PATIENCE: Duration = Duration::from_mins(3);
/// Keeps a snapshot from the garbage collector until its container names it.
const ROOT_LABEL: &str = "containerd.io/gc.root";
/// What every container runs: nothing, for longer than any measurement.
const SLEEP: [&str; 2] = ["sleep", "3600"];
/// SIGKILL.
const KILL: u32 = 9;
/// Type of an exec's process spec.
const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// The process of an exec, as `ctr` would make it for this image.
const TRUE: &[u8] =
    br#"{"args":["true"],"cwd":"/","env":["PATH=/bin"],"user":{"uid":1000,"gid":1000}}"#;

#[derive(Clone, PartialEq, Eq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

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
struct Mount {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    source: String,
    #[prost(string, tag = "3")]
    target: String,
    #[prost(string, repeated, tag = "4")]
    options: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Mounts {
    #[prost(message, repeated, tag = "1")]
    mounts: Vec<Mount>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Create {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(message, repeated, tag = "3")]
    rootfs: Vec<Mount>,
}

/// What `Start`, `Wait`, `Kill`, `Delete` and `DeleteProcess` ask with. Only `Kill` has the last.
#[derive(Clone, PartialEq, Eq, Message)]
struct Process {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, tag = "2")]
    exec_id: String,
    #[prost(uint32, tag = "3")]
    signal: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Exec {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(message, optional, tag = "6")]
    spec: Option<Any>,
    #[prost(string, tag = "7")]
    exec_id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Waited {
    #[prost(uint32, tag = "1")]
    exit_status: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Nothing {}

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
        let create = Create {
            container_id: self.id.clone(),
            rootfs: self.mounts.clone(),
        };
        let begun = Instant::now();
        tasks::<Nothing>("Create", &create)?;
        let create = since(begun);
        let begun = Instant::now();
        tasks::<Nothing>("Start", &self.process(""))?;
        let start = since(begun);
        Ok(Launched { create, start })
    }

    /// Kills its task and removes it.
    pub(super) fn end(&self) -> Outcome {
        let init = self.process("");
        let kill = Process {
            signal: KILL,
            ..init.clone()
        };
        tasks::<Nothing>("Kill", &kill)?;
        tasks::<Waited>("Wait", &init)?;
        tasks::<Nothing>("Delete", &init).map(drop)
    }

    /// Adds a process that runs `true`, and waits until containerd knows of its end; returns the
    /// milliseconds that took.
    pub(super) fn exec(&self, exec_id: &str) -> Outcome<f64> {
        let exec = Exec {
            container_id: self.id.clone(),
            spec: Some(Any {
                type_url: PROCESS.to_owned(),
                value: TRUE.to_vec(),
            }),
            exec_id: exec_id.to_owned(),
        };
        let process = self.process(exec_id);
        let begun = Instant::now();
        tasks::<Nothing>("Exec", &exec)?;
        tasks::<Nothing>("Start", &process)?;
        let exit = tasks::<Waited>("Wait", &process)?.exit_status;
        let took = since(begun);
        tasks::<Nothing>("DeleteProcess", &process)?;
        if exit == 0 {
            return Ok(took);
        }
        Err(Failure::new(format!(
            "'true' in '{}' ended with {exit}",
            self.id
        )))
    }

    fn process(&self, exec_id: &str) -> Process {
        Process {
            container_id: self.id.clone(),
            exec_id: exec_id.to_owned(),
            signal: 0,
        }
    }
}

fn containers<Answer: Message + Default>(method: &str, question: &impl Message) -> Outcome<Answer> {
    call("containers.v1.Containers", method, question)
}

fn snapshots<Answer: Message + Default>(method: &str, question: &impl Message) -> Outcome<Answer> {
    call("snapshots.v1.Snapshots", method, question)
}

fn tasks<Answer: Message + Default>(method: &str, question: &impl Message) -> Outcome<Answer> {
    call("tasks.v1.Tasks", method, question)
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
