//! The one thread that talks to the TPM.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use portcullis_attestation::trust::TrustTier;
use portcullis_client::method::{
    AttestReply, LatchSummary, Snapshot as SnapshotCall, SnapshotReply,
};
use portcullis_client::{AgentError, encode_error, encode_reply};
use portcullis_config::paths;
use portcullis_gate::{LiveState, Snapshot, TagSlot};
use portcullis_tpm::{Deadline, Identity, Reading, Tpm};
use serde_json::json;

use crate::anchoring::Anchoring;
use crate::attester::PATIENCE;
use crate::boot_fuse::BootFuse;
use crate::challenge::{self, Challenges};
use crate::cycle::{self, CycleError, Issued, shown, tpm_answer};
use crate::drift::DriftWatch;
use crate::node::{IssuedVerdict, Node};
use crate::quarantine::Quarantine;
use crate::schedule::Schedule;
use crate::tpm_queue::{Job, SnapshotAnswer, Waiter, Work};
use crate::{boot, log};

/// How long a connection to the TPM is kept when nothing is to be done. A software TPM serves one
/// client at a time, so others get their turn; a burst of launches shares one connection.
const LINGER: Duration = Duration::from_millis(20);
/// How often the clock is looked at while nothing happens.
const CLOCK_CHECK: Duration = Duration::from_secs(15);
/// Least time a reading gets, however late its launches are.
const LEAST_PATIENCE: Duration = Duration::from_millis(10);

/// The thread's own state.
pub(crate) struct TpmThread {
    pub(crate) tpm: Tpm,
    pub(crate) node: Arc<Node>,
    pub(crate) identity: Option<Identity>,
    pub(crate) anchoring: Anchoring,
    pub(crate) schedule: Schedule,
    pub(crate) watch: DriftWatch,
    challenges: Challenges,
}

// === impl TpmThread ===

impl TpmThread {
    /// A thread that has not begun.
    pub(crate) fn new(tpm: Tpm, node: Arc<Node>) -> Self {
        let agent = &node.config.agent;
        let interval =
            (agent.remote.as_ref()).map_or(agent.attest_interval, |remote| remote.interval);
        let anchor_interval = agent.ledger_anchor_interval;
        let drift_interval = agent.drift_interval;
        let now = Instant::now();
        Self {
            tpm,
            node,
            identity: None,
            anchoring: Anchoring::new(anchor_interval, now),
            schedule: Schedule::new(interval, now),
            watch: DriftWatch::new(drift_interval, now),
            challenges: Challenges::open(Path::new(paths::STATE).join(challenge::FILE)),
        }
    }

    /// Works until the queue is stopped. Calls `on_first_attempt` once the node was attested, or
    /// an attempt has failed.
    pub(crate) fn run(mut self, on_first_attempt: impl FnOnce()) {
        let mut on_first_attempt = Some(on_first_attempt);
        let mut is_connected = false;
        loop {
            if self.attestation_is_due() {
                self.attest_on_schedule();
                is_connected = true;
                if let Some(tell) = on_first_attempt.take() {
                    tell();
                }
            }
            if self.watch.is_due(Instant::now()) {
                is_connected |= self.watch_for_drift();
            }
            let wait = if is_connected { LINGER } else { self.wait() };
            match self.node.queue.next(wait) {
                Work::Snapshots(waiters) => {
                    self.answer(&waiters);
                    is_connected = true;
                }
                Work::Job(job) => {
                    self.work(job);
                    is_connected = true;
                }
                Work::Idle => {
                    self.anchor_on_schedule();
                    self.tpm.release();
                    is_connected = false;
                }
                Work::Stop => {
                    self.anchor_at_the_end();
                    return;
                }
            }
        }
    }

    fn wait(&self) -> Duration {
        let now = Instant::now();
        [
            self.schedule.wait(now),
            self.anchoring.wait(now),
            self.watch.wait(now),
        ]
        .into_iter()
        .flatten()
        .fold(CLOCK_CHECK, Duration::min)
    }

