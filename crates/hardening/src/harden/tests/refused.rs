//! What is asked for and not given: one case for each code.

use super::*;

/// Edits the configuration at a pointer, making what is not there; `-` adds to an array.
fn set(config: &mut Value, pointer: &str, value: Value) {
    let mut place = config;
    for key in pointer.split('/').skip(1) {
        place = if let Value::Array(items) = place {
            let index = key.parse().unwrap_or(items.len());
            if index == items.len() {
                items.push(Value::Null);
            }
            &mut items[index]
        } else {
            &mut place[key]
        };
    }
    *place = value;
}

/// Asserts that setting `pointer` to `value` is refused with `code` alone.
fn assert_refused(code: &str, pointer: &str, value: impl Into<Value>) {
    let value = value.into();
    let config = edited(CTR, |config| set(config, pointer, value.clone()));
    let refusals = refused(&config, &profile(RESTRICTED));
    let codes: Vec<_> = refusals.iter().map(|it| it.code.as_str()).collect();
    assert_eq!(codes, [code], "{pointer} = {value}");
    let line = refusals.to_string();
    assert!(line.len() <= 256 && !line.contains('\n'), "{line}");
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": kind, "source": source, "options": options})
}

#[test]
fn identity() {
    assert_refused("root-user-denied", "/process/user/uid", json!(0));
    assert_refused("root-user-denied", "/process/user", Value::Null);
    assert_refused(
        "capability-excess",
        "/process/capabilities/bounding/-",
        json!("CAP_SYS_ADMIN"),
    );
    assert_refused(
        "capability-excess",
        "/process/capabilities/ambient",
        json!(["CAP_FUTURE"]),
    );
    for cwd in ["/proc/self/fd/7", "relative", "", "/x/../proc"] {
        assert_refused("working-directory-denied", "/process/cwd", json!(cwd));
    }
}

#[test]
fn a_lone_privilege_is_named_before_its_consequences() {
    let all: Vec<&str> = crate::CapabilitySet::from_bits((1 << 41) - 1)
        .names()
        .collect();
    let config = edited(CTR, |config| {
        set(config, "/process/capabilities/bounding", json!(all));
    });
    let refusals = refused(&config, &profile(RESTRICTED));
    assert_eq!(refusals.first().code.as_str(), "privileged-denied");
    let config = edited(CTR, |config| {
        set(
            config,
            "/linux/resources/devices",
            json!([{"allow": true, "access": "rwm"}]),
        );
    });
    assert_eq!(
        refused(&config, &profile(BASELINE)).first().code.as_str(),
        "privileged-denied"
    );
}

#[test]
fn scheduling() {
    assert_refused(
        "scheduler-denied",
        "/process/scheduler",
        json!({"policy": "SCHED_FIFO"}),
    );
    for nice in [-1, -20] {
        let scheduler = json!({"policy": "SCHED_OTHER", "nice": nice});
        assert_refused("scheduler-denied", "/process/scheduler", scheduler);
    }
    assert_refused(
        "scheduler-denied",
        "/process/ioPriority",
        json!({"class": "IOPRIO_CLASS_RT"}),
    );
    assert_refused(
        "scheduler-denied",
        "/linux/resources/cpu/realtimeRuntime",
        json!(950_000),
    );
    assert_refused("oom-score-denied", "/process/oomScoreAdj", json!(-999));
}

/// Below these limits a process takes a real-time class, or a place before others, by itself.
#[test]
fn limits_that_give_a_class() {
    let limit =
        |kind: &str, soft: u64, hard: u64| json!([{"type": kind, "soft": soft, "hard": hard}]);
    for (kind, soft, hard) in [
        ("RLIMIT_RTPRIO", 0, 1),
        ("RLIMIT_RTPRIO", 99, 99),
        ("RLIMIT_RTPRIO", 1, 0),
        ("RLIMIT_NICE", 0, 21),
        ("RLIMIT_NICE", 40, u64::MAX),
    ] {
        let limits = limit(kind, soft, hard);
        assert_refused("scheduler-denied", "/process/rlimits", limits);
    }
    for (kind, most) in [("RLIMIT_RTPRIO", 0), ("RLIMIT_NICE", 20)] {
        let config = edited(CTR, |config| {
            set(config, "/process/rlimits", limit(kind, 0, most));
        });
        hardened(&config, &profile(RESTRICTED));
    }
}

