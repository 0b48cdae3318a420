//! The settings of a node, checked.

use std::fmt;
use std::time::Duration;

use portcullis_attestation::latch::LatchRule;
use portcullis_attestation::pcr::PcrSelection;
use portcullis_gate::break_glass::BreakGlassPolicy;
use portcullis_gate::policy::NamespaceDemand;
use portcullis_gate::{Code, LaunchPolicy, Refusal, Requirement, Rule, RuleMode, RuleModes, quote};
use portcullis_seccomp::Floor;

use crate::bundle::BundleInForce;
use crate::node_rules::{ImageRules, NodeRules};
use crate::pattern::Pattern;
use crate::relaxation::Relaxation;
use crate::source_pattern::SourcePattern;

/// The annotation in which containerd's CRI plugin names the Kubernetes namespace of a pod.
const CRI_NAMESPACE_ANNOTATION: &str = "io.kubernetes.cri.sandbox-namespace";

/// The containerd namespace in which, and only in which, that annotation is believed.
pub(crate) const CRI_CONTAINERD_NAMESPACE: &str = "k8s.io";

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether a refusal stops a container.
    pub mode: Mode,
    /// Name of this node in verdicts, records and refusals.
    pub node_name: String,
    /// What every launch on this node must meet.
    pub launch: LaunchPolicy,
    /// How long the agent's answer is waited for.
    pub snapshot_deadline: Duration,
    /// Hardening profile of containers for which nobody asked for a stricter one.
    pub default_profile: String,
    /// Names of all profiles that may be used, loosest first.
    pub profile_order: Vec<String>,
    /// Modes of rules on this node.
    pub rules: RuleModes,
    /// Policies of namespaces, in the order of the files.
    pub namespaces: Vec<NamespacePolicy>,
    /// Exceptions from profiles, expired ones too.
    pub relaxations: Vec<Relaxation>,
    /// What holds for further processes in a container.
    pub exec: ExecPolicy,
    /// Host paths, beyond the profile's own, from which a container may mount.
    pub mounts_allow: Vec<String>,
    /// Block devices and datasets of which a container may have its root filesystem.
    pub root_sources: Vec<SourcePattern>,
    /// What no container on this node may do, whatever its profile.
    pub floor: Floor,
    /// The OCI runtime.
    pub runtime: RuntimeConfig,
    /// What is asked of images, levels and versions. The level of a workload is the one of
    /// namespaces that name none; see [`Config::effective`].
    pub node_rules: NodeRules,
    /// The OCI hook.
    pub hook: HookConfig,
    /// The agent.
    pub agent: AgentConfig,
    /// What this node asks of policy bundles.
    pub policy: PolicyConfig,
    /// The bundle that is in force; its settings are among these.
    pub bundle: Option<BundleInForce>,
    /// Whether break-glass tokens count.
    pub break_glass: BreakGlassPolicy,
}

/// What a node asks of policy bundles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyConfig {
    /// Whether there must be one.
    pub signed: SignedPolicies,
    /// For how long one counts after its end.
    pub grace: Duration,
}

/// Whether there must be a policy bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedPolicies {
    /// Those that are there count.
    Optional,
    /// Without one that is in force nothing starts.
    Required,
}

/// Whether a refusal stops a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    Enforce,
    /// It is recorded as "would refuse". Faults stop a container in this mode too.
    Audit,
}

/// What the node policy adds for some namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespacePolicy {
    /// Which namespaces.
    pub pattern: Pattern,
    /// Tags that a host must have for them.
    pub require_tags: Requirement,
    /// The profile that is at least applied to them.
    pub profile: Option<String>,
    /// Modes of rules, of which those that are stricter than the node's hold.
    pub rules: Vec<(Rule, RuleMode)>,
    /// What is asked of their images, beyond what the node asks.
    pub image: ImageRules,
    /// Their level of sensitivity.
    pub sensitivity: Option<String>,
}

/// How a further process in a container is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecGate {
    /// As a new container is: with a live reading of the TPM.
    Full,
    /// By the age of the verdict on which the container started.
    Fresh,
}

