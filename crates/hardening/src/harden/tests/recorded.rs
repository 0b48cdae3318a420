//! Configurations that containerd really wrote; see `tests/data/PROVENANCE.md`.

use portcullis_gate::Code;

use super::*;
use crate::{AppArmor, SANDBOX_PROFILE};

const SANDBOX: &str = include_str!("../../../tests/data/cri-1.6.20-sandbox.json");
const PLAIN: &str = include_str!("../../../tests/data/cri-1.6.20-no-security-context.json");
const PRIVILEGED: &str = include_str!("../../../tests/data/ctr-1.6.20-privileged.json");

fn options<'a>(tree: &'a Value, destination: &str) -> Vec<&'a str> {
    let mounts = tree["mounts"].as_array().unwrap();
    let mount = mounts
        .iter()
        .find(|mount| mount["destination"] == destination)
        .unwrap();
    mount["options"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap())
        .collect()
}

#[test]
fn recorded_containers_start_hardened_and_stay_the_same_the_second_time() {
    for text in [CTR, CRI, PLAIN, SANDBOX] {
        for name in [RESTRICTED, BASELINE] {
            let first = hardened(&edited(text, |_| {}), &profile(name));
            assert!(!first.changes.is_empty());
            let second = hardened(&tree(&first), &profile(name));
            assert_eq!(second.changes, []);
            assert_eq!(second.config, first.config);
            assert_eq!(second.baseline, first.baseline);
        }
    }
}

#[test]
fn a_pod_sandbox_gets_the_memory_limit_that_cri_cannot_ask_for() {
    // Profile `strict`, but for the user namespace that containerd 1.6 cannot make.
    let strict = STRICT.replace("user_required = true", "user_required = false");
    let strict = profile(&strict);
    let first = hardened(&edited(SANDBOX, |_| {}), &strict);
    let limit = &tree(&first)["linux"]["resources"]["memory"]["limit"];
    assert_eq!(*limit, json!(67_108_864));
    assert_eq!(first.baseline.ceilings.memory_bytes, Some(67_108_864));
    let second = hardened(&tree(&first), &strict);
    assert_eq!(second.changes, []);
    // A limit that was asked for stays; a container that works has to ask.
    let lower = edited(SANDBOX, |config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 1_048_576});
    });
    let lower = tree(&hardened(&lower, &strict));
    let limit = &lower["linux"]["resources"]["memory"]["limit"];
    assert_eq!(*limit, json!(1_048_576));
    let work = edited(SANDBOX, |config| {
        config["annotations"]["io.kubernetes.cri.container-type"] = json!("container");
    });
    let config = parse(&work);
    let refusals = harden(
        config.clone(),
        &strict,
        &facts(&config),
        &Concessions::none(),
    );
    let first = refusals.unwrap_err();
    assert_eq!(first.first().code, Code::ResourceExcess);
}

#[test]
fn a_share_or_a_quota_of_processor_time_is_asked_for_where_one_is_required() {
    let required = RESTRICTED.replace("cpu_limit_required = false", "cpu_limit_required = true");
    let required = profile(&required);
    let with =
        |text: &str, cpu: Value| edited(text, |config| config["linux"]["resources"]["cpu"] = cpu);
    for cpu in [
        json!({"shares": 2}),
        json!({"quota": 1000, "period": 10_000}),
    ] {
        let _starts = hardened(&with(PLAIN, cpu), &required);
    }
    for cpu in [
        Value::Null,
        json!({}),
        json!({"shares": 0}),
        json!({"quota": -1}),
    ] {
        let bare = with(PLAIN, cpu);
        let config = parse(&bare);
        let refusals = harden(
            config.clone(),
            &required,
            &facts(&config),
            &Concessions::none(),
        );
        let first = refusals.unwrap_err().first().clone();
        assert_eq!(first.code, Code::ResourceExcess);
        assert_eq!(first.rule, Some(Rule::CpuLimit));
        let _starts = hardened(&bare, &profile(RESTRICTED));
    }
    let sandbox = tree(&hardened(&with(SANDBOX, Value::Null), &required));
    assert_eq!(sandbox["linux"]["resources"]["cpu"]["shares"], 2);
}