#[test]
fn a_place_behind_others_passes() {
    let config = edited(CTR, |config| {
        set(
            config,
            "/process/scheduler",
            json!({"policy": "SCHED_OTHER", "nice": 19}),
        );
    });
    hardened(&config, &profile(RESTRICTED));
}

#[test]
fn the_lowest_score_of_a_pod_sandbox_passes() {
    let config = edited(CTR, |config| {
        set(config, "/process/oomScoreAdj", json!(-998));
    });
    assert_eq!(
        hardened(&config, &profile(RESTRICTED))
            .baseline
            .oom_score_adj,
        Some(-998)
    );
}

#[test]
fn namespaces() {
    for kind in ["pid", "ipc", "uts", "mount", "network"] {
        let others: Vec<Value> = ["pid", "ipc", "uts", "mount", "network"]
            .iter()
            .filter(|other| **other != kind)
            .map(|other| json!({"type": other}))
            .collect();
        assert_refused("host-namespace-denied", "/linux/namespaces", json!(others));
    }
    let host = json!("/proc/1/ns/net");
    assert_refused("host-namespace-denied", "/linux/namespaces/4/path", host);
    let pod = json!("/proc/7/ns/mnt");
    assert_refused("host-namespace-denied", "/linux/namespaces/3/path", pod);
    assert_refused(
        "oci-config-malformed",
        "/linux/namespaces/-",
        json!({"type": "pid"}),
    );
    assert_refused(
        "oci-field-denied",
        "/linux/namespaces/-",
        json!({"type": "future"}),
    );
}

#[test]
fn a_namespace_that_nobody_examined_is_refused() {
    let config = parse(&edited(CTR, |config| {
        set(config, "/linux/namespaces/4/path", json!("/proc/7/ns/net"));
    }));
    let mut facts = facts(&config);
    facts.namespaces.clear();
    let refusals = harden(config, &profile(RESTRICTED), &facts, &Concessions::none()).unwrap_err();
    assert_eq!(refusals.first().code.as_str(), "host-namespace-denied");
}

#[test]
fn mounts() {
    for source in [
        "/etc",
        "/run/containerd/containerd.sock",
        "/dev/sda",
        "/dev/mem",
        "/opt/x",
    ] {
        assert_refused(
            "mount-denied",
            "/mounts/-",
            mount("/data", "bind", source, &["rbind"]),
        );
        assert_refused(
            "mount-denied",
            "/mounts/-",
            mount("/data", "none", source, &["bind"]),
        );
    }
    for (destination, kind) in [
        ("/proc2", "proc"),
        ("/sys2", "sysfs"),
        ("/cgroup", "cgroup"),
        ("/pts", "devpts"),
        ("/data", "overlay"),
        ("/data", "ext4"),
        ("/data", ""),
        ("/", "tmpfs"),
        ("/proc/acpi", "tmpfs"),
        ("data", "tmpfs"),
        ("/data/../etc", "tmpfs"),
    ] {
        assert_refused(
            "mount-denied",
            "/mounts/-",
            mount(destination, kind, "none", &[]),
        );
    }
    for options in [&["nosuid,suid"][..], &["remount"], &["idmap"]] {
        assert_refused(
            "mount-denied",
            "/mounts/-",
            mount("/data", "tmpfs", "tmpfs", options),
        );
    }
    for option in ["shared", "rshared"] {
        let bind = mount("/data", "bind", "/srv/data", &["rbind", option]);
        assert_refused("propagation-denied", "/mounts/-", bind);
    }
    assert_refused(
        "propagation-denied",
        "/linux/rootfsPropagation",
        json!("shared"),
    );
}

#[test]
fn a_bind_mount_that_nobody_examined_is_refused() {
    let bind = mount("/data", "bind", "/srv/data", &["rbind"]);
    let config = parse(&edited(CTR, |config| set(config, "/mounts/-", bind)));
    let mut facts = facts(&config);
    facts.mount_sources.clear();
    let refusals = harden(config, &profile(RESTRICTED), &facts, &Concessions::none()).unwrap_err();
    assert_eq!(refusals.first().code.as_str(), "mount-denied");
}

