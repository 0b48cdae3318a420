//! What a `config.json` asks for: `ctr container create --config`, and the Task API.

use serde_json::{Value, json};

use super::scene::{Scene, set};
use super::table::Expected::{ByAppArmor, Clamped, Refused};
use super::table::{Answer, Case};
use portcullis_tests::failure::Outcome;

const HOOK: &str = "/usr/libexec/portcullis/portcullis-hook";

pub(crate) const CASES: &[Case] = &[
    // === process ===
    Case {
        name: "uid 0",
        expected: Refused("refused [root-user-denied]", "/process/user"),
        ask: |scene| with(scene, "/process/user/uid", json!(0)),
    },
    Case {
        name: "CAP_SYS_ADMIN in the bounding set",
        expected: Refused("refused [capability-excess]", "CAP_SYS_ADMIN"),
        ask: |scene| {
            with(
                scene,
                "/process/capabilities/bounding/-",
                json!("CAP_SYS_ADMIN"),
            )
        },
    },
    Case {
        name: "CAP_SYS_PTRACE in the ambient set",
        expected: Refused("refused [capability-excess]", "CAP_SYS_PTRACE"),
        ask: |scene| {
            with(
                scene,
                "/process/capabilities/ambient/-",
                json!("CAP_SYS_PTRACE"),
            )
        },
    },
    Case {
        name: "CAP_BPF in the inheritable set",
        expected: Refused("refused [capability-excess]", "CAP_BPF"),
        ask: |scene| {
            with(
                scene,
                "/process/capabilities/inheritable/-",
                json!("CAP_BPF"),
            )
        },
    },
    Case {
        name: "CAP_SYS_MODULE in the permitted set",
        expected: Refused("refused [capability-excess]", "CAP_SYS_MODULE"),
        ask: |scene| {
            with(
                scene,
                "/process/capabilities/permitted/-",
                json!("CAP_SYS_MODULE"),
            )
        },
    },
    Case {
        name: "CAP_SYS_RAWIO in the effective set",
        expected: Refused("refused [capability-excess]", "CAP_SYS_RAWIO"),
        ask: |scene| {
            with(
                scene,
                "/process/capabilities/effective/-",
                json!("CAP_SYS_RAWIO"),
            )
        },
    },
    Case {
        name: "a capability that nobody knows",
        expected: Refused("refused [capability-excess]", "'CAP_EVERYTHING'"),
        ask: |scene| {
            with(
                scene,
                "/process/capabilities/bounding/-",
                json!("CAP_EVERYTHING"),
            )
        },
    },
    Case {
        name: "noNewPrivileges false",
        expected: Clamped,
        ask: |scene| with(scene, "/process/noNewPrivileges", json!(false)),
    },
    Case {
        name: "AppArmor profile 'unconfined'",
        expected: ByAppArmor("refused [lsm-label-denied]", "'unconfined'"),
        ask: |scene| with(scene, "/process/apparmorProfile", json!("unconfined")),
    },
    Case {
        name: "an OOM score of -1000",
        expected: Refused("refused [oom-score-denied]", "-1000"),
        ask: |scene| with(scene, "/process/oomScoreAdj", json!(-1000)),
    },
    Case {
        name: "RLIMIT_RTPRIO, with which a process takes SCHED_FIFO",
        expected: Refused("refused [scheduler-denied]", "RLIMIT_RTPRIO"),
        ask: |scene| with(scene, "/process/rlimits", limit("RLIMIT_RTPRIO", 99)),
    },
    Case {
        name: "RLIMIT_NICE, with which a process goes before others",
        expected: Refused("refused [scheduler-denied]", "RLIMIT_NICE"),
        ask: |scene| with(scene, "/process/rlimits", limit("RLIMIT_NICE", 40)),
    },
    Case {
        name: "RLIMIT_CORE without end",
        expected: Clamped,
        ask: |scene| with(scene, "/process/rlimits", limit("RLIMIT_CORE", u64::MAX)),
    },
    // === namespaces ===
    Case {
        name: "no pid namespace",
        expected: Refused("refused [host-namespace-denied]", "found the pid namespace"),
        ask: |scene| without_namespace(scene, "pid"),
    },
    Case {
        name: "no ipc namespace",
        expected: Refused("refused [host-namespace-denied]", "found the ipc namespace"),
        ask: |scene| without_namespace(scene, "ipc"),
    },
    Case {
        name: "no uts namespace",
        expected: Refused("refused [host-namespace-denied]", "found the uts namespace"),
        ask: |scene| without_namespace(scene, "uts"),
    },
    Case {
        name: "no network namespace",
        expected: Refused(
            "refused [host-namespace-denied]",
            "found the network namespace",
        ),
        ask: |scene| without_namespace(scene, "network"),
    },
    Case {
        name: "no mount namespace",
        expected: Refused(
            "refused [host-namespace-denied]",
            "found the mount namespace",
        ),
        ask: |scene| without_namespace(scene, "mount"),
    },
    Case {
        name: "no cgroup namespace",
        expected: Clamped,
        ask: |scene| without_namespace(scene, "cgroup"),
    },
    Case {
        name: "/proc/1/ns/pid",
        expected: Refused(
            "refused [host-namespace-denied]",
            "the pid namespace of a pod",
        ),
        ask: |scene| of_host(scene, "pid", "/proc/1/ns/pid"),
    },
    Case {
        name: "/proc/1/ns/ipc",
        expected: Refused(
            "refused [host-namespace-denied]",
            "the ipc namespace of a pod",
        ),
        ask: |scene| of_host(scene, "ipc", "/proc/1/ns/ipc"),
    },
    Case {
        name: "/proc/1/ns/uts",
        expected: Refused(
            "refused [host-namespace-denied]",
            "the uts namespace of a pod",
        ),
        ask: |scene| of_host(scene, "uts", "/proc/1/ns/uts"),
    },
    Case {
        name: "/proc/1/ns/net",
        expected: Refused(
            "refused [host-namespace-denied]",
            "the network namespace of a pod",
        ),
        ask: |scene| of_host(scene, "network", "/proc/1/ns/net"),
    },
    Case {
        name: "/proc/1/ns/mnt",
        expected: Refused(
            "refused [host-namespace-denied]",
            "the mount namespace of a pod",
        ),
        ask: |scene| of_host(scene, "mount", "/proc/1/ns/mnt"),
    },
    Case {
        name: "/proc/1/ns/cgroup",
        expected: Refused(
            "refused [host-namespace-denied]",
            "the cgroup namespace of a pod",
        ),
        ask: |scene| of_host(scene, "cgroup", "/proc/1/ns/cgroup"),
    },
    Case {
        name: "a user namespace with the host's root in it",
        expected: Refused("refused [root-user-denied]", "65536 from 0"),
        ask: |scene| mapped(scene, 0, 65536),
    },
    Case {
        name: "a user namespace with one user of the host in it",
        expected: Refused("refused [root-user-denied]", "1 from 1000"),
        ask: |scene| mapped(scene, 1000, 1),
    },
    // === devices and limits ===
    Case {
        name: "device rule a *:* rwm",
        expected: Refused("refused [privileged-denied]", "access to every device"),
        ask: |scene| {
            let all = json!({"allow": true, "type": "a", "access": "rwm"});
            with(scene, "/linux/resources/devices/-", all)
        },
    },
    Case {
        name: "device rule for a disk",
        expected: Refused("refused [device-denied]", "'b' 8:0"),
        ask: |scene| {
            let disk = json!({"allow": true, "type": "b", "major": 8, "minor": 0, "access": "r"});
            with(scene, "/linux/resources/devices/-", disk)
        },
    },
    Case {
        name: "device /dev/mem",
        expected: Refused("refused [device-denied]", "at '/dev/mem'"),
        ask: |scene| {
            let node = json!([{"path": "/dev/mem", "type": "c", "major": 1, "minor": 1}]);
            with(scene, "/linux/devices", node)
        },
    },
    Case {
        name: "the OOM killer kept away",
        expected: Refused("refused [resource-denied]", "disableOOMKiller"),
        ask: |scene| {
            with(
                scene,
                "/linux/resources/memory",
                json!({"disableOOMKiller": true}),
            )
        },
    },
    Case {
        name: "real-time processor time",
        expected: Refused("refused [scheduler-denied]", "realtimeRuntime"),
        ask: |scene| {
            with(
                scene,
                "/linux/resources/cpu/realtimeRuntime",
                json!(950_000),
            )
        },
    },
    Case {
        name: "a file of the unified hierarchy by name",
        expected: Refused("refused [resource-denied]", "'cgroup.procs'"),
        ask: |scene| {
            with(
                scene,
                "/linux/resources/unified",
                json!({"cgroup.procs": "1"}),
            )
        },
    },
    Case {
        name: "as many processes as can be",
        expected: Clamped,
        ask: |scene| with(scene, "/linux/resources/pids", json!({"limit": -1})),
    },
    Case {
        name: "a control group above its place",
        expected: Refused("refused [oci-field-denied]", "a path that does not go up"),
        ask: |scene| with(scene, "/linux/cgroupsPath", json!("/default/../../x")),
    },
    Case {
        name: "the control group of the host",
        expected: Refused(
            "refused [resource-denied]",
            "'//.': expected a cgroup of its own",
        ),
        ask: |scene| with(scene, "/linux/cgroupsPath", json!("//.")),
    },
    Case {
        name: "the control group of another container",
        expected: Refused("refused [resource-denied]", "one in which processes are"),
        ask: |scene| with(scene, "/linux/cgroupsPath", json!("/default/long")),
    },
    // === the rest of linux ===
    Case {
        name: "sysctl kernel.core_pattern",
        expected: Refused("refused [sysctl-denied]", "'kernel.core_pattern'"),
        ask: |scene| {
            with(
                scene,
                "/linux/sysctl",
                json!({"kernel.core_pattern": "|/bin/sh"}),
            )
        },
    },
    Case {
        name: "sysctl vm.overcommit_memory",
        expected: Refused("refused [sysctl-denied]", "'vm.overcommit_memory'"),
        ask: |scene| with(scene, "/linux/sysctl", json!({"vm.overcommit_memory": "1"})),
    },
    Case {
        name: "sysctl net.ipv4.ip_forward",
        expected: Refused("refused [sysctl-denied]", "'net.ipv4.ip_forward'"),
        ask: |scene| with(scene, "/linux/sysctl", json!({"net.ipv4.ip_forward": "1"})),
    },
    Case {
        name: "sysctl written with slashes, and going up",
        expected: Refused(
            "refused [sysctl-denied]",
            "'net/ipv4/../../kernel/core_pattern'",
        ),
        ask: |scene| {
            let key = "net/ipv4/../../kernel/core_pattern";
            with(scene, "/linux/sysctl", json!({key: "|/bin/sh"}))
        },
    },
    Case {
        name: "annotation run.oci.seccomp_bpf_data",
        expected: Refused("refused [annotation-denied]", "'run.oci.seccomp_bpf_data'"),
        ask: |scene| {
            with(
                scene,
                "/annotations",
                json!({"run.oci.seccomp_bpf_data": "AAAA"}),
            )
        },
    },
    Case {
        name: "annotation org.criu.config",
        expected: Refused("refused [annotation-denied]", "'org.criu.config'"),
        ask: |scene| {
            with(
                scene,
                "/annotations",
                json!({"org.criu.config": "/etc/criu.conf"}),
            )
        },
    },
    Case {
        name: "annotation org.systemd.property.DeviceAllow",
        expected: Refused(
            "refused [annotation-denied]",
            "'org.systemd.property.DeviceAllow'",
        ),
        ask: |scene| {
            with(
                scene,
                "/annotations",
                json!({"org.systemd.property.DeviceAllow": "x"}),
            )
        },
    },
    Case {
        name: "annotation module.wasm.image/variant",
        expected: Refused("refused [annotation-denied]", "'module.wasm.image/variant'"),
        ask: |scene| {
            with(
                scene,
                "/annotations",
                json!({"module.wasm.image/variant": "compat"}),
            )
        },
    },
    Case {
        name: "a hook that is not listed",
        expected: Refused("refused [hook-denied]", "'/bin/sh'"),
        ask: |scene| {
            with(
                scene,
                "/hooks",
                json!({"createRuntime": [{"path": "/bin/sh"}]}),
            )
        },
    },
    Case {
        name: "a listed hook with other arguments",
        expected: Refused("refused [hook-denied]", "/hooks/createRuntime/0/args"),
        ask: |scene| {
            let hook = json!({"path": HOOK, "args": ["portcullis-hook", "--deadline", "0s"]});
            with(scene, "/hooks", json!({"createRuntime": [hook]}))
        },
    },
    Case {
        name: "a listed hook at another stage",
        expected: Refused("refused [hook-denied]", "/hooks/startContainer/0"),
        ask: |scene| with(scene, "/hooks", json!({"startContainer": [{"path": HOOK}]})),
    },
    Case {
        name: "a filter that allows everything",
        expected: Clamped,
        ask: |scene| {
            with(
                scene,
                "/linux/seccomp",
                json!({"defaultAction": "SCMP_ACT_ALLOW"}),
            )
        },
    },
    Case {
        name: "a filter that hands mount(2) to a listener",
        expected: Clamped,
        ask: |scene| {
            let handed = json!({"names": ["mount"], "action": "SCMP_ACT_NOTIFY"});
            let section = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "listenerPath": "/run/listener.sock",
                "syscalls": [handed],
            });
            with(scene, "/linux/seccomp", section)
        },
    },
    Case {
        name: "a filter for a foreign ABI",
        expected: Clamped,
        ask: |scene| {
            let section = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_MIPS"],
            });
            with(scene, "/linux/seccomp", section)
        },
    },
    Case {
        name: "no filter",
        expected: Clamped,
        ask: |scene| with(scene, "/linux/seccomp", Value::Null),
    },
    Case {
        name: "no masks",
        expected: Clamped,
        ask: |scene| with(scene, "/linux/maskedPaths", json!([])),
    },
    Case {
        name: "no read-only paths",
        expected: Clamped,
        ask: |scene| with(scene, "/linux/readonlyPaths", json!([])),
    },
    Case {
        name: "a root that can be written to",
        expected: Clamped,
        ask: |scene| with(scene, "/root/readonly", json!(false)),
    },
    Case {
        name: "rootfsPropagation rshared",
        expected: Refused("refused [propagation-denied]", "/linux/rootfsPropagation"),
        ask: |scene| with(scene, "/linux/rootfsPropagation", json!("rshared")),
    },
    Case {
        name: "another personality",
        expected: Refused("refused [oci-field-denied]", "/linux/personality"),
        ask: |scene| with(scene, "/linux/personality", json!({"domain": "LINUX32"})),
    },
    Case {
        name: "a class of the processor's caches",
        expected: Refused("refused [oci-field-denied]", "/linux/intelRdt"),
        ask: |scene| with(scene, "/linux/intelRdt", json!({"closID": "host"})),
    },
];

