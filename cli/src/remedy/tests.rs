//! Each rule: a fault is found with its rule and place, and what is proposed passes.

use std::collections::BTreeSet;

use portcullis_gate::{Refusals, Rule};
use portcullis_hardening::{
    AppArmor, CapabilitySet, Concessions, HostFacts, MountSource, NamespaceKind, NamespaceOrigin,
    OciConfig, Profile, harden,
};
use serde_json::{Value, json};

use super::edit::{Edit, applied, patch, tests::apply_patch};
use super::{Step, advice, config, rebuilt, search};
use crate::findings::pointer_of;

const RECORDED: &str = include_str!("../../../crates/hardening/tests/data/ctr-1.6.20-run.json");

/// A fault: what is put where, and what is then said about which rule and place.
struct Fault {
    rule: Rule,
    profile: &'static str,
    put: (&'static str, Value),
    pointer: &'static str,
}

fn fault(rule: Rule, put: &'static str, value: Value, pointer: &'static str) -> Fault {
    Fault {
        rule,
        profile: "restricted",
        put: (put, value),
        pointer,
    }
}

/// A bind mount that makes the eighth mount of the recorded configuration.
fn bind(source: &str, option: &str) -> Value {
    json!({"destination": "/data", "type": "bind", "source": source, "options": ["rbind", option]})
}

#[expect(
    clippy::too_many_lines,
    reason = "a table, a line or two for each fault"
)]
fn faults() -> Vec<Fault> {
    use Rule::*;
    let all: Vec<&str> = CapabilitySet::from_bits(u64::MAX).names().collect();
    let own = |kinds: &[&str]| -> Value { kinds.iter().map(|it| json!({"type": it})).collect() };
    let ids = |host: u64| json!([{"containerID": 0, "hostID": host, "size": 65536}]);
    let devices = "/linux/resources/devices";
    let mut faults = vec![
        fault(
            Privileged,
            "/process/capabilities/bounding",
            json!(all),
            "/process/capabilities",
        ),
        fault(
            Privileged,
            devices,
            json!([{"allow": true, "access": "rwm"}]),
            devices,
        ),
        fault(NonRoot, "/process/user/uid", json!(0), "/process/user"),
        fault(
            Capabilities,
            "/process/capabilities/bounding/-",
            json!("CAP_BPF"),
            "/process/capabilities",
        ),
        fault(
            Capabilities,
            "/process/capabilities/ambient",
            json!(["CAP_FUTURE"]),
            "/process/capabilities",
        ),
        fault(
            Scheduling,
            "/process/scheduler",
            json!({"policy": "SCHED_FIFO"}),
            "/process/scheduler/policy",
        ),
        fault(
            Scheduling,
            "/process/scheduler",
            json!({"policy": "SCHED_OTHER", "nice": -5}),
            "/process/scheduler/nice",
        ),
        fault(
            Scheduling,
            "/process/ioPriority",
            json!({"class": "IOPRIO_CLASS_RT"}),
            "/process/ioPriority/class",
        ),
        fault(
            Scheduling,
            "/process/rlimits",
            json!([{"type": "RLIMIT_RTPRIO", "soft": 1, "hard": 1}]),
            "/process/rlimits/0",
        ),
        fault(
            Scheduling,
            "/linux/resources/cpu/realtimeRuntime",
            json!(1),
            "/linux/resources/cpu/realtimeRuntime",
        ),
        fault(
            OomScore,
            "/process/oomScoreAdj",
            json!(-1000),
            "/process/oomScoreAdj",
        ),
        fault(
            WorkingDirectory,
            "/process/cwd",
            json!("/proc/self/fd/7"),
            "/process/cwd",
        ),
        fault(
            LsmLabels,
            "/process/apparmorProfile",
            json!("unconfined"),
            "/process/apparmorProfile",
        ),
        fault(
            LsmLabels,
            "/process/selinuxLabel",
            json!("u:r:spc_t:s0"),
            "/process/selinuxLabel",
        ),
        fault(RootFilesystem, "/root/path", json!("/"), "/root/path"),
        fault(
            HostNamespaces,
            "/linux/namespaces",
            own(&["pid", "ipc", "uts", "mount"]),
            "/linux/namespaces",
        ),
        fault(
            HostNamespaces,
            "/linux/namespaces",
            own(&[]),
            "/linux/namespaces",
        ),
        fault(
            HostNamespaces,
            "/linux/namespaces/4/path",
            json!("/proc/1/ns/net"),
            "/linux/namespaces/4/path",
        ),
        fault(
            MountTypes,
            "/mounts/-",
            json!({"destination": "/x", "type": "overlay", "source": "x"}),
            "/mounts/7",
        ),
        fault(
            MountTypes,
            "/mounts/-",
            json!({"destination": "/proc/x", "type": "tmpfs", "source": "x"}),
            "/mounts/7",
        ),
        fault(
            MountSources,
            "/mounts/-",
            bind("/etc", "ro"),
            "/mounts/7/source",
        ),
        fault(
            MountSources,
            "/mounts/-",
            bind("/opt/x", "ro"),
            "/mounts/7/source",
        ),
        fault(
            MountPropagation,
            "/mounts/-",
            bind("/srv/x", "rshared"),
            "/mounts/7/options",
        ),
        fault(
            MountPropagation,
            "/linux/rootfsPropagation",
            json!("shared"),
            "/linux/rootfsPropagation",
        ),
        fault(
            Devices,
            "/linux/devices",
            json!([
                {"path": "/dev/null", "type": "c", "major": 1, "minor": 3},
                {"path": "/dev/kvm", "type": "c", "major": 10, "minor": 232},
                {"path": "/dev/sda", "type": "b", "major": 8, "minor": 0},
            ]),
            "/linux/devices",
        ),
        fault(
            Devices,
            "/linux/resources/devices/-",
            json!({"allow": true, "type": "b", "major": 8, "access": "r"}),
            devices,
        ),
        fault(
            Sysctls,
            "/linux/sysctl",
            json!({"kernel.core_pattern": "x", "net.ipv4.tcp_syncookies": "1", "net/ipv4/ip_forward": "1"}),
            "/linux/sysctl",
        ),
        fault(
            CgroupSettings,
            "/linux/resources/unified",
            json!({"memory.max": "max", "memory.high": "1"}),
            "/linux/resources/unified",
        ),
        fault(
            CgroupSettings,
            "/linux/resources/memory/disableOOMKiller",
            json!(true),
            "/linux/resources/memory/disableOOMKiller",
        ),
        fault(
            Annotations,
            "/annotations",
            json!({"run.oci.handler": "x", "org.criu.config": "y", "a/b": "z"}),
            "/annotations",
        ),
        fault(
            Hooks,
            "/hooks",
            json!({"prestart": [{"path": "/usr/bin/x"}]}),
            "/hooks/prestart/0",
        ),
        fault(
            Hooks,
            "/hooks",
            json!({"prestart": [{"path": "/usr/libexec/portcullis/portcullis-hook", "args": ["x"]}]}),
            "/hooks/prestart/0/args",
        ),
    ];
    for field in ["netDevices", "timeOffsets", "intelRdt"] {
        let pointer = match field {
            "netDevices" => "/linux/netDevices",
            "timeOffsets" => "/linux/timeOffsets",
            _ => "/linux/intelRdt",
        };
        faults.push(fault(HostSettings, pointer, json!({"x": {}}), pointer));
    }
    let strict = |rule, put, value, pointer| Fault {
        profile: "strict",
        ..fault(rule, put, value, pointer)
    };
    faults.extend([
        strict(
            MemoryLimit,
            "/linux/resources/memory",
            json!({}),
            "/linux/resources/memory/limit",
        ),
        strict(
            UserNamespace,
            "/linux/namespaces",
            own(&["pid", "ipc", "uts", "mount", "network"]),
            "/linux/namespaces",
        ),
        strict(NonRoot, "/linux/uidMappings", ids(0), "/linux/uidMappings"),
        strict(NonRoot, "/linux/gidMappings", ids(0), "/linux/gidMappings"),
        strict(
            Terminal,
            "/process/terminal",
            json!(true),
            "/process/terminal",
        ),
    ]);
    faults
}