#[test]
fn devices() {
    let kvm = json!({"path": "/dev/kvm", "type": "c", "major": 10, "minor": 232});
    assert_refused("device-denied", "/linux/devices", json!([kvm]));
    let elsewhere = json!({"path": "/null", "type": "c", "major": 1, "minor": 3});
    assert_refused("device-denied", "/linux/devices", json!([elsewhere]));
    let disk = json!({"allow": true, "type": "b", "major": 8, "minor": 0, "access": "r"});
    assert_refused("device-denied", "/linux/resources/devices/-", disk);
    let all = json!({"allow": true, "type": "c", "access": "rwm"});
    assert_refused("device-denied", "/linux/resources/devices/-", all);
}

#[test]
fn only_so_many_rules_about_devices_are_looked_at() {
    let terminals = |count: i64| -> Value {
        (0..count)
            .map(|minor| {
                json!({"allow": true, "type": "c", "major": 136, "minor": minor, "access": "rw"})
            })
            .collect()
    };
    let devices = "/linux/resources/devices";
    let config = edited(CTR, |config| set(config, devices, terminals(256)));
    hardened(&config, &profile(RESTRICTED));
    assert_refused("device-denied", devices, terminals(257));
}

#[test]
fn a_denial_after_a_permission_counts() {
    let config = edited(CTR, |config| {
        let devices = json!([
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "r"},
            {"allow": false, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
        ]);
        set(config, "/linux/resources/devices", devices);
    });
    let tree = tree(&hardened(&config, &profile(RESTRICTED)));
    let expected = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "r"},
    ]);
    assert_eq!(tree["linux"]["resources"]["devices"], expected);
}

#[test]
fn the_rest_of_linux() {
    for key in [
        "kernel.core_pattern",
        "net.ipv4.ip_forward",
        "net/ipv4/ip_forward",
    ] {
        assert_refused("sysctl-denied", "/linux/sysctl", json!({key: "1"}));
    }
    assert_refused("oci-field-denied", "/linux/netDevices", json!({"eth0": {}}));
    assert_refused(
        "oci-field-denied",
        "/linux/timeOffsets",
        json!({"boottime": {"secs": 1}}),
    );
    assert_refused(
        "oci-field-denied",
        "/linux/intelRdt",
        json!({"closID": "x"}),
    );
    assert_refused(
        "oci-field-denied",
        "/linux/personality",
        json!({"domain": "LINUX32"}),
    );
    assert_refused(
        "oci-field-denied",
        "/linux/cgroupsPath",
        json!("/a/../../b"),
    );
    let unified = json!({"memory.max": "max"});
    assert_refused("resource-denied", "/linux/resources/unified", unified);
    let memory = json!({"disableOOMKiller": true});
    assert_refused("resource-denied", "/linux/resources/memory", memory);
}

#[test]
fn parameters_of_the_pod_security_standards_pass() {
    let sysctl =
        json!({"net.ipv4.ip_unprivileged_port_start": "0", "net/ipv4/tcp_syncookies": "1"});
    let config = edited(CTR, |config| set(config, "/linux/sysctl", sysctl.clone()));
    assert_eq!(
        tree(&hardened(&config, &profile(RESTRICTED)))["linux"]["sysctl"],
        sysctl
    );
}

#[test]
fn annotations_that_nobody_knows_are_taken_out_and_named() {
    for name in [BASELINE, RESTRICTED] {
        let config = edited(CTR, |config| {
            config["annotations"] = json!({
                "portcullis.dev/require-tags": "pool=pci",
                "example.com/b": "secret",
                "run.oci": "handler",
                "RUN.OCI.handler": "wasm",
            });
        });
        let hardened = hardened(&config, &profile(name));
        let kept = json!({"portcullis.dev/require-tags": "pool=pci"});
        assert_eq!(tree(&hardened)["annotations"], kept);
        let of_rule = |it: &&Change| it.rule == Some(Rule::Annotations);
        let changes: Vec<&Change> = hardened.changes.iter().filter(of_rule).collect();
        let [change] = changes.as_slice() else {
            panic!("{changes:?}");
        };
        let names = json!(["'RUN.OCI.handler'", "'example.com/b'", "'run.oci'"]);
        assert_eq!(
            (change.pointer.as_str(), &change.from),
            ("/annotations", &names)
        );
    }
    let many = edited(CTR, |config| {
        for number in 0..20 {
            config["annotations"][format!("a{number}")] = json!("x");
        }
    });
    let hardened = hardened(&many, &profile(RESTRICTED));
    assert_eq!(tree(&hardened)["annotations"], json!({}));
    let change = hardened
        .changes
        .iter()
        .find(|it| it.pointer == "/annotations");
    let named = change.and_then(|it| it.from.as_array()).unwrap();
    assert_eq!((named.len(), &named[16]), (17, &json!("4 more")));
}

