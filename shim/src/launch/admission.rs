//! What was decided at Create, kept in memory for the container's life.

use std::path::{Path, PathBuf};

use portcullis_gate::record::{ContainerRecord, Operation};
use portcullis_gate::{Code, LaunchPolicy, Permit, Refusal, Requirement, quote};
use portcullis_hardening::{Baseline, OciConfig};

use super::docket::{Docket, sha256_hex, unix_s};
use crate::bundle::{self, CONFIG, MAX_CONFIG_BYTES};
use crate::status::TaskError;

/// A container that may exist, within these bounds.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    pub(super) namespace: String,
    pub(super) container: ContainerRecord,
    /// What the gate saw; `None` only in audit mode.
    pub(super) permit: Option<Permit>,
    pub(super) policy: LaunchPolicy,
    /// Tags that the pod asked for beyond node policy.
    pub(super) require_tags: Vec<Requirement>,
    /// What exec and update are clamped to; `None` only in audit mode.
    pub(super) baseline: Option<Baseline>,
    pub(super) config_sha256: String,
    pub(super) audit: bool,
    pub(super) shares_pid_namespace: bool,
    pub(super) systemd_cgroup: bool,
    pub(super) runtime_binary: PathBuf,
}

// === impl Admission ===

impl Admission {
    /// The OCI runtime, judged safe at Create.
    pub(crate) fn runtime_binary(&self) -> &Path {
        &self.runtime_binary
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
/// disk is the one that was decided on.
///
/// # Errors
///
/// [`TaskError::Refused`] with `verdict-expired` or `config-changed`.
pub(crate) fn recheck(admission: &Admission, bundle: &Path) -> Result<(), TaskError> {
    if admission.audit {
        return Ok(());
    }
    let docket = || {
        Docket::open(
            &admission.namespace,
            &admission.container.id,
            Operation::Start,
        )
    };
    if let Some(permit) = &admission.permit
        && let Err(refusals) = permit.still_fresh(&admission.policy, unix_s())
    {
        return Err(docket()?.stop(refusals));
    }
    let found =
        bundle::read(&bundle.join(CONFIG), MAX_CONFIG_BYTES).map(|bytes| sha256_hex(&bytes));
    match found {
        Ok(found) if found == admission.config_sha256 => Ok(()),
        other => {
            let docket = docket()?;
            let found = other.unwrap_or_else(|error| quote(&error.to_string()));
            let refusal = Refusal::new(
                Code::ConfigChanged,
                docket.subject(),
                admission.config_sha256.clone(),
                found,
            );
            Err(docket.stop(refusal.into()))
        }
    }
}
