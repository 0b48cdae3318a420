//! Which containers share one server: those of one pod.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use crate::bundle::{CONFIG, MAX_CONFIG_BYTES};

/// containerd namespace whose annotations CRI controls.
const CRI_NAMESPACE: &str = "k8s.io";

/// Set by a client that wants containers in one shim.
const GROUP: &str = "io.containerd.runc.v2.group";

/// Set by containerd's CRI plugin on every container of a pod.
const SANDBOX_ID: &str = "io.kubernetes.cri.sandbox-id";

/// The only part of `config.json` that matters before Create, where the strict reader judges
/// the rest.
#[derive(Deserialize)]
struct Annotated {
    #[serde(default)]
    annotations: Option<HashMap<String, String>>,
}

/// The group of the task `id`, from the annotations in the bundle's `config.json`.
///
/// In the namespace `k8s.io` the group annotation is ignored: a pod could set it and pick
/// another pod's server. An unreadable file gives the task a group of its own; Create refuses it.
pub(crate) fn of(bundle: &Path, namespace: &str, id: &str) -> String {
    let annotations = crate::bundle::read(&bundle.join(CONFIG), MAX_CONFIG_BYTES)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Annotated>(&bytes).ok())
        .and_then(|config| config.annotations)
        .unwrap_or_default();
    choose(&annotations, namespace, id)
}

fn choose(annotations: &HashMap<String, String>, namespace: &str, id: &str) -> String {
    let group = annotations
        .get(GROUP)
        .filter(|_| namespace != CRI_NAMESPACE);
    group
        .or_else(|| annotations.get(SANDBOX_ID))
        .map_or(id, String::as_str)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations() -> HashMap<String, String> {
        [(GROUP, "chosen-by-client"), (SANDBOX_ID, "sandbox-1")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn honours_the_group_label_outside_cri_only() {
        assert_eq!(choose(&annotations(), "default", "c1"), "chosen-by-client");
        assert_eq!(choose(&annotations(), "k8s.io", "c1"), "sandbox-1");
    }

    #[test]
    fn falls_back_to_the_task_itself() {
        assert_eq!(choose(&HashMap::new(), "k8s.io", "c1"), "c1");
        let missing = of(Path::new("/nonexistent"), "default", "c2");
        assert_eq!(missing, "c2");
    }
}