/// Rules that change and never refuse, and those that are judged elsewhere.
const NEVER_REFUSED_HERE: [Rule; 14] = [
    Rule::NoNewPrivileges,
    Rule::Rlimits,
    Rule::ReadOnlyRoot,
    Rule::MountOptions,
    Rule::MaskedPaths,
    Rule::ReadOnlyPaths,
    Rule::Seccomp,
    Rule::PidsLimit,
    Rule::CpuLimit,
    Rule::ImageDigest,
    Rule::ImageRegistry,
    Rule::Sensitivity,
    Rule::RuntimeVersion,
    Rule::KernelVersion,
];

/// A configuration that passes under `profile`.
fn good(profile: &str) -> Value {
    let mut config: Value = serde_json::from_str(RECORDED).unwrap();
    if profile == "strict" {
        let ids = json!([{"containerID": 0, "hostID": 65536, "size": 65536}]);
        let steps: Step = vec![
            Edit::set("/linux/namespaces/-", json!({"type": "user"})),
            Edit::set("/linux/uidMappings", ids.clone()),
            Edit::set("/linux/gidMappings", ids),
            Edit::set("/linux/resources/memory", json!({"limit": 1 << 26})),
            Edit::set("/process/apparmorProfile", "cri-containerd.apparmor.d"),
        ];
        config = applied(&config, &[steps]);
    }
    config
}

