//! What is known about each rule beside the standards behind it.

use portcullis_gate::Rule;

/// What the author of a workload can do about a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Advice {
    /// The fields of a pod that decide it; empty if none does.
    pub(crate) fields: &'static str,
    /// What to do, or why nothing has to be done.
    pub(crate) text: &'static str,
}

/// The advice about `rule`; `None` for a rule that this program does not know yet.
#[expect(clippy::too_many_lines, reason = "a table, a few lines for each rule")]
pub(crate) fn of(rule: Rule) -> Option<Advice> {
    let (fields, text) = match rule {
        Rule::Privileged => (
            "securityContext.privileged",
            "ask for what is needed by name: a capability, a device, a mount",
        ),
        Rule::NoNewPrivileges => (
            "securityContext.allowPrivilegeEscalation",
            "nothing: it is set; set 'allowPrivilegeEscalation: false' to have it everywhere",
        ),
        Rule::NonRoot => (
            "securityContext.runAsUser, hostUsers",
            "run as another user than 0, or with 'hostUsers: false'",
        ),
        Rule::Capabilities => (
            "securityContext.capabilities.add",
            "drop what was added; what runtimes add by themselves is taken out without a refusal",
        ),
        Rule::Rlimits => (
            "",
            "nothing: limits are lowered; raise the profile's nofile_max if a program needs more",
        ),
        Rule::Scheduling => (
            "",
            "ask for no real-time class, and for no niceness below 0",
        ),
        Rule::Terminal => (
            "tty",
            "take no terminal, or set dev.tty.legacy_tiocsti=0 on the host",
        ),
        Rule::OomScore => ("", "raise oomScoreAdj"),
        Rule::WorkingDirectory => ("workingDir", "use a directory of the image"),
        Rule::LsmLabels => (
            "securityContext.appArmorProfile, securityContext.seLinuxOptions.type",
            "use the runtime's default label, or one of a container",
        ),
        Rule::RootFilesystem => ("", "use the root filesystem of the bundle"),
        Rule::ReadOnlyRoot => (
            "securityContext.readOnlyRootFilesystem, volumes",
            "nothing: it is set, and /tmp, /var/tmp and /run stay writable; mount a volume where a program writes elsewhere",
        ),
        Rule::HostNamespaces => (
            "hostNetwork, hostPID, hostIPC",
            "leave them out; a host port needs no host network",
        ),
        Rule::UserNamespace => ("hostUsers", "set 'hostUsers: false'"),
        Rule::MountTypes => ("volumeMounts.mountPath", "mount outside of /proc and /sys"),
        Rule::MountSources => (
            "volumes.hostPath",
            "use a volume; what every container of the node may see belongs into 'mounts.allow='",
        ),
        Rule::MountOptions => ("", "nothing: options are added"),
        Rule::MountPropagation => (
            "volumeMounts.mountPropagation",
            "use None or HostToContainer",
        ),
        Rule::Devices => ("volumeDevices", "use a volume with a filesystem"),
        Rule::MaskedPaths => ("securityContext.procMount", "nothing: paths are added"),
        Rule::ReadOnlyPaths => ("securityContext.procMount", "nothing: paths are added"),
        Rule::Sysctls => (
            "securityContext.sysctls",
            "leave it out, or set it for the whole host",
        ),
        Rule::HostSettings => ("", "leave the field out"),
        Rule::Seccomp => (
            "securityContext.seccompProfile",
            "nothing: the profile's list is put in; if a program needs more, ask for a relaxation",
        ),
        Rule::PidsLimit => ("", "nothing: a limit is set"),
        Rule::MemoryLimit => ("resources.limits.memory", "set a limit"),
        Rule::CpuLimit => ("resources.limits.cpu", "set a limit"),
        Rule::CgroupSettings => ("", "leave the setting out"),
        Rule::Hooks => (
            "",
            "leave the hook out, or have the operator add it to the profile",
        ),
        Rule::Annotations => ("metadata.annotations", "leave the annotation out"),
        Rule::ImageDigest => ("image", "name the image by its digest: 'name@sha256:…'"),
        Rule::ImageRegistry => ("image", "take the image from an approved registry"),
        Rule::Sensitivity => ("", "run it on a host of the same sensitivity"),
        Rule::RuntimeVersion => (
            "",
            "nothing in the workload: the operator updates the OCI runtime",
        ),
        Rule::KernelVersion => (
            "",
            "nothing in the workload: the operator updates the kernel",
        ),
        _ => return None,
    };
    Some(Advice { fields, text })
}

#[cfg(test)]
mod tests {
    use portcullis_gate::Rule;

    #[test]
    fn every_rule_has_advice() {
        for rule in Rule::ALL {
            assert!(super::of(*rule).is_some(), "{rule}");
        }
    }
}
