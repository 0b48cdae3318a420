//! The Task API of one shim over its own socket, without containerd in between.

use std::fs;

use prost::Message;

use crate::failure::{Doing, Outcome};
use crate::grpc::Status;
use crate::task_message::{Any, Kill, Mount, Nothing, Process, Waited};
use crate::ttrpc::{Connection, TASK_V2, TASK_V3};

/// Where containerd keeps bundles, in a folder for each of its namespaces.
pub const BUNDLES: &str = "/run/containerd/io.containerd.runtime.v2.task";

/// One shim.
#[derive(Debug, Clone)]
pub struct ShimTasks {
    address: String,
    /// The name its service was made known by.
    service: &'static str,
}

/// What State says of a process.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct State {
    /// Container id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Host pid.
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    /// One of the constants of this type.
    #[prost(int32, tag = "4")]
    pub status: i32,
    /// Exit code, or 128 + signal.
    #[prost(uint32, tag = "9")]
    pub exit_status: u32,
}

/// What Delete says of a process.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Deleted {
    /// Host pid.
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    /// Exit code, or 128 + signal.
    #[prost(uint32, tag = "2")]
    pub exit_status: u32,
}

/// What Connect says.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Connected {
    /// The shim's pid.
    #[prost(uint32, tag = "1")]
    pub shim_pid: u32,
    /// The init's pid.
    #[prost(uint32, tag = "2")]
    pub task_pid: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Create {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    bundle: String,
    #[prost(message, repeated, tag = "3")]
    rootfs: Vec<Mount>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Exec {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    exec_id: String,
    #[prost(bool, tag = "3")]
    terminal: bool,
    #[prost(string, tag = "5")]
    stdout: String,
    #[prost(message, optional, tag = "7")]
    spec: Option<Any>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Started {
    #[prost(uint32, tag = "1")]
    pid: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Stats {
    #[prost(message, optional, tag = "1")]
    stats: Option<Any>,
}

// === impl State ===

impl State {
    /// Made, not started.
    pub const CREATED: i32 = 1;
    /// Runs.
    pub const RUNNING: i32 = 2;
    /// Has ended.
    pub const STOPPED: i32 = 3;
    /// Frozen.
    pub const PAUSED: i32 = 4;
}

// === impl ShimTasks ===

impl ShimTasks {
    /// The shim that serves container `id` of `namespace`.
    ///
    /// # Errors
    ///
    /// When there is no bundle of that name, or it names no socket.
    pub fn of(namespace: &str, id: &str) -> Outcome<Self> {
        let folder = format!("{BUNDLES}/{namespace}/{id}");
        // Written by containerd 2 for a shim that answers in its form.
        if let Ok(text) = fs::read_to_string(format!("{folder}/bootstrap.json")) {
            let answer: serde_json::Value = serde_json::from_str(&text).doing("read an answer")?;
            let address = answer["address"].as_str().unwrap_or_default().to_owned();
            let service = if answer["version"] == 3 {
                TASK_V3
            } else {
                TASK_V2
            };
            return Ok(Self { address, service });
        }
        let path = format!("{folder}/address");
        let address = fs::read_to_string(&path).doing(format!("read '{path}'"))?;
        Ok(Self {
            address,
            service: TASK_V2,
        })
    }

    /// The socket, with `unix://`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    fn call<Answer: Message + Default>(
        &self,
        method: &str,
        question: &impl Message,
    ) -> Outcome<Result<Answer, Status>> {
        Connection::open(&self.address)?.call(self.service, method, question)
    }

    /// Calls any method with nothing but a container id.
    ///
    /// # Errors
    ///
    /// When the shim cannot be reached.
    pub fn plain(&self, method: &str, id: &str) -> Outcome<Result<(), Status>> {
        let answer: Result<Nothing, Status> = self.call(method, &Process::new(id, ""))?;
        Ok(answer.map(drop))
    }

    /// Makes container `id` of the bundle in `folder`, on a root file system of `rootfs`; gives
    /// the pid of its init, which has no streams.
    ///
    /// # Errors
    ///
    /// When the shim cannot be reached.
    pub fn create(
        &self,
        id: &str,
        folder: &str,
        rootfs: Vec<Mount>,
    ) -> Outcome<Result<u32, Status>> {
        let create = Create {
            id: id.to_owned(),
            bundle: folder.to_owned(),
            rootfs,
        };
        // The answer has the pid where that of Start has it.
        let answer: Result<Started, Status> = self.call("Create", &create)?;
        Ok(answer.map(|created| created.pid))
    }

    /// State of the init (empty `exec_id`) or of an exec.
    ///
    /// # Errors
    ///
    /// When the shim cannot be reached.
    pub fn state(&self, id: &str, exec_id: &str) -> Outcome<Result<State, Status>> {
        self.call("State", &Process::new(id, exec_id))
    }

    /// Adds an exec; `spec` is JSON.
    ///
    /// # Errors
    ///
    /// When the shim cannot be reached.
    pub fn exec(&self, id: &str, exec_id: &str, spec: &[u8]) -> Outcome<Result<(), Status>> {
        self.add(id, exec_id, spec, None)
    }

    /// Adds an exec with a terminal whose output goes to the FIFO `stdout`.
    ///
    /// # Errors
    ///
    /// When the shim cannot be reached.
    pub fn exec_with_terminal(
        &self,
        id: &str,
        exec_id: &str,
        spec: &[u8],
        stdout: &str,
    ) -> Outcome<Result<(), Status>> {
        self.add(id, exec_id, spec, Some(stdout))
    }

    fn add(
        &self,
        id: &str,
        exec_id: &str,
        spec: &[u8],
        terminal: Option<&str>,
    ) -> Outcome<Result<(), Status>> {
        let exec = Exec {
            id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            terminal: terminal.is_some(),
            stdout: terminal.unwrap_or_default().to_owned(),
            spec: Some(Any::process(spec)),
        };
        let answer: Result<Nothing, Status> = self.call("Exec", &exec)?;
        Ok(answer.map(drop))
    }

    /// Starts init or an exec; gives its pid.
    ///
    /// # Errors
    ///
    /// When the shim cannot be reached.
    pub fn start(&self, id: &str, exec_id: &str) -> Outcome<Result<u32, Status>> {
        let answer: Result<Started, Status> = self.call("Start", &Process::new(id, exec_id))?;
        Ok(answer.map(|started| started.pid))
    }

    /// Waits for an end; gives the exit status.
    ///
    /// # Errors
    ///
    /// When the shim cannot be reached or does not answer in 60 s.
    pub fn wait(&self, id: &str, exec_id: &str) -> Outcome<Result<u32, Status>> {
        let answer: Result<Waited, Status> = self.call("Wait", &Process::new(id, exec_id))?;
        Ok(answer.map(|waited| waited.exit_status))
    }

    /// Sends a signal, to `all` processes or to one.
    ///
    /// # Errors
    ///
    /// When the shim cannot be reached.
    pub fn kill(
        &self,
        id: &str,
        exec_id: &str,
        signal: u32,
        all: bool,
    ) -> Outcome<Result<(), Status>> {
        let kill = Kill {
            id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            signal,
            all,
        };
        let answer: Result<Nothing, Status> = self.call("Kill", &kill)?;
        Ok(answer.map(drop))
    }

    /// Removes init or an exec that has ended.
    ///
    /// # Errors
    ///
    /// When the shim cannot be reached.
    pub fn delete(&self, id: &str, exec_id: &str) -> Outcome<Result<Deleted, Status>> {
        self.call("Delete", &Process::new(id, exec_id))
    }

    /// Statistics.
    ///
    /// # Errors
    ///
    /// When the shim cannot be reached.
    pub fn stats(&self, id: &str) -> Outcome<Result<Any, Status>> {
        let answer: Result<Stats, Status> = self.call("Stats", &Process::new(id, ""))?;
        Ok(answer.map(|answer| answer.stats.unwrap_or_default()))
    }

    /// Pids of shim and init.
    ///
    /// # Errors
    ///
    /// When the shim cannot be reached.
    pub fn connect(&self, id: &str) -> Outcome<Result<Connected, Status>> {
        self.call("Connect", &Process::new(id, ""))
    }
}
