//! What holds for one container: node policy, tightened by what its pod asks for.

use portcullis_gate::request::{PROFILE_ANNOTATION, REQUIRE_TAGS_ANNOTATION, required_tags};
use portcullis_gate::{Refusals, Requirement};
use portcullis_hardening::{Concessions, Relaxations};

use crate::config::{CRI_CONTAINERD_NAMESPACE, Config, Effective, namespace_of};
use crate::node_rules::ImageName;

/// Annotation in which containerd's CRI plugin names the image of a container.
const CRI_IMAGE: &str = "io.kubernetes.cri.image-name";

/// Annotation in which it says whether a container is the sandbox of a pod.
const CRI_CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";

/// What holds for one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demands<'a> {
    /// Policies of its namespace.
    pub effective: Effective<'a>,
    /// What its pod asks of the host's tags, beyond those policies.
    pub require_tags: Vec<Requirement>,
    /// What node policy gives up for it: exceptions that hold for its image, and rules that are not
    /// enforced. Who has authority to except one launch more adds to it before it is used.
    pub concessions: Concessions,
    /// Its image, if somebody who can be believed names it.
    pub image: ImageName,
}

// === impl Config ===

impl Config {
    /// What holds for a container that containerd starts in `containerd_namespace`.
    ///
    /// `annotation` looks up an annotation of its OCI configuration. Annotations can only tighten;
    /// a relaxation, and the name of an image, follow from one only inside the containerd namespace
    /// of Kubernetes, where the CRI plugin, not its client, says which image it is.
    ///
    /// # Errors
    ///
    /// `profile-unknown` or `tag-requirement-malformed`: a demand that is not understood cannot be
    /// met.
    pub fn demands<'a>(
        &self,
        containerd_namespace: &str,
        annotation: impl Fn(&str) -> Option<&'a str>,
        now_unix_s: u64,
    ) -> Result<Demands<'_>, Refusals> {
        let namespace = if containerd_namespace == CRI_CONTAINERD_NAMESPACE {
            namespace_of(CRI_CONTAINERD_NAMESPACE, &annotation)
        } else {
            containerd_namespace
        };
        let mut demands = self.demands_in(namespace, &annotation)?;
        if containerd_namespace == CRI_CONTAINERD_NAMESPACE {
            let image = annotation(CRI_IMAGE).unwrap_or_default();
            let digest = image.split_once('@').map_or("", |(_, digest)| digest);
            demands.concessions.relaxations = demands
                .effective
                .relaxations_for(digest, now_unix_s)
                .collect();
            demands.image = cri_image(annotation);
        }
        Ok(demands)
    }

    /// What holds in the policy namespace `namespace` where nobody vouches for the annotations:
    /// they tighten, and no relaxation follows from them.
    ///
    /// # Errors
    ///
    /// As [`Config::demands`].
    pub fn demands_in<'a>(
        &self,
        namespace: &str,
        annotation: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Demands<'_>, Refusals> {
        let mut effective = self.effective(namespace);
        if let Some(wanted) = annotation(PROFILE_ANNOTATION) {
            effective.tighten_profile(wanted)?;
        }
        let require_tags = annotation(REQUIRE_TAGS_ANNOTATION)
            .map(required_tags)
            .transpose()?;
        Ok(Demands {
            concessions: Concessions {
                relaxations: Relaxations::none(),
                modes: effective.modes.clone(),
            },
            effective,
            require_tags: require_tags.into_iter().collect(),
            image: ImageName::Unknown,
        })
    }
}

