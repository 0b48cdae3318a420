//! The CRI messages the suites need, with only the fields they need.
//!
//! Field numbers are those of `runtime.v1` (Kubernetes CRI API, `api.proto`).

use std::collections::HashMap;

use prost::Message;

/// Text by text.
type Map = HashMap<String, String>;

/// A range of ids of a user namespace.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct IdMapping {
    /// First id on the host.
    #[prost(uint32, tag = "1")]
    pub host_id: u32,
    /// First id inside.
    #[prost(uint32, tag = "2")]
    pub container_id: u32,
    /// How many.
    #[prost(uint32, tag = "3")]
    pub length: u32,
}

/// Which user namespace. `mode` is 0 the pod's own, 2 the node's.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct UserNamespace {
    /// See above.
    #[prost(int32, tag = "1")]
    pub mode: i32,
    /// User ids.
    #[prost(message, repeated, tag = "2")]
    pub uids: Vec<IdMapping>,
    /// Group ids.
    #[prost(message, repeated, tag = "3")]
    pub gids: Vec<IdMapping>,
}

/// Which namespaces to share. 0: the pod's, 1: the container's own, 2: the node's.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct NamespaceOption {
    /// Network namespace.
    #[prost(int32, tag = "1")]
    pub network: i32,
    /// Process namespace.
    #[prost(int32, tag = "2")]
    pub pid: i32,
    /// IPC namespace.
    #[prost(int32, tag = "3")]
    pub ipc: i32,
    /// The container whose process namespace is meant.
    #[prost(string, tag = "4")]
    pub target_id: String,
    /// User namespace; none: the node's.
    #[prost(message, optional, tag = "5")]
    pub user: Option<UserNamespace>,
}

/// Identity of a pod.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PodSandboxMetadata {
    /// Pod name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Pod uid.
    #[prost(string, tag = "2")]
    pub uid: String,
    /// Kubernetes namespace.
    #[prost(string, tag = "3")]
    pub namespace: String,
    /// Count of attempts.
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
}

/// Security settings of a sandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SandboxSecurityContext {
    /// Namespaces to share.
    #[prost(message, optional, tag = "1")]
    pub namespace_options: Option<NamespaceOption>,
    /// Whether it is privileged.
    #[prost(bool, tag = "6")]
    pub privileged: bool,
}

/// Linux settings of a sandbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxPodSandboxConfig {
    /// Cgroup below which its containers go.
    #[prost(string, tag = "1")]
    pub cgroup_parent: String,
    /// Security settings.
    #[prost(message, optional, tag = "2")]
    pub security_context: Option<SandboxSecurityContext>,
    /// Kernel settings of its namespaces.
    #[prost(map = "string, string", tag = "3")]
    pub sysctls: Map,
}

/// A pod sandbox to make.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PodSandboxConfig {
    /// Identity.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<PodSandboxMetadata>,
    /// Host name inside.
    #[prost(string, tag = "2")]
    pub hostname: String,
    /// Folder for logs.
    #[prost(string, tag = "3")]
    pub log_directory: String,
    /// Labels.
    #[prost(map = "string, string", tag = "6")]
    pub labels: Map,
    /// Annotations.
    #[prost(map = "string, string", tag = "7")]
    pub annotations: Map,
    /// Linux settings.
    #[prost(message, optional, tag = "8")]
    pub linux: Option<LinuxPodSandboxConfig>,
}

/// `RunPodSandbox`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RunPodSandboxRequest {
    /// The sandbox.
    #[prost(message, optional, tag = "1")]
    pub config: Option<PodSandboxConfig>,
    /// Name of the runtime in containerd's configuration.
    #[prost(string, tag = "2")]
    pub runtime_handler: String,
}

/// An identifier, alone; used for several requests and answers.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Id {
    /// Identifier of a sandbox or container.
    #[prost(string, tag = "1")]
    pub id: String,
}

/// Which image.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ImageSpec {
    /// Its name.
    #[prost(string, tag = "1")]
    pub image: String,
}

/// Identity of a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerMetadata {
    /// Name within the pod.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Count of attempts.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
}

/// One variable.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyValue {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A mount from the host.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Mount {
    /// Place inside.
    #[prost(string, tag = "1")]
    pub container_path: String,
    /// Place on the host.
    #[prost(string, tag = "2")]
    pub host_path: String,
    /// Whether it is read-only.
    #[prost(bool, tag = "3")]
    pub readonly: bool,
    /// User ids of the volume, and what the container has them for.
    #[prost(message, repeated, tag = "6")]
    pub uids: Vec<IdMapping>,
    /// Group ids.
    #[prost(message, repeated, tag = "7")]
    pub gids: Vec<IdMapping>,
}

/// Limits of a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxContainerResources {
    /// Processor time per period, in microseconds.
    #[prost(int64, tag = "2")]
    pub cpu_quota: i64,
    /// Relative share of processor time.
    #[prost(int64, tag = "3")]
    pub cpu_shares: i64,
    /// Memory, in bytes.
    #[prost(int64, tag = "4")]
    pub memory_limit_in_bytes: i64,
}

/// Capabilities to add and to drop.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Capability {
    /// To add, without `CAP_`.
    #[prost(string, repeated, tag = "1")]
    pub add_capabilities: Vec<String>,
    /// To drop.
    #[prost(string, repeated, tag = "2")]
    pub drop_capabilities: Vec<String>,
}

/// A number that may be absent.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Int64Value {
    /// The number.
    #[prost(int64, tag = "1")]
    pub value: i64,
}

