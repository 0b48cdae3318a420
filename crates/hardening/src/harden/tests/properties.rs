//! Hardening only takes away, and twice is the same as once.

use portcullis_gate::{Rule, RuleMode, RuleModes};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::capability::CapabilitySets;
use crate::harden::process::requested_capabilities;
use crate::oci_config::texts;

const CAPABILITIES: [&str; 6] = [
    "CAP_CHOWN",
    "CAP_NET_RAW",
    "CAP_KILL",
    "CAP_SYS_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETUID",
];

fn capabilities() -> impl Strategy<Value = Value> {
    let set = || subsequence(CAPABILITIES.to_vec(), 0..=3);
    (set(), set(), set(), set(), set()).prop_map(|(b, e, i, p, a)| {
        json!({"bounding": b, "effective": e, "inheritable": i, "permitted": p, "ambient": a})
    })
}

fn mount() -> impl Strategy<Value = Value> {
    let destinations = vec![
        "/proc",
        "/dev",
        "/dev/shm",
        "/sys",
        "/sys/fs/cgroup",
        "/tmp",
        "/run",
        "/var",
        "/data",
        "/tmp/x",
        "/var/run/secrets",
    ];
    let kinds = vec![
        "proc", "tmpfs", "sysfs", "cgroup", "bind", "mqueue", "devpts",
    ];
    let sources = vec![
        "/srv/a",
        "/etc",
        "/x/volumes/kubernetes.io~projected/t",
        "/x/pods/h",
        "t",
    ];
    let options = vec![
        "rbind", "ro", "rw", "nosuid", "suid", "dev", "exec", "noexec", "rprivate", "shared",
        "size=1m", "rro",
    ];
    let options = subsequence(options, 0..=5).prop_shuffle();
    (select(destinations), select(kinds), select(sources), options).prop_map(
        |(destination, kind, source, options)| {
            json!({"destination": destination, "type": kind, "source": source, "options": options})
        },
    )
}

fn seccomp() -> impl Strategy<Value = Value> {
    let names = vec![
        "read",
        "write",
        "socket",
        "clone",
        "personality",
        "ptrace",
        "futex",
        "clone3",
    ];
    let actions = vec![
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_LOG",
        "SCMP_ACT_KILL",
    ];
    let ops = vec![
        "SCMP_CMP_EQ",
        "SCMP_CMP_NE",
        "SCMP_CMP_MASKED_EQ",
        "SCMP_CMP_LT",
    ];
    let arg = (0..3_u64, select(vec![0, 1, 16, 40, u64::from(u32::MAX)]), select(ops)).prop_map(
        |(index, value, op)| json!({"index": index, "value": value, "valueTwo": value, "op": op}),
    );
    let entry = (
        subsequence(names, 1..=4),
        select(actions.clone()),
        proptest::collection::vec(arg, 0..3),
    )
        .prop_map(|(names, action, args)| json!({"names": names, "action": action, "args": args}));
    let section = (select(actions), proptest::collection::vec(entry, 0..5));
    let section =
        section.prop_map(|(action, entries)| json!({"defaultAction": action, "syscalls": entries}));
    prop_oneof![Just(Value::Null), section]
}

fn device() -> impl Strategy<Value = Value> {
    let numbers = select(vec![(1, 3), (1, 5), (5, 2), (10, 200), (8, 0)]);
    let access = select(vec!["rwm", "r", "rw"]);
    (any::<bool>(), numbers, access).prop_map(|(allow, (major, minor), access)| {
        json!({"allow": allow, "type": "c", "major": major, "minor": minor, "access": access})
    })
}

/// Annotations that are kept, that nobody knows, and one that steers a runtime.
const ANNOTATIONS: [&str; 7] = [
    "portcullis.dev/profile",
    "io.kubernetes.cri.sandbox-id",
    "nerdctl/namespace",
    "nerdctl",
    "run.oci",
    "example.com/a",
    "run.oci.handler",
];