    fn attestation_is_due(&mut self) -> bool {
        let now = Instant::now();
        if self.schedule.wait(now).is_some() && self.schedule.has_jumped(now, SystemTime::now()) {
            log::info("clock jumped, attesting", &[]);
            self.note_clock_jump();
            self.schedule.hurry(now);
        }
        self.schedule.wait(now).is_some_and(|wait| wait.is_zero())
    }

    fn work(&mut self, job: Job) {
        // A client that hung up no longer wants its answer.
        match job {
            Job::Attest(clear, answer) => drop(answer.send(self.attest_on_demand(clear))),
            Job::Enroll(answer) => drop(answer.send(self.enroll())),
            Job::Renew(answer) => drop(answer.send(self.renew())),
            Job::Quarantine(reason, answer) => drop(answer.send(self.quarantine(reason))),
            Job::Capture(answer) => drop(answer.send(self.capture())),
            Job::AnchorLedger(answer) => drop(answer.send(self.anchor_on_demand())),
            Job::CertifyLedger(nonce, answer) => {
                drop(answer.send(self.certify_ledger(nonce.as_bytes())));
            }
            Job::Evidence(nonce, answer) => drop(answer.send(self.evidence(nonce))),
            Job::ProvisionTag(call, answer) => drop(answer.send(self.provision_tag(call))),
            Job::RequestTag(answer) => drop(answer.send(self.request_tag())),
        }
    }

    // --- readings ---

    /// Reads the TPM once and answers all who wait.
    fn answer(&mut self, waiters: &[Waiter]) {
        let changed = read_for(&mut self.tpm, &self.node, waiters);
        if changed {
            log::info("host booted anew, attesting", &[]);
            self.watch_for_drift();
            self.schedule.hurry(Instant::now());
        }
    }

    // --- attestation ---

    fn attest_on_schedule(&mut self) {
        if self.node.published().enrollment.is_none() {
            self.schedule.suspend();
            return;
        }
        // What the attestation is about to replace, it could not tell of.
        self.watch_for_drift();
        // Failures are noted where they happen, and tried again.
        drop(self.attest());
    }

    fn attest_on_demand(&mut self, clear: Option<String>) -> Result<AttestReply, AgentError> {
        if let Some(reason) = clear {
            self.node.clear_failure(&reason)?;
        }
        self.watch_for_drift();
        match self.attest() {
            Ok(issued) => Ok(AttestReply {
                status: issued.appraisal.status.to_string(),
                findings: issued.appraisal.findings.iter().map(shown).collect(),
                verdict: Some(issued.token),
            }),
            Err(error) => error
                .answer()
                .map(|(status, findings): (TrustTier, _)| AttestReply {
                    verdict: None,
                    status: status.to_string(),
                    findings,
                }),
        }
    }

