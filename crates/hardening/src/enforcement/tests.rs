use super::*;
use crate::capability::{CapabilitySet, CapabilitySets};
use crate::facts::IdRange;

const CONFIG: &str = r#"{
    "process": {
        "user": {"uid": 1000, "gid": 1000, "additionalGids": [7]},
        "noNewPrivileges": true,
        "capabilities": {"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"]},
        "apparmorProfile": "cri-containerd.apparmor.d"
    },
    "root": {"path": "rootfs", "readonly": true},
    "mounts": [
        {"destination": "/proc", "type": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/hidden", "type": "tmpfs", "options": ["ro"]},
        {"destination": "/hidden", "type": "tmpfs", "options": ["rnosuid", "rw"]},
        {"destination": "/data", "type": "bind", "options": ["rro"]}
    ],
    "linux": {
        "cgroupsPath": "/pod/web",
        "namespaces": [{"type": "pid"}, {"type": "network", "path": "/proc/7/ns/net"}],
        "maskedPaths": ["/proc/keys"],
        "readonlyPaths": ["/proc/sys"],
        "seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}
    }
}"#;

const STATUS: &str = "Name:\tsh\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\n\
    Groups:\t7 \nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
    CapBnd:\t0000000000000001\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n\
    Seccomp_filters:\t2\n";

const TABLE: [&str; 5] = [
    "1 0 0:1 / / ro,relatime - overlay overlay rw",
    "2 1 0:2 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw",
    "3 1 0:3 / /hidden rw - tmpfs tmpfs rw",
    "4 3 0:4 / /hidden rw,nosuid - tmpfs tmpfs rw",
    "5 1 0:5 / /data rw,relatime - ext4 /dev/vdb ro",
];

fn mount(line: &str) -> HeldMount {
    HeldMount::parse(line.as_bytes()).unwrap()
}

fn everyone() -> Vec<IdRange> {
    vec![IdRange {
        inside: 0,
        host: 0,
        count: 1 << 32,
    }]
}

/// What the kernel says if all is well.
fn good() -> Held {
    Held {
        credentials: HeldCredentials::parse(STATUS).unwrap(),
        inherited_filters: 1,
        ids: UserNamespaceMaps {
            uids: everyone(),
            gids: everyone(),
        },
        namespaces: [
            (NamespaceKind::Pid, HeldNamespace::Other),
            (NamespaceKind::Network, HeldNamespace::Joined),
        ]
        .into(),
        mounts: TABLE.iter().map(|line| mount(line)).collect(),
        mounts_by_link: BTreeMap::new(),
        masked: vec![HeldPath::Masked],
        read_only: vec![HeldPath::ReadOnly],
        cgroups: "5:memory:/pod/web\n4:pids:/pod/web\n3:rdma:/\n1:name=systemd:/\n0::/\n".into(),
        label: "cri-containerd.apparmor.d (enforce)".into(),
    }
}

fn verify(held: &Held) -> Result<(), Refusals> {
    let config = OciConfig::parse(CONFIG.as_bytes()).unwrap();
    Enforcement::of(&config).verify(held)
}

/// Subjects of all differences.
fn differences(change: impl FnOnce(&mut Held)) -> Vec<String> {
    let mut held = good();
    change(&mut held);
    match verify(&held) {
        Ok(()) => Vec::new(),
        Err(refusals) => {
            assert!(
                refusals
                    .iter()
                    .all(|it| it.code == Code::EnforcementMismatch)
            );
            refusals.iter().map(|it| it.subject.clone()).collect()
        }
    }
}

#[test]
fn a_process_that_is_as_promised_passes() {
    verify(&good()).unwrap();
}

#[test]
fn more_confinement_than_promised_passes() {
    let none = differences(|held| {
        held.credentials.capabilities = CapabilitySets::default();
        held.credentials.filters = Some(3);
        held.masked = vec![HeldPath::Absent];
        held.read_only = vec![HeldPath::Masked];
    });
    assert_eq!(none, [""; 0]);
}