#[test]
fn a_hook_that_is_listed_with_a_digest_is_that_program() {
    let (good, bad) = ("a".repeat(64), "b".repeat(64));
    let listed = format!(
        "[[hooks.allow]]\npath = \"/usr/bin/hook\"\nstages = [\"prestart\"]\nargs = [\"hook\"]\n\
         sha256 = \"{good}\"\n\n[lsm]\n"
    );
    let listed = profile(&RESTRICTED.replacen("[lsm]\n", &listed, 1));
    let hooked = edited(PLAIN, |config| {
        let hook = json!({"path": "/usr/bin/hook", "args": ["hook"]});
        config["hooks"] = json!({"prestart": [hook]});
    });
    let config = parse(&hooked);
    assert_eq!(listed.hashed_hooks(&config), ["/usr/bin/hook"]);
    assert!(
        listed
            .hashed_hooks(&parse(&edited(PLAIN, |_| {})))
            .is_empty()
    );
    let judged = |sha256: Option<Result<String, String>>| {
        let mut facts = facts(&config);
        facts.hooks.extend(sha256.map(|sha256| HookFile {
            path: "/usr/bin/hook".to_owned(),
            sha256,
        }));
        harden(config.clone(), &listed, &facts, &Concessions::none())
    };
    judged(Some(Ok(good))).unwrap();
    for (sha256, found) in [
        (Some(Ok(bad.clone())), bad.as_str()),
        (Some(Err("cannot trust it".to_owned())), "'cannot trust it'"),
        (None, "one that nobody looked at"),
    ] {
        let refusals = judged(sha256).unwrap_err();
        assert_eq!(refusals.first().code, Code::HookDenied);
        assert_eq!(refusals.first().found, found);
    }
    for digest in ["", "aa", &"A".repeat(64)] {
        let text = RESTRICTED.replacen(
            "[lsm]\n",
            &format!(
                "[[hooks.allow]]\npath = \"/x\"\nstages = []\nsha256 = \"{digest}\"\n\n[lsm]\n"
            ),
            1,
        );
        Profile::parse(&text, SECCOMP).unwrap_err();
    }
}

#[test]
fn a_container_of_a_pod_is_hardened_in_every_field() {
    let tree = tree(&hardened(&edited(PLAIN, |_| {}), &profile(RESTRICTED)));
    let process = &tree["process"];
    for set in [
        "bounding",
        "effective",
        "inheritable",
        "permitted",
        "ambient",
    ] {
        assert_eq!(process["capabilities"][set], json!([]), "{set}");
    }
    assert_eq!(process["noNewPrivileges"], true);
    assert_eq!(
        process["rlimits"][0],
        json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0})
    );
    assert_eq!(tree["root"]["readonly"], true);
    let linux = &tree["linux"];
    assert_eq!(
        linux["resources"]["devices"],
        json!([{"allow": false, "access": "rwm"}])
    );
    assert_eq!(linux["resources"]["pids"]["limit"], 1024);
    assert_eq!(linux["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(
        linux["seccomp"]["architectures"],
        json!(["SCMP_ARCH_X86_64"])
    );
    let masked = linux["maskedPaths"].as_array().unwrap();
    for path in [
        "/proc/kcore",
        "/proc/interrupts",
        "/proc/kallsyms",
        "/sys/kernel/security",
    ] {
        assert!(masked.contains(&json!(path)), "{path}");
    }
    assert!(masked.contains(&json!("/sys/devices/system/cpu/cpu0/thermal_throttle")));
    assert!(!masked.contains(&json!("/proc/cpuinfo")));
    let kinds = linux["namespaces"].as_array().unwrap();
    assert!(kinds.contains(&json!({"type": "cgroup"})));
    let token = options(&tree, "/var/run/secrets/kubernetes.io/serviceaccount");
    assert_eq!(
        token,
        [
            "rbind", "rprivate", "ro", "nosuid", "nodev", "noexec", "rro"
        ]
    );
    assert_eq!(
        options(&tree, "/tmp"),
        [
            "nosuid",
            "nodev",
            "noexec",
            "mode=1777",
            "uid=65534",
            "gid=65534",
            "size=64m",
            "tmpcopyup"
        ]
    );
}

