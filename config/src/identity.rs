//! Which container a launch is about, in words that somebody vouches for.

use crate::config::{CRI_CONTAINERD_NAMESPACE, namespace_of};

/// Annotations in which containerd's CRI plugin says so.
const TYPE: &str = "io.kubernetes.cri.container-type";
const SANDBOX: &str = "io.kubernetes.cri.sandbox-id";
const POD: &str = "io.kubernetes.cri.sandbox-name";
const CONTAINER: &str = "io.kubernetes.cri.container-name";
const IMAGE: &str = "io.kubernetes.cri.image-name";

/// A container, as far as exceptions are made for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The policy namespace; see [`namespace_of`].
    pub namespace: &'a str,
    /// Id of the sandbox of its pod, if it is of a pod.
    pub sandbox: Option<&'a str>,
    /// Name of its pod.
    pub pod: Option<&'a str>,
    /// Its name in the pod; none if it is the sandbox. Without a pod, its id.
    pub container: Option<&'a str>,
    /// Digest of its image, if it was started by it.
    pub image: Option<&'a str>,
}

// === impl Identity ===

impl<'a> Identity<'a> {
    /// The container `id` that containerd starts in `containerd_namespace`.
    ///
    /// `annotation` looks up an annotation of its OCI configuration. Pods are known only inside the
    /// containerd namespace of Kubernetes, where the CRI plugin, not its client, names them.
    pub fn of(
        containerd_namespace: &'a str,
        id: &'a str,
        annotation: impl Fn(&str) -> Option<&'a str>,
    ) -> Self {
        let alone = Self {
            namespace: containerd_namespace,
            sandbox: None,
            pod: None,
            container: Some(id),
            image: None,
        };
        if containerd_namespace != CRI_CONTAINERD_NAMESPACE {
            return alone;
        }
        let (Some(sandbox), Some(pod)) = (annotation(SANDBOX), annotation(POD)) else {
            return alone;
        };
        let is_sandbox = annotation(TYPE) == Some("sandbox");
        let digest = |image: &'a str| image.split_once('@').map(|(_, digest)| digest);
        Self {
            namespace: namespace_of(CRI_CONTAINERD_NAMESPACE, &annotation),
            sandbox: Some(sandbox),
            pod: Some(pod),
            // One without a name is no sandbox for that.
            container: (!is_sandbox).then(|| annotation(CONTAINER).unwrap_or_default()),
            image: annotation(IMAGE).and_then(digest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: [(&str, &str); 6] = [
        (TYPE, "container"),
        (SANDBOX, "5a"),
        (POD, "web"),
        (CONTAINER, "app"),
        (IMAGE, "shop/app@sha256:00"),
        ("io.kubernetes.cri.sandbox-namespace", "shop"),
    ];

    fn without<'a>(
        absent: &'a str,
        pairs: &'a [(&'a str, &'a str)],
    ) -> impl Fn(&str) -> Option<&'a str> {
        move |key| {
            let mut pairs = pairs.iter().filter(|(name, _)| *name != absent);
            pairs
                .find(|(name, _)| *name == key)
                .map(|(_, value)| *value)
        }
    }

    #[test]
    fn only_cri_names_pods() {
        let by_cri = Identity::of("k8s.io", "c1", without("", &PAIRS));
        let expected = Identity {
            namespace: "shop",
            sandbox: Some("5a"),
            pod: Some("web"),
            container: Some("app"),
            image: Some("sha256:00"),
        };
        assert_eq!(by_cri, expected);
        // The same words from a client of containerd.
        let alone = Identity {
            namespace: "shop",
            sandbox: None,
            pod: None,
            container: Some("c1"),
            image: None,
        };
        assert_eq!(Identity::of("shop", "c1", without("", &PAIRS)), alone);
    }

    #[test]
    fn what_is_not_said_to_be_a_sandbox_is_none() {
        let nameless = Identity::of("k8s.io", "c1", without(CONTAINER, &PAIRS));
        assert_eq!(nameless.container, Some(""));
        let untyped = Identity::of("k8s.io", "c1", without(TYPE, &PAIRS));
        assert_eq!(untyped.container, Some("app"));
        let mut pairs = PAIRS;
        pairs[0].1 = "sandbox";
        let sandbox = Identity::of("k8s.io", "5a", without("", &pairs));
        assert_eq!((sandbox.container, sandbox.pod), (None, Some("web")));
        let podless = Identity::of("k8s.io", "c1", without(SANDBOX, &PAIRS));
        assert_eq!((podless.container, podless.pod), (Some("c1"), None));
    }
}