    /// Attests, publishes what came out, and plans the next attestation.
    pub(crate) fn attest(&mut self) -> Result<Issued, CycleError> {
        let stood = self.node.published().standing.summary();
        let outcome = self.run_cycle();
        // Once for each verdict: a remote verifier's comes again and again, and after a reset of the
        // TPM an old one must not mend the fuse that the reset has blown. No launch is served between
        // this and the new verdict: it would hold one of them against the other.
        let fuse = outcome
            .as_ref()
            .ok()
            .filter(|issued| !self.node.published().boot_fuse.was_set_for(&issued.token))
            .map(|issued| BootFuse::set(&mut self.tpm, &issued.token));
        let (now, wall) = (Instant::now(), SystemTime::now());
        let node = Arc::clone(&self.node);
        let mut published = node.published();
        if let Some(fuse) = fuse {
            fuse.report(&published.boot_fuse);
            published.boot_fuse = fuse;
        }
        match &outcome {
            Ok(issued) => {
                self.schedule.succeeded(now, wall);
                self.watch.attested(issued.sequence, issued.firmware_log);
                published.unrenewed.clear();
                published.findings = issued.appraisal.findings.iter().map(shown).collect();
                let is_new = published
                    .verdict
                    .as_ref()
                    .is_none_or(|known| known.token != issued.token);
                published.verdict = match &issued.adopted {
                    Some(verdict) => Some(IssuedVerdict::of(issued.token.clone(), verdict)),
                    None => published.enrollment.as_ref().and_then(|enrollment| {
                        IssuedVerdict::read(issued.token.clone(), enrollment)
                    }),
                };
                published.last_attestation_at = Some(boot::unix_s());
                published.last_failure = None;
                // A verdict tells nothing of a mark that came after it.
                let reset_count = published
                    .verdict
                    .as_ref()
                    .map(|verdict| verdict.host.reset_count);
                published.quarantine = Quarantine::of_this_boot(reset_count);
                // A remote verifier's is looked at often, and mostly the one that is known.
                if is_new {
                    log_issued(issued);
                }
            }
            Err(CycleError::Enrolled) => self.schedule.suspend(),
            Err(error) => {
                let pause = self.schedule.failed(now, wall);
                published.note_failure(error);
                published.attestation_failures = published.attestation_failures.saturating_add(1);
                if let Some(failure) = error.failure() {
                    let seed = boot::id().map(|id| id.seed()).unwrap_or_default();
                    let (rule, now_s) = (node.config.agent.latch, boot::unix_s());
                    published.standing.note(failure, rule, now_s, seed);
                }
                let findings: Vec<_> = error.findings().iter().map(shown).collect();
                published.unrenewed.clear();
                if !error.withdraws_verdict() {
                    published.unrenewed = findings;
                } else {
                    published.verdict = None;
                    published.findings = findings;
                    published.quarantine = Quarantine::seen(error.findings());
                    withdraw_file();
                }
                // The TPM may be another one now.
                self.identity = None;
                log::info("trying again", &[("in_s", &pause.as_secs().to_string())]);
            }
        }
        published.next_attestation_at = self
            .schedule
            .wait(now)
            .map(|wait| boot::unix_s().saturating_add(wait.as_secs()));
        let stands = published.standing.summary();
        drop(published);
        if stood != stands {
            self.record_standing(stands.as_ref());
        }
        outcome
    }

    /// A failure stands from now on, or one that stood has ended by itself: so says the ledger.
    fn record_standing(&self, stands: Option<&LatchSummary>) {
        let event = match stands {
            Some(latch) => json!({
                "event": "failure-latched",
                "node": self.node.config.node_name,
                "since": latch.since,
                "failure": latch.failure,
            }),
            None => json!({"event": "failure-ended", "node": self.node.config.node_name}),
        };
        if let Err(cause) = self.node.record_event(&event) {
            log::error("failure not recorded", &[("cause", &cause)]);
        }
    }

    fn run_cycle(&mut self) -> Result<Issued, CycleError> {
        let (enrollment, tag_document) = {
            let published = self.node.published();
            let enrollment = published.enrollment.clone().ok_or(CycleError::Enrolled)?;
            (enrollment, published.tag_document.clone())
        };
        let identity = self.identify()?;
        let node = Arc::clone(&self.node);
        cycle::run(
            &mut self.tpm,
            &node.config,
            (&enrollment, &identity),
            (&mut self.challenges, tag_document),
            &mut |appraisal, now_s| {
                let rule = node.config.agent.latch;
                node.published().standing.judge(appraisal, rule, now_s)
            },
            &mut |tpm| {
                // Launches that have come before there is a verdict had better wait for it.
                if node.published().verdict.is_some() {
                    serve_waiting(tpm, &node);
                }
            },
        )
    }

