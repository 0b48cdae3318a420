//! Tests of whole configurations: recorded ones, refused ones, generated ones.

mod modes;
mod properties;
mod recorded;
mod refused;

use serde_json::{Value, json};

use super::*;
use crate::Relaxations;
use crate::facts::{
    AppArmor, DirectoryFact, HookFile, IdRange, MountSource, NamespaceOrigin, Rlimit, RootfsFacts,
    UserNamespaceMaps,
};

pub(crate) const RESTRICTED: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../config/profiles/restricted.toml"
));
pub(crate) const BASELINE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../config/profiles/baseline.toml"
));
pub(crate) const STRICT: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../config/profiles/strict.toml"
));
pub(crate) const SECCOMP: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../config/seccomp/x86_64.json"
));
pub(crate) const CTR: &str = include_str!("../../tests/data/ctr-1.6.20-run.json");
pub(crate) const CRI: &str = include_str!("../../tests/data/cri-1.6.20-runtime-default.json");

pub(crate) fn profile(text: &str) -> Profile {
    Profile::parse(text, SECCOMP).unwrap()
}

pub(crate) fn parse(config: &Value) -> OciConfig {
    OciConfig::parse(config.to_string().as_bytes()).unwrap()
}

/// The recorded configuration `text`, edited.
pub(crate) fn edited(text: &str, edit: impl FnOnce(&mut Value)) -> Value {
    let mut config = serde_json::from_str(text).unwrap();
    edit(&mut config);
    config
}

/// A host on which every joined namespace is that of a pod, and every path says by its name what
/// it is.
pub(crate) fn facts(config: &OciConfig) -> HostFacts {
    let source = |path: &str| match path {
        _ if path.contains("/volumes/kubernetes.io~projected/") => {
            MountSource::KubeletVolume { settings: true }
        }
        _ if path.contains("/volumes/") => MountSource::KubeletVolume { settings: false },
        _ if path.starts_with("/srv/") => MountSource::Allowed,
        _ if path.ends_with(".sock") => MountSource::Socket,
        "/dev/sda" => MountSource::BlockDevice,
        "/dev/mem" => MountSource::CharacterDevice,
        "/etc" => MountSource::Denied {
            what: "/etc".to_owned(),
        },
        _ if path.contains("/sandboxes/") || path.contains("/pods/") => MountSource::SandboxFile,
        _ => MountSource::Unlisted,
    };
    let origin = |path: &str| match path {
        "/proc/1/ns/net" => NamespaceOrigin::Host,
        _ => NamespaceOrigin::Foreign,
    };
    HostFacts {
        namespaces: config
            .joined_namespaces()
            .map(|(kind, path)| (kind, origin(path)))
            .collect(),
        user_namespace: None,
        mount_sources: config
            .bind_mounts()
            .map(|it| (it.index, source(it.source)))
            .collect(),
        file_mounts: config
            .bind_mounts()
            .filter(|it| it.source.ends_with(".conf"))
            .map(|it| it.index)
            .collect(),
        rootfs: RootfsFacts {
            tmp: DirectoryFact::Directory,
            var_tmp: DirectoryFact::NotDirectory,
            run: DirectoryFact::Directory,
        },
        cpu_thermal_paths: vec!["/sys/devices/system/cpu/cpu0/thermal_throttle".to_owned()],
        hooks: Vec::new(),
        apparmor: AppArmor::Off,
        selinux: false,
        legacy_tiocsti: false,
        inherited_nofile: Some(Rlimit {
            soft: 1024,
            hard: 1 << 30,
        }),
    }
}

pub(crate) fn hardened(config: &Value, profile: &Profile) -> Hardened {
    hardened_with(config, profile, &Concessions::none())
}

pub(crate) fn hardened_with(
    config: &Value,
    profile: &Profile,
    concessions: &Concessions,
) -> Hardened {
    let config = parse(config);
    let facts = facts(&config);
    match harden(config, profile, &facts, concessions) {
        Ok(hardened) => hardened,
        Err(refusals) => panic!("{:?}", refusals.iter().collect::<Vec<_>>()),
    }
}

pub(crate) fn refused(config: &Value, profile: &Profile) -> Refusals {
    let config = parse(config);
    let facts = facts(&config);
    harden(config, profile, &facts, &Concessions::none()).unwrap_err()
}

/// The tree of a hardened configuration.
pub(crate) fn tree(hardened: &Hardened) -> Value {
    Value::Object(hardened.config.as_map().clone())
}

