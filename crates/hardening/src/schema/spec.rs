//! The configuration of the OCI runtime specification 1.3 as a tree of keys.
//!
//! # Source
//!
//! OCI runtime-spec, "config.md" and "config-linux.md"; key names as in `specs-go/config.go`.

use super::Node::{self, Any, Flag, List, Map, Object, Text, Whole};

const I32: Node = Whole(i32::MIN as i64, i32::MAX as u64);
const I64: Node = Whole(i64::MIN, i64::MAX as u64);
const U16: Node = Whole(0, u16::MAX as u64);
const U32: Node = Whole(0, u32::MAX as u64);
const U64: Node = Whole(0, u64::MAX);
const TEXTS: Node = List(&Text);

/// The whole `config.json`.
pub(crate) static SPEC: Node = Object(&[
    ("ociVersion", &Text),
    ("process", &PROCESS),
    ("root", &Object(&[("path", &Text), ("readonly", &Flag)])),
    ("hostname", &Text),
    ("domainname", &Text),
    ("mounts", &List(&MOUNT)),
    ("hooks", &HOOKS),
    ("annotations", &Map(&Text)),
    ("linux", &LINUX),
    ("solaris", &Any),
    ("windows", &Any),
    ("vm", &Any),
    ("zos", &Any),
    ("freebsd", &Any),
]);

/// `process`; also the process specification of an exec.
pub(crate) static PROCESS: Node = Object(&[
    ("terminal", &Flag),
    ("consoleSize", &Object(&[("height", &U64), ("width", &U64)])),
    (
        "user",
        &Object(&[
            ("uid", &U32),
            ("gid", &U32),
            ("umask", &U32),
            ("additionalGids", &List(&U32)),
            ("username", &Text),
        ]),
    ),
    ("args", &TEXTS),
    ("commandLine", &Text),
    ("env", &TEXTS),
    ("cwd", &Text),
    (
        "capabilities",
        &Object(&[
            ("bounding", &TEXTS),
            ("effective", &TEXTS),
            ("inheritable", &TEXTS),
            ("permitted", &TEXTS),
            ("ambient", &TEXTS),
        ]),
    ),
    (
        "rlimits",
        &List(&Object(&[("type", &Text), ("hard", &U64), ("soft", &U64)])),
    ),
    ("noNewPrivileges", &Flag),
    ("apparmorProfile", &Text),
    ("oomScoreAdj", &I32),
    (
        "scheduler",
        &Object(&[
            ("policy", &Text),
            ("nice", &I32),
            ("priority", &I32),
            ("flags", &TEXTS),
            ("runtime", &U64),
            ("deadline", &U64),
            ("period", &U64),
        ]),
    ),
    ("selinuxLabel", &Text),
    (
        "ioPriority",
        &Object(&[("class", &Text), ("priority", &I32)]),
    ),
    (
        "execCPUAffinity",
        &Object(&[("initial", &Text), ("final", &Text)]),
    ),
]);

/// `linux.resources`; also the body of an update.
pub(crate) static RESOURCES: Node = Object(&[
    (
        "devices",
        &List(&Object(&[
            ("allow", &Flag),
            ("type", &Text),
            ("major", &I64),
            ("minor", &I64),
            ("access", &Text),
        ])),
    ),
    (
        "memory",
        &Object(&[
            ("limit", &I64),
            ("reservation", &I64),
            ("swap", &I64),
            ("kernel", &I64),
            ("kernelTCP", &I64),
            ("swappiness", &U64),
            ("disableOOMKiller", &Flag),
            ("useHierarchy", &Flag),
            ("checkBeforeUpdate", &Flag),
        ]),
    ),
    (
        "cpu",
        &Object(&[
            ("shares", &U64),
            ("quota", &I64),
            ("burst", &U64),
            ("period", &U64),
            ("realtimeRuntime", &I64),
            ("realtimePeriod", &U64),
            ("cpus", &Text),
            ("mems", &Text),
            ("idle", &I64),
        ]),
    ),
    ("pids", &Object(&[("limit", &I64)])),
    ("blockIO", &BLOCK_IO),
    (
        "hugepageLimits",
        &List(&Object(&[("pageSize", &Text), ("limit", &U64)])),
    ),
    (
        "network",
        &Object(&[
            ("classID", &U32),
            (
                "priorities",
                &List(&Object(&[("name", &Text), ("priority", &U32)])),
            ),
        ]),
    ),
    (
        "rdma",
        &Map(&Object(&[("hcaHandles", &U32), ("hcaObjects", &U32)])),
    ),
    ("unified", &Map(&Text)),
]);

