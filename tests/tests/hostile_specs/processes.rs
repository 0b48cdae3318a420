//! What a running container is to get: further processes and other limits, by the Task API.
//!
//! `kubectl debug --profile=sysadmin` and `ctr task exec` with a specification of its own come to
//! these requests.

use portcullis_tests::failure::Outcome;
use serde_json::{Value, json};

use super::scene::{Scene, set};
use super::table::Expected::{Clamped, Refused};
use super::table::{Answer, Case};

/// More than Linux has; a name without a number is refused first.
const ALL: &str = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL \
    CAP_SETGID CAP_SETUID CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST \
    CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO \
    CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE \
    CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE \
    CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM \
    CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE";

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a privileged exec",
        expected: Refused("refused [capability-excess]", "all capabilities"),
        ask: |scene| {
            let all: Vec<&str> = ALL.split(' ').collect();
            capabilities(scene, &all)
        },
    },
    Case {
        name: "an exec with SYS_PTRACE, as 'kubectl debug' adds it",
        expected: Refused("refused [capability-excess]", "CAP_SYS_PTRACE"),
        ask: |scene| capabilities(scene, &["CAP_SYS_PTRACE"]),
    },
    Case {
        name: "an exec with what runtimes give by default",
        expected: Clamped,
        ask: |scene| capabilities(scene, &["CAP_NET_RAW", "CAP_SETUID", "CAP_DAC_OVERRIDE"]),
    },
    Case {
        name: "an exec as root",
        expected: Refused("refused [exec-denied]", "uid 0"),
        ask: |scene| with(scene, "/user/uid", json!(0)),
    },
    Case {
        name: "an exec without a user, which is root",
        expected: Refused("refused [exec-denied]", "exec /user"),
        ask: |scene| with(scene, "/user", Value::Null),
    },
    Case {
        name: "an exec with noNewPrivileges false",
        expected: Clamped,
        ask: |scene| with(scene, "/noNewPrivileges", json!(false)),
    },
    Case {
        name: "an exec with AppArmor profile 'unconfined'",
        expected: Clamped,
        ask: |scene| with(scene, "/apparmorProfile", json!("unconfined")),
    },
    Case {
        name: "an exec with a label of SELinux",
        expected: Clamped,
        ask: |scene| with(scene, "/selinuxLabel", json!("system_u:system_r:spc_t:s0")),
    },
    Case {
        name: "an exec with RLIMIT_CORE without end",
        expected: Clamped,
        ask: |scene| with(scene, "/rlimits", limit("RLIMIT_CORE", u64::MAX)),
    },
    Case {
        name: "an exec with RLIMIT_NOFILE above the profile's",
        expected: Clamped,
        ask: |scene| with(scene, "/rlimits", limit("RLIMIT_NOFILE", 1_073_741_816)),
    },
    Case {
        name: "an exec with RLIMIT_RTPRIO",
        expected: Clamped,
        ask: |scene| with(scene, "/rlimits", limit("RLIMIT_RTPRIO", 99)),
    },
    Case {
        name: "an exec with an OOM score of -1000",
        expected: Clamped,
        ask: |scene| with(scene, "/oomScoreAdj", json!(-1000)),
    },
    Case {
        name: "an exec of class SCHED_RR",
        expected: Refused("refused [exec-denied]", "SCHED_RR"),
        ask: |scene| {
            with(
                scene,
                "/scheduler",
                json!({"policy": "SCHED_RR", "priority": 9}),
            )
        },
    },
    Case {
        name: "an exec of real-time class of the disk",
        expected: Refused("refused [exec-denied]", "IOPRIO_CLASS_RT"),
        ask: |scene| with(scene, "/ioPriority", json!({"class": "IOPRIO_CLASS_RT"})),
    },
    Case {
        name: "an exec in a descriptor of the runtime",
        expected: Refused("refused [working-directory-denied]", "'/proc/self/fd/8'"),
        ask: |scene| with(scene, "/cwd", json!("/proc/self/fd/8")),
    },
    Case {
        name: "an exec whose user is there twice",
        expected: Refused("fault [exec-spec-malformed]", "key 'user' twice"),
        ask: |scene| {
            let users = r#""user":{"uid":1000,"gid":1000},"user":{"uid":0,"gid":0}"#;
            scene.exec_as(format!(r#"{{"args":["id"],"cwd":"/",{users}}}"#).as_bytes())
        },
    },
    Case {
        name: "an exec with a user in another spelling",
        expected: Refused("fault [exec-spec-malformed]", "'User'"),
        ask: |scene| with(scene, "/User", json!({"uid": 0, "gid": 0})),
    },
    Case {
        name: "an update to more memory",
        expected: Refused("refused [update-denied]", "/memory/limit"),
        ask: |scene| scene.update(r#"{"memory":{"limit":1073741824}}"#),
    },
    Case {
        name: "an update to any number of processes",
        expected: Refused("refused [update-denied]", "/pids/limit"),
        ask: |scene| scene.update(r#"{"pids":{"limit":-1}}"#),
    },
    Case {
        name: "an update that keeps the OOM killer away",
        expected: Refused("refused [update-denied]", "disableOOMKiller"),
        ask: |scene| scene.update(r#"{"memory":{"disableOOMKiller":true}}"#),
    },
    Case {
        name: "an update to real-time processor time",
        expected: Refused("refused [update-denied]", "realtimeRuntime"),
        ask: |scene| scene.update(r#"{"cpu":{"realtimeRuntime":950000}}"#),
    },
    Case {
        name: "an update of a file by name",
        expected: Refused("refused [update-denied]", "cgroup.procs"),
        ask: |scene| scene.update(r#"{"unified":{"cgroup.procs":"1"}}"#),
    },
    Case {
        name: "an update that opens every device",
        expected: Clamped,
        ask: |scene| scene.opened_devices(),
    },
    Case {
        name: "an update with a limit that is there twice",
        expected: Refused("fault [resources-malformed]", "key 'pids' twice"),
        ask: |scene| scene.update(r#"{"pids":{"limit":1},"pids":{"limit":5}}"#),
    },
];

fn with(scene: &Scene, pointer: &str, value: Value) -> Outcome<Answer> {
    scene.exec(|spec| set(spec, pointer, value))
}

fn limit(kind: &str, most: u64) -> Value {
    json!([{"type": kind, "soft": most, "hard": most}])
}

fn capabilities(scene: &Scene, names: &[&str]) -> Outcome<Answer> {
    let sets = [
        "bounding",
        "effective",
        "inheritable",
        "permitted",
        "ambient",
    ];
    scene.exec(|spec| {
        for set in sets {
            spec["capabilities"][set] = json!(names);
        }
    })
}