/// What holds for further processes in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecPolicy {
    /// How they are decided.
    pub gate: ExecGate,
    /// Whether there may be any.
    pub allow: bool,
}

/// The OCI runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Absolute path, or a bare name; see [`RuntimeConfig::candidates`].
    pub binary: String,
    /// Directory of the runtime's own state; each containerd namespace has one beneath it.
    pub root: String,
    /// Whether cgroups are made through systemd even if the runtime options do not say so.
    pub systemd_cgroup: bool,
}

/// The OCI hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookConfig {
    /// Whether a container whose configuration was not hardened is refused.
    pub require_hardened: bool,
}

/// The agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// How the TPM is reached, `device:PATH` or `swtpm:host=ADDRESS,port=PORT`.
    pub tcti: String,
    /// Time between two attestations.
    pub attest_interval: Duration,
    /// Time from the issue of a verdict to its end.
    pub verdict_lifetime: Duration,
    /// The bank and the PCRs that are quoted.
    pub pcrs: PcrSelection,
    /// The verdict's `iss`.
    pub issuer: String,
    /// Least time between two anchors of the ledger in the TPM; zero for none at all.
    pub ledger_anchor_interval: Duration,
    /// What the TPM asks for before it signs with a verdict key that is made from now on.
    pub key_policy: KeyPolicy,
    /// How many pinned keys must have signed a document of reference values, 1 to 8.
    pub reference_signatures: usize,
    /// How long a failed attestation stands; `attestation.latch`.
    pub latch: LatchRule,
    /// Time between two looks at whether the host is still as its verdict says; zero for none.
    pub drift_interval: Duration,
    /// What is run when drift is found, an absolute path and arguments; empty for nothing.
    pub on_drift_command: Vec<String>,
    /// What becomes of running containers when drift is found.
    pub on_drift_pods: OnDriftPods,
    /// Whom else to tell of drift.
    pub on_drift_webhook: Option<WebhookConfig>,
    /// Where verdicts come from, if the agent does not issue them itself.
    pub remote: Option<RemoteConfig>,
}

/// What becomes of running containers when drift is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDriftPods {
    /// They go on.
    Leave,
    /// They are frozen.
    Pause,
    /// They are killed.
    Stop,
}

/// A server that is told of drift.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Its address, `https://…`; may hold a secret, so that it is not for logs.
    pub url: String,
    /// Certificates of the authorities that the server's certificate must be of one of.
    pub authority: String,
}

/// A verifier that is not the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteConfig {
    /// The file from which the agent takes the verdict.
    pub verdict: String,
    /// Where `portcullis-fetch` takes it from: `https://…`.
    pub url: Option<String>,
    /// Certificate of the authority that the server's certificate must be of.
    pub authority: Option<String>,
    /// Time between two looks.
    pub interval: Duration,
}

/// What a TPM asks for before it signs with the verdict key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPolicy {
    /// PCR values that a pinned provider of reference values approved.
    ApprovedState,
    /// Nothing: whoever may use the TPM may sign.
    None,
}

impl fmt::Debug for WebhookConfig {
    /// Without the address: it may hold a secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WebhookConfig")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

/// The settings as they apply to one namespace: where two speak, the stricter one wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective<'a> {
    /// What the launch must meet.
    pub policy: LaunchPolicy,
    /// Name of the hardening profile.
    pub profile: String,
    /// Modes of rules.
    pub modes: RuleModes,
    /// The relaxations of this namespace, whatever image they are for, expired ones too.
    pub relaxations: Vec<&'a Relaxation>,
    /// What is asked of images, levels and versions.
    pub node_rules: NodeRules,
    order: &'a [String],
}

/// The namespace whose policies hold for a container: the Kubernetes namespace if containerd's
/// CRI plugin started it, else the containerd namespace.
///
/// `annotation` looks up an annotation of the OCI configuration. It is asked only inside the
/// containerd namespace of Kubernetes; elsewhere it is in the hands of whoever calls containerd.
pub fn namespace_of<'a>(
    containerd_namespace: &'a str,
    annotation: impl FnOnce(&str) -> Option<&'a str>,
) -> &'a str {
    if containerd_namespace == CRI_CONTAINERD_NAMESPACE {
        annotation(CRI_NAMESPACE_ANNOTATION).unwrap_or(containerd_namespace)
    } else {
        containerd_namespace
    }
}

