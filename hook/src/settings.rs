//! Node policy for one container, tightened by what its pod asks for.

use portcullis_config::{Config, Effective};
use portcullis_gate::record::ContainerRecord;
use portcullis_gate::{Code, Refusal, Refusals, Requirement, quote};
use portcullis_hardening::{OciConfig, Relaxations};

/// Annotation by which a pod asks for more tags than the node does.
const REQUIRE_TAGS: &str = "portcullis.dev/require-tags";

/// Annotation by which a pod asks for a stricter profile than the node does.
const PROFILE: &str = "portcullis.dev/profile";

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

/// What holds for one container.
#[derive(Debug)]
pub(crate) struct Demands<'a> {
    /// Policies of its namespace.
    pub(crate) effective: Effective<'a>,
    /// What its pod asks of the host's tags.
    pub(crate) require_tags: Vec<Requirement>,
    /// Exceptions that hold for its image.
    pub(crate) relaxations: Relaxations,
}

/// Works out what holds for a container in `namespace`.
pub(crate) fn demands<'a>(
    settings: &'a Config,
    namespace: &str,
    oci: &OciConfig,
    now_unix_s: u64,
) -> Result<Demands<'a>, Refusals> {
    let mut effective = settings.effective(namespace);
    if let Some(wanted) = oci.annotation(PROFILE) {
        effective.tighten_profile(wanted)?;
    }
    let require_tags = match oci.annotation(REQUIRE_TAGS).map(Requirement::parse) {
        None => Vec::new(),
        Some(Ok(requirement)) => vec![requirement],
        Some(Err(error)) => {
            let subject = format!("annotation '{REQUIRE_TAGS}'");
            let expected = "a Kubernetes label selector";
            let found = quote(&error.to_string());
            return Err(
                Refusal::new(Code::TagRequirementMalformed, subject, expected, found).into(),
            );
        }
    };
    let image = named(oci, IMAGE).unwrap_or_default();
    let digest = image.split_once('@').map_or("", |(_, digest)| digest);
    let relaxations = effective.relaxations_for(digest, now_unix_s).collect();
    Ok(Demands {
        effective,
        require_tags,
        relaxations,
    })
}

/// The namespace whose policies hold: the pod's, else the one on the command line. Policies only
/// add demands, so one that is named wrongly never loosens those of the node.
pub(crate) fn namespace<'a>(oci: &'a OciConfig, given: Option<&'a str>) -> &'a str {
    named(oci, POD_NAMESPACE).or(given).unwrap_or("default")
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
            assert_eq!(namespace(&oci, Some("moby")), "shop");
            assert_eq!(
                container("c1", None, &oci).pod_namespace.as_deref(),
                Some("shop")
            );
        }
        assert_eq!(namespace(&oci("{}"), Some("moby")), "moby");
        assert_eq!(namespace(&oci("{}"), None), "default");
    }
}
