//! The sandbox of a pod: the container that holds its namespaces.

use std::collections::BTreeMap;

use portcullis_hardening::NamespaceKind;
use serde_json::{Value, json};

use crate::tree::put;

use super::container::{default_mounts, user_namespace};
use super::field::Read;
use super::foreseen::Foreseen;
use super::origins::Origins;
use super::pod::Pod;
use super::security::{DEFAULT_CAPABILITIES, READ_ONLY, selinux_label};

/// Where containerd keeps the files of pod sandboxes.
const ROOT: &str = "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/sandbox-id";
const STATE: &str = "/run/containerd/io.containerd.grpc.v1.cri/sandboxes/sandbox-id";
/// What containerd hides from every sandbox.
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];
/// User and group of the pause image.
const PAUSE_USER: u32 = 65_535;

/// The configuration of the sandbox, and where its parts come from.
pub(super) fn configuration(pod: &Pod<'_>) -> Read<(Value, Origins, Foreseen)> {
    let mut origins = Origins::default();
    let mut foreseen = Foreseen::default();
    let user = pod.security.get("runAsUser");
    let group = pod.security.get("runAsGroup");
    origins.add("/process/user", user.pointer.clone());
    let uid = user.id()?.unwrap_or(PAUSE_USER);
    let gid = match group.id()? {
        Some(gid) => gid,
        None if user.is_set() => 0,
        None => PAUSE_USER,
    };

    let mut mounts = default_mounts(false);
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    mounts.push(json!({
        "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    }));
    mounts.push(json!({
        "destination": "/dev/shm", "type": "bind", "source": format!("{STATE}/shm"),
        "options": ["rbind", "ro"],
    }));
    mounts.push(json!({
        "destination": "/etc/resolv.conf", "type": "bind", "source": format!("{ROOT}/resolv.conf"),
        "options": ["rbind", "ro"],
    }));

    let mut namespaces = vec![json!({"type": "mount"})];
    for kind in [
        NamespaceKind::Pid,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Network,
    ] {
        if let Some(field) = pod.host_namespace(kind) {
            let word = format!("the {kind} namespace");
            origins.add_word("/linux/namespaces", word, field.pointer);
        }
        if !pod.shares_with_host(kind)? {
            namespaces.push(json!({"type": kind.as_str()}));
        }
    }
    let mut linux = json!({
        "resources": {"devices": [{"allow": false, "access": "rwm"}], "cpu": {"shares": 2}},
        "cgroupsPath": "/kubepods/pod-uid/sandbox-id",
        "sysctl": sysctls(pod, &mut origins)?,
        "maskedPaths": MASKED,
        "readonlyPaths": READ_ONLY,
    });
    let users = pod.spec.get("hostUsers");
    origins.add_word("/linux/namespaces", "a user namespace", users.pointer);
    if !pod.shares_with_host(NamespaceKind::User)? {
        user_namespace(&mut namespaces, &mut linux, None, &mut foreseen);
    }
    put(&mut linux, "namespaces", Value::Array(namespaces));
    note_annotations(pod, &mut origins)?;
    let label = pod.security.get("seLinuxOptions");
    foreseen.selinux_label = Some(selinux_label(&label, "container_t")?);
    origins.add("/process/selinuxLabel", label.pointer);
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": uid, "gid": gid, "additionalGids": pod.groups()?},
            "args": ["/pause"],
            "cwd": "/",
            "capabilities": {
                "bounding": DEFAULT_CAPABILITIES,
                "effective": DEFAULT_CAPABILITIES,
                "permitted": DEFAULT_CAPABILITIES,
            },
            "noNewPrivileges": true,
            "oomScoreAdj": -998,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": pod.name,
        "mounts": mounts,
        "annotations": pod.annotations("sandbox")?,
        "linux": linux,
    });
    Ok((config, origins, foreseen))
}

/// Kernel parameters of the pod, and the two that containerd sets by itself.
fn sysctls(pod: &Pod<'_>, origins: &mut Origins) -> Read<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for sysctl in pod.security.get("sysctls").list()? {
        let name = sysctl.get("name").needed_text()?;
        all.insert(
            name.to_owned(),
            sysctl.get("value").needed_text()?.to_owned(),
        );
        origins.add_word(
            "/linux/sysctl",
            portcullis_gate::quote(name),
            sysctl.pointer,
        );
    }
    if !pod.shares_with_host(NamespaceKind::Network)? {
        let mut add = |name: &str, value: &str| {
            all.entry(name.to_owned())
                .or_insert_with(|| value.to_owned());
        };
        add("net.ipv4.ip_unprivileged_port_start", "0");
        if pod.shares_with_host(NamespaceKind::User)? {
            add("net.ipv4.ping_group_range", "0 2147483647");
        }
    }
    Ok(all)
}

pub(super) fn note_annotations(pod: &Pod<'_>, origins: &mut Origins) -> Read<()> {
    for (key, field) in pod.metadata.get("annotations").entries()? {
        origins.add_word("/annotations", portcullis_gate::quote(key), field.pointer);
    }
    Ok(())
}

/// The sandbox's files that every container of the pod gets.
pub(super) fn shared_files() -> [(&'static str, String); 3] {
    [
        ("/etc/hostname", format!("{ROOT}/hostname")),
        ("/etc/resolv.conf", format!("{ROOT}/resolv.conf")),
        ("/dev/shm", format!("{STATE}/shm")),
    ]
}
