//! A pod: what its containers share.

use portcullis_hardening::NamespaceKind;
use serde_json::{Value, json};

use super::assumption::{About, Assumption};
use super::documents::PodPlace;
use super::field::{Field, FieldError, Read};
use super::quantity::thousandths;
use super::volumes::{self, Volume};

/// What stands for the process of the pod sandbox: no process ever has this number.
pub(super) const SANDBOX_PROCESS: &str = "/proc/0/ns";
/// Annotations of pods that the shipped settings of containerd let through.
const PASSED_ANNOTATIONS: &str = "portcullis.dev/";
/// How many ids a kubelet gives a pod with `hostUsers: false`, and the lowest on the host.
pub(super) const USER_NAMESPACE_IDS: u64 = 65_536;

/// What nobody knows before a pod is on a node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    /// The user of the image, if the caller knows it.
    pub(crate) image_user: Option<ImageUser>,
    /// The Kubernetes namespace, where the manifest names none.
    pub(crate) namespace: Option<String>,
}

/// The user of an image, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ImageUser {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A pod, as far as its containers share it.
#[derive(Debug)]
pub(super) struct Pod<'a> {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) spec: Field<'a>,
    pub(super) security: Field<'a>,
    pub(super) metadata: Field<'a>,
    pub(super) volumes: std::collections::BTreeMap<String, Volume>,
    pub(super) assumptions: Vec<Assumption>,
    pub(super) image_user: Option<ImageUser>,
}

/// Classes of quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quality {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl std::str::FromStr for ImageUser {
    type Err = &'static str;

    /// `UID` or `UID:GID`; without one the group is 0, as for a user that the image does not name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected UID or UID:GID, in numbers";
        let number = |text: &str| text.parse().map_err(|_reason_is_clear| EXPECTED);
        let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
        Ok(Self {
            uid: number(uid)?,
            gid: number(gid)?,
        })
    }
}

// === impl Pod ===

impl<'a> Pod<'a> {
    pub(super) fn read(document: &'a Value, place: &PodPlace, given: &Given) -> Read<Self> {
        let metadata = Field::at(document, &format!("{}/metadata", place.pod)).object()?;
        let spec = Field::at(document, &format!("{}/spec", place.pod));
        if !spec.is_set() {
            return Err(spec.fault("the specification of a pod"));
        }
        let spec = spec.object()?;
        let system = spec.get("os").get("name");
        if system.text()?.is_some_and(|system| system != "linux") {
            return Err(system.fault("'linux': other systems have other containers"));
        }
        let of_object = Field::at(document, &format!("{}/metadata", place.object));
        let namespace = match metadata
            .get("namespace")
            .or(&of_object.get("namespace"))
            .text()?
        {
            Some(namespace) => namespace,
            None => given.namespace.as_deref().unwrap_or("default"),
        };
        let mut assumptions = Vec::new();
        let volumes = volumes::read(&spec, &mut assumptions)?;
        let name = metadata.get("name").or(&of_object.get("name"));
        let text = "no admission controller or limit range changes the pod".to_owned();
        assumptions.push(Assumption::new(About::Admission, "", text));
        Ok(Self {
            name: name.text()?.unwrap_or("pod").to_owned(),
            namespace: namespace.to_owned(),
            security: spec.get("securityContext").object()?,
            spec,
            metadata,
            volumes,
            assumptions,
            image_user: given.image_user,
        })
    }

    /// All containers, with the lists that they stand in.
    pub(super) fn containers(&self) -> Read<Vec<Field<'a>>> {
        let mut all = Vec::new();
        for list in ["initContainers", "containers", "ephemeralContainers"] {
            all.append(&mut self.spec.get(list).list()?);
        }
        if self.spec.get("containers").list()?.is_empty() {
            return Err(self.spec.get("containers").fault("at least one container"));
        }
        Ok(all)
    }

    /// The field that asks for the host's namespace of `kind`.
    pub(super) fn host_namespace(&self, kind: NamespaceKind) -> Option<Field<'a>> {
        let name = match kind {
            // containerd gives a pod in the host's network the host's name too.
            NamespaceKind::Network | NamespaceKind::Uts => "hostNetwork",
            NamespaceKind::Pid => "hostPID",
            NamespaceKind::Ipc => "hostIPC",
            NamespaceKind::User => "hostUsers",
            NamespaceKind::Mount | NamespaceKind::Cgroup | NamespaceKind::Time => return None,
        };
        Some(self.spec.get(name))
    }

    pub(super) fn shares_with_host(&self, kind: NamespaceKind) -> Read<bool> {
        match self.host_namespace(kind) {
            None => Ok(false),
            Some(field) if kind == NamespaceKind::User => Ok(field.flag()? != Some(false)),
            Some(field) => field.is_true(),
        }
    }

    /// The annotations that containerd gives every configuration of the pod.
    pub(super) fn annotations(&self, kind: &str) -> Read<serde_json::Map<String, Value>> {
        let own = json!({
            "io.kubernetes.cri.container-type": kind,
            "io.kubernetes.cri.sandbox-name": self.name,
            "io.kubernetes.cri.sandbox-namespace": self.namespace,
        });
        let mut all = match own {
            Value::Object(own) => own,
            _ => serde_json::Map::new(),
        };
        for (key, value) in self.metadata.get("annotations").entries()? {
            if key.starts_with(PASSED_ANNOTATIONS) {
                all.insert(key.to_owned(), value.needed_text()?.into());
            }
        }
        Ok(all)
    }

    /// Groups that every process of the pod has besides its own.
    pub(super) fn groups(&self) -> Read<Vec<u32>> {
        let mut groups = Vec::new();
        for group in self.security.get("supplementalGroups").list()? {
            groups.extend(group.id()?);
        }
        groups.extend(self.security.get("fsGroup").id()?);
        Ok(groups)
    }

    /// The OOM score that the kubelet gives containers. That of a burstable pod depends on the
    /// memory of the node and lies between 2 and 999; no rule tells these apart.
    pub(super) fn oom_score(&self) -> Read<i64> {
        let critical = self.spec.get("priorityClassName").text()? == Some("system-node-critical");
        Ok(match self.quality()? {
            _ if critical => -997,
            Quality::Guaranteed => -997,
            Quality::Burstable => 999,
            Quality::BestEffort => 1000,
        })
    }

    fn quality(&self) -> Read<Quality> {
        let (mut any, mut all) = (false, true);
        for list in ["initContainers", "containers"] {
            for container in self.spec.get(list).list()? {
                let resources = container.get("resources");
                for name in ["cpu", "memory"] {
                    let limit = quantity(&resources.get("limits").get(name))?;
                    let request = quantity(&resources.get("requests").get(name))?;
                    any |= limit.or(request).is_some_and(|size| size > 0);
                    all &= limit.is_some() && (request.is_none() || request == limit);
                }
            }
        }
        Ok(match (any, all) {
            (_, true) => Quality::Guaranteed,
            (true, false) => Quality::Burstable,
            (false, false) => Quality::BestEffort,
        })
    }
}

/// A quantity in thousandths.
pub(super) fn quantity(field: &Field<'_>) -> Result<Option<u128>, FieldError> {
    let expected = || field.fault("a quantity");
    match field.value() {
        None => Ok(None),
        Some(Value::String(text)) => thousandths(text).map(Some).ok_or_else(expected),
        Some(Value::Number(number)) => thousandths(&number.to_string())
            .map(Some)
            .ok_or_else(expected),
        Some(_) => Err(expected()),
    }
}