/// A host with all that can be asked of it; paths say by their names what they are.
fn facts(config: &OciConfig) -> HostFacts {
    let source = |path: &str| match path {
        "/etc" => MountSource::Denied {
            what: "/etc".to_owned(),
        },
        _ if path.starts_with("/srv/") => MountSource::Allowed,
        _ => MountSource::Unlisted,
    };
    let origin = |(kind, path): (NamespaceKind, &str)| {
        let host = path.starts_with("/proc/1/");
        let origin = if host {
            NamespaceOrigin::Host
        } else {
            NamespaceOrigin::Foreign
        };
        (kind, origin)
    };
    HostFacts {
        namespaces: config.joined_namespaces().map(origin).collect(),
        mount_sources: config
            .bind_mounts()
            .map(|it| (it.index, source(it.source)))
            .collect(),
        apparmor: AppArmor::On,
        legacy_tiocsti: true,
        ..HostFacts::default()
    }
}

fn judged(config: &Value, profile: &Profile) -> Result<(), Refusals> {
    let oci = OciConfig::parse(config.to_string().as_bytes())?;
    let mut facts = facts(&oci);
    facts.selinux = config.pointer("/process/selinuxLabel").is_some();
    harden(oci, profile, &facts, &Concessions::none()).map(drop)
}

#[test]
fn every_fault_is_named_and_what_is_proposed_passes() {
    let mut seen = BTreeSet::new();
    for fault in faults() {
        let profile = portcullis_config::profile(fault.profile).unwrap();
        let start = good(fault.profile);
        judged(&start, &profile).unwrap();
        let step = vec![Edit::set(fault.put.0, fault.put.1.clone())];
        let faulty = applied(&start, &[step]);
        let name = format!("{} {}", fault.rule, fault.put.0);

        let refusals = judged(&faulty, &profile).unwrap_err();
        let found = refusals
            .iter()
            .any(|it| it.rule == Some(fault.rule) && pointer_of(it) == fault.pointer);
        assert!(found, "{name}: {:?}", refusals.iter().collect::<Vec<_>>());

        let attempt = |steps: &[Step]| judged(&applied(&faulty, steps), &profile);
        let steps = search(attempt, |refusals| config::propose(&faulty, refusals));
        let steps = steps.unwrap_or_else(|| panic!("{name}: nothing helps"));
        let operations = patch(&faulty, &steps);
        judged(&apply_patch(&faulty, &operations), &profile).unwrap();
        for idle in 0..steps.len() {
            let mut fewer = steps.clone();
            fewer.remove(idle);
            assert!(
                attempt(&fewer).is_err(),
                "{name}: {:?} is idle",
                steps[idle]
            );
        }
        seen.insert(fault.rule);
    }
    for rule in Rule::ALL {
        assert!(advice::of(*rule).is_some(), "{rule} has no advice");
        let known = seen.contains(rule) != NEVER_REFUSED_HERE.contains(rule);
        assert!(known, "{rule} has no fault, or is said to have none");
    }
}

