//! Workloads: what would be started, as the configurations that an OCI runtime gets.
//!
//! A `config.json` is one. A pod becomes several: that of its sandbox and one for each container,
//! as containerd's CRI plugin writes them for a kubelet. What they came from is kept, so that a
//! finding about a configuration can name the field of the manifest.
//!
//! # Source
//!
//! containerd 2.x, `internal/cri/server` and `internal/cri/opts`; Kubernetes 1.34,
//! `pkg/kubelet/kuberuntime`. Read as specifications; the tests hold the result to recorded
//! configurations.

mod assumption;
mod container;
mod documents;
mod field;
mod foreseen;
mod origins;
mod pod;
mod quantity;
mod sandbox;
mod security;
mod volumes;

use std::path::Path;

use portcullis_gate::Refusals;
use portcullis_hardening::{HostFacts, OciConfig};
use portcullis_host::FactsPolicy;
use serde_json::Value;

use crate::tree::put;

pub(crate) use assumption::{About, Assumption};
pub(crate) use documents::{DocumentError, Form, PodPlace, parse, pods, recognise};
pub(crate) use field::escaped;
use foreseen::Foreseen;
pub(crate) use origins::Origins;
use pod::Pod;
pub(crate) use pod::{Given, ImageUser};

/// One container that would be started.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// `container 'web'`, for people.
    pub(crate) title: String,
    /// What the runtime would be given.
    pub(crate) config: OciConfig,
    /// Pointer of the container in the manifest; none for a configuration or a sandbox.
    pub(crate) manifest_pointer: Option<String>,
    pub(crate) origins: Origins,
    pub(crate) assumptions: Vec<Assumption>,
    /// Where the manifest could name the user, if only the image, which is not known, does.
    pub(crate) image_user: Option<String>,
    /// None for a configuration: its facts are those of this host alone.
    foreseen: Option<Foreseen>,
}

/// Everything that is started together.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    /// `Deployment 'web'`; empty for a configuration.
    pub(crate) title: String,
    pub(crate) place: Option<PodPlace>,
    pub(crate) subjects: Vec<Subject>,
}

// === impl Subject ===

impl Subject {
    /// A configuration as it is.
    pub(crate) fn of_config(config: OciConfig) -> Self {
        Self {
            title: String::new(),
            config,
            manifest_pointer: None,
            origins: Origins::default(),
            assumptions: Vec::new(),
            image_user: None,
            foreseen: None,
        }
    }

    /// True for the container that only holds the namespaces of a pod.
    pub(crate) const fn is_sandbox(&self) -> bool {
        self.foreseen.is_some() && self.manifest_pointer.is_none()
    }

    /// The path of the host that the mount at `index` shows, where the manifest names one.
    pub(crate) fn host_path(&self, index: usize) -> Option<&str> {
        self.foreseen.as_ref()?.host_path(index)
    }

    /// The same container, if its image runs as root.
    pub(crate) fn as_root(&self) -> Result<Self, Refusals> {
        let mut config = Value::Object(self.config.as_map().clone());
        if let Some(user) = config.pointer_mut("/process/user") {
            put(user, "uid", 0);
        }
        let mut same = self.clone();
        same.config = OciConfig::parse(config.to_string().as_bytes())?;
        Ok(same)
    }

    /// Gathers the facts of this host for it, and says what was assumed beside them. Labels of
    /// security modules are put into the configuration, because they depend on the host.
    pub(crate) fn facts(
        &mut self,
        rootfs: Option<&Path>,
        policy: &FactsPolicy,
    ) -> Result<HostFacts, Refusals> {
        let gather = |config: &OciConfig| {
            portcullis_host::facts(config, rootfs, policy).map_err(|error| error.refusal())
        };
        let mut facts = gather(&self.config)?;
        if let Some(foreseen) = &self.foreseen {
            let mut config = Value::Object(self.config.as_map().clone());
            foreseen.label(&mut config, &facts);
            self.config = OciConfig::parse(config.to_string().as_bytes())?;
            let more = foreseen.complete(&mut facts, &self.config, policy, rootfs)?;
            for assumption in more {
                if !self.assumptions.contains(&assumption) {
                    self.assumptions.push(assumption);
                }
            }
        }
        Ok(facts)
    }
}

// === impl Workload ===

impl Workload {
    /// A configuration as it is.
    pub(crate) fn of_config(config: OciConfig) -> Self {
        Self {
            title: String::new(),
            place: None,
            subjects: vec![Subject::of_config(config)],
        }
    }

    /// The pod at `place` of `document`.
    pub(crate) fn of_pod(
        document: &Value,
        place: &PodPlace,
        given: &Given,
    ) -> Result<Self, WorkloadError> {
        let pod = Pod::read(document, place, given)?;
        let (config, origins, foreseen) = sandbox::configuration(&pod)?;
        let mut subjects = vec![Subject {
            title: "pod sandbox".to_owned(),
            config: written(&config)?,
            manifest_pointer: None,
            origins,
            assumptions: pod.assumptions.clone(),
            image_user: None,
            foreseen: Some(foreseen),
        }];
        for container in pod.containers()? {
            let made = container::configuration(&pod, &container)?;
            let name = portcullis_gate::quote(container.get("name").needed_text()?);
            subjects.push(Subject {
                title: format!("container {name}"),
                config: written(&made.config)?,
                manifest_pointer: Some(container.pointer.clone()),
                origins: made.origins,
                assumptions: made.assumptions,
                image_user: made.image_user,
                foreseen: Some(made.foreseen),
            });
        }
        Ok(Self {
            title: place.title.clone(),
            place: Some(place.clone()),
            subjects,
        })
    }
}

/// Why a pod has no configurations.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkloadError {
    #[error(transparent)]
    Field(#[from] field::FieldError),
    #[error("cannot write a configuration for this manifest")]
    Config(#[from] Refusals),
}

fn written(config: &Value) -> Result<OciConfig, Refusals> {
    OciConfig::parse(config.to_string().as_bytes())
}

#[cfg(test)]
mod tests;