#[test]
fn the_shipped_profiles_differ_where_they_say() {
    let config = edited(CTR, |_| {});
    let restricted = tree(&hardened(&config, &profile(RESTRICTED)));
    let baseline = tree(&hardened(&config, &profile(BASELINE)));
    assert_eq!(restricted["root"]["readonly"], true);
    assert_eq!(restricted["process"]["capabilities"]["bounding"], json!([]));
    assert_ne!(baseline["root"]["readonly"], true);
    let kept = baseline["process"]["capabilities"]["bounding"]
        .as_array()
        .unwrap();
    assert_eq!(kept.len(), 13);
    assert!(!kept.contains(&json!("CAP_NET_RAW")));
    let strict = refused(&config, &profile(STRICT));
    let codes: Vec<_> = strict.iter().map(|refusal| refusal.code.as_str()).collect();
    assert_eq!(codes, ["user-namespace-missing", "resource-excess"]);
}

#[test]
fn relaxations_let_stay_what_was_asked_for_and_add_nothing() {
    let restricted = profile(RESTRICTED);
    let names = [
        "net-bind-service",
        "tmp-exec",
        "debug",
        "no-such-relaxation",
    ];
    let relaxations = Concessions::from(Relaxations::from_iter(names));
    let relaxed = tree(&hardened_with(
        &edited(CTR, |_| {}),
        &restricted,
        &relaxations,
    ));
    assert_eq!(
        relaxed["process"]["capabilities"]["bounding"],
        json!(["CAP_NET_BIND_SERVICE"])
    );
    let asked_for_none = edited(CTR, |config| config["process"]["capabilities"] = json!({}));
    let none = tree(&hardened_with(&asked_for_none, &restricted, &relaxations));
    assert_eq!(none["process"]["capabilities"]["bounding"], json!([]));
    let mounts = relaxed["mounts"].as_array().unwrap();
    let tmp = mounts
        .iter()
        .find(|mount| mount["destination"] == "/tmp")
        .unwrap();
    assert!(
        !tmp["options"]
            .as_array()
            .unwrap()
            .contains(&json!("noexec"))
    );
    let calls = relaxed["linux"]["seccomp"]["syscalls"][0]["names"]
        .as_array()
        .unwrap();
    assert!(calls.contains(&json!("ptrace")));
    assert!(!calls.contains(&json!("bpf")));
}

#[test]
fn root_of_a_user_namespace_is_no_root() {
    let mapped = |host: u64| {
        edited(CTR, |config| {
            config["process"]["user"]["uid"] = 0.into();
            config["linux"]["namespaces"]
                .as_array_mut()
                .unwrap()
                .push(json!({"type": "user"}));
            config["linux"]["uidMappings"] =
                json!([{"containerID": 0, "hostID": host, "size": 65536}]);
            config["linux"]["gidMappings"] =
                json!([{"containerID": 0, "hostID": 65536, "size": 65536}]);
        })
    };
    let restricted = profile(RESTRICTED);
    assert!(
        hardened(&mapped(65536), &restricted)
            .baseline
            .root_permitted
    );
    for host in [0, 65535] {
        assert_eq!(
            refused(&mapped(host), &restricted).first().code.as_str(),
            "root-user-denied"
        );
    }
    let joined = edited(CTR, |config| {
        *config = mapped(65536);
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.last_mut().unwrap()["path"] = "/proc/7/ns/user".into();
    });
    assert_eq!(
        refused(&joined, &restricted).first().code.as_str(),
        "root-user-denied"
    );
}

/// A container of uid 1000 in a user namespace of its own.
fn mapped(uids: &Value, gids: &Value) -> Value {
    edited(CTR, |config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "user"}));
        config["linux"]["uidMappings"] = uids.clone();
        config["linux"]["gidMappings"] = gids.clone();
        config["linux"]["resources"]["memory"] = json!({"limit": 1 << 26});
    })
}

fn range(container: u64, host: u64, size: u64) -> Value {
    json!({"containerID": container, "hostID": host, "size": size})
}

#[test]
fn no_uid_of_a_user_namespace_is_an_id_of_the_host() {
    let good = json!([range(0, 65536, 65536)]);
    let restricted = profile(RESTRICTED);
    hardened(&mapped(&good, &good), &restricted);
    let top = json!([range(0, 65536, u64::from(u32::MAX) - 65536)]);
    hardened(&mapped(&top, &good), &restricted);
    for bad in [
        json!([range(1000, 0, 1)]),
        json!([range(0, 65536, 1000), range(1000, 0, 1)]),
        json!([range(0, 65535, 2)]),
        json!([range(0, u64::from(u32::MAX), 2)]),
        json!([]),
        Value::Null,
    ] {
        for config in [mapped(&bad, &good), mapped(&good, &bad)] {
            let refusals = refused(&config, &restricted);
            assert_eq!(codes(&refusals), ["root-user-denied"], "{bad}");
        }
        // Where root is permitted, a mapping gives nothing that it has not.
        hardened(&mapped(&bad, &good), &profile(BASELINE));
    }
}