#[test]
fn a_patch_says_no_more_than_it_must() {
    let restricted = portcullis_config::profile("restricted").unwrap();
    let steps = vec![vec![
        Edit::set("/process/capabilities/bounding/-", "CAP_BPF"),
        Edit::set(
            "/linux/sysctl",
            json!({"a": "1", "net.ipv4.tcp_syncookies": "1"}),
        ),
    ]];
    let faulty = applied(&good("restricted"), &steps);
    let attempt = |steps: &[Step]| judged(&applied(&faulty, steps), &restricted);
    let steps = search(attempt, |refusals| config::propose(&faulty, refusals)).unwrap();
    assert_eq!(
        patch(&faulty, &steps),
        [
            json!({"op": "remove", "path": "/process/capabilities/bounding/14"}),
            json!({"op": "remove", "path": "/linux/sysctl/a"}),
        ]
    );
}

#[test]
fn nothing_is_proposed_for_what_a_workload_cannot_mend() {
    let attempt = |_: &[Step]| -> Result<(), ()> { Err(()) };
    assert_eq!(search(attempt, |()| Vec::new()), None);
    let useless = || vec![vec![Edit::set("/a", 1)]];
    assert_eq!(search(attempt, |()| useless()), None);
}

/// What a record keeps of a refusal is enough to have it again.
#[test]
fn a_refusal_is_rebuilt_from_its_own_words() {
    let restricted = portcullis_config::profile("restricted").unwrap();
    let mut rebuilt_rules = BTreeSet::new();
    for fault in faults().iter().filter(|it| it.profile == "restricted") {
        let faulty = applied(
            &good("restricted"),
            &[vec![Edit::set(fault.put.0, fault.put.1.clone())]],
        );
        let recorded = |refusals: &Refusals| -> Vec<rebuilt::Recorded> {
            let mut all: Vec<_> = refusals
                .iter()
                .map(|it| rebuilt::Recorded {
                    code: it.code.to_string(),
                    rule: it.rule.map_or("", Rule::id).to_owned(),
                    pointer: pointer_of(it).to_owned(),
                    expected: it.expected.clone(),
                    found: it.found.clone(),
                })
                .collect();
            all.sort();
            all
        };
        let then = recorded(&judged(&faulty, &restricted).unwrap_err());
        let Some(config) = rebuilt::config(&then) else {
            continue;
        };
        let now = judged(&config, &restricted).err().map(|it| recorded(&it));
        if now == Some(then) {
            rebuilt_rules.insert(fault.rule);
        }
    }
    let expected = [
        Rule::NonRoot,
        Rule::Capabilities,
        Rule::Scheduling,
        Rule::OomScore,
        Rule::WorkingDirectory,
        Rule::RootFilesystem,
        Rule::HostNamespaces,
        Rule::MountSources,
        Rule::MountPropagation,
        Rule::Sysctls,
        Rule::HostSettings,
        Rule::CgroupSettings,
        Rule::Annotations,
    ];
    for rule in expected {
        assert!(rebuilt_rules.contains(&rule), "{rule}: {rebuilt_rules:?}");
    }
}
