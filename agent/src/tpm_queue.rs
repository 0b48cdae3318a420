//! What waits for the TPM.
//!
//! Launches come first and share one reading: whoever waits when a reading begins gets its
//! result, whoever comes later gets the next one. Everything else is done one by one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_attestation::nonce::Nonce;
use portcullis_client::AgentError;
use portcullis_client::method::{
    AnchorLedgerReply, AttestReply, CaptureReply, CertifyLedgerReply, EnrollReply, EvidenceReply,
    ProvisionTag, ProvisionTagReply, QuarantineReply, RequestTagReply,
};

/// Operators' calls that may wait; more than that is a loop gone wild.
const JOB_LIMIT: usize = 16;

/// An encoded reply to a snapshot call, shared by all who waited for it.
pub(crate) type SnapshotAnswer = Arc<[u8]>;
/// Where the answer to a job goes.
pub(crate) type Answer<T> = SyncSender<Result<T, AgentError>>;

/// A launch that waits for a reading.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// By then it must have its answer.
    pub(crate) until: Instant,
    /// Where the answer goes.
    pub(crate) answer: SyncSender<SnapshotAnswer>,
    /// Whether a reading has begun for it; until then the TPM is at other work.
    pub(crate) has_turn: Arc<AtomicBool>,
}

/// An operator's call.
#[derive(Debug)]
pub(crate) enum Job {
    /// Attest now; with a reason, after a failure that stands was cleared.
    Attest(Option<String>, Answer<AttestReply>),
    /// Make keys.
    Enroll(Answer<EnrollReply>),
    /// Make another verdict key.
    Renew(Answer<EnrollReply>),
    /// Mark the host.
    Quarantine(Option<String>, Answer<QuarantineReply>),
    /// Read PCRs for reference values.
    Capture(Answer<CaptureReply>),
    /// Collect evidence for another verifier.
    Evidence(Nonce, Answer<EvidenceReply>),
    /// Anchor the ledger now.
    AnchorLedger(Answer<AnchorLedgerReply>),
    /// Sign what the ledger's indices hold.
    CertifyLedger(Nonce, Answer<CertifyLedgerReply>),
    /// Write a tag document's digest.
    ProvisionTag(ProvisionTag, Answer<ProvisionTagReply>),
    /// Say where the tag counter stands.
    RequestTag(Answer<RequestTagReply>),
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Work {
    /// Read the TPM once for all of these.
    Snapshots(Vec<Waiter>),
    /// Do this.
    Job(Job),
    /// Nothing came in time.
    Idle,
    /// Stop.
    Stop,
}

/// No room for another job, or the agent is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// The queue in front of the TPM.
#[derive(Debug, Default)]
pub(crate) struct TpmQueue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    snapshots: Vec<Waiter>,
    jobs: VecDeque<Job>,
    is_stopping: bool,
}

// === impl TpmQueue ===

impl TpmQueue {
    /// Adds a launch. Their number is bounded by that of connections.
    pub(crate) fn add_snapshot(&self, waiter: Waiter) -> Result<(), Full> {
        let mut waiting = self.lock();
        if waiting.is_stopping {
            return Err(Full);
        }
        waiting.snapshots.push(waiter);
        self.arrived.notify_one();
        Ok(())
    }

    /// Adds an operator's call.
    pub(crate) fn add_job(&self, job: Job) -> Result<(), Full> {
        let mut waiting = self.lock();
        if waiting.is_stopping || waiting.jobs.len() >= JOB_LIMIT {
            return Err(Full);
        }
        waiting.jobs.push_back(job);
        self.arrived.notify_one();
        Ok(())
    }

    /// Lets what waits be served, and nothing more be added.
    pub(crate) fn stop(&self) {
        self.lock().is_stopping = true;
        self.arrived.notify_all();
    }

    /// Takes what is to be done next, waiting for it up to `patience`.
    pub(crate) fn next(&self, patience: Duration) -> Work {
        let idle = |waiting: &mut Waiting| {
            waiting.snapshots.is_empty() && waiting.jobs.is_empty() && !waiting.is_stopping
        };
        let (mut waiting, _) = self
            .arrived
            .wait_timeout_while(self.lock(), patience, idle)
            .unwrap_or_else(PoisonError::into_inner);
        if !waiting.snapshots.is_empty() {
            return Work::Snapshots(waiting.take_snapshots());
        }
        if let Some(job) = waiting.jobs.pop_front() {
            return Work::Job(job);
        }
        if waiting.is_stopping {
            Work::Stop
        } else {
            Work::Idle
        }
    }

    /// Takes the launches that wait now, without waiting for any.
    pub(crate) fn take_snapshots(&self) -> Vec<Waiter> {
        self.lock().take_snapshots()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Waiting ===

impl Waiting {
    fn take_snapshots(&mut self) -> Vec<Waiter> {
        let waiters = std::mem::take(&mut self.snapshots);
        for waiter in &waiters {
            waiter.has_turn.store(true, Ordering::Relaxed);
        }
        waiters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    fn waiter() -> Waiter {
        Waiter {
            until: Instant::now(),
            answer: sync_channel(1).0,
            has_turn: Arc::default(),
        }
    }

    fn job() -> Job {
        Job::Attest(None, sync_channel(1).0)
    }

    #[test]
    fn all_launches_that_wait_share_one_reading() {
        let queue = TpmQueue::default();
        for _ in 0..5 {
            queue.add_snapshot(waiter()).unwrap();
        }
        let Work::Snapshots(first) = queue.next(Duration::ZERO) else {
            panic!("launches were waiting")
        };
        assert_eq!(first.len(), 5);
        let has_turn = |waiter: &Waiter| waiter.has_turn.load(Ordering::Relaxed);
        assert!(first.iter().all(has_turn));
        assert!(!has_turn(&waiter()));
        // One that comes during the reading waits for the next.
        queue.add_snapshot(waiter()).unwrap();
        assert_eq!(queue.take_snapshots().len(), 1);
        assert!(matches!(queue.next(Duration::ZERO), Work::Idle));
    }

    #[test]
    fn launches_come_before_jobs() {
        let queue = TpmQueue::default();
        queue.add_job(job()).unwrap();
        queue.add_snapshot(waiter()).unwrap();
        assert!(matches!(queue.next(Duration::ZERO), Work::Snapshots(_)));
        assert!(matches!(queue.next(Duration::ZERO), Work::Job(_)));
    }

    #[test]
    fn sixteen_jobs_may_wait_and_not_more() {
        let queue = TpmQueue::default();
        for _ in 0..JOB_LIMIT {
            queue.add_job(job()).unwrap();
        }
        assert_eq!(queue.add_job(job()), Err(Full));
        queue.add_snapshot(waiter()).unwrap();
    }

    #[test]
    fn what_waits_is_served_before_the_stop() {
        let queue = TpmQueue::default();
        queue.add_snapshot(waiter()).unwrap();
        queue.add_job(job()).unwrap();
        queue.stop();
        assert_eq!(queue.add_job(job()), Err(Full));
        assert_eq!(queue.add_snapshot(waiter()), Err(Full));
        assert!(matches!(
            queue.next(Duration::from_secs(9)),
            Work::Snapshots(_)
        ));
        assert!(matches!(queue.next(Duration::from_secs(9)), Work::Job(_)));
        assert!(matches!(queue.next(Duration::from_secs(9)), Work::Stop));
    }
}