fn config() -> impl Strategy<Value = Value> {
    let process = (
        capabilities(),
        select(vec![0, 1, 65534]),
        any::<bool>(),
        -1000..1000_i32,
    );
    let lists = (
        proptest::collection::vec(mount(), 0..6),
        seccomp(),
        proptest::collection::vec(device(), 0..4),
        subsequence(vec!["/proc/kcore", "/proc/own", "/sys/firmware"], 0..=3),
        subsequence(ANNOTATIONS.to_vec(), 0..=2),
    );
    let numbers = (
        proptest::option::of(-1..40_000_i64),
        proptest::option::of(0..2_000_000_u64),
    );
    (process, lists, numbers).prop_map(|(process, lists, numbers)| {
        let (capabilities, uid, privileges, score) = process;
        let (mounts, seccomp, devices, masked, annotations) = lists;
        let (pids, nofile) = numbers;
        edited(CTR, |config| {
            config["process"]["capabilities"] = capabilities;
            config["process"]["user"]["uid"] = uid.into();
            config["process"]["noNewPrivileges"] = privileges.into();
            config["process"]["oomScoreAdj"] = score.into();
            config["process"]["rlimits"] = nofile.map_or(Value::Null, |hard| {
                json!([{"type": "RLIMIT_NOFILE", "hard": hard, "soft": hard / 2},
                       {"type": "RLIMIT_MEMLOCK", "hard": 7, "soft": 7}])
            });
            config["mounts"] = mounts.into();
            config["linux"]["seccomp"] = seccomp;
            config["linux"]["resources"]["devices"] = devices.into();
            config["linux"]["resources"]["pids"] =
                pids.map_or(Value::Null, |limit| json!({"limit": limit}));
            config["linux"]["maskedPaths"] = json!(masked);
            for key in annotations {
                config["annotations"][key] = json!("x");
            }
        })
    })
}

fn sets(config: &OciConfig) -> CapabilitySets {
    requested_capabilities(config.as_map()["process"].as_object().unwrap()).0
}

fn is_within(narrow: &CapabilitySets, wide: &CapabilitySets) -> bool {
    narrow.bounding.is_subset(wide.bounding)
        && narrow.effective.is_subset(wide.effective)
        && narrow.inheritable.is_subset(wide.inheritable)
        && narrow.permitted.is_subset(wide.permitted)
        && narrow.ambient.is_subset(wide.ambient)
}

/// What a configuration lets happen, as far as the model goes.
fn assert_takes_away(before: &OciConfig, after: &OciConfig) {
    assert!(is_within(&sets(after), &sets(before)));
    let (old, new) = (before.as_map(), after.as_map());
    let flag = |map: &Map, pointer: [&str; 2]| map[pointer[0]][pointer[1]] == true;
    for restriction in [["process", "noNewPrivileges"], ["root", "readonly"]] {
        assert!(
            flag(new, restriction) || !flag(old, restriction),
            "{restriction:?}"
        );
    }
    for list in ["maskedPaths", "readonlyPaths"] {
        let paths = |map: &Map| -> Vec<String> {
            texts(map["linux"].as_object().unwrap(), list)
                .map(str::to_owned)
                .collect()
        };
        let kept = paths(new);
        assert!(paths(old).iter().all(|path| kept.contains(path)), "{list}");
    }
    let annotations = |map: &Map| {
        let annotations = map.get("annotations").and_then(Value::as_object);
        annotations.cloned().unwrap_or_default()
    };
    let (asked, left) = (annotations(old), annotations(new));
    for (index, key) in ANNOTATIONS.into_iter().enumerate() {
        assert_eq!(left.get(key), asked.get(key).filter(|_| index < 3), "{key}");
    }
    let mounts = |map: &Map| map["mounts"].as_array().unwrap().clone();
    let mut kept = mounts(new);
    for mount in mounts(old) {
        let is_same =
            |it: &Value| it["destination"] == mount["destination"] && it["type"] == mount["type"];
        let place = kept.iter().position(is_same).expect("no mount is dropped");
        // Taken out: two may have one destination, and stay in their order.
        let same = kept.remove(place);
        let options = same["options"].as_array().unwrap();
        let read_only = |options: &Value| {
            options
                .as_array()
                .is_some_and(|all| all.contains(&json!("ro")) || all.contains(&json!("rro")))
        };
        assert!(!read_only(&mount["options"]) || read_only(&same["options"]));
        assert!(options.contains(&json!("nosuid")), "{same}");
    }
    for (limit, hard) in limits(new) {
        if let Some((_, before)) = limits(old).into_iter().find(|(name, _)| *name == limit) {
            assert!(hard <= before, "{limit}");
        }
    }
}

