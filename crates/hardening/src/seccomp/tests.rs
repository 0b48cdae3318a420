use serde_json::from_str;

use super::requested::ALTERNATIVES_LIMIT;
use super::*;

const SHIPPED: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../config/seccomp/x86_64.json"
));
const SHIPPED_ARM: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../config/seccomp/aarch64.json"
));
const CRI: &str = include_str!("../../tests/data/cri-1.6.20-runtime-default.json");

const UNIX: u64 = 1;
const NETLINK: u64 = 16;
const VSOCK: u64 = 40;

fn shipped() -> SeccompList {
    SeccompList::from_oci(&from_str(SHIPPED).unwrap()).unwrap()
}

fn section(brought: Option<&Value>) -> Value {
    Value::Object(shipped().section([].into_iter(), brought.map(|it| it.as_object().unwrap())))
}

/// What a filter does with one call, as the runtimes read it: the first entry that fits, and an
/// entry with an argument twice is one entry for each of its conditions.
fn passes(section: &Value, name: &str, arguments: [u64; 6]) -> bool {
    let holds = |arg: &Value| {
        let number = |key: &str| arg[key].as_u64().unwrap_or(0);
        let seen = arguments[usize::try_from(number("index")).unwrap()];
        match arg["op"].as_str().unwrap() {
            "SCMP_CMP_EQ" => seen == number("value"),
            "SCMP_CMP_NE" => seen != number("value"),
            "SCMP_CMP_MASKED_EQ" => seen & number("value") == number("valueTwo"),
            other => panic!("{other}"),
        }
    };
    let allows =
        |action: &Value| matches!(action.as_str(), Some("SCMP_ACT_ALLOW" | "SCMP_ACT_LOG"));
    for entry in section["syscalls"].as_array().unwrap() {
        if !entry["names"].as_array().unwrap().contains(&name.into()) {
            continue;
        }
        let args = entry["args"].as_array().cloned().unwrap_or_default();
        let mut indices: Vec<_> = args.iter().map(|arg| arg["index"].as_u64()).collect();
        indices.sort_unstable();
        indices.dedup();
        let fits = if indices.len() < args.len() {
            args.iter().any(holds)
        } else {
            args.iter().all(holds)
        };
        if fits {
            return allows(&entry["action"]);
        }
    }
    allows(&section["defaultAction"])
}

fn first(argument: u64) -> [u64; 6] {
    [argument, 0, 0, 0, 0, 0]
}

#[test]
fn the_shipped_lists_have_the_documented_size() {
    assert_eq!(shipped().allowed_calls(), 291);
    let arm = SeccompList::from_oci(&from_str(SHIPPED_ARM).unwrap()).unwrap();
    assert_eq!(arm.allowed_calls(), 253);
    assert_eq!(arm.architectures, ["SCMP_ARCH_AARCH64"]);
}

#[test]
fn only_the_listed_socket_families_pass_whatever_the_upper_half_holds() {
    let section = section(None);
    for upper in [0, 1 << 32, u64::from(u32::MAX) << 32] {
        for (family, passed) in [
            (UNIX, true),
            (2, true),
            (10, true),
            (17, false),
            (38, false),
        ] {
            assert_eq!(
                passes(&section, "socket", first(family | upper)),
                passed,
                "{family}"
            );
        }
        assert!(!passes(&section, "socket", first(VSOCK | upper)));
        assert!(passes(
            &section,
            "socket",
            [NETLINK | upper, 3, upper, 0, 0, 0]
        ));
        assert!(!passes(
            &section,
            "socket",
            [NETLINK | upper, 3, 9 | upper, 0, 0, 0]
        ));
    }
}

#[test]
fn namespaces_cannot_be_made() {
    let section = section(None);
    assert!(passes(&section, "clone", first(0x11)));
    for flag in [0x0002_0000, 0x0200_0000, 0x1000_0000, 0x4000_0000_u64] {
        assert!(!passes(&section, "clone", first(flag | 0x11)), "{flag:x}");
    }
    assert!(!passes(&section, "unshare", first(0)));
}