/// A configuration with `value` at `pointer`.
fn with(scene: &Scene, pointer: &str, value: Value) -> Outcome<Answer> {
    scene.config(|config| set(config, pointer, value))
}

fn limit(kind: &str, most: u64) -> Value {
    json!([{"type": kind, "soft": most, "hard": most}])
}

fn namespaces(config: &mut Value) -> &mut Vec<Value> {
    let list = &mut config["linux"]["namespaces"];
    list.as_array_mut().expect("a list of namespaces")
}

fn without_namespace(scene: &Scene, kind: &str) -> Outcome<Answer> {
    scene.config(|config| namespaces(config).retain(|it| it["type"] != kind))
}

fn of_host(scene: &Scene, kind: &str, path: &str) -> Outcome<Answer> {
    scene.config(|config| {
        let list = namespaces(config);
        list.retain(|it| it["type"] != kind);
        list.push(json!({"type": kind, "path": path}));
    })
}

/// A user namespace whose 0 is `host` outside.
fn mapped(scene: &Scene, host: u32, size: u32) -> Outcome<Answer> {
    scene.config(|config| {
        namespaces(config).push(json!({"type": "user"}));
        let range = json!([{"containerID": 0, "hostID": host, "size": size}]);
        config["linux"]["uidMappings"] = range.clone();
        config["linux"]["gidMappings"] = range;
    })
}
