use serde_json::from_str;

use super::*;
use crate::harden::tests::{BASELINE, CTR, RESTRICTED, edited, hardened, profile};

fn baseline(name: &str) -> Baseline {
    hardened(&edited(CTR, |_| {}), &profile(name)).baseline
}

/// What a runtime caller sends: the process of the configuration as it was before hardening.
fn request(edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut process = from_str::<Value>(CTR).unwrap()["process"].take();
    edit(&mut process);
    process.to_string().into_bytes()
}

fn clamped(edit: impl FnOnce(&mut Value)) -> Value {
    Value::Object(
        clamp_exec(&request(edit), &baseline(RESTRICTED))
            .unwrap()
            .process,
    )
}

fn refused(edit: impl FnOnce(&mut Value)) -> &'static str {
    clamp_exec(&request(edit), &baseline(RESTRICTED))
        .unwrap_err()
        .first()
        .code
        .as_str()
}

#[test]
fn everything_that_a_runtime_would_fill_in_is_written() {
    let bare =
        clamped(|process| *process = json!({"args": ["id"], "cwd": "/", "user": {"uid": 5}}));
    for set in [
        "bounding",
        "effective",
        "inheritable",
        "permitted",
        "ambient",
    ] {
        assert_eq!(bare["capabilities"][set], json!([]), "{set}");
    }
    assert_eq!(bare["noNewPrivileges"], true);
    let limits = json!([
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024},
    ]);
    assert_eq!(bare["rlimits"], limits);
}

#[test]
fn the_labels_are_those_of_the_container() {
    let mut baseline = baseline(RESTRICTED);
    baseline.apparmor_profile = "cri-containerd.apparmor.d".to_owned();
    baseline.selinux_label = "system_u:system_r:container_t:s0".to_owned();
    let spec = request(|process| process["apparmorProfile"] = "unconfined".into());
    let process = Value::Object(clamp_exec(&spec, &baseline).unwrap().process);
    assert_eq!(process["apparmorProfile"], "cri-containerd.apparmor.d");
    assert_eq!(process["selinuxLabel"], "system_u:system_r:container_t:s0");
    let process = clamped(|process| process["apparmorProfile"] = "unconfined".into());
    assert_eq!(process["apparmorProfile"], Value::Null);
}

#[test]
fn a_privileged_exec_gains_nothing() {
    let all: Vec<&str> = crate::CapabilitySet::from_bits((1 << 41) - 1)
        .names()
        .collect();
    let code = refused(|process| {
        process["capabilities"] = json!({"bounding": all, "effective": all, "permitted": all});
    });
    assert_eq!(code, "capability-excess");
    let code = refused(|process| process["capabilities"]["ambient"] = json!(["CAP_SYS_PTRACE"]));
    assert_eq!(code, "capability-excess");
}

#[test]
fn capabilities_of_the_caller_are_stripped_and_recorded() {
    let exec = clamp_exec(&request(|_| {}), &baseline(RESTRICTED)).unwrap();
    assert_eq!(exec.process["capabilities"]["bounding"], json!([]));
    assert!(
        exec.changes
            .iter()
            .any(|change| change.pointer == "/capabilities")
    );
    let kept = clamp_exec(&request(|_| {}), &baseline(BASELINE)).unwrap();
    assert_eq!(
        kept.process["capabilities"]["bounding"]
            .as_array()
            .unwrap()
            .len(),
        13
    );
    assert_eq!(kept.process["capabilities"]["inheritable"], json!([]));
}

#[test]
fn root_is_refused_in_a_container_of_another_user() {
    assert_eq!(
        refused(|process| process["user"]["uid"] = 0.into()),
        "exec-denied"
    );
    assert_eq!(
        refused(|process| process["user"] = Value::Null),
        "exec-denied"
    );
    let spec = request(|process| process["user"]["uid"] = 0.into());
    let permitted = clamp_exec(&spec, &baseline(BASELINE)).unwrap();
    assert_eq!(permitted.process["user"]["uid"], 0);
}

#[test]
fn limits_are_lowered_never_raised() {
    let process = clamped(|process| {
        process["rlimits"] = json!([
            {"type": "RLIMIT_CORE", "soft": 99, "hard": 99},
            {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 9_999_999},
            {"type": "RLIMIT_MEMLOCK", "soft": u64::MAX, "hard": u64::MAX},
        ]);
        process["oomScoreAdj"] = (-1000).into();
    });
    let limits = json!([
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 1024},
    ]);
    assert_eq!(process["rlimits"], limits);
    assert_eq!(process["oomScoreAdj"], Value::Null);
    let mut baseline = baseline(RESTRICTED);
    baseline.oom_score_adj = Some(100);
    let spec = request(|process| process["oomScoreAdj"] = 99.into());
    assert_eq!(
        clamp_exec(&spec, &baseline).unwrap().process["oomScoreAdj"],
        100
    );
}

#[test]
fn real_time_classes_and_directories_of_proc_are_refused() {
    let policy = |policy: &str| json!({"policy": policy});
    assert_eq!(
        refused(|it| it["scheduler"] = policy("SCHED_DEADLINE")),
        "exec-denied"
    );
    let before_others = json!({"policy": "SCHED_OTHER", "nice": -1});
    assert_eq!(refused(|it| it["scheduler"] = before_others), "exec-denied");
    let class = json!({"class": "IOPRIO_CLASS_RT"});
    assert_eq!(refused(|it| it["ioPriority"] = class), "exec-denied");
    for cwd in ["/proc/self/fd/7", "//proc/1", "tmp"] {
        assert_eq!(
            refused(|it| it["cwd"] = cwd.into()),
            "working-directory-denied"
        );
    }
    assert_eq!(
        clamped(|it| it["scheduler"] = policy("SCHED_BATCH"))["cwd"],
        "/"
    );
}

#[test]
fn unknown_fields_are_dropped_and_other_spellings_refused() {
    let process = clamped(|process| process["future"] = json!({"x": 1}));
    assert_eq!(process.get("future"), None);
    assert_eq!(
        refused(|it| it["NoNewPrivileges"] = false.into()),
        "exec-spec-malformed"
    );
    let nested = json!({"Bounding": []});
    assert_eq!(
        refused(|it| it["capabilities"] = nested),
        "exec-spec-malformed"
    );
    let twice = br#"{"cwd": "/", "cwd": "/"}"#;
    let refusals = clamp_exec(twice, &baseline(RESTRICTED)).unwrap_err();
    assert_eq!(refusals.first().code.as_str(), "exec-spec-malformed");
    assert_eq!(refused(|it| *it = Value::Null), "exec-spec-malformed");
}

#[test]
fn clamping_twice_is_clamping_once() {
    let once = clamp_exec(&request(|_| {}), &baseline(RESTRICTED)).unwrap();
    let twice = clamp_exec(&once.to_bytes(), &baseline(RESTRICTED)).unwrap();
    assert_eq!(twice.process, once.process);
    assert_eq!(twice.changes, []);
}