static BLOCK_IO: Node = Object(&[
    ("weight", &U16),
    ("leafWeight", &U16),
    (
        "weightDevice",
        &List(&Object(&[
            ("major", &I64),
            ("minor", &I64),
            ("weight", &U16),
            ("leafWeight", &U16),
        ])),
    ),
    ("throttleReadBpsDevice", &THROTTLE),
    ("throttleWriteBpsDevice", &THROTTLE),
    ("throttleReadIOPSDevice", &THROTTLE),
    ("throttleWriteIOPSDevice", &THROTTLE),
]);

static THROTTLE: Node = List(&Object(&[("major", &I64), ("minor", &I64), ("rate", &U64)]));

static ID_MAP: Node = List(&Object(&[
    ("containerID", &U32),
    ("hostID", &U32),
    ("size", &U32),
]));

static MOUNT: Node = Object(&[
    ("destination", &Text),
    ("type", &Text),
    ("source", &Text),
    ("options", &TEXTS),
    ("uidMappings", &ID_MAP),
    ("gidMappings", &ID_MAP),
]);

static HOOK: Node = List(&Object(&[
    ("path", &Text),
    ("args", &TEXTS),
    ("env", &TEXTS),
    ("timeout", &I64),
]));

static HOOKS: Node = Object(&[
    ("prestart", &HOOK),
    ("createRuntime", &HOOK),
    ("createContainer", &HOOK),
    ("startContainer", &HOOK),
    ("poststart", &HOOK),
    ("poststop", &HOOK),
]);

static LINUX: Node = Object(&[
    ("uidMappings", &ID_MAP),
    ("gidMappings", &ID_MAP),
    ("sysctl", &Map(&Text)),
    ("resources", &RESOURCES),
    ("cgroupsPath", &Text),
    (
        "namespaces",
        &List(&Object(&[("type", &Text), ("path", &Text)])),
    ),
    (
        "devices",
        &List(&Object(&[
            ("path", &Text),
            ("type", &Text),
            ("major", &I64),
            ("minor", &I64),
            ("fileMode", &U32),
            ("uid", &U32),
            ("gid", &U32),
        ])),
    ),
    ("netDevices", &Map(&Object(&[("name", &Text)]))),
    ("seccomp", &SECCOMP),
    ("rootfsPropagation", &Text),
    ("maskedPaths", &TEXTS),
    ("readonlyPaths", &TEXTS),
    ("mountLabel", &Text),
    (
        "intelRdt",
        &Object(&[
            ("closID", &Text),
            ("schemata", &TEXTS),
            ("l3CacheSchema", &Text),
            ("memBwSchema", &Text),
            ("enableMonitoring", &Flag),
            ("enableCMT", &Flag),
            ("enableMBM", &Flag),
        ]),
    ),
    (
        "memoryPolicy",
        &Object(&[("mode", &Text), ("nodes", &Text), ("flags", &TEXTS)]),
    ),
    (
        "personality",
        &Object(&[("domain", &Text), ("flags", &TEXTS)]),
    ),
    (
        "timeOffsets",
        &Map(&Object(&[("secs", &I64), ("nanosecs", &U32)])),
    ),
]);

/// `linux.seccomp`; also the seccomp list of a profile.
pub(crate) static SECCOMP: Node = Object(&[
    ("defaultAction", &Text),
    ("defaultErrnoRet", &U32),
    ("architectures", &TEXTS),
    ("flags", &TEXTS),
    ("listenerPath", &Text),
    ("listenerMetadata", &Text),
    (
        "syscalls",
        &List(&Object(&[
            ("names", &TEXTS),
            ("action", &Text),
            ("errnoRet", &U32),
            (
                "args",
                &List(&Object(&[
                    ("index", &U32),
                    ("value", &U64),
                    ("valueTwo", &U64),
                    ("op", &Text),
                ])),
            ),
        ])),
    ),
]);
