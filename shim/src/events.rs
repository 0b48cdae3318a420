//! Task events, forwarded to containerd in the order they happened.

use std::time::{Duration, SystemTime};

use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use protobuf::well_known_types::timestamp::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use ttrpc::context;

use crate::log;

/// Deadline of one delivery.
const FORWARD_LIMIT: Duration = Duration::from_secs(5);

/// How long one event is tried: a busy containerd takes seconds to restart. The stock shim tries as
/// long.
const DELIVERY_LIMIT: Duration = Duration::from_secs(15);

/// First and longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Most events that wait; the stock shim keeps as many.
const MOST_QUEUED: usize = 2048;

/// Of these the last so many are not for out-of-memory kills: those are the only events that a
/// container can make as fast as it likes.
const RESERVED: usize = MOST_QUEUED / 2;

/// Longest wait for the queue to empty when the server ends.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// The sending end of the event queue.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    queue: Option<mpsc::Sender<Queued>>,
    namespace: String,
}

#[derive(Debug)]
enum Queued {
    Event(Box<ForwardRequest>),
    Flush(oneshot::Sender<()>),
}

/// One topic with the type name of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Topic {
    path: &'static str,
    type_url: &'static str,
}

/// The topics, as containerd names them (`core/runtime/events.go`); type URLs are written out
/// because asking the message for its name loads the reflection tables.
pub(crate) mod topic {
    use super::Topic;

    pub(crate) const CREATE: Topic = Topic {
        path: "/tasks/create",
        type_url: "containerd.events.TaskCreate",
    };
    pub(crate) const START: Topic = Topic {
        path: "/tasks/start",
        type_url: "containerd.events.TaskStart",
    };
    pub(crate) const EXIT: Topic = Topic {
        path: "/tasks/exit",
        type_url: "containerd.events.TaskExit",
    };
    pub(crate) const DELETE: Topic = Topic {
        path: "/tasks/delete",
        type_url: "containerd.events.TaskDelete",
    };
    pub(crate) const EXEC_ADDED: Topic = Topic {
        path: "/tasks/exec-added",
        type_url: "containerd.events.TaskExecAdded",
    };
    pub(crate) const EXEC_STARTED: Topic = Topic {
        path: "/tasks/exec-started",
        type_url: "containerd.events.TaskExecStarted",
    };
    pub(crate) const OOM: Topic = Topic {
        path: "/tasks/oom",
        type_url: "containerd.events.TaskOOM",
    };
    pub(crate) const PAUSED: Topic = Topic {
        path: "/tasks/paused",
        type_url: "containerd.events.TaskPaused",
    };
    pub(crate) const RESUMED: Topic = Topic {
        path: "/tasks/resumed",
        type_url: "containerd.events.TaskResumed",
    };
}

// === impl Events ===

impl Events {
    /// Forwards to the ttrpc socket at `address`, connected when the first event is due; without
    /// an address events go nowhere.
    ///
    /// Must be called inside the event loop.
    pub(crate) fn forward_to(address: Option<String>, namespace: &str) -> Self {
        let queue = address.map(|address| {
            let (sender, receiver) = mpsc::channel(MOST_QUEUED);
            tokio::spawn(forward(address, receiver));
            sender
        });
        Self {
            queue,
            namespace: namespace.to_owned(),
        }
    }

    /// Queues `event`; never waits.
    pub(crate) fn send(&self, topic: Topic, event: &impl Message) {
        let Some(queue) = &self.queue else { return };
        if topic == topic::OOM && queue.capacity() <= RESERVED {
            return;
        }
        let Ok(value) = event.write_to_bytes() else {
            return log::error(&format!("cannot encode event '{}'", topic.path));
        };
        let any = Any {
            type_url: topic.type_url.to_owned(),
            value,
            ..Any::default()
        };
        let envelope = Envelope {
            timestamp: Some(timestamp(SystemTime::now())).into(),
            namespace: self.namespace.clone(),
            topic: topic.path.to_owned(),
            event: Some(any).into(),
            ..Envelope::default()
        };
        let request = ForwardRequest {
            envelope: Some(envelope).into(),
            ..ForwardRequest::default()
        };
        // The receiver lives as long as the event loop.
        if queue.try_send(Queued::Event(Box::new(request))).is_err() {
            log::error(&format!(
                "too many events wait for containerd, dropping '{}'",
                topic.path
            ));
        }
    }

    /// Waits until what was queued so far is delivered or given up, at most [`FLUSH_LIMIT`].
    pub(crate) async fn flush(&self) {
        let Some(queue) = &self.queue else { return };
        let (done, flushed) = oneshot::channel();
        drop(
            tokio::time::timeout(FLUSH_LIMIT, async {
                if queue.send(Queued::Flush(done)).await.is_ok() {
                    drop(flushed.await);
                }
            })
            .await,
        );
    }
}

/// `time` as protobuf; before 1970 becomes zero.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
        ..Timestamp::default()
    }
}

async fn forward(address: String, mut queue: mpsc::Receiver<Queued>) {
    let mut client = None;
    while let Some(queued) = queue.recv().await {
        match queued {
            Queued::Event(request) => deliver(&address, &mut client, &request).await,
            Queued::Flush(done) => drop(done.send(())),
        }
    }
}

/// One event, with a new connection and a growing pause after each failure.
async fn deliver(address: &str, client: &mut Option<EventsClient>, request: &ForwardRequest) {
    let since = Instant::now();
    let (mut pause, longest) = PAUSES;
    while since.elapsed() < DELIVERY_LIMIT {
        if client.is_none() {
            *client = Client::connect(&unix_address(address))
                .await
                .ok()
                .map(EventsClient::new);
        }
        if let Some(connected) = client.as_ref() {
            let context = context::with_duration(FORWARD_LIMIT);
            if connected.forward(context, request).await.is_ok() {
                return;
            }
            *client = None;
        }
        tokio::time::sleep(pause).await;
        pause = longest.min(pause * 2);
    }
    log::error(&format!(
        "cannot deliver event '{}' to containerd, ignoring",
        request.envelope.topic
    ));
}

/// containerd gives a bare path or a `unix://` address.
fn unix_address(address: &str) -> String {
    if address.starts_with("unix://") {
        address.to_owned()
    } else {
        format!("unix://{address}")
    }
}
