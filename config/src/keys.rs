//! The name of every setting there is. A key outside this list is a fault.

use portcullis_gate::Rule;

/// Keys outside of any table.
pub(crate) const TOP: &[&str] = &["version", "mode", "node_name"];

/// Tables and their keys.
pub(crate) const TABLES: &[(&str, &[&str])] = &[
    (
        "attestation",
        &[
            "max_verdict_age",
            "clock_skew",
            "snapshot_deadline",
            "required",
            "boot_fuse",
            "latch",
        ],
    ),
    ("asset_tag", &["require"]),
    ("profile", &["default", "order"]),
    ("rules", Rule::IDS),
    ("exec", &["allow", "gate"]),
    ("mounts", &["allow", "root_sources"]),
    ("runtime", &["binary", "root", "systemd_cgroup"]),
    ("image", &["digest_only", "registries"]),
    ("sensitivity", &["tag", "default", "pin"]),
    (
        "versions",
        &["kernel", "runc", "crun", "libseccomp", "deny"],
    ),
    ("floor", &["deny_syscalls", "deny_socket_families"]),
    ("hook", &["require_hardened"]),
    (
        "agent",
        &[
            "tcti",
            "attest_interval",
            "verdict_lifetime",
            "pcr_bank",
            "pcrs",
            "issuer",
            "ledger_anchor_interval",
            "reference_signatures",
            "verifier",
            "key_policy",
            "drift_interval",
            "on_drift_command",
            "on_drift_pods",
            "on_drift_webhook",
            "on_drift_webhook_ca",
        ],
    ),
    ("policy", &["signed", "grace"]),
    (
        "break_glass",
        &["allow", "allow_host_trust", "max_lifetime"],
    ),
    ("remote", &["verdict", "url", "authority", "interval"]),
];

/// Lists of tables and the keys of each.
pub(crate) const LISTS: &[(&str, &[&str])] = &[
    (
        "namespace",
        &[
            "name",
            "require_tags",
            "profile",
            "rules",
            "digest_only",
            "registries",
            "sensitivity",
        ],
    ),
    (
        "relaxation",
        &["name", "namespace", "image", "expires", "reason"],
    ),
];