#[test]
fn calls_with_a_fallback_are_denied_as_if_they_did_not_exist() {
    let section = section(None);
    let entries = section["syscalls"].as_array().unwrap();
    let absent = entries
        .iter()
        .find(|entry| entry["errnoRet"] == 38)
        .unwrap();
    for name in [
        "clone3",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
    ] {
        assert!(
            absent["names"].as_array().unwrap().contains(&name.into()),
            "{name}"
        );
    }
}

#[test]
fn netlink_can_be_closed() {
    let rules = SeccompRules {
        add: Vec::new(),
        remove: vec!["mlock".to_owned()],
        netlink: false,
    };
    let list = shipped().adjusted(&rules).unwrap();
    let section = Value::Object(list.section([].into_iter(), None));
    assert!(!passes(&section, "socket", [NETLINK, 3, 0, 0, 0, 0]));
    assert!(passes(&section, "socket", first(UNIX)));
    assert!(!passes(&section, "mlock", first(0)));

    let netlink: Relaxation = toml::from_str("summary = \"netlink\"\nnetlink = true").unwrap();
    let section = Value::Object(list.section([&netlink].into_iter(), None));
    assert!(passes(&section, "socket", [NETLINK, 3, 0, 0, 0, 0]));
    assert!(
        !passes(&section, "socket", [NETLINK, 3, 9, 0, 0, 0]),
        "another protocol"
    );
}

#[test]
fn a_shorter_list_of_the_workload_stays_short() {
    let brought = serde_json::json!({
        "defaultAction": "SCMP_ACT_KILL",
        "syscalls": [{"names": ["read", "exit_group", "ptrace"], "action": "SCMP_ACT_ALLOW"}],
    });
    let section = section(Some(&brought));
    assert!(passes(&section, "read", first(0)));
    for name in ["write", "ptrace", "socket", "clone"] {
        assert!(!passes(&section, name, first(1)), "{name}");
    }
}

#[test]
fn the_default_list_of_containerd_takes_no_socket_away() {
    let config: Value = from_str(CRI).unwrap();
    let section = section(Some(&config["linux"]["seccomp"]));
    for family in [UNIX, 2, 10] {
        assert!(passes(&section, "socket", first(family)), "{family}");
    }
    assert!(passes(&section, "clone", first(0x11)));
    assert!(passes(&section, "personality", first(0)));
    assert!(passes(&section, "execve", first(0)));
}

#[test]
fn a_section_that_denies_by_name_denies_still() {
    let brought = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["mlock"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO",
             "args": [{"index": 0, "value": 10, "op": "SCMP_CMP_EQ"}]},
        ],
    });
    let section = section(Some(&brought));
    assert!(!passes(&section, "mlock", first(0)));
    assert!(!passes(&section, "socket", first(10)));
    assert!(passes(&section, "socket", first(UNIX)));
    assert!(passes(&section, "read", first(0)));
}

#[test]
fn an_argument_given_twice_means_or() {
    let brought = serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"},
            {"index": 1, "value": 15, "op": "SCMP_CMP_EQ"},
        ]}],
    });
    let section = section(Some(&brought));
    assert!(passes(&section, "kill", [1, 9, 0, 0, 0, 0]));
    assert!(passes(&section, "kill", [1, 15, 0, 0, 0, 0]));
    assert!(!passes(&section, "kill", [1, 1, 0, 0, 0, 0]));
    let entries = section["syscalls"].as_array().unwrap();
    assert!(
        entries
            .iter()
            .all(|entry| entry["args"].as_array().is_none_or(|it| it.len() == 1))
    );
}

