//! The sections of a profile; the shipped files in `config/profiles/` document each key.

use std::collections::BTreeSet;

use portcullis_gate::Rule;
use serde::Deserialize;

use crate::capability::CapabilitySet;
use crate::facts::NamespaceKind;

/// What happens to a process of uid 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RootUser {
    Permit,
    Refuse,
}

/// What happens to a container that has no label of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unset {
    Permit,
    Refuse,
}

/// Which mounts hold no programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NoExec {
    /// Settings, secrets and the files of the pod sandbox.
    Settings,
    /// Every bind and tmpfs.
    All,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessRules {
    pub no_new_privileges: bool,
    pub root_user: RootUser,
    pub exec_as_root: RootUser,
    pub mapped_uid_min: u32,
    pub nofile_max: u64,
    pub oom_score_adj_min: i32,
    #[serde(default)]
    pub refuse_legacy_terminal: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CapabilityRules {
    #[serde(deserialize_with = "capability_names")]
    pub keep: CapabilitySet,
    #[serde(deserialize_with = "capability_names")]
    pub strip: CapabilitySet,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RootRules {
    pub read_only: bool,
    #[serde(default)]
    pub tmpfs: Vec<TmpfsRule>,
}

/// A tmpfs that makes up for the read-only root.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TmpfsRule {
    pub path: TmpfsPath,
    pub mode: String,
    pub size: String,
}

/// The places whose facts are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum TmpfsPath {
    #[serde(rename = "/tmp")]
    Tmp,
    #[serde(rename = "/var/tmp")]
    VarTmp,
    #[serde(rename = "/run")]
    Run,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamespaceRules {
    #[serde(deserialize_with = "namespace_kinds")]
    pub required: Vec<NamespaceKind>,
    #[serde(deserialize_with = "namespace_kinds")]
    pub add: Vec<NamespaceKind>,
    pub user_required: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MountRules {
    pub types: BTreeSet<String>,
    pub noexec: NoExec,
    pub recursive_read_only: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PathRules {
    pub masked: Vec<String>,
    pub read_only: Vec<String>,
    pub thermal_throttle: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceRules {
    pub keep: Vec<DeviceRule>,
    pub strip: Vec<DeviceRule>,
}

/// A device written as `c 136:* rw`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct DeviceRule {
    pub kind: char,
    pub major: i64,
    /// `None` stands for all.
    pub minor: Option<i64>,
    pub access: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourceRules {
    pub pids_default: i64,
    pub pids_max: i64,
    pub memory_limit_required: bool,
    #[serde(default)]
    pub cpu_limit_required: bool,
    pub unified: BTreeSet<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SysctlRules {
    pub allow: BTreeSet<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeccompRules {
    #[serde(default)]
    pub add: Vec<String>,
    #[serde(default)]
    pub remove: Vec<String>,
    pub netlink: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnnotationRules {
    /// Prefixes; they go before `allow`.
    pub refuse: Vec<String>,
    /// Names, and prefixes, which end in `.` or `/`.
    pub allow: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HookRules {
    pub allow: Vec<HookRule>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HookRule {
    pub path: String,
    pub stages: BTreeSet<String>,
    /// Exactly these, the name of the program first; none if absent.
    #[serde(default)]
    pub args: Vec<String>,
    /// What the program's file must hash to; anything if absent.
    #[serde(default)]
    pub sha256: Sha256Hex,
}

/// A SHA-256 in lower-case hexadecimal; empty, which no file can say, if none is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Sha256Hex(pub String);

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LsmRules {
    pub apparmor_unset: Unset,
    pub selinux_unset: Unset,
    pub selinux_types: BTreeSet<String>,
}

/// What one relaxation gives up.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Relaxation {
    pub summary: String,
    #[serde(default, deserialize_with = "capability_names")]
    pub capabilities: CapabilitySet,
    #[serde(default)]
    pub syscalls: Vec<String>,
    #[serde(default)]
    pub architectures: Vec<String>,
    #[serde(default)]
    pub tmpfs_exec: bool,
    #[serde(default)]
    pub netlink: bool,
}

fn capability_names<'de, D>(deserializer: D) -> Result<CapabilitySet, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let mut set = CapabilitySet::EMPTY;
    for name in Vec::<String>::deserialize(deserializer)? {
        let one = CapabilitySet::of_name(&name).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "unknown capability {}",
                portcullis_gate::quote(&name)
            ))
        })?;
        set = set.union(one);
    }
    Ok(set)
}

fn namespace_kinds<'de, D>(deserializer: D) -> Result<Vec<NamespaceKind>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let names = Vec::<String>::deserialize(deserializer)?;
    names
        .iter()
        .map(|name| {
            NamespaceKind::of_name(name).ok_or_else(|| {
                let quoted = portcullis_gate::quote(name);
                serde::de::Error::custom(format!("unknown namespace {quoted}"))
            })
        })
        .collect()
}

// === impl AnnotationRules ===

impl AnnotationRules {
    /// The prefix because of which `key` is refused.
    pub(crate) fn refusing(&self, key: &str) -> Option<&str> {
        let mut prefixes = self.refuse.iter().map(String::as_str);
        prefixes.find(|prefix| key.starts_with(prefix))
    }

    /// Whether `key` may be there.
    pub(crate) fn allows(&self, key: &str) -> bool {
        self.allow.iter().any(|known| {
            if known.ends_with(['.', '/']) {
                key.starts_with(known.as_str())
            } else {
                key == known
            }
        })
    }

    /// Whether something that is allowed is refused nevertheless.
    pub(crate) fn contradict(&self) -> bool {
        self.allow
            .iter()
            .any(|known| self.refusing(known).is_some())
    }
}

// === impl TmpfsPath ===

impl TmpfsPath {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Tmp => "/tmp",
            Self::VarTmp => "/var/tmp",
            Self::Run => "/run",
        }
    }
}

