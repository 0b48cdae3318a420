//! The rules about workloads, each with a name that never changes and the standards that ask for it.
//!
//! A [`Code`](crate::Code) says what went wrong, a rule says what is wanted; several rules may
//! share a code. What a host must prove before anything starts on it is no rule here: nothing that
//! is said about rules can touch it.

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct References {
    /// Section of NIST SP 800-190.
    pub sp800_190: &'static str,
    /// Control of the Kubernetes Pod Security Standards; empty if they have none.
    pub pss: &'static str,
    /// Recommendations of the CIS Docker Benchmark 1.6; empty if it has none.
    pub cis_docker: &'static str,
    /// Recommendations of the CIS Kubernetes Benchmark 1.12; empty if it has none.
    pub cis_kubernetes: &'static str,
}

/// Everything about a rule that never varies.
struct Entry {
    id: &'static str,
    title: &'static str,
    references: References,
}

macro_rules! rules {
    ($($variant:ident $id:literal $sp:literal $pss:literal $docker:literal $kubernetes:literal,
        $title:literal;)+) => {
        /// A rule about workloads. Ids are kebab-case nouns for what is ruled, and are never
        /// renamed: node policies and records name them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Rule {
            $(#[doc = concat!("`", $id, "`: ", $title, ".")] $variant,)+
        }

        impl Rule {
            /// All rules, in the order of `docs/rules.md`.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Their ids, in the same order.
            pub const IDS: &'static [&'static str] = &[$($id),+];

            const fn entry(self) -> Entry {
                match self {
                    $(Self::$variant => Entry {
                        id: $id,
                        title: $title,
                        references: References {
                            sp800_190: $sp,
                            pss: $pss,
                            cis_docker: $docker,
                            cis_kubernetes: $kubernetes,
                        },
                    },)+
                }
            }
        }
    };
}

