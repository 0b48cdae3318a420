//! The wire: every Task RPC, forwarded to what carries it out.

use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
    CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest,
    PauseRequest, PidsRequest, PidsResponse, ProcessInfo, ResizePtyRequest, ResumeRequest,
    ShutdownRequest, StartRequest, StartResponse, StateRequest, StateResponse, StatsRequest,
    StatsResponse, UpdateTaskRequest, WaitRequest, WaitResponse,
};
use containerd_shim_protos::shim::oci::ProcessDetails;
use containerd_shim_protos::shim_async::Task;
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use ttrpc::asynchronous::TtrpcContext;

use crate::events::timestamp;
use crate::server::uninterrupted;
use crate::status::TaskError;
use crate::stdio::Streams;
use crate::task::Shim;

/// Serves one pod's tasks.
#[derive(Debug)]
pub(crate) struct TaskService {
    shim: Arc<Shim>,
}

// === impl TaskService ===

impl TaskService {
    /// A service over `shim`.
    pub(crate) fn new(shim: Arc<Shim>) -> Self {
        Self { shim }
    }

    fn shim(&self) -> Arc<Shim> {
        Arc::clone(&self.shim)
    }
}

/// Runs a request that must not be left half done, and gives its answer.
async fn carry_out<T: Send + 'static>(
    work: impl Future<Output = Result<T, TaskError>> + Send + 'static,
) -> ttrpc::Result<T> {
    Ok(uninterrupted(work)
        .await
        .unwrap_or(Err(TaskError::Ending))?)
}

#[async_trait]
impl Task for TaskService {
    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> ttrpc::Result<StateResponse> {
        Ok(self.shim.state(&request.id, &request.exec_id)?)
    }

    async fn create(
        &self,
        _: &TtrpcContext,
        request: CreateTaskRequest,
    ) -> ttrpc::Result<CreateTaskResponse> {
        let pid = carry_out(Box::pin(self.shim().create(request))).await?;
        Ok(CreateTaskResponse {
            pid,
            ..CreateTaskResponse::default()
        })
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> ttrpc::Result<StartResponse> {
        let StartRequest { id, exec_id, .. } = request;
        let pid = if exec_id.is_empty() {
            carry_out(self.shim().start_init(id)).await?
        } else {
            carry_out(self.shim().start_exec(id, exec_id)).await?
        };
        Ok(StartResponse {
            pid,
            ..StartResponse::default()
        })
    }

    async fn delete(
        &self,
        _: &TtrpcContext,
        request: DeleteRequest,
    ) -> ttrpc::Result<DeleteResponse> {
        let (pid, exit) = carry_out(self.shim().delete(request.id, request.exec_id)).await?;
        Ok(DeleteResponse {
            pid,
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)).into(),
            ..DeleteResponse::default()
        })
    }

    async fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> ttrpc::Result<PidsResponse> {
        let processes = self
            .shim
            .pids(&request.id)?
            .into_iter()
            .map(|listed| ProcessInfo {
                pid: listed.pid,
                info: listed.exec_id.and_then(process_details).into(),
                ..ProcessInfo::default()
            });
        Ok(PidsResponse {
            processes: processes.collect(),
            ..PidsResponse::default()
        })
    }

    async fn pause(&self, _: &TtrpcContext, request: PauseRequest) -> ttrpc::Result<Empty> {
        carry_out(self.shim().set_paused(request.id, true)).await?;
        Ok(Empty::new())
    }

    async fn resume(&self, _: &TtrpcContext, request: ResumeRequest) -> ttrpc::Result<Empty> {
        carry_out(self.shim().set_paused(request.id, false)).await?;
        Ok(Empty::new())
    }

    async fn checkpoint(&self, _: &TtrpcContext, _: CheckpointTaskRequest) -> ttrpc::Result<Empty> {
        // A checkpoint could only be restored past the gate, so none is made.
        Err(TaskError::NotOffered { what: "checkpoint" }.into())
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> ttrpc::Result<Empty> {
        let KillRequest {
            id,
            exec_id,
            signal,
            all,
            ..
        } = request;
        carry_out(self.shim().kill(id, exec_id, signal, all)).await?;
        Ok(Empty::new())
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> ttrpc::Result<Empty> {
        let streams = Streams::parse(
            request.terminal,
            request.stdin,
            request.stdout,
            request.stderr,
        )
        .map_err(TaskError::from)?;
        let spec = request
            .spec
            .into_option()
            .map(|any| any.value)
            .unwrap_or_default();
        carry_out(
            self.shim()
                .add_exec(request.id, request.exec_id, streams, spec),
        )
        .await?;
        Ok(Empty::new())
    }

    async fn resize_pty(
        &self,
        _: &TtrpcContext,
        request: ResizePtyRequest,
    ) -> ttrpc::Result<Empty> {
        let cells = |size: u32| u16::try_from(size).unwrap_or(u16::MAX);
        let (columns, rows) = (cells(request.width), cells(request.height));
        self.shim
            .resize(&request.id, &request.exec_id, columns, rows)?;
        Ok(Empty::new())
    }

    async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> ttrpc::Result<Empty> {
        if request.stdin {
            self.shim.close_stdin(&request.id, &request.exec_id)?;
        }
        Ok(Empty::new())
    }

    async fn update(&self, _: &TtrpcContext, request: UpdateTaskRequest) -> ttrpc::Result<Empty> {
        let resources = request
            .resources
            .into_option()
            .map(|any| any.value)
            .unwrap_or_default();
        carry_out(self.shim().update(request.id, resources)).await?;
        Ok(Empty::new())
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> ttrpc::Result<WaitResponse> {
        let exit = self.shim.wait(&request.id, &request.exec_id).await?;
        Ok(WaitResponse {
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)).into(),
            ..WaitResponse::default()
        })
    }

    async fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> ttrpc::Result<StatsResponse> {
        let stats = self.shim.stats(&request.id)?;
        Ok(StatsResponse {
            stats: Some(stats).into(),
            ..StatsResponse::default()
        })
    }

    async fn connect(
        &self,
        _: &TtrpcContext,
        request: ConnectRequest,
    ) -> ttrpc::Result<ConnectResponse> {
        // Without a container the shim's own pid is still an answer, as in the stock shim.
        let task_pid = self.shim.init_pid(&request.id).unwrap_or_default();
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..ConnectResponse::default()
        })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> ttrpc::Result<Empty> {
        // With tasks left it is another container of the pod that is going: nothing to do.
        self.shim.end_if_empty();
        Ok(Empty::new())
    }
}

/// Marks a pid as the first process of an exec.
fn process_details(exec_id: String) -> Option<Any> {
    let details = ProcessDetails {
        exec_id,
        ..ProcessDetails::default()
    };
    let value = details.write_to_bytes().ok()?;
    Some(Any {
        type_url: "containerd.runc.v1.ProcessDetails".to_owned(),
        value,
        ..Any::default()
    })
}
