//! What a relying party sends to the ledger about one decision.
//!
//! A record never holds environment, arguments or secrets: only what was decided, about which
//! container, for which reasons, and how the configuration was changed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Kind, RecordId, Refusal, Refusals};

/// One line of the ledger, without what the ledger itself adds (`seq`, `prev`, `at`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchRecord {
    /// Eight hex digits; the `ref=` of the operator's line.
    #[serde(rename = "ref")]
    pub reference: String,
    /// What was asked for.
    pub operation: Operation,
    /// How it was answered.
    pub decision: Outcome,
    /// Name of the node that decided.
    pub node: String,
    /// The container it is about.
    pub container: ContainerRecord,
    /// The exec id, for `exec` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec_id: Option<String>,
    /// Why not, or, in audit mode, why it would not have been.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<RefusalRecord>,
    /// How hardening changed the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeRecord>,
    /// What rules in audit would have refused and changed.
    #[serde(default, skip_serializing_if = "AuditedRecord::is_empty")]
    pub audited: AuditedRecord,
    /// Names of the relaxations that were used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relaxations: Vec<String>,
    /// Name of the hardening profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Digests of the configuration before and after hardening.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_sha256: Option<ConfigDigests>,
    /// Digest of the verdict that the decision rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict_sha256: Option<String>,
    /// The signed policy bundle that was in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyRecord>,
    /// The break-glass tokens that were used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub break_glass: Vec<BreakGlassRecord>,
    /// Time from the request to the decision, in microseconds.
    pub latency_us: u64,
}

/// What a runtime caller asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// A new container.
    Create,
    /// The start of a created container.
    Start,
    /// A further process in a container.
    Exec,
    /// Other resources for a running container.
    Update,
    /// A restore from a checkpoint.
    Restore,
    /// A checkpoint of a running container.
    Checkpoint,
    /// A container that another runtime caller starts, seen by the OCI hook.
    Hook,
}

/// How a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It went ahead.
    Permitted,
    /// A check said no.
    Refused,
    /// A check could not run.
    Undecided,
    /// The program, its settings or the request was broken.
    Fault,
    /// Audit mode: it went ahead and would not have in enforcing mode.
    WouldRefuse,
    /// It went ahead on the strength of a token, and would not have without.
    BreakGlass,
}

/// Which container, in the words of its callers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// The containerd namespace.
    pub namespace: String,
    /// The container id.
    pub id: String,
    /// The pod sandbox id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
    /// The pod's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The pod's Kubernetes namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_namespace: Option<String>,
    /// The pod's uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// The container's name inside the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The image as the caller names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// SHA-256 of `config.json`, in hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigDigests {
    /// As the runtime caller wrote it.
    pub before: String,
    /// As it was given to the OCI runtime.
    pub after: String,
}

/// A policy bundle, as the ledger names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// Its name.
    pub name: String,
    /// Its sequence number.
    pub sequence: u64,
    /// SHA-256 of its claims, in hex.
    pub sha256: String,
}

/// The use of a break-glass token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlassRecord {
    /// Its id.
    pub jti: String,
    /// Why it was granted.
    pub reason: String,
    /// Where that is written up.
    pub ticket: String,
    /// Ids of the rules that it put into audit for this launch; what they found is in the record's
    /// `audited`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// Whether it waived that the host proves what it is; why not, is in the record's refusals.
    pub host_trust: bool,
}

/// One edit of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangeRecord {
    /// JSON pointer of the edited place.
    pub pointer: String,
    /// What stood there; null if nothing did.
    pub from: Value,
    /// What stands there now; null if nothing does.
    pub to: Value,
    /// Why, in one clause.
    pub reason: String,
    /// Id of the rule that asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// What rules in audit found: nothing of it was done. Each finding names its rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditedRecord {
    /// Why not, had these rules been enforced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<RefusalRecord>,
    /// How the configuration would have been changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeRecord>,
}

/// A refusal as the ledger keeps it: whole, nothing shortened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalRecord {
    /// `refused`, `undecided` or `fault`.
    pub kind: String,
    /// Stable name of the cause.
    pub code: String,
    /// What was looked at.
    pub subject: String,
    /// What would have been accepted.
    pub expected: String,
    /// What was there.
    pub found: String,
    /// What to do.
    pub remedy: String,
    /// The document that asks for the check.
    pub spec: String,
    /// Id of the rule that it is against, if it is one about workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

// === impl LaunchRecord ===

impl LaunchRecord {
    /// A record of a request that went ahead; the caller fills in the rest.
    pub fn new(
        id: RecordId,
        operation: Operation,
        node: impl Into<String>,
        container: ContainerRecord,
    ) -> Self {
        Self {
            reference: id.to_string(),
            operation,
            decision: Outcome::Permitted,
            node: node.into(),
            container,
            exec_id: None,
            refusals: Vec::new(),
            changes: Vec::new(),
            audited: AuditedRecord::default(),
            relaxations: Vec::new(),
            profile: None,
            config_sha256: None,
            verdict_sha256: None,
            policy: None,
            break_glass: Vec::new(),
            latency_us: 0,
        }
    }

    /// Takes over the reasons and the outcome that follows from them. With `audit`, a refusal or
    /// an undecided check becomes "would refuse"; a fault stays a fault.
    #[must_use]
    pub fn refused(mut self, refusals: &Refusals, audit: bool) -> Self {
        self.refusals = refusals.iter().map(RefusalRecord::from).collect();
        self.decision = match (refusals.kind(), audit) {
            (Kind::Fault, _) => Outcome::Fault,
            (Kind::Refused | Kind::Undecided, true) => Outcome::WouldRefuse,
            (Kind::Refused, false) => Outcome::Refused,
            (Kind::Undecided, false) => Outcome::Undecided,
        };
        self
    }
}

// === impl AuditedRecord ===

impl AuditedRecord {
    /// Whether nothing was found.
    pub const fn is_empty(&self) -> bool {
        self.refusals.is_empty() && self.changes.is_empty()
    }

    /// Adds reasons that stopped nothing.
    pub fn note(&mut self, refusals: &[Refusal]) {
        self.refusals
            .extend(refusals.iter().map(RefusalRecord::from));
    }

    /// Ids of the rules, one for each finding, refusals first.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        let refusals = self.refusals.iter().map(|it| &it.rule);
        let changes = self.changes.iter().map(|it| &it.rule);
        refusals.chain(changes).filter_map(Option::as_deref)
    }

    /// The line for the journal about `subject`; `None` if nothing was found.
    pub fn line(&self, subject: &str, reference: &str) -> Option<String> {
        let first = self.rules().next()?;
        let more = match self.rules().count() - 1 {
            0 => String::new(),
            more => format!(" (+{more} more)"),
        };
        Some(format!(
            "{subject} is against rule '{first}', which is in audit{more}; ref={reference}"
        ))
    }
}

// === impl RefusalRecord ===

impl From<&Refusal> for RefusalRecord {
    fn from(refusal: &Refusal) -> Self {
        Self {
            kind: refusal.kind().to_string(),
            code: refusal.code.to_string(),
            subject: refusal.subject.clone(),
            expected: refusal.expected.clone(),
            found: refusal.found.clone(),
            remedy: refusal.remedy.clone(),
            spec: refusal.code.spec().to_owned(),
            rule: refusal.rule.map(|rule| rule.id().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