rules! {
    // The process.
    Privileged "privileged" "4.4.3" "Privileged Containers" "5.5" "5.2.2",
        "no container has all capabilities or every device";
    NoNewPrivileges "no-new-privileges" "4.4.3" "Privilege Escalation" "5.26" "5.2.6",
        "a setuid file gives no rights";
    NonRoot "non-root" "4.1.2" "Running as Non-root, Running as Non-root user" "4.1" "5.2.7",
        "no process runs as uid 0 of the host";
    Capabilities "capabilities" "4.4.3" "Capabilities" "5.4" "5.2.8, 5.2.9",
        "a process has the capabilities of its profile";
    Rlimits "rlimits" "4.1.4" "" "5.19" "",
        "no core files, and a limit of open files";
    Scheduling "scheduling" "4.4.3" "" "" "",
        "no real-time class and no place before others";
    Terminal "terminal" "4.4.3" "" "" "",
        "no terminal into which a program could type";
    OomScore "oom-score" "4.4.3" "" "" "",
        "the OOM killer takes a container before the host's services";
    WorkingDirectory "working-directory" "4.4.1" "" "" "",
        "the working directory is absolute and not in /proc";
    LsmLabels "lsm-labels" "4.4.3" "AppArmor, SELinux" "5.2, 5.3" "",
        "AppArmor and SELinux confine the process";

    // Its view of the host.
    RootFilesystem "root-filesystem" "4.5.5" "" "" "",
        "the root filesystem is the bundle's own";
    ReadOnlyRoot "read-only-root" "4.4.4" "" "5.13" "",
        "the root filesystem is read-only";
    HostNamespaces "host-namespaces" "4.4.3" "Host Namespaces" "5.10, 5.16, 5.17, 5.21" "5.2.3, 5.2.4, 5.2.5",
        "no namespace is the host's";
    UserNamespace "user-namespace" "4.4.3" "" "5.31" "",
        "ids of a user namespace are none of the host's";
    MountTypes "mount-types" "4.4.3" "" "" "",
        "filesystems are of a type, and at a place, of the profile";
    MountSources "mount-sources" "4.5.5" "HostPath Volumes, Volume Types" "5.6, 5.32" "5.2.11",
        "nothing of the host is mounted but volumes and what the node allows";
    MountOptions "mount-options" "4.5.5" "" "" "",
        "a mount brings no setuid files, devices or programs that nobody needs";
    MountPropagation "mount-propagation" "4.5.5" "" "5.20" "",
        "no mount of a container shows on the host";
    Devices "devices" "4.4.3" "" "5.18" "",
        "a container has the devices of its profile";
    MaskedPaths "masked-paths" "4.4.3" "/proc Mount Type" "" "",
        "files that show the host, its kernel or its hardware are masked";
    ReadOnlyPaths "read-only-paths" "4.4.3" "/proc Mount Type" "" "",
        "files that change the host are read-only";
    Sysctls "sysctls" "4.4.3" "Sysctls" "" "",
        "kernel parameters are those that concern the container alone";
    HostSettings "host-settings" "4.4.3" "" "" "",
        "no network device, clock, cache or personality of the host";
    Seccomp "seccomp" "4.4.3" "Seccomp" "5.22" "5.6.2",
        "a process makes the system calls of its profile";

    // Its share of the host.
    PidsLimit "pids-limit" "4.4.3" "" "5.29" "",
        "the number of processes is limited";
    MemoryLimit "memory-limit" "4.4.3" "" "5.11" "",
        "memory is limited";
    CpuLimit "cpu-limit" "4.4.3" "" "5.12" "",
        "processor time is shared out or limited";
    CgroupSettings "cgroup-settings" "4.4.3" "" "5.25" "",
        "the control group has only settings of the profile";

    // What steers the runtime.
    Hooks "hooks" "4.4.3" "" "" "",
        "only hooks of the profile run";
    Annotations "annotations" "4.4.3" "" "" "",
        "no annotation changes how the runtime works";

    // Where it comes from, and what it may run beside and on.
    ImageDigest "image-digest" "4.2.2" "" "" "",
        "an image is named by its digest";
    ImageRegistry "image-registry" "4.1.5" "" "" "5.5.1",
        "an image comes from an approved registry";
    Sensitivity "sensitivity" "4.3.4" "" "" "",
        "workloads of different sensitivity share no host";
    RuntimeVersion "runtime-version" "4.4.1" "" "" "",
        "the OCI runtime is not older than the node policy wants";
    KernelVersion "kernel-version" "4.5.3" "" "" "",
        "the kernel is not older than the node policy wants";
}

impl Rule {
    /// The name in kebab-case, as in node policies and records.
    pub const fn id(self) -> &'static str {
        self.entry().id
    }

    /// One clause that says what is wanted, without a final period.
    pub const fn title(self) -> &'static str {
        self.entry().title
    }

    /// The standards that ask for it.
    pub const fn references(self) -> References {
        self.entry().references
    }

    /// False for what the gate itself rests on. The shim mounts, looks at and unmounts the root
    /// filesystem at its place in the bundle: were it any directory of the host, no mount or mask of
    /// the other rules, enforced or not, would be about the container any more.
    pub const fn may_be_loosened(self) -> bool {
        !matches!(self, Self::RootFilesystem)
    }

    /// The rule of this id, if there is one.
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.id() == id)
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Rule;

    #[test]
    fn every_rule_has_an_id_of_its_own_and_a_section_of_the_standard() {
        let ids: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.id()).collect();
        assert_eq!(ids.len(), Rule::ALL.len());
        assert!(
            Rule::ALL
                .iter()
                .map(|rule| rule.id())
                .eq(Rule::IDS.iter().copied())
        );
        for rule in Rule::ALL {
            assert_eq!(Rule::from_id(rule.id()), Some(*rule));
            let kebab = |it: char| it.is_ascii_lowercase() || it == '-';
            assert!(rule.id().chars().all(kebab), "{rule}");
            assert!(rule.references().sp800_190.starts_with("4."), "{rule}");
            assert!(!rule.title().ends_with('.'), "{rule}");
        }
    }
}