#[test]
fn a_privileged_container_is_refused_as_such() {
    let refusals = refused(&edited(PRIVILEGED, |_| {}), &profile(RESTRICTED));
    let line = refusals.line(&portcullis_gate::RecordId([0x8d, 0x21, 0xc0, 0xaa]));
    let start = "portcullis: refused [privileged-denied] config.json ";
    assert!(line.starts_with(start), "{line}");
    assert!(
        line.len() <= 256 && line.ends_with("; ref=8d21c0aa"),
        "{line}"
    );
    assert!(refusals.count() < 10, "one refusal for all devices");
    assert!(
        refusals
            .iter()
            .any(|it| it.code.as_str() == "device-denied")
    );
}

#[test]
fn a_writable_root_of_a_baseline_container_gets_no_tmpfs() {
    let tree = tree(&hardened(&edited(PLAIN, |_| {}), &profile(BASELINE)));
    let mounts = tree["mounts"].as_array().unwrap();
    assert!(mounts.iter().all(|mount| mount["destination"] != "/tmp"));
}

/// crun 1.8 makes recursive changes to directories only, and could not mount files.
#[test]
fn what_is_read_only_is_so_to_its_depth_unless_it_is_a_file() {
    for (source, recursive) in [
        (
            "/var/lib/kubelet/pods/1/volumes/kubernetes.io~projected/token",
            true,
        ),
        (
            "/var/lib/kubelet/pods/1/volumes/kubernetes.io~configmap/app.conf",
            false,
        ),
        (
            "/run/containerd/io.containerd.grpc.v1.cri/sandboxes/1/resolv.conf",
            false,
        ),
    ] {
        let config = edited(CTR, |config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.push(json!({
                "destination": "/data", "type": "bind", "source": source, "options": ["rbind", "ro"],
            }));
        });
        let tree = tree(&hardened(&config, &profile(RESTRICTED)));
        let options = options(&tree, "/data");
        assert!(options.contains(&"ro"), "{source}");
        assert_eq!(options.contains(&"rro"), recursive, "{source}");
    }
}

#[test]
fn a_pod_sandbox_gets_the_apparmor_profile_that_cri_cannot_ask_for() {
    let strict = STRICT.replace("user_required = true", "user_required = false");
    let strict = profile(&strict);
    let outcome = |kind: &str, asked: Option<&str>, is_loaded: bool| {
        let config = parse(&edited(SANDBOX, |config| {
            config["annotations"]["io.kubernetes.cri.container-type"] = json!(kind);
            config["linux"]["resources"]["memory"] = json!({"limit": 1_048_576});
            config["process"]["apparmorProfile"] = json!(asked.unwrap_or_default());
        }));
        let mut facts = facts(&config);
        facts.apparmor = if is_loaded {
            AppArmor::WithSandboxProfile
        } else {
            AppArmor::On
        };
        harden(config, &strict, &facts, &Concessions::none())
            .map(|hardened| tree(&hardened)["process"]["apparmorProfile"].clone())
            .map_err(|refusals| refusals.first().code)
    };
    assert_eq!(outcome("sandbox", None, true), Ok(json!(SANDBOX_PROFILE)));
    // Not one that is not there; and what was asked for stays, or is refused.
    assert_eq!(outcome("sandbox", None, false), Err(Code::LsmLabelDenied));
    let own = Some("cri-containerd.apparmor.d");
    assert_eq!(outcome("sandbox", own, true), Ok(json!(own)));
    let unconfined = outcome("sandbox", Some("unconfined"), true);
    assert_eq!(unconfined, Err(Code::LsmLabelDenied));
    // What works has to ask.
    assert_eq!(outcome("container", None, true), Err(Code::LsmLabelDenied));
}