/// The image that the CRI plugin names. It says of a sandbox that it is one, and not before
/// containerd 2 which image that is of.
fn cri_image<'a>(annotation: impl Fn(&str) -> Option<&'a str>) -> ImageName {
    match annotation(CRI_IMAGE) {
        Some(name) => ImageName::Named(name.to_owned()),
        None if annotation(CRI_CONTAINER_TYPE) == Some("sandbox") => ImageName::Sandbox,
        None => ImageName::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use portcullis_gate::Code;

    use super::*;

    const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";

    fn config() -> Config {
        let text = format!(
            "[[relaxation]]\nname = \"tmp-exec\"\nnamespace = \"legacy\"\nimage = \"{DIGEST}\"\n\
             expires = \"2100-01-01\"\nreason = \"JNI\"\n"
        );
        crate::parse("portcullis.toml", &text, "w7").unwrap()
    }

    fn annotations<'a>(pairs: &'a [(&str, String)]) -> impl Fn(&str) -> Option<&'a str> {
        move |key| {
            let mut pairs = pairs.iter();
            pairs
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value.as_str())
        }
    }

    #[test]
    fn a_pod_can_tighten_and_not_loosen() {
        let config = config();
        let asked = [
            (PROFILE_ANNOTATION, "strict".to_owned()),
            (REQUIRE_TAGS_ANNOTATION, "pool=pci".to_owned()),
        ];
        let demands = config.demands("default", annotations(&asked), 0).unwrap();
        assert_eq!(demands.effective.profile, "strict");
        assert_eq!(demands.require_tags.len(), 1);
        let looser = [(PROFILE_ANNOTATION, "baseline".to_owned())];
        let demands = config.demands("default", annotations(&looser), 0).unwrap();
        assert_eq!(demands.effective.profile, "restricted");
    }

    #[test]
    fn a_demand_that_is_not_understood_is_a_fault() {
        for (key, value, code) in [
            (PROFILE_ANNOTATION, "lax", Code::ProfileUnknown),
            (
                REQUIRE_TAGS_ANNOTATION,
                "pool in",
                Code::TagRequirementMalformed,
            ),
        ] {
            let asked = [(key, value.to_owned())];
            let config = config();
            let refusals = config
                .demands("default", annotations(&asked), 0)
                .unwrap_err();
            assert_eq!(refusals.first().code, code);
        }
    }

    #[test]
    fn only_cri_can_name_an_image() {
        let config = config();
        let kind = |kind: &str| (CRI_CONTAINER_TYPE, kind.to_owned());
        let named = || (CRI_IMAGE, "nginx:1.27".to_owned());
        for (pairs, expected) in [
            (vec![], ImageName::Unknown),
            (vec![kind("container")], ImageName::Unknown),
            (vec![kind("sandbox")], ImageName::Sandbox),
            (vec![named()], ImageName::Named("nginx:1.27".to_owned())),
            // A name is judged, whatever it is for.
            (
                vec![named(), kind("sandbox")],
                ImageName::Named("nginx:1.27".to_owned()),
            ),
        ] {
            let by_cri = config.demands("k8s.io", annotations(&pairs), 0).unwrap();
            assert_eq!(by_cri.image, expected);
            for namespace in ["default", "moby"] {
                let by_client = config.demands(namespace, annotations(&pairs), 0).unwrap();
                assert_eq!(by_client.image, ImageName::Unknown);
            }
            let by_hook = config.demands_in("k8s.io", annotations(&pairs)).unwrap();
            assert_eq!(by_hook.image, ImageName::Unknown);
        }
    }

    #[test]
    fn only_cri_can_say_which_image_a_relaxation_is_for() {
        let config = config();
        let image = [
            (CRI_IMAGE, format!("shop/app@{DIGEST}")),
            ("io.kubernetes.cri.sandbox-namespace", "legacy".to_owned()),
        ];
        let by_cri = config.demands("k8s.io", annotations(&image), 0).unwrap();
        assert!(by_cri.concessions.relaxations.contains("tmp-exec"));
        // The same words from a client of containerd, in a namespace of that name.
        let by_client = config.demands("legacy", annotations(&image), 0).unwrap();
        assert_eq!(by_client.concessions, Concessions::none());
    }
}