fn codes(refusals: &Refusals) -> Vec<&'static str> {
    refusals.iter().map(|it| it.code.as_str()).collect()
}

#[test]
fn a_user_namespace_that_separates_nothing_does_not_count() {
    let strict = profile(STRICT);
    let good = json!([range(0, 65536, 65536)]);
    hardened(&mapped(&good, &good), &strict);
    let identity = json!([range(0, 0, u64::from(u32::MAX))]);
    for config in [mapped(&identity, &good), mapped(&good, &identity)] {
        let refusals = refused(&config, &strict);
        assert_eq!(
            codes(&refusals),
            ["root-user-denied", "user-namespace-missing"]
        );
    }
    let unread = joining(mapped(&good, &good));
    assert_eq!(
        codes(&refused(&unread, &strict)),
        ["root-user-denied", "user-namespace-missing"]
    );
}

/// What comes of `config`, whose user namespace is joined, when the kernel has these maps for it.
fn joined(config: &Value, text: &str, uids: &[[u64; 3]], gids: &[[u64; 3]]) -> Vec<&'static str> {
    let ranges = |all: &[[u64; 3]]| {
        let range = |&[inside, host, count]: &[u64; 3]| IdRange {
            inside,
            host,
            count,
        };
        all.iter().map(range).collect()
    };
    let config = parse(config);
    let mut facts = facts(&config);
    facts.user_namespace = Some(UserNamespaceMaps {
        uids: ranges(uids),
        gids: ranges(gids),
    });
    match harden(config, &profile(text), &facts, &Concessions::none()) {
        Ok(_) => Vec::new(),
        Err(refusals) => codes(&refusals),
    }
}

#[test]
fn a_joined_user_namespace_counts_by_what_the_kernel_says() {
    const GOOD: &[[u64; 3]] = &[[0, 65536, 65536]];
    let maps = json!([range(0, 65536, 65536)]);
    let mut root = joining(mapped(&maps, &maps));
    root["process"]["user"] = json!({"uid": 0, "gid": 0});
    root["mounts"].as_array_mut().unwrap().push(json!({
        "destination": "/data", "type": "bind", "source": "/srv/data",
        "options": ["rbind", "idmap"], "uidMappings": maps, "gidMappings": maps,
    }));
    for text in [RESTRICTED, STRICT] {
        assert!(joined(&root, text, GOOD, GOOD).is_empty());
        // The maps of the configuration may be missing, but not say anything else.
        let mut silent = root.clone();
        silent["linux"]["uidMappings"] = Value::Null;
        silent["linux"]["gidMappings"] = Value::Null;
        assert!(joined(&silent, text, GOOD, GOOD).is_empty());
        for bad in [&[[0, 0, 65536]][..], &[[0, 65536, 1000], [1000, 0, 1]], &[]] {
            for (uids, gids) in [(bad, GOOD), (GOOD, bad)] {
                let codes = joined(&silent, text, uids, gids);
                assert_eq!(codes.first(), Some(&"root-user-denied"), "{bad:?}");
            }
        }
    }
    let other: &[[u64; 3]] = &[[0, 131_072, 65536]];
    assert_eq!(joined(&root, RESTRICTED, other, GOOD), ["oci-field-denied"]);
    assert_eq!(joined(&root, RESTRICTED, GOOD, other), ["oci-field-denied"]);
}

/// The configuration with its user namespace joined by path.
fn joining(mut config: Value) -> Value {
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.last_mut().unwrap()["path"] = "/proc/7/ns/user".into();
    config
}

