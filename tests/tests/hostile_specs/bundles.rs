//! A `config.json` that two readers could read differently, or that is no such thing, or that has
//! fields which clients do not know: in a bundle, given to the shim as it is.

use portcullis_tests::failure::Outcome;
use serde_json::{Value, json};

use super::scene::{Scene, set};
use super::table::Expected::Refused;
use super::table::{Answer, Case};

const MALFORMED: &str = "fault [oci-config-malformed]";
/// More than a configuration may have, in bytes.
const TOO_LONG: usize = (10 << 20) + 1;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a key that is there twice",
        expected: Refused(MALFORMED, "key 'linux' twice"),
        ask: |scene| edited(scene, "\"linux\":", "\"linux\":{},\"linux\":"),
    },
    Case {
        name: "a key in another spelling",
        expected: Refused(MALFORMED, "'Linux'"),
        ask: |scene| edited(scene, "\"linux\":", "\"Linux\":{},\"linux\":"),
    },
    Case {
        name: "a key in another spelling, deep down",
        expected: Refused(MALFORMED, "'NoNewPrivileges'"),
        ask: |scene| {
            edited(
                scene,
                "\"noNewPrivileges\":",
                "\"NoNewPrivileges\":false,\"noNewPrivileges\":",
            )
        },
    },
    Case {
        name: "a key spelled with the Kelvin sign",
        expected: Refused(MALFORMED, "found key 'mas\u{212a}edPaths'"),
        ask: |scene| {
            edited(
                scene,
                "\"maskedPaths\":",
                "\"mas\u{212a}edPaths\":[],\"maskedPaths\":",
            )
        },
    },
    Case {
        name: "a namespace twice",
        expected: Refused(MALFORMED, "pid twice"),
        ask: |scene| {
            edited(
                scene,
                "{\"type\":\"pid\"}",
                "{\"type\":\"pid\"},{\"type\":\"pid\"}",
            )
        },
    },
    Case {
        name: "a number where a list belongs",
        expected: Refused(MALFORMED, "/mounts"),
        ask: |scene| edited(scene, "\"mounts\":[", "\"mounts\":7,\"was\":["),
    },
    Case {
        name: "something behind the end",
        expected: Refused(MALFORMED, "trailing"),
        ask: |scene| {
            let config = scene.configuration(|_: &mut Value| {})?;
            scene.bundle(format!("{config}{{}}").as_bytes())
        },
    },
    Case {
        name: "more than 10 MiB",
        expected: Refused(MALFORMED, "10485760"),
        ask: |scene| {
            let mut config = scene.configuration(|_: &mut Value| {})?.to_string();
            config.push_str(&" ".repeat(TOO_LONG - config.len()));
            scene.bundle(config.as_bytes())
        },
    },
    Case {
        name: "lists in lists, without end",
        expected: Refused(MALFORMED, "deep"),
        ask: |scene| {
            let deep = format!("{{\"x\":{}{}}}", "[".repeat(500), "]".repeat(500));
            scene.bundle(deep.as_bytes())
        },
    },
    Case {
        name: "nothing",
        expected: Refused(MALFORMED, "EOF"),
        ask: |scene| scene.bundle(b""),
    },
    // === what ctr of containerd 1.6 would leave out ===
    Case {
        name: "scheduler SCHED_FIFO",
        expected: Refused("refused [scheduler-denied]", "SCHED_FIFO"),
        ask: |scene| {
            let scheduler = json!({"policy": "SCHED_FIFO", "priority": 99});
            with(scene, "/process/scheduler", scheduler)
        },
    },
    Case {
        name: "scheduler SCHED_DEADLINE",
        expected: Refused("refused [scheduler-denied]", "SCHED_DEADLINE"),
        ask: |scene| {
            with(
                scene,
                "/process/scheduler",
                json!({"policy": "SCHED_DEADLINE"}),
            )
        },
    },
    Case {
        name: "a nice value before others",
        expected: Refused("refused [scheduler-denied]", "/scheduler/nice"),
        ask: |scene| {
            with(
                scene,
                "/process/scheduler",
                json!({"policy": "SCHED_OTHER", "nice": -20}),
            )
        },
    },
    Case {
        name: "real-time class of the disk",
        expected: Refused("refused [scheduler-denied]", "IOPRIO_CLASS_RT"),
        ask: |scene| {
            with(
                scene,
                "/process/ioPriority",
                json!({"class": "IOPRIO_CLASS_RT"}),
            )
        },
    },
    Case {
        name: "offsets of the clock",
        expected: Refused("refused [oci-field-denied]", "/linux/timeOffsets"),
        ask: |scene| {
            with(
                scene,
                "/linux/timeOffsets",
                json!({"boottime": {"secs": 9}}),
            )
        },
    },
    Case {
        name: "a network device of the host",
        expected: Refused("refused [oci-field-denied]", "/linux/netDevices"),
        ask: |scene| with(scene, "/linux/netDevices", json!({"lo": {"name": "eth0"}})),
    },
];

/// The configuration of an ordinary container, with one text for another.
fn edited(scene: &Scene, from: &str, to: &str) -> Outcome<Answer> {
    let config = scene.configuration(|_: &mut Value| {})?.to_string();
    assert!(config.contains(from), "no '{from}' in {config}");
    scene.bundle(config.replacen(from, to, 1).as_bytes())
}

/// The same with `value` at `pointer`.
fn with(scene: &Scene, pointer: &str, value: Value) -> Outcome<Answer> {
    let config = scene.configuration(|config| set(config, pointer, value))?;
    scene.bundle(config.to_string().as_bytes())
}
