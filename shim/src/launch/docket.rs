//! The paper trail of one decision: its reference, its record, and the one way to refuse.

use std::path::Path;
use std::time::{Instant, SystemTime};

use portcullis_config::paths::{GATE_STATE, SEEN};
use portcullis_config::{BundleInForce, Config, Mode};
use portcullis_gate::record::{LaunchRecord, Operation};
use portcullis_gate::{Code, LaunchPolicy, Moment, Permit, RecordId, Refusal, Refusals, quote};
use sha2::{Digest, Sha256};

use super::{agent, container_record};
use crate::log;
use crate::status::TaskError;

/// One decision in the making.
#[derive(Debug)]
pub(super) struct Docket {
    /// Boxed: it is large, and each future that decides something holds one.
    pub(super) config: Box<Config>,
    pub(super) record: LaunchRecord,
    id: RecordId,
    begun: Instant,
}

// === impl Docket ===

impl Docket {
    /// Begins a decision under the node's present configuration.
    ///
    /// # Errors
    ///
    /// A fault: no randomness, or a configuration that cannot be used.
    pub(super) fn open(
        namespace: &str,
        container: &str,
        operation: Operation,
    ) -> Result<Self, TaskError> {
        let id = record_id()?;
        let config = settings().map_err(|refusals| {
            log::error(&refusals.line(&id));
            TaskError::Refused { refusals, id }
        })?;
        let container = container_record(namespace, container, |_| None);
        let mut record = LaunchRecord::new(id, operation, config.node_name.clone(), container);
        record.policy = config.bundle.as_ref().map(BundleInForce::to_record);
        Ok(Self {
            config,
            record,
            id,
            begun: Instant::now(),
        })
    }

    /// Learns the names of pod and container.
    pub(super) fn describe<'a>(&mut self, annotation: impl Fn(&str) -> Option<&'a str>) {
        let container = &self.record.container;
        let (namespace, id) = (container.namespace.clone(), container.id.clone());
        self.record.container = container_record(&namespace, &id, annotation);
    }

    /// What a refusal names: the container as its operator knows it.
    pub(super) fn subject(&self) -> String {
        let container = &self.record.container;
        let name = container.name.as_deref().or(container.pod.as_deref());
        format!("container {}", quote(name.unwrap_or(&container.id)))
    }

    /// Ends the launch.
    fn stop(&self, refusals: Refusals) -> TaskError {
        log::warn(&refusals.line(&self.id));
        TaskError::Refused {
            refusals,
            id: self.id,
        }
    }

    /// Ends the launch, in audit mode too, and records why.
    pub(super) async fn refuse_always(&mut self, refusals: Refusals) -> TaskError {
        self.tell(&refusals, false).await;
        self.stop(refusals)
    }

    /// Ends the launch and records why; in audit mode records "would refuse" and lets it go on,
    /// unless the refusal is a fault.
    ///
    /// # Errors
    ///
    /// [`TaskError::Refused`].
    pub(super) async fn refuse(&mut self, refusals: Refusals) -> Result<(), TaskError> {
        let fault = refusals.kind() == portcullis_gate::Kind::Fault;
        let audit = self.config.mode == Mode::Audit && !fault;
        self.tell(&refusals, audit).await;
        if audit {
            log::warn(&format!(
                "audit mode would refuse: {}",
                refusals.line(&self.id)
            ));
            return Ok(());
        }
        Err(self.stop(refusals))
    }

    /// Records the launch as permitted. Without a record there is no launch. What rules in audit
    /// found of a new container is one line of the log; of execs it is in the ledger alone, for
    /// there may be one every second.
    ///
    /// # Errors
    ///
    /// [`TaskError::Refused`] with `record-failed`, in enforcing mode.
    pub(super) async fn record_permitted(&mut self) -> Result<(), TaskError> {
        self.record.latency_us = self.elapsed_us();
        if self.record.operation == Operation::Create
            && let Some(line) = self.config.bundle.as_ref().and_then(BundleInForce::warning)
        {
            log::warn(&line);
        }
        if self.record.operation == Operation::Create
            && let Some(line) = self
                .record
                .audited
                .line(&self.subject(), &self.record.reference)
        {
            log::warn(&line);
        }
        let Err(reason) = agent::record(&self.record, self.config.snapshot_deadline).await else {
            return Ok(());
        };
        let refusal = Refusal::new(
            Code::RecordFailed,
            self.subject(),
            "a ledger record of the launch",
            quote(&reason),
        );
        if self.config.mode == Mode::Audit {
            log::error(&format!(
                "audit mode would refuse: {}",
                Refusals::from(refusal).line(&self.id)
            ));
            return Ok(());
        }
        Err(self.stop(refusal.into()))
    }

    async fn tell(&mut self, refusals: &Refusals, audit: bool) {
        let mut record = self.record.clone().refused(refusals, audit);
        record.latency_us = self.elapsed_us();
        if let Err(reason) = agent::record(&record, self.config.snapshot_deadline).await {
            // The container does not start either way; the line in containerd's log remains.
            log::error(&format!(
                "cannot record refusal {}: {reason}, ignoring",
                self.id
            ));
        }
        if audit {
            self.record = record;
        }
    }

    fn elapsed_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The node's configuration, by a policy bundle that is no older than any before it.
fn settings() -> Result<Box<Config>, Refusals> {
    let config = Box::new(portcullis_config::load()?);
    if let Some(bundle) = &config.bundle {
        portcullis_host::hold_policy(Path::new(GATE_STATE), &bundle.newest())?;
    }
    Ok(config)
}

/// Now, the boot this is, and the verdicts seen in it: read here, not believed from the agent.
///
/// # Errors
///
/// `host-unreadable`.
pub(super) fn moment() -> Result<Moment, Refusals> {
    portcullis_host::moment(Path::new(SEEN)).map_err(|error| error.refusal().into())
}

/// Keeps what was seen for the next launch, of whichever relying party.
///
/// # Errors
///
/// `host-unreadable`.
pub(super) fn remember(moment: &Moment) -> Result<(), Refusals> {
    portcullis_host::remember(Path::new(SEEN), moment).map_err(|error| error.refusal().into())
}

/// Whether the verdict behind `permit` is still fresh.
///
/// # Errors
///
/// `verdict-expired`, `verdict-premature` or `host-unreadable`.
pub(super) fn still_fresh(permit: &Permit, policy: &LaunchPolicy) -> Result<(), Refusals> {
    let now = portcullis_host::clocks().map_err(|error| Refusals::from(error.refusal()))?;
    permit.still_fresh(policy, now)
}

/// Seconds since 1970; a clock before that reads as 0, at which every verdict is premature.
pub(super) fn unix_s() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// SHA-256 as lower-case hex.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    portcullis_attestation::hex::encode(&Sha256::digest(bytes))
}

fn record_id() -> Result<RecordId, TaskError> {
    let bytes = crate::sys::random().map_err(|source| TaskError::Bundle {
        verb: "read",
        path: "the kernel's random numbers".to_owned(),
        source,
    })?;
    Ok(RecordId(bytes))
}
