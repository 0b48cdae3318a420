//! One type for each call, holding its parameters, and one for its reply.
//!
//! Both sides use them: a client encodes a call and decodes the reply, the agent decodes a call
//! with [`crate::Call::parse`] and encodes the reply.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::message::Method;

/// One PCR as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PcrValue {
    /// Number of the register, 0–23.
    pub index: u32,
    /// Its value, lower-case hexadecimal.
    pub digest: String,
}

/// One thing the appraisal found wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind, kebab-case.
    pub code: String,
    /// What it is about.
    pub subject: String,
    /// What would have been right.
    pub expected: String,
    /// What was there.
    pub found: String,
}

/// The verdict the agent holds, in its own words; not a basis for a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictSummary {
    /// EAR trust tier: `affirming`, `warning`, `contraindicated` or `none`.
    pub status: String,
    /// Seconds since 1970.
    pub issued_at: u64,
    /// Seconds since 1970.
    pub expires_at: u64,
    /// Running number of the verdict.
    pub sequence: u64,
    /// Name of the boot state that matched.
    #[serde(default)]
    pub boot_state: Option<String>,
}

/// A failed attestation that stands until an operator clears it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatchSummary {
    /// When it was found, in seconds since 1970.
    pub since: u64,
    /// What failed.
    pub failure: Finding,
}

/// Launch decisions recorded since the agent started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchCounts {
    /// Launches that went ahead.
    pub permitted: u64,
    /// Launches a check said no to.
    pub refused: u64,
    /// Launches that could not be checked.
    pub undecided: u64,
}

/// Which rights the agent has given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfinementSummary {
    /// `full`, or `partial` if the kernel cannot take some of them away.
    pub level: String,
    /// What the kernel cannot do, one line for each part.
    #[serde(default)]
    pub missing: Vec<String>,
}

/// The key that signs this node's verdicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictKeySummary {
    /// Its id.
    pub kid: String,
    /// What the TPM asks for before it signs with it: `approved-state` or `none`.
    pub policy: String,
    /// Ids of the reference keys, any of which may approve the state.
    #[serde(default)]
    pub approvers: Vec<String>,
    /// What the settings ask for and the key is not; `None` if it is as it should be.
    #[serde(default)]
    pub defect: Option<String>,
}

/// A quarantine of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineSummary {
    /// Seconds since 1970; `None` if the agent was not told.
    #[serde(default)]
    pub since: Option<u64>,
    /// In the words of the operator, if there were any.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What the agent knows about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Version of the agent.
    pub version: String,
    /// Name of the node from the configuration.
    pub node_name: String,
    /// Whether the attestation key exists.
    pub enrolled: bool,
    /// Identity of the TPM.
    #[serde(default)]
    pub ueid: Option<String>,
    /// TPM name of the attestation key, hexadecimal.
    #[serde(default)]
    pub ak_name: Option<String>,
    /// The verdict held now.
    #[serde(default)]
    pub verdict: Option<VerdictSummary>,
    /// What the last appraisal found wrong.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// Seconds since 1970.
    #[serde(default)]
    pub last_attestation_at: Option<u64>,
    /// Seconds since 1970.
    #[serde(default)]
    pub next_attestation_at: Option<u64>,
    /// Why the last attestation gave no verdict, one line.
    #[serde(default)]
    pub last_failure: Option<String>,
    /// Whether a tag document is stored.
    pub tag_present: bool,
    /// The tag document, a compact JWS.
    #[serde(default)]
    pub tag_document: Option<String>,
    /// The verdict held now, a signed JWT.
    #[serde(default)]
    pub verdict_token: Option<String>,
    /// Decisions recorded since the agent started.
    pub launches: LaunchCounts,
    /// Number of the last ledger entry; 0 if the ledger is empty.
    pub ledger_sequence: u64,
    /// How the ledger is anchored; `None` from an agent that does not say.
    #[serde(default)]
    pub ledger_anchor: Option<LedgerAnchor>,
    /// How the agent is confined; `None` from an agent that does not say.
    #[serde(default)]
    pub confinement: Option<ConfinementSummary>,
    /// The verdict key; `None` if the node is not enrolled.
    #[serde(default)]
    pub verdict_key: Option<VerdictKeySummary>,
    /// The boot fuse: `set`, or why there is none.
    #[serde(default)]
    pub boot_fuse: Option<String>,
    /// The quarantine, if there is one.
    #[serde(default)]
    pub quarantine: Option<QuarantineSummary>,
    /// A failure that stands.
    #[serde(default)]
    pub latch: Option<LatchSummary>,
}