/// An entry about `name` for each of `count` values of its first argument.
fn alternatives(name: &str, action: &str, count: usize) -> Vec<Value> {
    let entry = |value: usize| {
        serde_json::json!({"names": [name], "action": action,
                           "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]})
    };
    (0..count).map(entry).collect()
}

/// How many entries of `section` name a call.
fn entries_of(section: &Value, name: &str) -> usize {
    let entries = section["syscalls"].as_array().unwrap().iter();
    entries
        .filter(|entry| entry["names"].as_array().unwrap().contains(&name.into()))
        .count()
}

#[test]
fn a_call_has_only_so_many_alternatives() {
    let brought = |default: &str, entries: Vec<Value>| serde_json::json!({"defaultAction": default, "syscalls": entries});
    let allowing = |count| {
        brought(
            "SCMP_ACT_ERRNO",
            alternatives("kill", "SCMP_ACT_ALLOW", count),
        )
    };
    let most = section(Some(&allowing(ALTERNATIVES_LIMIT)));
    assert_eq!(entries_of(&most, "kill"), ALTERNATIVES_LIMIT);
    let more = section(Some(&allowing(ALTERNATIVES_LIMIT + 1)));
    assert_eq!(entries_of(&more, "kill"), 0);
    assert!(!passes(&more, "kill", first(0)));

    // Denials that are too many to look at are not forgotten.
    let denying = |count| {
        brought(
            "SCMP_ACT_ALLOW",
            alternatives("kill", "SCMP_ACT_ERRNO", count),
        )
    };
    let more = section(Some(&denying(ALTERNATIVES_LIMIT + 1)));
    assert!(!passes(&more, "kill", first(u64::MAX)));
    assert!(passes(&more, "read", first(0)));

    // One entry that runtimes read as alternatives, and both kinds together.
    let args: Vec<Value> = alternatives("", "", ALTERNATIVES_LIMIT + 1)
        .into_iter()
        .map(|mut entry| entry["args"][0].take())
        .collect();
    let one = serde_json::json!({"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": args});
    let once = section(Some(&brought("SCMP_ACT_ERRNO", vec![one])));
    assert_eq!(entries_of(&once, "kill"), 0);
    let mut both = alternatives("kill", "SCMP_ACT_ALLOW", ALTERNATIVES_LIMIT);
    both.extend(alternatives("kill", "SCMP_ACT_KILL", 1));
    let both = section(Some(&brought("SCMP_ACT_ERRNO", both)));
    assert_eq!(entries_of(&both, "kill"), 0);
}

#[test]
fn what_is_kept_of_a_filter_does_not_grow_with_it() {
    let mut entries = alternatives("read", "SCMP_ACT_ALLOW", 3000);
    let names: Vec<String> = (0..3000).map(|number| format!("call{number}")).collect();
    entries.push(serde_json::json!({"names": names, "action": "SCMP_ACT_ALLOW"}));
    let brought = serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": entries});
    let kept = Requested::from_oci(brought.as_object().unwrap(), |name| name == "read");
    assert_eq!(kept.size(), (1, 0));
}

#[test]
fn unsafe_lists_are_no_profile() {
    let entry = |entry: Value| {
        let list = serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [entry],
        });
        SeccompList::from_oci(&list).unwrap_err().to_string()
    };
    let arg = |op: &str| serde_json::json!({"index": 0, "value": 1, "valueTwo": 1, "op": op});
    let allow = |args: Value| {
        entry(serde_json::json!({"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": args}))
    };
    let masked = arg("SCMP_CMP_MASKED_EQ");
    assert!(allow(serde_json::json!([arg("SCMP_CMP_NE")])).contains("masked comparisons"));
    assert!(allow(serde_json::json!([masked, masked])).contains("twice"));
    assert!(allow(serde_json::json!([arg("SCMP_CMP_NEW")])).contains("unknown comparison"));
    let killed = entry(serde_json::json!({"names": ["a"], "action": "SCMP_ACT_KILL"}));
    assert_eq!(killed, "cannot accept action 'SCMP_ACT_KILL' of entry 0");
    let open = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x"]});
    assert_eq!(
        SeccompList::from_oci(&open),
        Err(SeccompError::DefaultAction)
    );
    let misspelt = serde_json::json!({"DefaultAction": "SCMP_ACT_ERRNO"});
    assert!(matches!(
        SeccompList::from_oci(&misspelt),
        Err(SeccompError::Shape { .. })
    ));
}

#[test]
fn a_call_cannot_be_allowed_and_denied() {
    let list = serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
            {"names": ["a"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["a"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        ],
    });
    let error = SeccompList::from_oci(&list).unwrap_err();
    assert_eq!(
        error,
        SeccompError::Contradiction {
            name: "a".to_owned()
        }
    );
}