#[test]
fn a_mount_is_mapped_only_in_a_user_namespace_whose_ids_are_known() {
    let restricted = profile(RESTRICTED);
    let good = json!([range(0, 65536, 65536)]);
    let mapped = mapped(&good, &good);
    let unmapped = edited(CTR, |_| {});
    let inert = edited(CTR, |config| config["linux"]["uidMappings"] = good.clone());
    for (key, value) in [
        ("uidMappings", good.clone()),
        ("gidMappings", good),
        ("options", json!(["rbind", "idmap"])),
        ("options", json!(["rbind", "ridmap=x"])),
    ] {
        let with_mount = |config: &Value| {
            let mut config = config.clone();
            let mut mount = json!({"destination": "/data", "type": "bind", "source": "/srv/data", "options": ["rbind"]});
            mount[key] = value.clone();
            config["mounts"].as_array_mut().unwrap().push(mount);
            config
        };
        hardened(&with_mount(&mapped), &restricted);
        for config in [&unmapped, &inert, &joining(mapped.clone())] {
            let refusals = refused(&with_mount(config), &restricted);
            assert_eq!(
                codes(&refusals).last(),
                Some(&"mount-denied"),
                "{key}: {value}"
            );
        }
    }
}

#[test]
fn a_terminal_that_others_can_type_into_is_refused_where_the_profile_says_so() {
    let good = json!([range(0, 65536, 65536)]);
    let mut config = mapped(&good, &good);
    let outcome = |config: &Value, text: &str, legacy: bool| {
        let config = parse(config);
        let mut facts = facts(&config);
        facts.legacy_tiocsti = legacy;
        harden(config, &profile(text), &facts, &Concessions::none())
    };
    let silent = outcome(&config, STRICT, true).unwrap().baseline;
    assert!(silent.terminal_refused);
    assert!(
        !outcome(&config, STRICT, false)
            .unwrap()
            .baseline
            .terminal_refused
    );
    let exec = br#"{"args": ["sh"], "cwd": "/", "user": {"uid": 1000}, "terminal": true}"#;
    let refusals = crate::clamp_exec(exec, &silent).unwrap_err();
    assert_eq!(codes(&refusals), ["exec-denied"]);
    config["process"]["terminal"] = true.into();
    let refusals = outcome(&config, STRICT, true).unwrap_err();
    assert_eq!(codes(&refusals), ["oci-field-denied"]);
    let talking = outcome(&config, STRICT, false).unwrap().baseline;
    crate::clamp_exec(exec, &talking).unwrap();
    outcome(&config, RESTRICTED, true).unwrap();
}

#[test]
fn a_tmpfs_never_hides_what_is_mounted_in_it() {
    let config = edited(CRI, |config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.push(
            json!({"destination": "/tmp/data", "type": "bind", "source": "/srv/data",
                           "options": ["rbind", "rw"]}),
        );
    });
    let tree = tree(&hardened(&config, &profile(RESTRICTED)));
    let mounts = tree["mounts"].as_array().unwrap();
    let place = |destination: &str| {
        mounts
            .iter()
            .position(|mount| mount["destination"] == destination)
            .unwrap()
    };
    assert!(place("/tmp") < place("/tmp/data"));
    // `/var/run` leads to `/run` in most images.
    assert!(place("/run") < place("/var/run/secrets/kubernetes.io/serviceaccount"));
    assert!(
        mounts
            .iter()
            .all(|mount| mount["destination"] != "/var/tmp")
    );
}

#[test]
fn nothing_is_added_where_something_is_mounted_or_nothing_was_looked_at() {
    let config = parse(&edited(CTR, |_| {}));
    let mut facts = facts(&config);
    facts.rootfs = RootfsFacts::default();
    let before = config.as_map()["mounts"].as_array().unwrap().len();
    let hardened = harden(config, &profile(RESTRICTED), &facts, &Concessions::none()).unwrap();
    assert_eq!(tree(&hardened)["mounts"].as_array().unwrap().len(), before);
}