#[test]
fn what_runtimes_callers_find_their_containers_by_is_kept() {
    for text in [CRI, CTR] {
        for name in [BASELINE, RESTRICTED] {
            let config = edited(text, |_| {});
            let hardened = hardened(&config, &profile(name));
            assert_eq!(
                tree(&hardened).get("annotations"),
                config.get("annotations")
            );
        }
    }
}

#[test]
fn the_runtime() {
    for key in [
        "run.oci.seccomp_bpf_data",
        "org.systemd.property.X",
        "org.criu.config",
    ] {
        assert_refused("annotation-denied", "/annotations", json!({key: "x"}));
    }
    let hook = |path: &str| json!([{"path": path}]);
    assert_refused(
        "hook-denied",
        "/hooks",
        json!({"prestart": hook("/usr/bin/nvidia")}),
    );
    let ours = "/usr/libexec/portcullis/portcullis-hook";
    assert_refused(
        "hook-denied",
        "/hooks",
        json!({"startContainer": hook(ours)}),
    );
    for path in ["", "/", "/proc/self/root", "../other/rootfs", "/dev/fd/9"] {
        assert_refused("root-filesystem-denied", "/root/path", json!(path));
    }
}

#[test]
fn all_reasons_are_given_at_once() {
    let config = edited(CTR, |config| {
        set(config, "/process/user/uid", json!(0));
        set(
            config,
            "/process/capabilities/bounding/-",
            json!("CAP_SYS_ADMIN"),
        );
        set(config, "/linux/namespaces/4/path", json!("/proc/1/ns/net"));
        set(
            config,
            "/mounts/-",
            mount("/data", "bind", "/etc", &["rbind", "shared"]),
        );
    });
    let refusals = refused(&config, &profile(RESTRICTED));
    let codes: Vec<_> = refusals.iter().map(|it| it.code.as_str()).collect();
    assert_eq!(
        codes,
        [
            "root-user-denied",
            "capability-excess",
            "host-namespace-denied",
            "mount-denied",
            "propagation-denied",
        ]
    );
}

/// The codes with which a host that has these LSMs refuses `config`, edited at `pointer`.
fn refused_with_lsm(lsm: impl Fn(&mut HostFacts), pointer: &str, label: &str) -> Refusals {
    let config = parse(&edited(CTR, |config| set(config, pointer, json!(label))));
    let mut facts = facts(&config);
    lsm(&mut facts);
    harden(config, &profile(RESTRICTED), &facts, &Concessions::none()).unwrap_err()
}

#[test]
fn labels_that_confine_less() {
    type Lsm = fn(&mut HostFacts);
    let cases: [(Lsm, &str, &str); 3] = [
        (
            |facts| facts.apparmor = AppArmor::On,
            "/process/apparmorProfile",
            "unconfined",
        ),
        (
            |facts| facts.selinux = true,
            "/process/selinuxLabel",
            "system_u:system_r:spc_t:s0",
        ),
        (
            |facts| facts.selinux = true,
            "/process/selinuxLabel",
            "no label at all",
        ),
    ];
    for (lsm, pointer, label) in cases {
        let refusals = refused_with_lsm(lsm, pointer, label);
        let codes: Vec<_> = refusals.iter().map(|it| it.code.as_str()).collect();
        assert_eq!(codes, ["lsm-label-denied"], "{label}");
        assert!(refusals.to_string().contains(label), "{refusals}");
    }
}
