//! Where the cases happen, and the ways in which they ask.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use portcullis_tests::confinement::{Held, Promise};
use portcullis_tests::containerd::{NAMESPACE, POD_NAMESPACE, PORTCULLIS};
use portcullis_tests::cri::message::{ContainerConfig, PodSandboxConfig, SandboxSecurityContext};
use portcullis_tests::cri::{self, Cri, expected};
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::grpc::Status;
use portcullis_tests::node::Node;
use portcullis_tests::shim_tasks::{BUNDLES, ShimTasks};
use portcullis_tests::task_message::Mount;
use portcullis_tests::world::World;
use portcullis_tests::{image, run};
use serde_json::{Value, json};

use super::table::Answer;

/// A container that waits, for the processes and limits of others.
pub(crate) const LONG: &str = "long";
/// The container of a case.
const ID: &str = "probe";
/// The container of a bundle that containerd knows nothing of.
const UNKNOWN: &str = "unknown";
/// Its configuration.
const CONFIG: &str = "/run/probe.json";
/// Where the snapshotter keeps the layers.
const SNAPSHOTS: &str = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";
/// A folder that node policy lets containers mount.
pub(crate) const ALLOWED: &str = "/var/lab/allowed";
/// A folder that it does not, with other names for parts of the host in it.
pub(crate) const ALIASES: &str = "/var/lab/aliases";
/// Our runtime handler.
const HANDLER: &str = "portcullis";
/// Signal that ends a process.
const SIGKILL: u32 = 9;

/// A host under `restricted`, and what its cases need.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) node: Node,
    promise: Promise,
    /// The root file system of the image.
    rootfs: PathBuf,
}

// === impl Scene ===

impl Scene {
    pub(crate) fn provision(world: &World, binary: &str) -> Outcome<Self> {
        let node = Node::provision(world)?;
        node.set("50-runtime", &format!("[runtime]\nbinary = \"{binary}\"\n"))?;
        node.set("50-mounts", &format!("[mounts]\nallow = [\"{ALLOWED}\"]\n"))?;
        for folder in [ALLOWED, ALIASES] {
            fs::create_dir_all(folder).doing(format!("make '{folder}'"))?;
        }
        node.start(LONG, &["--memory-limit", "67108864"], &["sleep", "600"])?;
        let snapshots = fs::read_dir(SNAPSHOTS).doing("list snapshots")?;
        let rootfs = snapshots
            .flatten()
            .map(|entry| entry.path().join("fs"))
            .find(|layer| layer.join("bin/busybox").exists())
            .ok_or_else(|| Failure::new("no snapshot has the image"))?;
        Ok(Self {
            node,
            promise: Promise::of("restricted")?,
            rootfs,
        })
    }

    pub(crate) fn finish(self) -> Outcome {
        self.node.remove(LONG)?;
        for alias in ["etc", "run"] {
            let mut umount = Command::new("umount");
            // A case may not have been played.
            drop(run::to_end(umount.arg(format!("{ALIASES}/{alias}"))));
        }
        self.node.finish()
    }