#[test]
fn each_right_beyond_the_promise_is_named_by_its_pointer() {
    type Change = fn(&mut Held);
    let cases: [(&str, Change); 22] = [
        ("/process/noNewPrivileges", |held| {
            held.credentials.no_new_privileges = false;
        }),
        ("/process/user/uid", |held| held.credentials.uids[1] = 0),
        ("/process/user/uid", |held| held.ids.uids[0].host = 5),
        ("/process/user/uid", |held| held.ids.uids.clear()),
        ("/process/user/gid", |held| held.credentials.gids[0] = 0),
        ("/process/user/additionalGids", |held| {
            held.credentials.groups.push(0);
        }),
        ("/process/capabilities/bounding", |held| {
            held.credentials.capabilities.bounding = CapabilitySet::from_bits(3);
        }),
        ("/process/capabilities/inheritable", |held| {
            held.credentials.capabilities.inheritable = CapabilitySet::from_bits(1);
        }),
        ("/process/capabilities/ambient", |held| {
            held.credentials.capabilities.ambient = CapabilitySet::from_bits(1);
        }),
        // Promised is CAP_CHOWN, but execve of a plain file as another user than root loses it.
        ("/process/capabilities/permitted", |held| {
            held.credentials.capabilities.permitted = CapabilitySet::from_bits(1);
        }),
        ("/process/capabilities/effective", |held| {
            held.credentials.capabilities.effective = CapabilitySet::from_bits(1);
        }),
        ("/linux/seccomp", |held| held.credentials.filters = Some(1)),
        ("/linux/seccomp", |held| {
            held.credentials.filters = None;
            held.credentials.filtered = false;
        }),
        ("/linux/namespaces, pid", |held| {
            held.namespaces
                .insert(NamespaceKind::Pid, HeldNamespace::Host);
        }),
        ("/linux/namespaces, network", |held| {
            held.namespaces
                .insert(NamespaceKind::Network, HeldNamespace::Other);
        }),
        ("/root/readonly", |held| {
            held.mounts[0] = mount("1 0 0:1 / / rw - overlay overlay rw");
        }),
        ("/mounts/2", |held| {
            held.mounts.retain(|it| it.point != "/hidden");
        }),
        ("/mounts/2/options", |held| {
            held.mounts.remove(3);
        }),
        ("/mounts/3/options", |held| {
            held.mounts[4] = mount("4 1 0:4 / /data rw,relatime - ext4 /dev/vdb rw");
        }),
        ("/linux/rootfsPropagation", |held| {
            held.mounts[4].shared = true;
        }),
        ("/linux/maskedPaths", |held| {
            held.masked = vec![HeldPath::ReadOnly];
        }),
        ("/linux/readonlyPaths", |held| {
            held.read_only = vec![HeldPath::Open];
        }),
    ];
    for (subject, change) in cases {
        assert_eq!(differences(change), [subject]);
    }
    let cgroups = |text: &str| differences(|held| held.cgroups = text.to_owned());
    for elsewhere in [
        "5:memory:/\n",
        "0::/pod/web2\n",
        "0::/pod/otherweb\n",
        "",
        "4:pids:/pod/web/x\n",
    ] {
        assert_eq!(cgroups(elsewhere), ["/linux/cgroupsPath"], "{elsewhere}");
    }
    assert_eq!(cgroups("0::/outer/pod/web\n"), [""; 0]);
    let unconfined = differences(|held| held.label = "unconfined".into());
    assert_eq!(unconfined, ["/process/apparmorProfile"]);
}

#[test]
fn what_nobody_looked_at_is_a_difference() {
    let all = differences(|held| {
        held.namespaces.clear();
        held.mounts.clear();
        held.masked.clear();
        held.read_only.clear();
    });
    assert_eq!(all.len(), 2 + 1 + 3 + 1 + 1);
}

#[test]
fn a_setuid_program_may_change_its_ids_where_nothing_forbids_it() {
    let text = CONFIG.replace("\"noNewPrivileges\": true", "\"noNewPrivileges\": false");
    let config = OciConfig::parse(text.as_bytes()).unwrap();
    let mut held = good();
    held.credentials.no_new_privileges = false;
    held.credentials.uids = [1000, 0, 0, 0];
    held.credentials.capabilities.permitted = CapabilitySet::from_bits(1);
    Enforcement::of(&config).verify(&held).unwrap();
    held.credentials.uids[0] = 0;
    Enforcement::of(&config).verify(&held).unwrap_err();
}

