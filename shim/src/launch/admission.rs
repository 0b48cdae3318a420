//! What was decided at Create, kept in memory for the container's life.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_gate::record::ContainerRecord;
use portcullis_gate::{Code, LaunchPolicy, Permit, Refusal, Refusals, Requirement, quote};
use portcullis_hardening::{Baseline, OciConfig};
use portcullis_seccomp::Instruction;

use super::docket::{sha256_hex, still_fresh, unix_s};
use super::enforcement::refuse;
use super::floor::Floor;
use super::node_rules;
use crate::bundle::{self, CONFIG, MAX_CONFIG_BYTES};
use crate::status::TaskError;

/// A container that may exist, within these bounds.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    pub(super) namespace: String,
    pub(super) container: ContainerRecord,
    /// What the gate saw; `None` in audit mode, and where a break-glass token stands for it.
    pub(super) permit: Option<Permit>,
    /// When the first of the break-glass tokens ends that it starts by, in seconds since 1970.
    pub(super) waived_until: Option<u64>,
    pub(super) policy: LaunchPolicy,
    /// Tags that the pod asked for beyond node policy.
    pub(super) require_tags: Vec<Requirement>,
    /// What exec and update are clamped to; `None` only if audit mode let a container start that
    /// hardening refuses.
    pub(super) baseline: Option<Baseline>,
    pub(super) config_sha256: String,
    pub(super) audit: bool,
    pub(super) shares_pid_namespace: bool,
    pub(super) systemd_cgroup: bool,
    pub(super) runtime_binary: PathBuf,
    /// The level that the host has taken, of this workload or an earlier one, and must still have.
    pub(super) level: Option<String>,
    pub(super) floor: Floor,
}

// === impl Admission ===

impl Admission {
    /// The OCI runtime, judged safe at Create.
    pub(crate) fn runtime_binary(&self) -> &Path {
        &self.runtime_binary
    }

    /// What its init is confined by, whatever its profile.
    pub(crate) fn floor(&self) -> Arc<[Instruction]> {
        self.floor.program()
    }

    /// Whether cgroups are made through systemd.
    pub(crate) fn wants_systemd_cgroup(&self) -> bool {
        self.systemd_cgroup
    }

    /// Whether the container's processes can outlive its init.
    pub(crate) fn shares_pid_namespace(&self) -> bool {
        self.shares_pid_namespace
    }
}

/// A pid namespace that is joined, or none at all, does not end with the container's init.
pub(super) fn shares_pid_namespace(oci: &OciConfig) -> bool {
    let namespaces = oci
        .as_map()
        .get("linux")
        .and_then(|linux| linux.get("namespaces"));
    let own = namespaces
        .and_then(|namespaces| namespaces.as_array())
        .is_some_and(|all| {
            all.iter().any(|namespace| {
                namespace.get("type").and_then(|kind| kind.as_str()) == Some("pid")
                    && namespace
                        .get("path")
                        .and_then(|path| path.as_str())
                        .is_none_or(str::is_empty)
            })
        });
    !own
}

/// The last look before the program runs: the verdict still counts, and the configuration on
/// disk is the one that was decided on. Returns that configuration, for the kernel to be held to;
/// `None` in audit mode, which promises nothing.
///
/// # Errors
///
/// [`TaskError::Refused`] with `verdict-expired`, `break-glass-unusable`, `sensitivity-mismatch` or
/// `config-changed`, recorded.
pub(crate) async fn recheck(
    admission: &Admission,
    bundle: &Path,
) -> Result<Option<OciConfig>, TaskError> {
    if admission.audit {
        return Ok(None);
    }
    let fresh = match &admission.permit {
        Some(permit) => still_fresh(permit, &admission.policy),
        None => Ok(()),
    };
    let fresh = fresh.and_then(|()| still_waived(admission.waived_until, unix_s()));
    let fresh = fresh.and_then(|()| node_rules::still_pinned(admission.level.as_deref()));
    let same = || unchanged(&admission.config_sha256, bundle).map_err(Refusals::from);
    let refusals = match fresh
        .and_then(|()| same())
        .and_then(|bytes| OciConfig::parse(&bytes))
    {
        Ok(oci) => return Ok(Some(oci)),
        Err(refusals) => refusals,
    };
    Err(refuse(admission, refusals).await)
}

/// A token is for a start within its hours, not for a container that is made within them.
fn still_waived(until_s: Option<u64>, now_s: u64) -> Result<(), Refusals> {
    let Some(late_s) = until_s.and_then(|until_s| now_s.checked_sub(until_s)) else {
        return Ok(());
    };
    let expected = "a start before its end";
    let found = format!("one {late_s} s after it");
    let code = Code::BreakGlassUnusable;
    Err(Refusal::new(code, "break-glass token", expected, found).into())
}

/// The configuration in the bundle, if it still has this digest.
fn unchanged(expected: &str, bundle: &Path) -> Result<Vec<u8>, Refusal> {
    let found = match bundle::read(&bundle.join(CONFIG), MAX_CONFIG_BYTES) {
        Ok(bytes) => {
            let found = sha256_hex(&bytes);
            if found == expected {
                return Ok(bytes);
            }
            found
        }
        Err(error) => quote(&error.to_string()),
    };
    Err(Refusal::new(
        Code::ConfigChanged,
        "config.json in the bundle",
        expected,
        found,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_changed_when_the_file_is_another_or_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CONFIG);
        std::fs::write(&path, b"{}").unwrap();
        let digest = sha256_hex(b"{}");
        unchanged(&digest, dir.path()).unwrap();
        std::fs::write(&path, b"{ }").unwrap();
        assert_eq!(
            unchanged(&digest, dir.path()).unwrap_err().code,
            Code::ConfigChanged
        );
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            unchanged(&digest, dir.path()).unwrap_err().code,
            Code::ConfigChanged
        );
    }

    #[test]
    fn a_start_after_the_end_of_its_token_is_refused() {
        still_waived(None, u64::MAX).unwrap();
        still_waived(Some(100), 99).unwrap();
        for now_s in [100, 101] {
            let refusals = still_waived(Some(100), now_s).unwrap_err();
            assert_eq!(refusals.first().code, Code::BreakGlassUnusable);
        }
    }

    #[test]
    fn knows_whether_processes_can_outlive_init() {
        let shares = |namespaces: &str| {
            let text =
                format!("{{\"ociVersion\":\"1.0.2\",\"linux\":{{\"namespaces\":{namespaces}}}}}");
            shares_pid_namespace(&OciConfig::parse(text.as_bytes()).unwrap())
        };
        assert!(!shares(r#"[{"type":"pid"}]"#));
        assert!(shares(r#"[{"type":"pid","path":"/proc/7/ns/pid"}]"#));
        assert!(shares(r#"[{"type":"ipc"}]"#));
    }
}
