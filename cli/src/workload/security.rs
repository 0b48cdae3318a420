//! The security context of a container: what it says itself, else what its pod says.

use portcullis_hardening::CapabilitySet;
use serde_json::{Value, json};

use super::field::{Field, Read};
use super::origins::Origins;
use super::pod::Pod;

/// What containerd gives a container that asks for nothing.
///
/// # Source
///
/// containerd, `pkg/oci/spec.go`, `defaultUnixCaps`.
pub(super) const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];
/// The AppArmor profile that containerd loads.
const APPARMOR_DEFAULT: &str = "cri-containerd.apparmor.d";
/// What the kubelet asks to hide, and to protect, unless `procMount` is `Unmasked`.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
pub(super) const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The security context of one container.
#[derive(Debug)]
pub(super) struct Security<'a> {
    own: Field<'a>,
    pod: Field<'a>,
    container: Field<'a>,
    legacy_apparmor: Field<'a>,
}

/// A label as `asked` for, of type `kind` unless it says another; the level is one that containerd
/// could choose.
pub(super) fn selinux_label(asked: &Field<'_>, kind: &'static str) -> Read<String> {
    let asked = asked.clone().object()?;
    let part = |name: &str, otherwise: &'static str| -> Read<String> {
        Ok(asked.get(name).text()?.unwrap_or(otherwise).to_owned())
    };
    Ok(format!(
        "{}:{}:{}:{}",
        part("user", "system_u")?,
        part("role", "system_r")?,
        part("type", kind)?,
        part("level", "s0:c1,c2")?
    ))
}

// === impl Security ===

impl<'a> Security<'a> {
    pub(super) fn of(pod: &Pod<'a>, container: &Field<'a>) -> Read<Self> {
        let name = container.get("name").needed_text()?;
        let legacy = format!("container.apparmor.security.beta.kubernetes.io/{name}");
        Ok(Self {
            own: container.get("securityContext").object()?,
            pod: pod.security.clone(),
            container: container.clone(),
            legacy_apparmor: pod.metadata.get("annotations").get(&legacy),
        })
    }

    fn either(&self, name: &str) -> Field<'a> {
        self.own.get(name).or(&self.pod.get(name))
    }

    pub(super) fn privileged(&self) -> Read<bool> {
        self.own.get("privileged").is_true()
    }

    pub(super) fn user(&self) -> Field<'a> {
        self.either("runAsUser")
    }

    pub(super) fn group(&self) -> Field<'a> {
        self.either("runAsGroup")
    }

    /// True if the kubelet refuses an image that runs as root.
    pub(super) fn must_not_be_root(&self) -> Read<bool> {
        self.either("runAsNonRoot").is_true()
    }

    pub(super) fn read_only_root(&self) -> Read<bool> {
        self.own.get("readOnlyRootFilesystem").is_true()
    }

    pub(super) fn no_new_privileges(&self) -> Read<bool> {
        Ok(self.own.get("allowPrivilegeEscalation").flag()? == Some(false))
    }

    pub(super) fn unmasked(&self) -> Read<bool> {
        Ok(self.own.get("procMount").text()? == Some("Unmasked"))
    }

    /// `maskedPaths` and `readonlyPaths`.
    pub(super) fn paths(&self) -> Read<(Value, Value)> {
        Ok(if self.unmasked()? || self.privileged()? {
            (json!([]), json!([]))
        } else {
            (json!(MASKED), json!(READ_ONLY))
        })
    }

    /// `process.capabilities`: `ALL` first, then single ones, additions before subtractions.
    pub(super) fn capabilities(&self) -> Read<Value> {
        let asked = self.own.get("capabilities").object()?;
        let (add, drop) = (asked.get("add").texts()?, asked.get("drop").texts()?);
        let all = || {
            CapabilitySet::from_bits(u64::MAX)
                .names()
                .map(str::to_owned)
        };
        let is_all = |name: &&str| *name == "ALL";
        let mut names: Vec<String> = if self.privileged()? {
            all().collect()
        } else if drop.iter().any(is_all) {
            Vec::new()
        } else if add.iter().any(is_all) {
            all().collect()
        } else {
            DEFAULT_CAPABILITIES.map(str::to_owned).to_vec()
        };
        let written = |name: &&str| format!("CAP_{}", name.to_uppercase());
        let single = |name: &&&str| !name.eq_ignore_ascii_case("ALL");
        if !self.privileged()? {
            for name in add.iter().filter(single).map(written) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            let dropped: Vec<String> = drop.iter().filter(single).map(written).collect();
            names.retain(|name| !dropped.contains(name));
        }
        Ok(json!({"bounding": names, "effective": names, "permitted": names}))
    }

    /// `apparmorProfile`, if the host has AppArmor; unset where nothing confines.
    pub(super) fn apparmor(&self) -> Read<Option<String>> {
        if self.privileged()? {
            return Ok(None);
        }
        let asked = self.either("appArmorProfile").object()?;
        let localhost = asked.get("localhostProfile");
        let legacy = self.legacy_apparmor.text()?;
        Ok(match (asked.get("type").text()?, legacy) {
            (Some("Localhost"), _) => Some(localhost.needed_text()?.to_owned()),
            (Some("Unconfined"), _) | (None, Some("unconfined")) => None,
            (None, Some(legacy)) if legacy.starts_with("localhost/") => {
                legacy.strip_prefix("localhost/").map(str::to_owned)
            }
            (Some(_), _) | (None, _) => Some(APPARMOR_DEFAULT.to_owned()),
        })
    }

    /// `selinuxLabel`, if the host enforces SELinux.
    pub(super) fn selinux(&self) -> Read<String> {
        let kind = if self.privileged()? {
            "spc_t"
        } else {
            "container_t"
        };
        selinux_label(&self.either("seLinuxOptions"), kind)
    }

    /// The field that says which seccomp list holds, and what it says.
    pub(super) fn seccomp(&self) -> Read<(Field<'a>, Option<&'a str>)> {
        let asked = self.either("seccompProfile").object()?;
        let kind = asked.get("type").text()?;
        Ok((asked, kind))
    }

    /// Notes which fields the parts of the configuration come from.
    pub(super) fn note(&self, origins: &mut Origins) -> Read<()> {
        let own = |name: &str| self.own.get(name).pointer;
        let either = |name: &str| self.either(name).pointer;
        if self.privileged()? {
            for config in [
                "/process/capabilities",
                "/linux/resources/devices",
                "/linux/devices",
            ] {
                origins.add(config, own("privileged"));
            }
        } else {
            let asked = self.own.get("capabilities");
            let add = asked.get("add");
            let pointer = if add.is_set() { add } else { asked };
            origins.add("/process/capabilities", pointer.pointer);
        }
        origins.add("/process/user", either("runAsUser"));
        origins.add("/process/noNewPrivileges", own("allowPrivilegeEscalation"));
        origins.add("/process/apparmorProfile", either("appArmorProfile"));
        origins.add("/process/selinuxLabel", either("seLinuxOptions"));
        origins.add("/root/readonly", own("readOnlyRootFilesystem"));
        origins.add("/linux/seccomp", either("seccompProfile"));
        origins.add("/linux/maskedPaths", own("procMount"));
        origins.add("/linux/readonlyPaths", own("procMount"));
        origins.add("/process/terminal", self.container.get("tty").pointer);
        origins.add("/process/cwd", self.container.get("workingDir").pointer);
        let limits = self.container.get("resources").get("limits");
        origins.add("/linux/resources/memory", limits.get("memory").pointer);
        origins.add("/linux/resources/cpu", limits.get("cpu").pointer);
        Ok(())
    }
}
