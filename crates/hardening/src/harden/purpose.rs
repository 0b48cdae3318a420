//! What a container is for, as far as the profiles tell.

use crate::oci_config::OciConfig;

/// Annotation in which containerd's CRI plugin says it.
const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";

/// What a container is for. Whoever can set annotations can claim either, so that it may only
/// tighten: what a sandbox gets here, any other container would have to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To hold the namespaces of a pod. CRI has neither a limit of memory nor an `AppArmor` profile
    /// for it.
    PodSandbox,
    /// Anything else.
    Work,
}

// === impl Purpose ===

impl Purpose {
    /// What the annotations of a configuration say.
    #[must_use]
    pub fn of(config: &OciConfig) -> Self {
        match config.annotation(CONTAINER_TYPE) {
            Some("sandbox") => Self::PodSandbox,
            _ => Self::Work,
        }
    }
}