/// The position of `name` among `order`, loosest first.
fn rank(order: &[String], name: &str) -> Option<usize> {
    order.iter().position(|known| known == name)
}

// === impl Config ===

impl Config {
    /// The settings for `namespace`; see [`namespace_of`].
    pub fn effective(&self, namespace: &str) -> Effective<'_> {
        let mut policy = self.launch.clone();
        let mut profile = &self.default_profile;
        let mut modes = self.rules.clone();
        let mut node_rules = self.node_rules.clone();
        let mut levels: Vec<String> = Vec::new();
        for matching in self
            .namespaces
            .iter()
            .filter(|it| it.pattern.matches(namespace))
        {
            if !matching.require_tags.is_empty() {
                policy.namespace_require_tags.push(NamespaceDemand {
                    pattern: matching.pattern.to_string(),
                    requirement: matching.require_tags.clone(),
                });
            }
            node_rules.image.tighten(&matching.image);
            if let Some(level) = &matching.sensitivity
                && !levels.contains(level)
            {
                levels.push(level.clone());
            }
            if let Some(wanted) = &matching.profile
                && rank(&self.profile_order, wanted) > rank(&self.profile_order, profile)
            {
                profile = wanted;
            }
            for (rule, mode) in &matching.rules {
                modes.tighten(*rule, *mode);
            }
        }
        if !levels.is_empty() {
            node_rules.sensitivity.workload = levels;
        }
        Effective {
            policy,
            profile: profile.clone(),
            modes,
            node_rules,
            relaxations: self
                .relaxations
                .iter()
                .filter(|it| it.namespace == namespace)
                .collect(),
            order: &self.profile_order,
        }
    }

    /// The relaxations that are over at `unix_s`, to be listed for the operator.
    pub fn expired_relaxations(&self, unix_s: u64) -> impl Iterator<Item = &Relaxation> {
        self.relaxations
            .iter()
            .filter(move |it| it.is_expired(unix_s))
    }
}

// === impl Effective ===

impl Effective<'_> {
    /// Takes a profile that the pod asks for. A looser one than the policy's is left aside: a pod
    /// can only tighten.
    ///
    /// # Errors
    /// The refusal `profile-unknown` if `profile.order` does not list the name.
    pub fn tighten_profile(&mut self, wanted: &str) -> Result<(), Refusal> {
        let Some(asked) = rank(self.order, wanted) else {
            return Err(Refusal::new(
                Code::ProfileUnknown,
                "profile that the pod asks for",
                format!("one of '{}'", self.order.join("', '")),
                quote(wanted),
            ));
        };
        if Some(asked) > rank(self.order, &self.profile) {
            wanted.clone_into(&mut self.profile);
        }
        Ok(())
    }

    /// Names of the relaxations that hold for `image` (`sha256:` and 64 hex digits) at `unix_s`.
    pub fn relaxations_for(&self, image: &str, unix_s: u64) -> impl Iterator<Item = &str> {
        self.relaxations
            .iter()
            .filter(move |it| it.image == image && !it.is_expired(unix_s))
            .map(|it| it.name.as_str())
    }
}

// === impl RuntimeConfig ===

impl RuntimeConfig {
    /// Directories in which a bare name is looked up, in this order. The environment's `PATH`
    /// does not count.
    const DIRECTORIES: [&str; 6] = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ];

    /// Absolute paths at which the runtime may be; the first that exists is meant.
    pub fn candidates(&self) -> Vec<String> {
        if self.binary.starts_with('/') {
            vec![self.binary.clone()]
        } else {
            Self::DIRECTORIES
                .map(|directory| format!("{directory}/{}", self.binary))
                .to_vec()
        }
    }
}

#[cfg(test)]
mod tests;
