//! A client of CRI, the interface through which a kubelet drives containerd.

mod exec_stream;
pub mod message;

use std::path::Path;

use prost::Message;

use crate::cgroup_driver::CgroupDriver;
use crate::failure::{Failure, Outcome};
use crate::grpc::{Channel, Status};
use crate::image;
use crate::run;

pub use exec_stream::ExecStream;
use message::{
    ContainerConfig, ContainerMetadata, ContainerStatus, ContainerStatusResponse,
    CreateContainerRequest, ExecRequest, ExecResponse, ExecSyncRequest, ExecSyncResponse, Id,
    ImageSpec, LinuxPodSandboxConfig, Nothing, PodSandboxConfig, PodSandboxMetadata,
    RunPodSandboxRequest, StatusResponse, StopContainerRequest, UpdateContainerResourcesRequest,
};

/// Seconds a command in a container may take.
const EXEC_S: i64 = 30;

/// The CRI service behind one socket.
#[derive(Debug, Clone, Copy)]
pub struct Cri<'a> {
    channel: Channel<'a>,
}

/// A running pod sandbox and what it was made of.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its identifier.
    pub id: String,
    /// How it was asked for.
    pub config: PodSandboxConfig,
}

/// A plain pod named `name` in Kubernetes namespace `namespace`.
#[must_use]
pub fn pod(namespace: &str, name: &str) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{namespace}-{name}"),
            namespace: namespace.to_owned(),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        log_directory: format!("/run/pod-logs/{namespace}_{name}"),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: CgroupDriver::current().parent().to_owned(),
            ..LinuxPodSandboxConfig::default()
        }),
        ..PodSandboxConfig::default()
    }
}

/// A plain container named `name` that runs `command` in the busybox image.
#[must_use]
pub fn container(name: &str, command: &[&str]) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: name.to_owned(),
            attempt: 0,
        }),
        image: Some(ImageSpec {
            image: image::BUSYBOX.to_owned(),
        }),
        command: command.iter().map(|&word| word.to_owned()).collect(),
        log_path: format!("{name}.log"),
        ..ContainerConfig::default()
    }
}

// === impl Cri ===

impl<'a> Cri<'a> {
    /// The service behind `socket`.
    #[must_use]
    pub fn new(socket: &'a Path) -> Self {
        Self {
            channel: Channel {
                socket,
                namespace: None,
                deadline: run::PATIENCE,
            },
        }
    }

    fn call<Answer: Message + Default>(
        &self,
        method: &str,
        question: &impl Message,
    ) -> Outcome<Result<Answer, Status>> {
        let method = format!("/runtime.v1.RuntimeService/{method}");
        self.channel.call(&method, question)
    }

    /// The conditions that do not hold, with their reasons; empty when all is well.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached or refuses.
    pub fn unmet(&self) -> Outcome<Vec<String>> {
        let answer: StatusResponse = expected(self.call("Status", &Nothing {})?)?;
        let conditions = answer.status.unwrap_or_default().conditions;
        Ok(conditions
            .into_iter()
            .filter(|condition| !condition.status)
            .map(|condition| format!("{}: {}", condition.name, condition.message))
            .collect())
    }

    /// Runs a pod sandbox under runtime `handler`.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn run_pod(&self, config: PodSandboxConfig, handler: &str) -> Outcome<Result<Pod, Status>> {
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: handler.to_owned(),
        };
        let answer = self.call::<Id>("RunPodSandbox", &request)?;
        Ok(answer.map(|Id { id }| Pod { id, config }))
    }

    /// Makes a container in `pod` and returns its identifier.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn create(&self, pod: &Pod, config: ContainerConfig) -> Outcome<Result<String, Status>> {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.id.clone(),
            config: Some(config),
            sandbox_config: Some(pod.config.clone()),
        };
        Ok(self
            .call::<Id>("CreateContainer", &request)?
            .map(|answer| answer.id))
    }

    /// Starts a container.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn start(&self, id: &str) -> Outcome<Result<(), Status>> {
        Ok(self
            .call::<Nothing>("StartContainer", &named(id))?
            .map(drop))
    }

    /// Makes and starts a container.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn launch(&self, pod: &Pod, config: ContainerConfig) -> Outcome<Result<String, Status>> {
        let id = match self.create(pod, config)? {
            Ok(id) => id,
            Err(status) => return Ok(Err(status)),
        };
        Ok(self.start(&id)?.map(|()| id))
    }

    /// State of a container.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached or does not know it.
    pub fn status(&self, id: &str) -> Outcome<ContainerStatus> {
        let answer: ContainerStatusResponse = expected(self.call("ContainerStatus", &named(id))?)?;
        answer
            .status
            .ok_or_else(|| Failure::new("a container without status"))
    }

    /// Runs a command in a container and returns what it printed.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn exec(&self, id: &str, command: &[&str]) -> Outcome<Result<ExecSyncResponse, Status>> {
        let request = ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            timeout: EXEC_S,
        };
        self.call("ExecSync", &request)
    }

    /// Adds a process to a container as `kubectl exec` does, with its output over a connection;
    /// it runs as soon as the connection is there.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached, or does not switch to the streams.
    pub fn exec_stream(
        &self,
        id: &str,
        command: &[&str],
        tty: bool,
    ) -> Outcome<Result<ExecStream, Status>> {
        let request = ExecRequest {
            container_id: id.to_owned(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            tty,
            stdin: tty,
            stdout: true,
            // With a terminal there is one output.
            stderr: !tty,
        };
        match self.call::<ExecResponse>("Exec", &request)? {
            Ok(answer) => ExecStream::open(&answer.url).map(Ok),
            Err(status) => Ok(Err(status)),
        }
    }

    /// Changes the limits of a container.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn update(&self, request: &UpdateContainerResourcesRequest) -> Outcome<Result<(), Status>> {
        Ok(self
            .call::<Nothing>("UpdateContainerResources", request)?
            .map(drop))
    }

    /// Stops a container at once and removes it.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached or refuses.
    pub fn remove(&self, id: &str) -> Outcome {
        let stop = StopContainerRequest {
            id: id.to_owned(),
            timeout: 0,
        };
        expected(self.call::<Nothing>("StopContainer", &stop)?)?;
        expected(self.call::<Nothing>("RemoveContainer", &named(id))?)?;
        Ok(())
    }

    /// Stops a pod with all its containers and removes it.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached or refuses.
    pub fn remove_pod(&self, pod: &Pod) -> Outcome {
        expected(self.call::<Nothing>("StopPodSandbox", &named(&pod.id))?)?;
        expected(self.call::<Nothing>("RemovePodSandbox", &named(&pod.id))?)?;
        Ok(())
    }
}

fn named(id: &str) -> Id {
    Id { id: id.to_owned() }
}

/// The answer; a refusal is a failure of the harness.
///
/// # Errors
///
/// When it is a refusal.
pub fn expected<T>(answer: Result<T, Status>) -> Outcome<T> {
    answer.map_err(|status| Failure::new(format!("containerd refuses: {status}")))
}
