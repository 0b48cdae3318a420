//! Every path of Portcullis on a host. None of them can be overridden: an override in the
//! environment or on a command line would be a way around the gate.

/// The directory of settings.
pub const CONFIG_DIRECTORY: &str = "/etc/portcullis";
/// The node policy and settings. It must exist.
pub const CONFIG: &str = "/etc/portcullis/portcullis.toml";
/// Drop-ins, merged over [`CONFIG`] in the order of their names.
pub const DROP_INS: &str = "/etc/portcullis/portcullis.d";
/// Pinned public keys, one JWK per file.
pub const TRUST: &str = "/etc/portcullis/trust.d";
/// Signed reference values, one JWS per file.
pub const REFERENCE: &str = "/etc/portcullis/reference.d";
/// The administrator's own hardening profiles, `NAME.toml` and optionally `NAME.seccomp.json`.
pub const PROFILES: &str = "/etc/portcullis/profiles.d";
/// Signed policy bundles, one JWS per file.
pub const POLICY: &str = "/etc/portcullis/policy.d";
/// Break-glass tokens, one JWS per file.
pub const BREAK_GLASS: &str = "/etc/portcullis/break-glass.d";
/// What the agent keeps, mode 0700.
pub const STATE: &str = "/var/lib/portcullis";
/// The agent's key contexts.
pub const KEYS: &str = "/var/lib/portcullis/keys";
/// The asset tag's document.
pub const TAG_DOCUMENT: &str = "/var/lib/portcullis/tag.jws";
/// Why and since when the host is in quarantine, if it is.
pub const QUARANTINE: &str = "/var/lib/portcullis/quarantine.json";
/// The ledger of decisions, one JSON object per line.
pub const LEDGER: &str = "/var/lib/portcullis/ledger.jsonl";
/// What does not survive a boot.
pub const RUN: &str = "/run/portcullis";
/// The agent's socket, mode 0600.
pub const SOCKET: &str = "/run/portcullis/agent.sock";
/// The last verdict, mode 0600.
pub const VERDICT: &str = "/run/portcullis/verdict.jwt";
/// Figures for Prometheus, mode 0600.
pub const METRICS: &str = "/run/portcullis/metrics.prom";
/// What shims and hooks remember of verdicts in this boot, mode 0700. Not beneath [`RUN`]: the
/// agent is let into that, and service managers remove it when the agent stops.
pub const SEEN: &str = "/run/portcullis-gate";
/// What shims and hooks remember across boots, mode 0700: the newest policy bundle, and which
/// break-glass tokens were used. Not beneath [`STATE`], which is the agent's.
pub const GATE_STATE: &str = "/var/lib/portcullis-gate";
/// In it, the level that this host took of its first workload.
pub const PIN: &str = GATE_STATE;
/// Where systemd starts a responder to drift for each connection, mode 0600. Not beneath [`RUN`],
/// which goes with the agent.
pub const RESPONDER: &str = "/run/portcullis-responder.sock";
/// What the package installs.
pub const LIBRARY: &str = "/usr/lib/portcullis";
/// The firmware's event log of this boot. The kernel has none where the firmware or the boot
/// loader handed none over.
pub const EVENT_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";
/// What the kernel's IMA has measured since the boot.
pub const IMA_LIST: &str = "/sys/kernel/security/ima/binary_runtime_measurements";