// === impl Sha256Hex ===

impl TryFrom<String> for Sha256Hex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 64 && text.bytes().all(is_digit) {
            return Ok(Self(text));
        }
        let found = portcullis_gate::quote(&text);
        Err(format!("expected 64 lower-case hex digits, found {found}"))
    }
}

// === impl DeviceRule ===

impl TryFrom<String> for DeviceRule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bad = || {
            format!(
                "expected a device like 'c 1:3 rw', found {}",
                portcullis_gate::quote(&text)
            )
        };
        let mut words = text.split(' ');
        let (Some(kind), Some(numbers), Some(access), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(bad());
        };
        let kind = match kind {
            "b" => 'b',
            "c" => 'c',
            _ => return Err(bad()),
        };
        let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
        let number = |text: &str| text.parse::<u32>().map(i64::from).map_err(|_error| bad());
        let minor = if minor == "*" {
            None
        } else {
            Some(number(minor)?)
        };
        if access.is_empty() || !access.chars().all(|it| matches!(it, 'r' | 'w' | 'm')) {
            return Err(bad());
        }
        Ok(Self {
            kind,
            major: number(major)?,
            minor,
            access: access.to_owned(),
        })
    }
}

impl Relaxation {
    /// True if it gives up something of what `rule` asks for.
    pub(crate) const fn concerns(&self, rule: Rule) -> bool {
        match rule {
            Rule::Capabilities => !self.capabilities.is_empty(),
            Rule::Seccomp => !self.syscalls.is_empty() || !self.architectures.is_empty(),
            Rule::MountOptions | Rule::ReadOnlyRoot => self.tmpfs_exec,
            _ => false,
        }
    }
}

impl DeviceRule {
    /// True if the rule is about the device or devices given; `None` stands for all.
    pub(crate) fn covers(&self, kind: &str, major: Option<i64>, minor: Option<i64>) -> bool {
        let mut one = [0; 4];
        kind == self.kind.encode_utf8(&mut one)
            && major == Some(self.major)
            && (self.minor.is_none() || self.minor == minor)
    }
}