/// How the ledger is anchored in the TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerAnchor {
    /// `anchored`, `not-anchored`, `not-yet` or `off`.
    pub state: String,
    /// Why it is not, one line.
    #[serde(default)]
    pub reason: Option<String>,
    /// Number of the last entry that is covered.
    #[serde(default)]
    pub through: Option<u64>,
    /// The TPM's counter.
    #[serde(default)]
    pub counter: Option<u64>,
    /// Seconds since 1970.
    #[serde(default)]
    pub at: Option<u64>,
}

macro_rules! method {
    ($(#[$doc:meta])* $name:ident, $wire:literal, { $($(#[$field_doc:meta])* $field:ident: $type:ty),* }, $reply:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type),* }

        impl Method for $name {
            const NAME: &'static str = $wire;
            type Reply = $reply;
        }
    };
}

method!(
    /// Asks for a verdict and a TPM read that begins after the call arrived.
    Snapshot, "dev.portcullis.Agent.Snapshot", {
        /// Longest time the agent may take, in milliseconds.
        deadline_ms: u64
    }, SnapshotReply
);
method!(
    /// Appends a launch decision to the ledger.
    Record, "dev.portcullis.Agent.Record", {
        /// The decision, a `portcullis_gate::LaunchRecord` as JSON. Kept as it came, so that the
        /// ledger holds what a newer shim says, too.
        record: Map<String, Value>
    }, RecordReply
);
method!(
    /// Looks up a launch decision.
    Explain, "dev.portcullis.Agent.Explain", {
        /// Eight hexadecimal digits.
        #[serde(rename = "ref")]
        reference: String
    }, ExplainReply
);
method!(
    /// Describes the agent.
    Status, "dev.portcullis.Agent.Status", {}, StatusReply
);
method!(
    /// Attests now.
    Attest, "dev.portcullis.Agent.Attest", {
        /// Why a failure that stands is cleared first; `None` clears none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clear_failure: Option<String>
    }, AttestReply
);
method!(
    /// Makes and names the keys of the node.
    Enroll, "dev.portcullis.Agent.Enroll", {}, EnrollReply
);
method!(
    /// Makes a new verdict key in place of the one that is there.
    Renew, "dev.portcullis.Agent.Renew", {}, EnrollReply
);
method!(
    /// Marks the host so that nothing starts on it before it is rebooted.
    Quarantine, "dev.portcullis.Agent.Quarantine", {
        /// Why, for those who find it so.
        #[serde(default)]
        reason: Option<String>
    }, QuarantineReply
);
method!(
    /// Notes that the host gives up the level of sensitivity that it took of its first workload.
    RecordRelease, "dev.portcullis.Agent.RecordRelease", {
        /// The level.
        level: String,
        /// When it was taken, in seconds since 1970.
        since: u64,
        /// Why it is given up, in the words of the operator.
        reason: String
    }, RecordReply
);
method!(
    /// Reads the PCRs that reference values are made from.
    Capture, "dev.portcullis.Agent.Capture", {}, CaptureReply
);
method!(
    /// Collects evidence for a verifier that is not the agent.
    Evidence, "dev.portcullis.Agent.Evidence", {
        /// The verifier's challenge: 32 bytes, base64url.
        nonce: String
    }, EvidenceReply
);
method!(
    /// Anchors the ledger in the TPM now.
    AnchorLedger, "dev.portcullis.Agent.AnchorLedger", {}, AnchorLedgerReply
);
method!(
    /// Has the TPM sign what the ledger's indices hold.
    CertifyLedger, "dev.portcullis.Agent.CertifyLedger", {
        /// The auditor's challenge: 32 bytes, base64url.
        nonce: String
    }, CertifyLedgerReply
);
method!(
    /// Stores an asset tag and writes its digest to the TPM.
    ProvisionTag, "dev.portcullis.Agent.ProvisionTag", {
        /// The tag document, a compact JWS.
        document: String,
        /// The tag authority's signatures over the write to the TPM, base64url.
        #[serde(default)]
        authorization: Option<String>
    }, ProvisionTagReply
);
method!(
    /// Asks where the tag counter stands.
    RequestTag, "dev.portcullis.Agent.RequestTag", {}, RequestTagReply
);
method!(
    /// Names the service and its interfaces.
    ServiceInfo, "org.varlink.service.GetInfo", {}, ServiceInfoReply
);
method!(
    /// Asks for the definition text of an interface.
    InterfaceDescription, "org.varlink.service.GetInterfaceDescription", {
        /// Name of the interface.
        interface: String
    }, InterfaceDescriptionReply
);

/// Answer to [`Snapshot`]; on the wire it has the form that `portcullis_gate::Snapshot` gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotReply(pub portcullis_gate::Snapshot);

/// Answer to [`Record`] and [`RecordRelease`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordReply {
    /// Number of the ledger entry.
    pub sequence: u64,
}

