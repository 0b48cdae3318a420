//! Volumes of a pod: where on the host the kubelet has them.

use std::collections::BTreeMap;

use super::assumption::{About, Assumption};
use super::field::{Field, Read};

/// Where the kubelet keeps a pod. Its uid is not known before there is one.
pub(super) const POD_DIRECTORY: &str = "/var/lib/kubelet/pods/pod-uid";
/// Where containerd mounts the images that are volumes.
const IMAGE_VOLUMES: &str = "/run/containerd/io.containerd.grpc.v1.cri/image-volumes/pod-uid";
/// Types of volumes that the API gives another name than the kubelet's plugin has.
const PLUGINS: [(&str, &str); 7] = [
    ("emptyDir", "empty-dir"),
    ("configMap", "configmap"),
    ("downwardAPI", "downward-api"),
    ("gcePersistentDisk", "gce-pd"),
    ("awsElasticBlockStore", "aws-ebs"),
    ("persistentVolumeClaim", "csi"),
    ("ephemeral", "csi"),
];

/// A volume.
#[derive(Debug, Clone)]
pub(super) struct Volume {
    /// The directory or file on the host.
    pub(super) path: String,
    /// A path of the host that the manifest names.
    pub(super) host_path: bool,
    /// What in the manifest says where it comes from.
    pub(super) pointer: String,
}

/// The volumes of the pod with this `spec`, by their names.
pub(super) fn read(
    spec: &Field<'_>,
    assumptions: &mut Vec<Assumption>,
) -> Read<BTreeMap<String, Volume>> {
    let mut volumes = BTreeMap::new();
    for volume in spec.get("volumes").list()? {
        let name = volume.clone().object()?.get("name").needed_text()?;
        let kind = volume
            .entries()?
            .into_iter()
            .find(|(key, field)| *key != "name" && field.is_set());
        let made = match kind {
            // The API gives a volume without a type this one.
            None => plugin(&volume.get("emptyDir"), "emptyDir", name),
            Some(("hostPath", source)) => {
                let path = source.get("path");
                Volume {
                    path: path.needed_text()?.to_owned(),
                    host_path: true,
                    pointer: path.pointer,
                }
            }
            Some(("image", source)) => Volume {
                path: format!("{IMAGE_VOLUMES}/{name}"),
                host_path: false,
                pointer: source.pointer,
            },
            Some((kind, source)) => {
                if kind == "persistentVolumeClaim" {
                    let text = format!(
                        "the claim of volume {} is not bound to a path of the host",
                        portcullis_gate::quote(name)
                    );
                    let about = About::VolumeClaim;
                    assumptions.push(Assumption::new(about, &source.pointer, text));
                }
                plugin(&source, kind, name)
            }
        };
        volumes.insert(name.to_owned(), made);
    }
    Ok(volumes)
}

fn plugin(source: &Field<'_>, kind: &str, name: &str) -> Volume {
    let known = PLUGINS.iter().find(|(api, _)| *api == kind);
    let plugin = known.map_or_else(|| kind.to_lowercase(), |(_, plugin)| (*plugin).to_owned());
    let within = if plugin == "csi" { "/mount" } else { "" };
    Volume {
        path: format!("{POD_DIRECTORY}/volumes/kubernetes.io~{plugin}/{name}{within}"),
        host_path: false,
        pointer: source.pointer.clone(),
    }
}