#[test]
fn the_limit_of_open_files_is_never_raised() {
    let restricted = profile(RESTRICTED);
    let nofile = |config: &Value| {
        let tree = tree(&hardened(config, &restricted));
        let limits = tree["process"]["rlimits"].as_array().unwrap().clone();
        limits
            .into_iter()
            .find(|limit| limit["type"] == "RLIMIT_NOFILE")
            .unwrap()
    };
    let given = |hard: u64| {
        edited(CTR, |config| {
            config["process"]["rlimits"] =
                json!([{"type": "RLIMIT_NOFILE", "hard": hard, "soft": hard}]);
        })
    };
    for (hard, expected) in [(1024, 1024), (1_048_576, 1_048_576), (1_048_577, 1_048_576)] {
        assert_eq!(nofile(&given(hard))["hard"], expected);
    }
    let absent = edited(CTR, |config| config["process"]["rlimits"] = Value::Null);
    assert_eq!(
        nofile(&absent),
        json!({"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1_048_576})
    );
}

#[test]
fn a_number_of_processes_is_always_set() {
    let restricted = profile(RESTRICTED);
    for (asked, expected) in [
        (-1, 1024),
        (0, 1024),
        (1, 1),
        (32768, 32768),
        (32769, 32768),
    ] {
        let config = edited(CTR, |config| {
            config["linux"]["resources"]["pids"] = json!({"limit": asked});
        });
        let hardened = hardened(&config, &restricted);
        assert_eq!(
            tree(&hardened)["linux"]["resources"]["pids"]["limit"],
            expected
        );
        assert_eq!(hardened.baseline.ceilings.pids, Some(expected));
    }
}

#[test]
fn labels_are_judged_only_where_their_module_is_active() {
    let restricted = profile(RESTRICTED);
    let outcome = |apparmor: bool, selinux, profile_name: &str, label: &str| {
        let config = parse(&edited(CTR, |config| {
            config["process"]["apparmorProfile"] = profile_name.into();
            config["process"]["selinuxLabel"] = label.into();
        }));
        let mut facts = facts(&config);
        facts.selinux = selinux;
        if apparmor {
            facts.apparmor = AppArmor::On;
        }
        harden(config, &restricted, &facts, &Concessions::none()).is_ok()
    };
    let label = "system_u:system_r:container_t:s0:c1,c2";
    assert!(outcome(false, false, "unconfined", "x:y:spc_t:s0"));
    assert!(outcome(true, true, "cri-containerd.apparmor.d", label));
    assert!(!outcome(true, false, "unconfined", ""));
    assert!(outcome(true, false, "", ""));
    assert!(!outcome(false, true, "", "system_u:system_r:spc_t:s0"));
    assert!(!outcome(false, true, "", ""));
}

/// A configuration with a hook of the profile, edited.
fn hooked(edit: impl FnOnce(&mut Value)) -> Value {
    let mut hook = json!({
        "path": "/usr/libexec/portcullis/portcullis-hook",
        "args": ["portcullis-hook", "--deadline", "8s"],
    });
    edit(&mut hook);
    edited(CTR, |config| {
        config["hooks"] = json!({ "createRuntime": [hook] });
    })
}

#[test]
fn a_hook_of_the_profile_gets_an_environment_and_an_end() {
    let restricted = profile(RESTRICTED);
    let own = json!(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    for env in [
        Value::Null,
        json!([]),
        json!(["LD_PRELOAD=/tmp/x.so"]),
        json!([own[0], "X=1"]),
    ] {
        let tree = tree(&hardened(&hooked(|hook| hook["env"] = env), &restricted));
        assert_eq!(tree["hooks"]["createRuntime"][0]["env"], own);
    }
    for (asked, given) in [
        (Value::Null, 120),
        (json!(-1), 120),
        (json!(0), 120),
        (json!(1), 1),
        (json!(120), 120),
        (json!(121), 120),
    ] {
        let tree = tree(&hardened(
            &hooked(|hook| hook["timeout"] = asked),
            &restricted,
        ));
        assert_eq!(tree["hooks"]["createRuntime"][0]["timeout"], given);
    }
}

#[test]
fn the_hook_that_is_shipped_is_not_changed() {
    let shipped: Value = serde_json::from_str(include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../packaging/hooks.d/portcullis.json"
    )))
    .unwrap();
    let config = hooked(|hook| *hook = shipped["hook"].clone());
    for text in [BASELINE, RESTRICTED] {
        let changes = hardened(&config, &profile(text)).changes;
        assert!(changes.iter().all(|it| !it.pointer.starts_with("/hooks")));
    }
}

#[test]
fn a_hook_with_other_arguments_is_refused() {
    for args in [
        Value::Null,
        json!([]),
        json!(["portcullis-hook"]),
        json!(["portcullis-hook", "--deadline", "8s", "--namespace", "lax"]),
    ] {
        let config = hooked(|hook| hook["args"] = args);
        let refusals = refused(&config, &profile(RESTRICTED));
        assert_eq!(codes(&refusals), ["hook-denied"]);
    }
}

#[test]
fn changes_hold_no_arguments_and_no_environment() {
    let mut config = hooked(|hook| hook["env"] = json!(["TOKEN=hunter4"]));
    config["process"]["env"] = json!(["TOKEN=hunter2"]);
    config["process"]["args"] = json!(["sh", "-c", "echo hunter3"]);
    let hardened = hardened(&config, &profile(RESTRICTED));
    assert!(!format!("{:?}", hardened.changes).contains("hunter"));
    assert!(!format!("{:?}", hardened.baseline).contains("hunter"));
}