    fn cri(&self) -> Cri<'static> {
        self.node.containerd.cri()
    }

    /// What is not as promised of a process in a container of `ctr`, which mounts `/run` itself.
    fn differences(&self, pid: u32) -> Outcome<Vec<String>> {
        Ok(self.promise.brought("/run").differences(&Held::of(pid)?))
    }

    /// The same of a container of a pod.
    fn pod_differences(&self, pid: u32) -> Outcome<Vec<String>> {
        Ok(self.promise.differences(&Held::of(pid)?))
    }

    /// `ctr run` with `flags`.
    pub(crate) fn flags(&self, flags: &[&str]) -> Outcome<Answer> {
        let mut arguments = vec!["run", "--detach", "--runtime", PORTCULLIS];
        arguments.extend_from_slice(flags);
        arguments.extend_from_slice(&[image::BUSYBOX, ID, "sleep", "600"]);
        let ran = self.node.containerd.run_ctr(&arguments)?;
        if !ran.status.success() {
            self.node.forget(ID)?;
            return Answer::refused(&ran.stderr);
        }
        let shim = ShimTasks::of(NAMESPACE, ID)?;
        let init = shim.state(ID, "")?.doing("look at init")?.pid;
        let found = self.differences(init)?;
        self.node.remove(ID)?;
        Ok(Answer::ran(&found))
    }

    /// The configuration of an ordinary container, edited.
    pub(crate) fn configuration(&self, edit: impl FnOnce(&mut Value)) -> Outcome<Value> {
        let told = self.node.containerd.run_ctr(&["container", "info", LONG])?;
        let told: Value = serde_json::from_str(&told.success()?).doing("read a configuration")?;
        let mut config = told["Spec"].clone();
        // Its own place among the control groups.
        config["linux"]["cgroupsPath"] = json!(format!("/{NAMESPACE}/{ID}"));
        edit(&mut config);
        Ok(config)
    }

    fn root_mounts(&self) -> Vec<Mount> {
        let source = self.rootfs.display().to_string();
        vec![Mount::new("bind", &source, &["rbind", "ro"])]
    }

    /// `ctr container create --config`, and its task by the Task API.
    pub(crate) fn config(&self, edit: impl FnOnce(&mut Value)) -> Outcome<Answer> {
        let config = self.configuration(edit)?.to_string();
        fs::write(CONFIG, config).doing("write a configuration")?;
        let create = ["container", "create", "--runtime", PORTCULLIS];
        let create = [&create[..], &["--config", CONFIG, ID]].concat();
        self.node.containerd.run_ctr(&create)?.success()?;
        let tasks = self.node.containerd.tasks();
        let made = tasks.create(ID, self.root_mounts())?;
        let started = match made {
            Ok(()) => tasks.start(ID, "")?,
            Err(status) => {
                self.node.forget(ID)?;
                return Answer::refused(&status.message);
            }
        };
        let answer = match started {
            Ok(()) => self.running(ID),
            Err(status) => Answer::refused(&status.message),
        };
        self.node.remove(ID)?;
        answer
    }

    fn running(&self, id: &str) -> Outcome<Answer> {
        let init = ShimTasks::of(NAMESPACE, id)?.state(id, "")?;
        let init = init.doing("look at init")?.pid;
        Ok(Answer::ran(&self.differences(init)?))
    }

    /// A bundle with `config.json` as it is, made by the shim itself.
    pub(crate) fn bundle(&self, config: &[u8]) -> Outcome<Answer> {
        let shim = ShimTasks::of(NAMESPACE, LONG)?;
        let folder = format!("{BUNDLES}/{NAMESPACE}/{UNKNOWN}");
        fs::create_dir_all(format!("{folder}/rootfs")).doing("make a bundle")?;
        fs::write(format!("{folder}/config.json"), config).doing("write a configuration")?;
        let made = shim.create(UNKNOWN, &folder, self.root_mounts())?;
        let answer = match made {
            Err(status) => Answer::refused(&status.message),
            Ok(_) => {
                shim.kill(UNKNOWN, "", SIGKILL, false)?.doing("kill it")?;
                shim.wait(UNKNOWN, "")?.doing("wait for it")?;
                shim.delete(UNKNOWN, "")?.doing("delete it")?;
                Ok(Answer::Started("a container of a bundle".to_owned()))
            }
        };
        fs::remove_dir_all(&folder).doing("remove a bundle")?;
        answer
    }

    /// A pod sandbox by CRI.
    pub(crate) fn pod(&self, edit: impl FnOnce(&mut PodSandboxConfig)) -> Outcome<Answer> {
        let mut config = cri::pod("shop", "asks");
        edit(&mut config);
        let pod = match self.cri().run_pod(config, HANDLER)? {
            Err(status) => return Answer::refused(&status.message),
            Ok(pod) => pod,
        };
        let shim = ShimTasks::of(POD_NAMESPACE, &pod.id)?;
        let pause = shim.state(&pod.id, "")?.doing("look at the sandbox")?.pid;
        let found = self.pod_differences(pause)?;
        self.cri().remove_pod(&pod)?;
        Ok(Answer::ran(&found))
    }

    /// A container by CRI, in a pod whose containers may be privileged as far as containerd goes.
    pub(crate) fn container(&self, edit: impl FnOnce(&mut ContainerConfig)) -> Outcome<Answer> {
        let mut config = cri::container("asks", &["/bin/sleep", "600"]);
        edit(&mut config);
        let cri = self.cri();
        let mut pod = cri::pod("shop", "web");
        pod.linux.get_or_insert_default().security_context = Some(SandboxSecurityContext {
            privileged: true,
            ..SandboxSecurityContext::default()
        });
        let pod = expected(cri.run_pod(pod, HANDLER)?)?;
        let id = expected(cri.create(&pod, config)?)?;
        let answer = match cri.start(&id)? {
            Err(status) => Answer::refused(&status.message),
            Ok(()) => {
                let shim = ShimTasks::of(POD_NAMESPACE, &pod.id)?;
                let init = shim.state(&id, "")?.doing("look at init")?.pid;
                Ok(Answer::ran(&self.pod_differences(init)?))
            }
        };
        cri.remove_pod(&pod)?;
        answer
    }

    /// A further process in the container that waits, by the Task API.
    pub(crate) fn exec(&self, edit: impl FnOnce(&mut Value)) -> Outcome<Answer> {
        let mut spec = json!({
            "args": ["sleep", "600"],
            "cwd": "/",
            "env": ["PATH=/bin"],
            "user": {"uid": 1000, "gid": 1000},
        });
        edit(&mut spec);
        self.exec_as(spec.to_string().as_bytes())
    }

    /// The same, with a specification as it is.
    pub(crate) fn exec_as(&self, spec: &[u8]) -> Outcome<Answer> {
        let shim = ShimTasks::of(NAMESPACE, LONG)?;
        let started = match shim.exec(LONG, ID, spec)? {
            Err(status) => return Answer::refused(&status.message),
            Ok(()) => shim.start(LONG, ID)?,
        };
        let answer = match started {
            Err(status) => Answer::refused(&status.message),
            Ok(pid) => {
                let found = self.differences(pid)?;
                shim.kill(LONG, ID, SIGKILL, false)?.doing("kill it")?;
                shim.wait(LONG, ID)?.doing("wait for it")?;
                Ok(Answer::ran(&found))
            }
        };
        shim.delete(LONG, ID)?.doing("delete it")?;
        answer
    }

    /// An update that brings device rules besides a limit: the rules do not reach the runtime.
    pub(crate) fn opened_devices(&self) -> Outcome<Answer> {
        let rules = || {
            let groups = fs::read_to_string(format!("/proc/{}/cgroup", self.init()?));
            let groups = groups.doing("find a control group")?;
            let line = groups.lines().find_map(|line| line.split_once(":devices:"));
            // Version 2 has the rules in a program, which cannot be read here.
            let Some((_, place)) = line else {
                return Ok(String::new());
            };
            let list = format!("/sys/fs/cgroup/devices{place}/devices.list");
            fs::read_to_string(&list).doing(format!("read '{list}'"))
        };
        let before = rules()?;
        let open = r#"{"pids":{"limit":512},"devices":[{"allow":true,"access":"rwm"}]}"#;
        let answer = self.update(open)?;
        let after = rules()?;
        if let Answer::Refused(_) = answer {
            return Ok(answer);
        }
        let opened = (before != after).then_some(after);
        Ok(Answer::ran(&Vec::from_iter(opened)))
    }

    fn init(&self) -> Outcome<u32> {
        let state = ShimTasks::of(NAMESPACE, LONG)?.state(LONG, "")?;
        Ok(state.doing("look at init")?.pid)
    }

    /// New limits for the container that waits.
    pub(crate) fn update(&self, resources: &str) -> Outcome<Answer> {
        let tasks = self.node.containerd.tasks();
        match tasks.update(LONG, resources.as_bytes())? {
            Err(Status { message, .. }) => Answer::refused(&message),
            Ok(()) => Ok(Answer::Started(format!("limits {resources}"))),
        }
    }
}

/// Sets `pointer` of `config`, making what is not there; `-` adds to an array.
pub(crate) fn set(config: &mut Value, pointer: &str, value: Value) {
    let mut place = config;
    for key in pointer.split('/').skip(1) {
        place = if let Value::Array(items) = place {
            let index = key.parse().unwrap_or(items.len());
            if index == items.len() {
                items.push(Value::Null);
            }
            &mut items[index]
        } else if key == "-" {
            *place = json!([null]);
            &mut place[0]
        } else {
            &mut place[key]
        };
    }
    *place = value;
}