    /// Who the TPM is; asked once, and again after every failure.
    pub(crate) fn identify(&mut self) -> Result<Identity, portcullis_tpm::TpmError> {
        if let Some(identity) = &self.identity {
            return Ok(identity.clone());
        }
        let identity = self.tpm.identity(&Deadline::within(PATIENCE))?;
        self.identity = Some(identity.clone());
        Ok(identity)
    }
}

/// Answers the launches that wait, in the middle of something longer.
pub(crate) fn serve_waiting(tpm: &mut Tpm, node: &Node) {
    let waiters = node.queue.take_snapshots();
    if !waiters.is_empty() {
        read_for(tpm, node, &waiters);
    }
}

/// Reads the TPM once for `waiters` and answers them. Returns whether the host is in another boot
/// than the one the verdict is about.
fn read_for(tpm: &mut Tpm, node: &Node, waiters: &[Waiter]) -> bool {
    let now = Instant::now();
    let patience = waiters
        .iter()
        .map(|waiter| waiter.until.saturating_duration_since(now))
        .max()
        .unwrap_or_default()
        .max(LEAST_PATIENCE);
    let reading = tpm.read(node.config.agent.pcrs, &Deadline::within(patience));
    let published = node.published();
    let (verdict, tag_document) = (published.verdict.clone(), published.tag_document.clone());
    let withheld = published.withheld();
    let has_fuse = !matches!(published.boot_fuse, BootFuse::Absent(_));
    drop(published);

    let changed = match (&reading, &verdict) {
        (Ok(reading), Some(verdict)) => {
            (verdict.host.reset_count, verdict.host.restart_count)
                != (reading.clock.reset_count, reading.clock.restart_count)
        }
        _ => false,
    };
    let outcome = reading
        .map_err(|error| tpm_answer(&error))
        .and_then(|reading| {
            let mut live = live_state(reading)?;
            // What stands there may be somebody else's.
            live.boot_fuse = live.boot_fuse.filter(|_| has_fuse);
            Ok(SnapshotReply(Snapshot {
                verdict: verdict.map(|verdict| verdict.token),
                withheld,
                tag_document,
                live,
            }))
        });
    let answer: SnapshotAnswer = match outcome {
        Ok(reply) => encode_reply::<SnapshotCall>(&reply),
        Err(error) => encode_error(&error),
    }
    .into();
    for waiter in waiters {
        // One that has given up is no longer there.
        drop(waiter.answer.send(SnapshotAnswer::clone(&answer)));
    }
    changed
}

pub(crate) fn live_state(reading: Reading) -> Result<LiveState, AgentError> {
    let boot_id = boot::id().map_err(|error| AgentError::TpmFailed {
        reason: format!("cannot read the kernel's boot id: {error}"),
    })?;
    Ok(LiveState {
        boot_id,
        reset_count: reading.clock.reset_count,
        restart_count: reading.clock.restart_count,
        pcrs: reading.pcrs,
        tag: reading.tag.map(|slot| TagSlot {
            nv_index: slot.index,
            nv_name: slot.public.name().clone(),
            contents: slot.contents,
        }),
        boot_fuse: reading.boot_fuse,
    })
}

pub(crate) fn withdraw_file() {
    let path = Path::new(paths::VERDICT);
    if let Err(error) = crate::atomic_file::remove(path) {
        log::error("verdict not withdrawn", &[("cause", &log::chain(&error))]);
    }
}

fn log_issued(issued: &Issued) {
    let appraisal = &issued.appraisal;
    let codes: Vec<&str> = appraisal
        .findings
        .iter()
        .map(|finding| finding.code)
        .collect();
    log::info(
        if issued.adopted.is_some() {
            "verdict carried"
        } else {
            "verdict issued"
        },
        &[
            ("status", appraisal.status.as_str()),
            ("seq", &issued.sequence.to_string()),
            ("boot_state", appraisal.boot_state.as_deref().unwrap_or("")),
            ("findings", &codes.join(",")),
        ],
    );
}