/// Security settings of a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerSecurityContext {
    /// Capabilities.
    #[prost(message, optional, tag = "1")]
    pub capabilities: Option<Capability>,
    /// Whether it is privileged.
    #[prost(bool, tag = "2")]
    pub privileged: bool,
    /// Namespaces to share.
    #[prost(message, optional, tag = "3")]
    pub namespace_options: Option<NamespaceOption>,
    /// The user, instead of the image's.
    #[prost(message, optional, tag = "5")]
    pub run_as_user: Option<Int64Value>,
    /// Whether the root file system is read-only.
    #[prost(bool, tag = "7")]
    pub readonly_rootfs: bool,
    /// Whether no new privileges can be gained.
    #[prost(bool, tag = "11")]
    pub no_new_privs: bool,
}

/// Linux settings of a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxContainerConfig {
    /// Limits.
    #[prost(message, optional, tag = "1")]
    pub resources: Option<LinuxContainerResources>,
    /// Security settings.
    #[prost(message, optional, tag = "2")]
    pub security_context: Option<ContainerSecurityContext>,
}

/// A container to make.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerConfig {
    /// Identity.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<ContainerMetadata>,
    /// Image.
    #[prost(message, optional, tag = "2")]
    pub image: Option<ImageSpec>,
    /// Replaces the image's entry point.
    #[prost(string, repeated, tag = "3")]
    pub command: Vec<String>,
    /// Environment.
    #[prost(message, repeated, tag = "6")]
    pub envs: Vec<KeyValue>,
    /// Mounts from the host.
    #[prost(message, repeated, tag = "7")]
    pub mounts: Vec<Mount>,
    /// Annotations.
    #[prost(map = "string, string", tag = "10")]
    pub annotations: Map,
    /// Log file below the pod's log folder.
    #[prost(string, tag = "11")]
    pub log_path: String,
    /// Linux settings.
    #[prost(message, optional, tag = "15")]
    pub linux: Option<LinuxContainerConfig>,
}

/// `CreateContainer`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CreateContainerRequest {
    /// In which sandbox.
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
    /// The container.
    #[prost(message, optional, tag = "2")]
    pub config: Option<ContainerConfig>,
    /// The sandbox again.
    #[prost(message, optional, tag = "3")]
    pub sandbox_config: Option<PodSandboxConfig>,
}

/// `StopContainer`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StopContainerRequest {
    /// Which one.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Seconds between SIGTERM and SIGKILL.
    #[prost(int64, tag = "2")]
    pub timeout: i64,
}

/// `ExecSync`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExecSyncRequest {
    /// In which container.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// Program and arguments.
    #[prost(string, repeated, tag = "2")]
    pub cmd: Vec<String>,
    /// Seconds it may take; 0: for ever.
    #[prost(int64, tag = "3")]
    pub timeout: i64,
}

/// `Exec`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExecRequest {
    /// In which container.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// Program and arguments.
    #[prost(string, repeated, tag = "2")]
    pub cmd: Vec<String>,
    /// Whether it gets a terminal.
    #[prost(bool, tag = "3")]
    pub tty: bool,
    /// Whether its input is connected.
    #[prost(bool, tag = "4")]
    pub stdin: bool,
    /// Whether its output is connected.
    #[prost(bool, tag = "5")]
    pub stdout: bool,
    /// Whether its error output is connected.
    #[prost(bool, tag = "6")]
    pub stderr: bool,
}

/// Answer to `Exec`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExecResponse {
    /// Where the streams are.
    #[prost(string, tag = "1")]
    pub url: String,
}

/// What a command printed and how it ended.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExecSyncResponse {
    /// Standard output.
    #[prost(bytes = "vec", tag = "1")]
    pub stdout: Vec<u8>,
    /// Standard error.
    #[prost(bytes = "vec", tag = "2")]
    pub stderr: Vec<u8>,
    /// Exit code.
    #[prost(int32, tag = "3")]
    pub exit_code: i32,
}

/// State of a container. `state` is 0 created, 1 running, 2 exited, 3 unknown.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerStatus {
    /// Its identifier.
    #[prost(string, tag = "1")]
    pub id: String,
    /// See above.
    #[prost(int32, tag = "3")]
    pub state: i32,
    /// Exit code, if exited.
    #[prost(int32, tag = "7")]
    pub exit_code: i32,
    /// Why, in one word.
    #[prost(string, tag = "10")]
    pub reason: String,
    /// Why, in full; what `kubectl describe pod` shows.
    #[prost(string, tag = "11")]
    pub message: String,
}

/// Answer to `ContainerStatus`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerStatusResponse {
    /// The state.
    #[prost(message, optional, tag = "1")]
    pub status: Option<ContainerStatus>,
}

/// `UpdateContainerResources`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct UpdateContainerResourcesRequest {
    /// Of which container.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// New limits.
    #[prost(message, optional, tag = "2")]
    pub linux: Option<LinuxContainerResources>,
}

/// One condition of the runtime.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RuntimeCondition {
    /// `RuntimeReady` or `NetworkReady`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Whether it holds.
    #[prost(bool, tag = "2")]
    pub status: bool,
    /// Why not.
    #[prost(string, tag = "4")]
    pub message: String,
}

/// All conditions.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RuntimeStatus {
    /// All of them.
    #[prost(message, repeated, tag = "1")]
    pub conditions: Vec<RuntimeCondition>,
}

/// Answer to `Status`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StatusResponse {
    /// The conditions.
    #[prost(message, optional, tag = "1")]
    pub status: Option<RuntimeStatus>,
}

/// A message without fields, or whose fields do not matter.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Nothing {}
