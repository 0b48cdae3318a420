//! How a container is called by those who started it, and whose policies hold for it.

use portcullis_gate::record::ContainerRecord;
use portcullis_hardening::OciConfig;

/// Names of one thing in the annotations of containerd's CRI plugin and of CRI-O and the kubelet.
type Names = &'static [&'static str];

const SANDBOX_ID: Names = &[
    "io.kubernetes.cri.sandbox-id",
    "io.kubernetes.cri-o.SandboxID",
];
const POD: Names = &["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"];
const POD_NAMESPACE: Names = &[
    "io.kubernetes.cri.sandbox-namespace",
    "io.kubernetes.pod.namespace",
];
const POD_UID: Names = &["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"];
const CONTAINER: Names = &[
    "io.kubernetes.cri.container-name",
    "io.kubernetes.container.name",
];
const IMAGE: Names = &[
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri-o.ImageName",
];

/// The namespace whose policies hold: the one on the command line, which the node's administrator
/// wrote, else the pod's. An annotation is whoever's who starts the container; policies of a
/// namespace only add to those of the node, which hold in any case.
pub(crate) fn namespace<'a>(oci: &'a OciConfig, given: Option<&'a str>) -> &'a str {
    given
        .or_else(|| named(oci, POD_NAMESPACE))
        .unwrap_or("default")
}

/// The container in the words of its callers.
pub(crate) fn container(id: &str, namespace: Option<&str>, oci: &OciConfig) -> ContainerRecord {
    let owned = |names| named(oci, names).map(str::to_owned);
    ContainerRecord {
        namespace: namespace.unwrap_or_default().to_owned(),
        id: id.to_owned(),
        sandbox_id: owned(SANDBOX_ID),
        pod: owned(POD),
        pod_namespace: owned(POD_NAMESPACE),
        pod_uid: owned(POD_UID),
        name: owned(CONTAINER),
        image: owned(IMAGE),
    }
}

fn named(oci: &OciConfig, names: Names) -> Option<&str> {
    names.iter().find_map(|name| oci.annotation(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oci(annotations: &str) -> OciConfig {
        let text = format!(r#"{{"ociVersion":"1.0.2","annotations":{annotations}}}"#);
        OciConfig::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn knows_the_names_of_both_cri_implementations() {
        let containerd = oci(r#"{"io.kubernetes.cri.sandbox-namespace":"shop"}"#);
        let crio = oci(r#"{"io.kubernetes.pod.namespace":"shop"}"#);
        for oci in [containerd, crio] {
            assert_eq!(namespace(&oci, None), "shop");
            assert_eq!(namespace(&oci, Some("moby")), "moby");
            assert_eq!(
                container("c1", None, &oci).pod_namespace.as_deref(),
                Some("shop")
            );
        }
        assert_eq!(namespace(&oci("{}"), Some("moby")), "moby");
        assert_eq!(namespace(&oci("{}"), None), "default");
    }
}
