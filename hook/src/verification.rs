//! The decision about one container, from its state to its record.

use std::path::{Path, PathBuf};
use std::time::Instant;

use portcullis_client::snapshot::PendingSnapshot;
use portcullis_config::paths::{GATE_STATE, SEEN};
use portcullis_config::{BundleInForce, Config, Demands, Mode};
use portcullis_gate::record::{
    AuditedRecord, ConfigDigests, ContainerRecord, LaunchRecord, Operation,
};
use portcullis_gate::{
    Code, Decision, Kind, LaunchRequest, RecordId, Refusal, Refusals, Unavailable, quote,
};
use portcullis_hardening::{Hardened, OciConfig, harden};
use portcullis_host::FactsPolicy;
use sha2::{Digest as _, Sha256};

use crate::agent;
use crate::arguments::Arguments;
use crate::bundle::Bundle;
use crate::names;
use crate::node_rules;
use crate::state::{self, State};
use crate::system_log::{self, Severity};

/// Decides. `Ok(None)` is permission; `Ok(Some(_))` too, in audit mode, and says what enforcing
/// would refuse.
///
/// # Errors
///
/// Every reason against the container, those about the host first.
pub(crate) fn run(
    arguments: &Arguments,
    id: RecordId,
    begun: Instant,
) -> Result<Option<Refusals>, Refusals> {
    let deadline = begun.checked_add(arguments.deadline).unwrap_or(begun);
    let mut early = Early {
        id,
        begun,
        deadline,
        node: None,
        container: ContainerRecord {
            namespace: arguments.namespace.clone().unwrap_or_default(),
            ..ContainerRecord::default()
        },
    };
    let input = state::receive(std::io::stdin().lock(), deadline);
    let state = input
        .and_then(|input| state::parse(&input))
        .map_err(|refusal| early.recorded(refusal.into()))?;
    early.container.id.clone_from(&state.id);
    let config = portcullis_config::load().map_err(|faults| early.recorded(faults))?;
    early.node = Some(config.node_name.clone());
    if let Some(bundle) = &config.bundle {
        portcullis_host::hold_policy(Path::new(GATE_STATE), &bundle.newest())
            .map_err(|refusals| early.recorded(refusals))?;
        if let Some(line) = bundle.warning() {
            system_log::send(&line, Severity::Warning);
        }
    }
    let snapshot = agent::ask(config.snapshot_deadline, deadline);
    let bundle = Bundle::read(&state.bundle).map_err(|refusals| early.recorded(refusals))?;
    let launch = Launch {
        config: &config,
        state: &state,
        bundle: &bundle,
        deadline,
    };

    let namespace = names::namespace(&bundle.config, arguments.namespace.as_deref());
    let given = arguments.namespace.as_deref();
    let container = names::container(&state.id, given, &bundle.config);
    let mut record = LaunchRecord::new(id, Operation::Hook, config.node_name.clone(), container);
    record.policy = config.bundle.as_ref().map(BundleInForce::to_record);
    let digest = hex(&Sha256::digest(&bundle.bytes));
    record.config_sha256 = Some(ConfigDigests {
        before: digest.clone(),
        after: digest,
    });

    let judged = config
        .demands_in(namespace, |name| bundle.config.annotation(name))
        .and_then(|demands| {
            record.profile = Some(demands.effective.profile.clone());
            launch.judge(&demands, snapshot, &mut record)
        });
    record.latency_us = micros_since(begun);
    launch.conclude(judged, record)
}

/// What is known before container and settings could be read.
struct Early {
    id: RecordId,
    begun: Instant,
    deadline: Instant,
    node: Option<String>,
    container: ContainerRecord,
}

// === impl Early ===

impl Early {
    /// Has the refusal recorded as far as that is possible: it stands in any case, and its line is
    /// in the system log. Settings that cannot be read leave the mode open, so nothing is excused.
    fn recorded(&self, refusals: Refusals) -> Refusals {
        let node = self.node.clone().or_else(host_name).unwrap_or_default();
        let container = self.container.clone();
        let mut record = LaunchRecord::new(self.id, Operation::Hook, node, container);
        record.latency_us = micros_since(self.begun);
        let _best_effort = agent::keep(&record.refused(&refusals, false), self.deadline);
        refusals
    }
}

/// The host's name, where the settings do not tell the node's.
fn host_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(text.trim_end().to_owned())
}

fn micros_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// What is known about the container and its host.
struct Launch<'a> {
    config: &'a Config,
    state: &'a State,
    bundle: &'a Bundle,
    deadline: Instant,
}

// === impl Launch ===