#[test]
fn units_of_systemd_are_found_by_their_name() {
    for (path, unit) in [
        (
            "kubepods.slice:cri-containerd:abc",
            "/kubepods.slice/cri-containerd-abc.scope",
        ),
        ("system.slice::abc", "/system.slice/abc.scope"),
        ("a.slice:x:b.slice", "/a.slice/b.slice"),
    ] {
        let text = CONFIG.replace("/pod/web", path);
        let config = OciConfig::parse(text.as_bytes()).unwrap();
        let mut held = good();
        held.cgroups = format!("0::{unit}\n");
        Enforcement::of(&config).verify(&held).unwrap();
        held.cgroups = format!("0::{unit}/inner\n");
        Enforcement::of(&config).verify(&held).unwrap_err();
    }
}

#[test]
fn crun_has_a_group_of_its_own_in_a_scope_of_version_2() {
    let verified = |path: &str, cgroups: &str| {
        let text = CONFIG.replace("/pod/web", path);
        let config = OciConfig::parse(text.as_bytes()).unwrap();
        let mut held = good();
        held.cgroups = cgroups.to_owned();
        Enforcement::of(&config).verify(&held).is_ok()
    };
    let unit = "system.slice:p:web";
    assert!(verified(unit, "0::/system.slice/p-web.scope/container\n"));
    for elsewhere in [
        "0::/system.slice/p-web.scope/other\n",
        "0::/system.slice/p-web.scope/container/container\n",
        "0::/system.slice/p-other.scope/container\n",
        "0::/system.slice/container\n",
        "4:pids:/system.slice/p-web.scope/container\n",
    ] {
        assert!(!verified(unit, elsewhere), "{elsewhere}");
    }
    assert!(!verified("/pod/web", "0::/pod/web/container\n"));
    assert!(!verified(
        "a.slice:x:b.slice",
        "0::/a.slice/b.slice/container\n"
    ));
}

#[test]
fn hidden_mounts_promise_nothing() {
    let config = OciConfig::parse(CONFIG.as_bytes()).unwrap();
    let points: Vec<String> = Enforcement::of(&config).mount_points().collect();
    assert_eq!(points, ["/proc", "/hidden", "/data"]);
}

#[test]
fn a_mount_behind_a_link_is_found_by_its_number() {
    let mut held = good();
    held.mounts[4].point = "/volumes/data".into();
    verify(&held).unwrap_err();
    held.mounts_by_link = [("/data".to_owned(), 5)].into();
    verify(&held).unwrap();
}

#[test]
fn hierarchies_of_version_1_are_looked_at_one_by_one() {
    let text = CONFIG.replace(
        r#""destination": "/data", "type": "bind""#,
        r#""destination": "/data", "type": "cgroup""#,
    );
    let config = OciConfig::parse(text.as_bytes()).unwrap();
    let mut held = good();
    held.mounts[4] = mount("5 1 0:5 / /data rw - tmpfs tmpfs rw");
    held.mounts
        .push(mount("6 5 0:6 / /data/pids ro - cgroup cgroup rw"));
    Enforcement::of(&config).verify(&held).unwrap();
    held.mounts
        .push(mount("7 5 0:7 / /data/memory rw - cgroup cgroup rw"));
    Enforcement::of(&config).verify(&held).unwrap_err();
}

#[test]
fn lines_of_the_mount_table_are_read_as_the_kernel_writes_them() {
    let line = r"36 35 98:0 /a /b\040c ro,nosuid shared:2 master:1 - ext3 /dev/root rw";
    let read = HeldMount::parse(line.as_bytes()).unwrap();
    assert_eq!(
        (read.id, read.point.as_str(), read.shared),
        (36, "/b c", true)
    );
    assert!(read.flags.read_only && read.flags.nosuid && !read.flags.nodev);
    for bad in [
        "",
        "1 2",
        "1 0 0:1 / / rw",
        r"1 0 0:1 / /\9 rw - a b c",
        "x 0 0:1 / / rw - a b c",
    ] {
        assert_eq!(HeldMount::parse(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn a_status_without_a_line_is_none() {
    for name in [
        "Uid",
        "Gid",
        "Groups",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
    ] {
        let without: String = STATUS
            .lines()
            .filter(|line| !line.starts_with(&format!("{name}:")))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(HeldCredentials::parse(&without), None, "{name}");
    }
    assert_eq!(
        HeldCredentials::parse(&STATUS.replace("1000\t1000", "x")),
        None
    );
}