/// Answer to [`Explain`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainReply {
    /// The ledger entry as it was written.
    pub record: Map<String, Value>,
}

/// Answer to [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    /// What the agent knows about itself.
    pub status: NodeStatus,
}

/// Answer to [`Attest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestReply {
    /// The new verdict, a signed JWT; `None` if none could be issued.
    #[serde(default)]
    pub verdict: Option<String>,
    /// EAR trust tier.
    pub status: String,
    /// What the appraisal found wrong.
    pub findings: Vec<Finding>,
}

/// Answer to [`Enroll`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollReply {
    /// Identity of the TPM.
    pub ueid: String,
    /// TPM name of the attestation key, hexadecimal.
    pub ak_name: String,
    /// Public JWK that verifies the agent's verdicts.
    pub verdict_key: Map<String, Value>,
    /// Id of the verdict key in whose place it came.
    #[serde(default)]
    pub retired_kid: Option<String>,
}

/// Answer to [`Quarantine`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineReply {
    /// The register that was marked.
    pub pcr: u32,
    /// Whether the host was in quarantine before.
    pub was_quarantined: bool,
    /// Since when and why.
    pub quarantine: QuarantineSummary,
}

/// Answer to [`Capture`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureReply {
    /// Identity of the TPM.
    pub ueid: String,
    /// TPM name of the attestation key, hexadecimal.
    pub ak_name: String,
    /// Hash algorithm of the bank, such as `sha256`.
    pub pcr_bank: String,
    /// Values in ascending order of index.
    pub pcrs: Vec<PcrValue>,
    /// The kernel's boot identifier.
    pub boot_id: String,
}

/// Answer to [`Evidence`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceReply {
    /// As `portcullis_attestation::evidence` reads it.
    pub evidence: Map<String, Value>,
}

/// Answer to [`AnchorLedger`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorLedgerReply {
    /// Number of the anchor's own entry.
    pub sequence: u64,
    /// Number of the last entry that it covers.
    pub through: u64,
    /// The TPM's counter.
    pub counter: u64,
}

/// Answer to [`CertifyLedger`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifyLedgerReply {
    /// Public area of the AK (TPM2B_PUBLIC), base64url.
    pub ak_public: String,
    /// `message` and `signature` of TPM2_NV_Certify of the counter, base64url.
    pub counter_certificate: Map<String, Value>,
    /// The same of the extend index.
    pub extend_certificate: Map<String, Value>,
}

/// Answer to [`ProvisionTag`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvisionTagReply {
    /// Handle, eight hexadecimal digits.
    pub nv_index: String,
    /// TPM name of the index after the write, hexadecimal.
    pub nv_name: String,
    /// What was written, hexadecimal.
    pub sha384: String,
}

/// Answer to [`RequestTag`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestTagReply {
    /// Identity of the TPM.
    pub ueid: String,
    /// TPM name of the attestation key, hexadecimal.
    pub ak_name: String,
    /// The attestation key (TPM2B_PUBLIC), hexadecimal.
    pub ak_public: String,
    /// Where the tag counter stands.
    pub counter: u64,
    /// The counter's index (TPM2B_NV_PUBLIC), hexadecimal.
    pub nv_public: String,
    /// What the attestation key signed (TPMS_ATTEST), hexadecimal.
    pub message: String,
    /// Its signature (TPMT_SIGNATURE), hexadecimal.
    pub signature: String,
}

/// Answer to [`ServiceInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceInfoReply {
    /// Who makes it.
    pub vendor: String,
    /// What it is.
    pub product: String,
    /// Its version.
    pub version: String,
    /// Where to read more.
    pub url: String,
    /// Names of the interfaces it offers.
    pub interfaces: Vec<String>,
}

/// Answer to [`InterfaceDescription`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceDescriptionReply {
    /// The definition text.
    pub description: String,
}

impl Serialize for SnapshotReply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SnapshotReply {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        portcullis_gate::Snapshot::from_json(&value)
            .map(Self)
            .map_err(D::Error::custom)
    }
}