impl Launch<'_> {
    /// Everything against this container. Both halves are judged, so that all reasons are known;
    /// the container's first, while the TPM is read.
    fn judge(
        &self,
        demands: &Demands<'_>,
        snapshot: Result<PendingSnapshot, Unavailable>,
        record: &mut LaunchRecord,
    ) -> Result<(), Refusals> {
        let container = if self.config.hook.require_hardened {
            self.examine(demands, &mut record.audited)
        } else {
            Ok(())
        };
        let mut against = Vec::new();
        let permit = match self.decide(demands, snapshot)? {
            Decision::Permitted(permit) => {
                record.verdict_sha256 = Some(permit.verdict_sha256.clone());
                Some(permit)
            }
            Decision::Refused(refusals) | Decision::Undecided(refusals) => {
                against.extend(refusals);
                None
            }
        };
        against.extend(container.err().into_iter().flatten());
        let judged = node_rules::judge(demands, permit.as_ref())?;
        record.audited.note(&judged.audited);
        against.extend(judged.standing.into_iter().flatten());
        match (Refusals::from_vec(against), judged.level) {
            (Some(refusals), _) => Err(refusals),
            // Last, for what is refused takes no level, and audit mode changes nothing.
            (None, Some(level)) if self.config.mode == Mode::Enforce => node_rules::pin(&level),
            (None, _) => Ok(()),
        }
    }

    fn decide(
        &self,
        demands: &Demands<'_>,
        snapshot: Result<PendingSnapshot, Unavailable>,
    ) -> Result<Decision, Refusals> {
        let keys = portcullis_config::trusted_keys()?;
        let request = LaunchRequest {
            node: self.config.node_name.clone(),
            subject: self.subject(),
            require_tags: demands.require_tags.clone(),
        };
        let snapshot = snapshot.and_then(PendingSnapshot::wait);
        let snapshot = snapshot.as_ref();
        let directory = Path::new(SEEN);
        let mut moment = portcullis_host::moment(directory).map_err(|error| error.refusal())?;
        let policy = &demands.effective.policy;
        let decision = portcullis_gate::decide(policy, &keys, &request, snapshot, &mut moment);
        portcullis_host::remember(directory, &moment).map_err(|error| error.refusal())?;
        Ok(decision)
    }

    /// Refuses a configuration that hardening would refuse, or still change.
    fn examine(&self, demands: &Demands<'_>, audited: &mut AuditedRecord) -> Result<(), Refusals> {
        let hardened = self.harden(demands)?;
        hardened.audited.add_to(audited);
        let Some(first) = hardened.changes.first() else {
            return Ok(());
        };
        let more = match hardened.changes.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more places"),
        };
        Err(Refusal::new(
            Code::BundleUnhardened,
            self.subject(),
            format!(
                "a configuration hardened as '{}'",
                demands.effective.profile
            ),
            format!("{} to be changed{more}", quote(&first.pointer)),
        )
        .into())
    }

    fn harden(&self, demands: &Demands<'_>) -> Result<Hardened, Refusals> {
        let profile = self.config.profile(&demands.effective.profile)?;
        let oci: &OciConfig = &self.bundle.config;
        let policy =
            FactsPolicy::allowing(&self.config.mounts_allow).hashing(&profile.hashed_hooks(oci));
        let facts = portcullis_host::facts(oci, self.rootfs().as_deref(), &policy)
            .map_err(|error| error.refusal())?;
        harden(oci.clone(), &profile, &facts, &demands.concessions)
    }

    fn rootfs(&self) -> Option<PathBuf> {
        Some(self.state.bundle.join(self.bundle.config.root_path()?))
    }

    fn subject(&self) -> String {
        format!("container {}", quote(&self.state.id))
    }

    /// Records the outcome. Without a record there is no permission.
    fn conclude(
        &self,
        judged: Result<(), Refusals>,
        record: LaunchRecord,
    ) -> Result<Option<Refusals>, Refusals> {
        let audit = self.config.mode == Mode::Audit;
        let Err(refusals) = judged else {
            if let Some(line) = record.audited.line(&self.subject(), &record.reference) {
                system_log::send(&line, Severity::Warning);
            }
            return match (agent::keep(&record, self.deadline), audit) {
                (Ok(()), _) => Ok(None),
                (Err(failed), true) => Ok(Some(failed.into())),
                (Err(failed), false) => Err(failed.into()),
            };
        };
        // The refusal stands, whether it could be recorded or not: its line is in the system log.
        let _best_effort = agent::keep(&record.refused(&refusals, audit), self.deadline);
        if audit && refusals.iter().all(|refusal| refusal.kind() != Kind::Fault) {
            Ok(Some(refusals))
        } else {
            Err(refusals)
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    portcullis_attestation::hex::encode(bytes)
}
