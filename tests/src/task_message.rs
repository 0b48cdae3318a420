//! Messages that containerd's Task service and a shim's have in common, to the number of each
//! field.

use prost::Message;

/// Type of an exec's process spec.
const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// Type of an update's resources.
const RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/// A typed message.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Any {
    /// Type name.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// A mount of a root file system.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Mount {
    /// Its type.
    #[prost(string, tag = "1")]
    pub fstype: String,
    /// What is mounted.
    #[prost(string, tag = "2")]
    pub source: String,
    /// Where, below the root file system.
    #[prost(string, tag = "3")]
    pub target: String,
    /// Options, one in each.
    #[prost(string, repeated, tag = "4")]
    pub options: Vec<String>,
}

/// Names a process: the init of a container (empty `exec_id`) or another one of it.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Process {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    exec_id: String,
}

/// A signal to a process, or to all of a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Kill {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(string, tag = "2")]
    pub(crate) exec_id: String,
    #[prost(uint32, tag = "3")]
    pub(crate) signal: u32,
    #[prost(bool, tag = "4")]
    pub(crate) all: bool,
}

/// The answer to Wait.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Waited {
    #[prost(uint32, tag = "1")]
    pub(crate) exit_status: u32,
}

/// An answer of which nothing counts but that it is one.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Nothing {}

// === impl Any ===

impl Any {
    /// The process spec of an exec, JSON, as it is.
    pub(crate) fn process(spec: &[u8]) -> Self {
        Self::of(PROCESS, spec)
    }

    /// The resources of an update, JSON, as they are.
    pub(crate) fn resources(resources: &[u8]) -> Self {
        Self::of(RESOURCES, resources)
    }

    fn of(type_url: &str, value: &[u8]) -> Self {
        Self {
            type_url: type_url.to_owned(),
            value: value.to_vec(),
        }
    }
}

// === impl Mount ===

impl Mount {
    /// A mount of `fstype` from `source`.
    #[must_use]
    pub fn new(fstype: &str, source: &str, options: &[&str]) -> Self {
        Self {
            fstype: fstype.to_owned(),
            source: source.to_owned(),
            target: String::new(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
        }
    }
}

// === impl Process ===

impl Process {
    pub(crate) fn new(id: &str, exec_id: &str) -> Self {
        Self {
            id: id.to_owned(),
            exec_id: exec_id.to_owned(),
        }
    }
}