type Map = serde_json::Map<String, Value>;

fn limits(map: &Map) -> Vec<(String, u64)> {
    let limits = map["process"]["rlimits"].as_array();
    let read = |limit: &Value| {
        (
            limit["type"].as_str().unwrap().to_owned(),
            limit["hard"].as_u64().unwrap(),
        )
    };
    limits.into_iter().flatten().map(read).collect()
}

proptest! {
    #[test]
    fn hardening_takes_away_and_is_done_after_once(
        config in config(),
        name in select(vec![RESTRICTED, BASELINE]),
        relaxations in subsequence(vec!["net-bind-service", "tmp-exec", "debug"], 0..=3),
    ) {
        let profile = profile(name);
        let relaxations: Relaxations = relaxations.into_iter().collect();
        let concessions = Concessions::from(relaxations);
        let before = parse(&config);
        if let Ok(once) = harden(before.clone(), &profile, &facts(&before), &concessions) {
            assert_takes_away(&before, &once.config);
            let again = once.config.clone();
            let host = facts(&again);
            let twice = harden(again, &profile, &host, &concessions).unwrap();
            prop_assert_eq!(&twice.changes, &[]);
            prop_assert_eq!(twice.config.to_bytes(), once.config.to_bytes());
            prop_assert_eq!(&twice.baseline, &once.baseline);
        }
    }

    #[test]
    fn a_rule_that_is_not_enforced_edits_nothing_and_one_that_is_off_finds_nothing(
        config in config(),
        modes in proptest::collection::vec((select(Rule::ALL), select(RuleMode::ALL.as_slice())), 0..20),
    ) {
        let profile = profile(RESTRICTED);
        let modes: RuleModes = modes.into_iter().collect();
        let concessions = Concessions { modes: modes.clone(), ..Concessions::none() };
        let before = parse(&config);
        if let Ok(once) = harden(before.clone(), &profile, &facts(&before), &concessions) {
            let is = |rule: Option<Rule>, mode| rule.is_none_or(|rule| modes.of(rule) == mode);
            prop_assert!(once.changes.iter().all(|it| is(it.rule, RuleMode::Enforce)));
            prop_assert!(once.audited.changes.iter().all(|it| is(it.rule, RuleMode::Audit)));
            prop_assert!(once.audited.refusals.iter().all(|it| is(it.rule, RuleMode::Audit)));
            let again = once.config.clone();
            let host = facts(&again);
            let twice = harden(again, &profile, &host, &concessions).unwrap();
            prop_assert_eq!(&twice.changes, &[]);
            prop_assert_eq!(twice.config.to_bytes(), once.config.to_bytes());
            prop_assert_eq!(&twice.baseline, &once.baseline);
        }
    }

    #[test]
    fn whatever_is_read_is_written_and_read_alike(text in r#"\{("[a-c]":(1|null|"x"|\{\}|\[2\]),?){0,3}\}"#) {
        if let Ok(config) = OciConfig::parse(text.as_bytes()) {
            prop_assert_eq!(OciConfig::parse(&config.to_bytes()).unwrap(), config);
        }
    }
}
