//! containerd's own Task API, for requests that `ctr` cannot make: exec specs written by hand,
//! updates of any resource, restores from a checkpoint.

use std::path::Path;
use std::time::Duration;

use prost::Message;

use crate::failure::Outcome;
use crate::grpc::{Channel, Status};
use crate::run;
use crate::task_message::{Any, Kill, Mount, Nothing, Process, Waited};

/// Media type of a checkpoint in the content store.
const CHECKPOINT: &str = "application/vnd.containerd.container.criu.checkpoint.criu.tar";

/// The tasks of one containerd namespace.
#[derive(Debug, Clone, Copy)]
pub struct Tasks<'a> {
    channel: Channel<'a>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Descriptor {
    #[prost(string, tag = "1")]
    media_type: String,
    #[prost(string, tag = "2")]
    digest: String,
    #[prost(int64, tag = "3")]
    size: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Create {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(message, repeated, tag = "3")]
    rootfs: Vec<Mount>,
    #[prost(message, optional, tag = "8")]
    checkpoint: Option<Descriptor>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Exec {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, tag = "2")]
    stdin: String,
    #[prost(string, tag = "3")]
    stdout: String,
    #[prost(string, tag = "4")]
    stderr: String,
    #[prost(bool, tag = "5")]
    terminal: bool,
    #[prost(message, optional, tag = "6")]
    spec: Option<Any>,
    #[prost(string, tag = "7")]
    exec_id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct CloseIo {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, tag = "2")]
    exec_id: String,
    #[prost(bool, tag = "3")]
    stdin: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Resize {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, tag = "2")]
    exec_id: String,
    #[prost(uint32, tag = "3")]
    width: u32,
    #[prost(uint32, tag = "4")]
    height: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Update {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(message, optional, tag = "2")]
    resources: Option<Any>,
}

/// The standard streams of a process, as containerd writes them; empty means none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stdio {
    /// Where input comes from.
    pub stdin: String,
    /// Where output goes.
    pub stdout: String,
    /// Where errors go.
    pub stderr: String,
    /// Whether it is a terminal.
    pub terminal: bool,
}

// === impl Tasks ===

impl<'a> Tasks<'a> {
    /// The tasks of `namespace` behind `socket`.
    #[must_use]
    pub fn new(socket: &'a Path, namespace: &'a str) -> Self {
        Self {
            channel: Channel {
                socket,
                namespace: Some(namespace),
                deadline: run::PATIENCE,
            },
        }
    }

    /// With another time that one request may take.
    #[must_use]
    pub const fn within(mut self, deadline: Duration) -> Self {
        self.channel.deadline = deadline;
        self
    }

    fn call<Answer: Message + Default>(
        &self,
        method: &str,
        question: &impl Message,
    ) -> Outcome<Result<Answer, Status>> {
        let method = format!("/containerd.services.tasks.v1.Tasks/{method}");
        self.channel.call(&method, question)
    }

    /// Creates the task of container `id` from a checkpoint in the content store.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn restore(&self, id: &str, digest: &str, size: usize) -> Outcome<Result<(), Status>> {
        let create = Create {
            container_id: id.to_owned(),
            rootfs: Vec::new(),
            checkpoint: Some(Descriptor {
                media_type: CHECKPOINT.to_owned(),
                digest: digest.to_owned(),
                size: i64::try_from(size).unwrap_or(i64::MAX),
            }),
        };
        Ok(self.call::<Nothing>("Create", &create)?.map(drop))
    }

    /// Creates the task of container `id` with a root file system of `rootfs`, instead of the
    /// container's own snapshot.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn create(&self, id: &str, rootfs: Vec<Mount>) -> Outcome<Result<(), Status>> {
        let create = Create {
            container_id: id.to_owned(),
            rootfs,
            checkpoint: None,
        };
        Ok(self.call::<Nothing>("Create", &create)?.map(drop))
    }

    /// Removes a task that has ended.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn delete(&self, id: &str) -> Outcome<Result<(), Status>> {
        Ok(self
            .call::<Nothing>("Delete", &Process::new(id, ""))?
            .map(drop))
    }

    /// Adds process `exec_id` with `spec` (JSON, sent as it is) to container `id`.
    /// Its output goes to the FIFO `stdout`, or nowhere if that is empty.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn exec(
        &self,
        id: &str,
        exec_id: &str,
        spec: &[u8],
        stdout: &str,
    ) -> Outcome<Result<(), Status>> {
        let stdio = Stdio {
            stdout: stdout.to_owned(),
            ..Stdio::default()
        };
        self.exec_with(id, exec_id, spec, stdio)
    }

    /// As [`Tasks::exec`], with all streams.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn exec_with(
        &self,
        id: &str,
        exec_id: &str,
        spec: &[u8],
        stdio: Stdio,
    ) -> Outcome<Result<(), Status>> {
        let exec = Exec {
            container_id: id.to_owned(),
            stdin: stdio.stdin,
            stdout: stdio.stdout,
            stderr: stdio.stderr,
            terminal: stdio.terminal,
            spec: Some(Any::process(spec)),
            exec_id: exec_id.to_owned(),
        };
        Ok(self.call::<Nothing>("Exec", &exec)?.map(drop))
    }

    /// Ends the input of a process.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn close_stdin(&self, id: &str, exec_id: &str) -> Outcome<Result<(), Status>> {
        let close = CloseIo {
            container_id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            stdin: true,
        };
        Ok(self.call::<Nothing>("CloseIO", &close)?.map(drop))
    }

    /// Sets the size of a terminal.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn resize(
        &self,
        id: &str,
        exec_id: &str,
        (width, height): (u32, u32),
    ) -> Outcome<Result<(), Status>> {
        let resize = Resize {
            container_id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            width,
            height,
        };
        Ok(self.call::<Nothing>("ResizePty", &resize)?.map(drop))
    }

    /// Starts the init process (empty `exec_id`) or an added one.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn start(&self, id: &str, exec_id: &str) -> Outcome<Result<(), Status>> {
        Ok(self
            .call::<Nothing>("Start", &Process::new(id, exec_id))?
            .map(drop))
    }

    /// Waits for the end of a process and returns its exit status.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn wait(&self, id: &str, exec_id: &str) -> Outcome<Result<u32, Status>> {
        let waited = self.call::<Waited>("Wait", &Process::new(id, exec_id))?;
        Ok(waited.map(|waited| waited.exit_status))
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn kill(&self, id: &str, exec_id: &str, signal: u32) -> Outcome<Result<(), Status>> {
        let kill = Kill {
            id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            signal,
            all: false,
        };
        Ok(self.call::<Nothing>("Kill", &kill)?.map(drop))
    }

    /// Removes an added process that has ended.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn delete_process(&self, id: &str, exec_id: &str) -> Outcome<Result<(), Status>> {
        Ok(self
            .call::<Nothing>("DeleteProcess", &Process::new(id, exec_id))?
            .map(drop))
    }

    /// Changes resources; `resources` is JSON and sent as it is.
    ///
    /// # Errors
    ///
    /// When containerd cannot be reached.
    pub fn update(&self, id: &str, resources: &[u8]) -> Outcome<Result<(), Status>> {
        let update = Update {
            container_id: id.to_owned(),
            resources: Some(Any::resources(resources)),
        };
        Ok(self.call::<Nothing>("Update", &update)?.map(drop))
    }
}
