//! A hardening profile: data of the node, read from TOML and a seccomp list in JSON.

mod document;
mod rules;

use std::collections::BTreeMap;

use portcullis_gate::Rule;
use portcullis_json::Limits;
use serde::Deserialize;

use crate::oci_config::OciConfig;
use crate::relaxation::Relaxations;
use crate::seccomp::{SeccompError, SeccompList};

pub(crate) use rules::{
    AnnotationRules, CapabilityRules, DeviceRule, DeviceRules, HookRule, HookRules, LsmRules,
    MountRules, NamespaceRules, NoExec, PathRules, ProcessRules, Relaxation, ResourceRules,
    RootRules, RootUser, SeccompRules, SysctlRules, TmpfsPath, TmpfsRule, Unset,
};

/// The version of the profile format that this code reads.
const VERSION: u32 = 1;
/// Longer than any seccomp list there is.
const SECCOMP_LIMITS: Limits = Limits {
    max_bytes: 1 << 20,
    max_depth: 16,
};

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The TOML is malformed, or a key is unknown, missing or has a wrong value.
    #[error("cannot read profile: {reason}")]
    Toml {
        /// What the parser says, on one line, with the place.
        reason: String,
    },
    /// The format is of another version.
    #[error("cannot read profile of version {found}, expected {VERSION}")]
    Version {
        /// The version that the file gives.
        found: u32,
    },
    /// The seccomp list is not JSON.
    #[error("cannot read seccomp list")]
    SeccompJson(#[source] portcullis_json::JsonError),
    /// The seccomp list holds something that is not safe or not supported.
    #[error("cannot use seccomp list")]
    Seccomp(#[source] SeccompError),
    /// Two rules contradict each other.
    #[error("cannot use profile: {first} contradicts {second}")]
    Contradiction {
        /// One of the settings.
        first: &'static str,
        /// The other one.
        second: &'static str,
    },
}

/// A hardening profile.
#[derive(Debug, Clone)]
pub struct Profile {
    rules: Rules,
    seccomp: SeccompList,
}

/// The TOML file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    version: u32,
    name: String,
    pod_security: String,
    pub process: ProcessRules,
    pub capabilities: CapabilityRules,
    pub root: RootRules,
    pub namespaces: NamespaceRules,
    pub mounts: MountRules,
    pub paths: PathRules,
    pub devices: DeviceRules,
    pub resources: ResourceRules,
    pub sysctl: SysctlRules,
    pub seccomp: SeccompRules,
    pub annotations: AnnotationRules,
    pub hooks: HookRules,
    pub lsm: LsmRules,
    #[serde(default)]
    pub relaxation: BTreeMap<String, Relaxation>,
}

// === impl Profile ===

impl Profile {
    /// Reads a profile from its TOML text and the seccomp list of this processor architecture.
    ///
    /// # Errors
    ///
    /// [`ProfileError`]; unknown keys are errors.
    pub fn parse(toml_text: &str, seccomp_json: &str) -> Result<Self, ProfileError> {
        let rules: Rules =
            document::read(toml_text).map_err(|reason| ProfileError::Toml { reason })?;
        if rules.version != VERSION {
            return Err(ProfileError::Version {
                found: rules.version,
            });
        }
        if !rules
            .capabilities
            .keep
            .intersection(rules.capabilities.strip)
            .is_empty()
        {
            return Err(ProfileError::Contradiction {
                first: "capabilities.keep=",
                second: "capabilities.strip=",
            });
        }
        if rules.annotations.contradict() {
            return Err(ProfileError::Contradiction {
                first: "annotations.allow=",
                second: "annotations.refuse=",
            });
        }
        let list = portcullis_json::parse(seccomp_json.as_bytes(), SECCOMP_LIMITS)
            .map_err(ProfileError::SeccompJson)?;
        let seccomp = SeccompList::from_oci(&list)
            .and_then(|list| list.adjusted(&rules.seccomp))
            .map_err(ProfileError::Seccomp)?;
        Ok(Self { rules, seccomp })
    }

    /// Its name, as node policy refers to it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.rules.name
    }

    /// The version of the Kubernetes Pod Security Standards that its lists follow (`1.37`).
    #[must_use]
    pub fn pod_security_version(&self) -> &str {
        &self.rules.pod_security
    }

    /// The names of the relaxations that it knows, in alphabetical order, each with what it
    /// gives up.
    pub fn relaxations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rules
            .relaxation
            .iter()
            .map(|(name, it)| (name.as_str(), it.summary.as_str()))
    }

    /// True if this profile asks for `rule` of every container; what it asks for besides depends on
    /// its lists.
    #[must_use]
    pub fn applies(&self, rule: Rule) -> bool {
        let rules = &self.rules;
        match rule {
            Rule::NoNewPrivileges => rules.process.no_new_privileges,
            Rule::NonRoot => rules.process.root_user == RootUser::Refuse,
            Rule::Terminal => rules.process.refuse_legacy_terminal,
            Rule::ReadOnlyRoot => rules.root.read_only,
            Rule::UserNamespace => rules.namespaces.user_required,
            Rule::MemoryLimit => rules.resources.memory_limit_required,
            _ => true,
        }
    }

    /// The relaxations that loosen `rule`, each with what it gives up.
    pub fn relaxations_of(&self, rule: Rule) -> impl Iterator<Item = (&str, &str)> {
        let all = self.rules.relaxation.iter();
        all.filter(move |(_, it)| it.concerns(rule))
            .map(|(name, it)| (name.as_str(), it.summary.as_str()))
    }

    /// How many system calls its seccomp list lets pass, with or without conditions.
    #[must_use]
    pub fn allowed_calls(&self) -> usize {
        self.seccomp.allowed_calls()
    }

    /// Whether programs of `architecture` (`SCMP_ARCH_X86`) may run, by itself or by one of the
    /// relaxations that are `granted`.
    #[must_use]
    pub fn runs(&self, architecture: &str, granted: &Relaxations) -> bool {
        let opened = self.active(granted).flat_map(|it| &it.architectures);
        let mut all = self.seccomp.architectures().iter().chain(opened);
        all.any(|it| it == architecture)
    }

    /// Paths of the hooks in `config` whose programs must have a digest that this profile gives.
    #[must_use]
    pub fn hashed_hooks(&self, config: &OciConfig) -> Vec<&str> {
        let mut paths: Vec<&str> = Vec::new();
        let rules = self.rules.hooks.allow.iter();
        for rule in rules.filter(|rule| !rule.sha256.0.is_empty()) {
            let path = rule.path.as_str();
            if !paths.contains(&path) && config.has_hook(path) {
                paths.push(path);
            }
        }
        paths
    }

    pub(crate) const fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(crate) const fn seccomp(&self) -> &SeccompList {
        &self.seccomp
    }

    /// The relaxations among `granted` that this profile knows.
    pub(crate) fn active<'a>(
        &'a self,
        granted: &'a Relaxations,
    ) -> impl Iterator<Item = &'a Relaxation> {
        granted
            .names()
            .filter_map(|name| self.rules.relaxation.get(name))
    }
}

#[cfg(test)]
mod tests;
