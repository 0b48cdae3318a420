//! Facts about a pod that is not there yet, beside those that this host tells.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use portcullis_gate::Refusals;
use portcullis_hardening::{
    AppArmor, DirectoryFact, HostFacts, MountSource, NamespaceKind, NamespaceOrigin, OciConfig,
    RootfsFacts, UserNamespaceMaps,
};
use portcullis_host::FactsPolicy;
use serde_json::{Value, json};

use super::assumption::{About, Assumption};
use crate::tree::put;

/// What will be so once the pod is on this host.
#[derive(Debug, Clone, Default)]
pub(crate) struct Foreseen {
    /// Whose the namespaces are that the container will join.
    pub(super) namespaces: BTreeMap<NamespaceKind, NamespaceOrigin>,
    /// The ids of the user namespace that it will join.
    pub(super) user_namespace: Option<UserNamespaceMaps>,
    /// Paths of the host that mounts show, by their places in `mounts`.
    pub(super) host_paths: BTreeMap<usize, String>,
    /// The AppArmor profile, where the host has AppArmor.
    pub(super) apparmor_profile: Option<String>,
    /// The SELinux label, where the host enforces SELinux.
    pub(super) selinux_label: Option<String>,
}

// === impl Foreseen ===

impl Foreseen {
    pub(super) fn host_path(&self, index: usize) -> Option<&str> {
        self.host_paths.get(&index).map(String::as_str)
    }

    /// Puts the labels into `config` that containerd would, on a host with `facts`.
    pub(super) fn label(&self, config: &mut Value, facts: &HostFacts) {
        let process = config.get_mut("process");
        let Some(process) = process else { return };
        let mut set = |key: &str, label: &Option<String>| {
            if let Some(label) = label {
                put(process, key, label.as_str());
            }
        };
        if facts.apparmor != AppArmor::Off {
            set("apparmorProfile", &self.apparmor_profile);
        }
        if facts.selinux {
            set("selinuxLabel", &self.selinux_label);
        }
    }

    /// Completes `facts`, which this host told about `config`.
    pub(super) fn complete(
        &self,
        facts: &mut HostFacts,
        config: &OciConfig,
        policy: &FactsPolicy,
        rootfs: Option<&Path>,
    ) -> Result<Vec<Assumption>, Refusals> {
        let mut assumptions = Vec::new();
        facts.namespaces.extend(self.namespaces.clone());
        if self.user_namespace.is_some() {
            facts.user_namespace.clone_from(&self.user_namespace);
        }
        for bind in config.bind_mounts() {
            let source = match self.host_paths.get(&bind.index) {
                Some(path) => of_host(path, policy, &mut assumptions)?,
                None => portcullis_host::foreseen_source(Path::new(bind.source), policy),
            };
            if let Some(source) = source {
                facts.mount_sources.insert(bind.index, source);
            }
        }
        if facts.selinux {
            let text = "containerd labels containers ('enable_selinux = true')";
            assumptions.push(Assumption::new(About::SelinuxLabel, "", text));
        }
        if rootfs.is_none() {
            facts.rootfs = RootfsFacts {
                tmp: DirectoryFact::Directory,
                var_tmp: DirectoryFact::Directory,
                run: DirectoryFact::Directory,
            };
            let text = "the image has directories /tmp, /var/tmp and /run";
            assumptions.push(Assumption::new(About::ImageDirectories, "", text));
        }
        Ok(assumptions)
    }
}

/// What `path` of this host is. containerd makes a directory that is not there, so what counts then
/// is the nearest directory above it.
fn of_host(
    path: &str,
    policy: &FactsPolicy,
    assumptions: &mut Vec<Assumption>,
) -> Result<Option<MountSource>, Refusals> {
    let mut there = PathBuf::from(path);
    while !there.exists() {
        if !there.pop() {
            return Ok(None);
        }
    }
    let is_new = there != Path::new(path);
    if is_new {
        let text = format!(
            "{} is not on this host, and would be made as a directory",
            portcullis_gate::quote(path)
        );
        assumptions.push(Assumption::new(About::HostPath, "", text));
    }
    if is_new && there == Path::new("/") {
        return Ok(Some(MountSource::Unlisted));
    }
    let source = there.display().to_string();
    let probe = json!({"mounts": [{
        "destination": "/probe", "type": "bind", "source": source, "options": ["rbind"],
    }]});
    let probe = OciConfig::parse(probe.to_string().as_bytes())?;
    let facts = portcullis_host::facts(&probe, None, policy).map_err(|error| error.refusal())?;
    Ok(facts.mount_sources.get(&0).cloned())
}
