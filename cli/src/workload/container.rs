//! A container: the configuration that containerd's CRI plugin writes for it.

use portcullis_hardening::{IdRange, NamespaceKind, NamespaceOrigin, UserNamespaceMaps};
use serde_json::{Value, json};

use crate::tree::put;

use super::assumption::{About, Assumption};
use super::field::{Field, Read, escaped};
use super::foreseen::Foreseen;
use super::origins::Origins;
use super::pod::{Pod, SANDBOX_PROCESS, USER_NAMESPACE_IDS, quantity};
use super::sandbox::{note_annotations, shared_files};
use super::security::Security;
use super::volumes::POD_DIRECTORY;

/// Stands for the user of an image of which only is known, or assumed, that it is not root.
const ANY_USER: u32 = 65_534;
/// Period over which processor time is counted, in microseconds.
const CPU_PERIOD_US: u128 = 100_000;
/// Least share and least quota that the kernel takes.
const SHARES_MIN: u128 = 2;
const SHARES_MAX: u128 = 262_144;
const QUOTA_MIN_US: u128 = 1000;

/// What one container becomes.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) config: Value,
    pub(super) origins: Origins,
    pub(super) foreseen: Foreseen,
    pub(super) assumptions: Vec<Assumption>,
    /// Where the manifest could say which user it is, if only the image does.
    pub(super) image_user: Option<String>,
}

/// The mounts that containerd gives every container.
pub(super) fn default_mounts(privileged: bool) -> Vec<Value> {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": source, "options": options});
    let kernel = if privileged { "rw" } else { "ro" };
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount(
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"],
        ),
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", kernel],
        ),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", kernel],
        ),
    ]
}

/// Puts a user namespace into a configuration: the sandbox's own, or that of the sandbox, joined.
pub(super) fn user_namespace(
    namespaces: &mut Vec<Value>,
    linux: &mut Value,
    path: Option<String>,
    foreseen: &mut Foreseen,
) {
    let ids = json!([{"containerID": 0, "hostID": USER_NAMESPACE_IDS, "size": USER_NAMESPACE_IDS}]);
    put(linux, "uidMappings", ids.clone());
    put(linux, "gidMappings", ids);
    let Some(path) = path else {
        namespaces.push(json!({"type": "user"}));
        return;
    };
    namespaces.push(json!({"type": "user", "path": path}));
    let range = IdRange {
        inside: 0,
        host: USER_NAMESPACE_IDS,
        count: USER_NAMESPACE_IDS,
    };
    foreseen.user_namespace = Some(UserNamespaceMaps {
        uids: vec![range],
        gids: vec![range],
    });
}

pub(super) fn configuration(pod: &Pod<'_>, container: &Field<'_>) -> Read<Made> {
    let security = Security::of(pod, container)?;
    let mut made = Made {
        config: Value::Null,
        origins: Origins::default(),
        foreseen: Foreseen::default(),
        assumptions: Vec::new(),
        image_user: None,
    };
    security.note(&mut made.origins)?;
    note_annotations(pod, &mut made.origins)?;
    let privileged = security.privileged()?;
    let mut linux = json!({"cgroupsPath": "/kubepods/pod-uid/container-id"});
    put(
        &mut linux,
        "resources",
        resources(container, privileged, &mut made.assumptions)?,
    );
    let mut namespaces = vec![json!({"type": "mount"})];
    join(pod, &mut namespaces, &mut linux, &mut made)?;
    put(&mut linux, "namespaces", Value::Array(namespaces));
    let (masked, read_only) = security.paths()?;
    put(&mut linux, "maskedPaths", masked);
    put(&mut linux, "readonlyPaths", read_only);
    note_seccomp(&security, &mut made.assumptions)?;
    if privileged {
        let pointer = container.get("securityContext").get("privileged").pointer;
        let text = "the devices of the host, which a privileged container gets, are not listed";
        made.assumptions
            .push(Assumption::new(About::HostDevices, pointer, text));
    }
    devices(container, &mut linux, &mut made)?;
    let mounts = mounts(pod, container, privileged, &mut linux, &mut made)?;
    let user = user(pod, &security, &mut made)?;
    let cwd = container
        .get("workingDir")
        .text()?
        .filter(|cwd| !cwd.is_empty());
    let mut annotations = pod.annotations("container")?;
    let mut note = |key: &str, value: &str| {
        annotations.insert(format!("io.kubernetes.cri.{key}"), value.into());
    };
    note("container-name", container.get("name").needed_text()?);
    if let Some(image) = container.get("image").text()? {
        note("image-name", image);
    }
    made.config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": container.get("tty").is_true()?,
            "user": user,
            // What is run, and with which environment, is nothing that hardening looks at.
            "args": ["/program"],
            "cwd": cwd.unwrap_or("/"),
            "capabilities": security.capabilities()?,
            "noNewPrivileges": security.no_new_privileges()?,
            "oomScoreAdj": pod.oom_score()?,
        },
        "root": {"path": "rootfs", "readonly": security.read_only_root()?},
        "mounts": mounts,
        "annotations": annotations,
        "linux": linux,
    });
    if let Some(profile) = security.apparmor()? {
        made.foreseen.apparmor_profile = Some(profile);
    }
    made.foreseen.selinux_label = Some(security.selinux()?);
    Ok(made)
}

fn note_seccomp(security: &Security<'_>, assumptions: &mut Vec<Assumption>) -> Read<()> {
    let (field, kind) = security.seccomp()?;
    let text = match kind {
        Some("RuntimeDefault") => {
            "containerd's own list of system calls takes nothing away that is needed"
        }
        Some("Localhost") => {
            "the list of system calls of the node takes nothing away that is needed"
        }
        _ => return Ok(()),
    };
    assumptions.push(Assumption::new(About::SeccompList, field.pointer, text));
    Ok(())
}

/// Namespaces of the sandbox that a container joins; its process namespace is its own, unless the
/// pod shares one.
fn join(
    pod: &Pod<'_>,
    namespaces: &mut Vec<Value>,
    linux: &mut Value,
    made: &mut Made,
) -> Read<()> {
    let shared_pid = pod.spec.get("shareProcessNamespace").is_true()?;
    for kind in [
        NamespaceKind::Pid,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Network,
    ] {
        let of_host = pod.shares_with_host(kind)?;
        if kind == NamespaceKind::Pid && !of_host && !shared_pid {
            namespaces.push(json!({"type": "pid"}));
            continue;
        }
        let pointer = format!("/linux/namespaces/{}", namespaces.len());
        if let Some(field) = pod.host_namespace(kind) {
            made.origins.add(pointer, field.pointer);
        }
        let path = format!("{SANDBOX_PROCESS}/{}", kind.proc_name());
        namespaces.push(json!({"type": kind.as_str(), "path": path}));
        let origin = if of_host {
            NamespaceOrigin::Host
        } else {
            NamespaceOrigin::Foreign
        };
        made.foreseen.namespaces.insert(kind, origin);
    }
    let users = pod.spec.get("hostUsers");
    for (part, word) in [
        ("namespaces", "a user namespace"),
        ("namespaces", "ranges of host ids"),
        ("uidMappings", ""),
        ("gidMappings", ""),
    ] {
        let pointer = users.pointer.clone();
        made.origins
            .add_word(format!("/linux/{part}"), word, pointer);
    }
    if !pod.shares_with_host(NamespaceKind::User)? {
        let path = format!("{SANDBOX_PROCESS}/user");
        user_namespace(namespaces, linux, Some(path), &mut made.foreseen);
        let kind = NamespaceKind::User;
        made.foreseen
            .namespaces
            .insert(kind, NamespaceOrigin::Foreign);
        let text = "the kubelet gives the pod 65536 ids from 65536 or above";
        let about = About::UserNamespace;
        made.assumptions
            .push(Assumption::new(about, users.pointer, text));
    }
    Ok(())
}

fn user(pod: &Pod<'_>, security: &Security<'_>, made: &mut Made) -> Read<Value> {
    let (user, group) = (security.user(), security.group());
    let (uid, image_gid) = match (user.id()?, pod.image_user) {
        (Some(uid), _) => (uid, 0),
        (None, Some(image)) => (image.uid, image.gid),
        (None, None) => {
            if !security.must_not_be_root()? {
                let text = "the image does not run as root";
                let assumption = Assumption::new(About::ImageUser, &user.pointer, text);
                made.assumptions.push(assumption);
                made.image_user = Some(user.pointer);
            }
            (ANY_USER, ANY_USER)
        }
    };
    let gid = group.id()?.unwrap_or(image_gid);
    Ok(json!({"uid": uid, "gid": gid, "additionalGids": pod.groups()?}))
}

/// Limits of the control group, and what its device controller lets pass.
fn resources(
    container: &Field<'_>,
    privileged: bool,
    assumptions: &mut Vec<Assumption>,
) -> Read<Value> {
    let all = container.get("resources").object()?;
    let (limits, requests) = (all.get("limits"), all.get("requests"));
    let devices = if privileged {
        json!([{"allow": true, "access": "rwm"}])
    } else {
        json!([{"allow": false, "access": "rwm"}])
    };
    let cpu_limit = quantity(&limits.get("cpu"))?;
    let cpu_request = quantity(&requests.get("cpu"))?.or(cpu_limit).unwrap_or(0);
    let shares = cpu_request.saturating_mul(1024) / 1000;
    let mut cpu = json!({"shares": to_u64(shares.clamp(SHARES_MIN, SHARES_MAX))});
    if let Some(limit) = cpu_limit.filter(|limit| *limit > 0) {
        let quota = limit.saturating_mul(CPU_PERIOD_US) / 1000;
        put(&mut cpu, "quota", to_u64(quota.max(QUOTA_MIN_US)));
        put(&mut cpu, "period", to_u64(CPU_PERIOD_US));
    }
    let mut memory = json!({});
    if let Some(limit) = quantity(&limits.get("memory"))?.filter(|limit| *limit > 0) {
        let bytes = to_u64(limit.div_ceil(1000)).min(i64::MAX.unsigned_abs());
        memory = json!({"limit": bytes, "swap": bytes});
    }
    for (name, field) in limits.entries()? {
        if name.contains('/') && !name.starts_with("requests.") {
            let text = format!(
                "what a device plugin adds for {} is not known",
                portcullis_gate::quote(name)
            );
            assumptions.push(Assumption::new(About::DevicePlugin, field.pointer, text));
        }
    }
    Ok(json!({"devices": devices, "memory": memory, "cpu": cpu}))
}

fn to_u64(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Volumes that are given as block devices. Which numbers they have is known on the node only.
fn devices(container: &Field<'_>, linux: &mut Value, made: &mut Made) -> Read<()> {
    let mut nodes = Vec::new();
    for device in container.get("volumeDevices").list()? {
        let path = device.get("devicePath").needed_text()?;
        nodes.push(json!({"path": path, "type": "b"}));
        let word = portcullis_gate::quote(path);
        made.origins
            .add_word("/linux/devices", word, device.pointer);
    }
    if !nodes.is_empty() {
        put(linux, "devices", Value::Array(nodes));
    }
    Ok(())
}

/// A mount that the manifest or the kubelet asks for.
struct Asked {
    mount: Value,
    /// The fields of the manifest for the mount, its source and its propagation.
    fields: Option<[String; 3]>,
    /// The path of the host that is judged in place of a path that the kubelet will make.
    host_path: Option<String>,
}

impl Asked {
    fn destination(&self) -> &str {
        let destination = self.mount.get("destination").and_then(Value::as_str);
        destination.unwrap_or_default()
    }
}

fn mounts(
    pod: &Pod<'_>,
    container: &Field<'_>,
    privileged: bool,
    linux: &mut Value,
    made: &mut Made,
) -> Read<Vec<Value>> {
    let mut asked = Vec::new();
    for (index, field) in container
        .get("volumeMounts")
        .list()?
        .into_iter()
        .enumerate()
    {
        asked.push(volume_mount(pod, container, index, &field, linux)?);
    }
    let taken =
        |asked: &[Asked], destination: &str| asked.iter().any(|it| it.destination() == destination);
    let name = container.get("name").needed_text()?;
    let token = "/var/run/secrets/kubernetes.io/serviceaccount";
    let has_token = pod.spec.get("automountServiceAccountToken").flag()? != Some(false);
    let volumes = format!("{POD_DIRECTORY}/volumes/kubernetes.io~projected/kube-api-access");
    let term = format!("{POD_DIRECTORY}/containers/{name}/0");
    let log = container.get("terminationMessagePath").text()?;
    let mut files = vec![
        (
            "/etc/hosts".to_owned(),
            format!("{POD_DIRECTORY}/etc-hosts"),
            "rw",
        ),
        (log.unwrap_or("/dev/termination-log").to_owned(), term, "rw"),
    ];
    if has_token {
        files.insert(0, (token.to_owned(), volumes, "ro"));
    }
    for (destination, source) in shared_files() {
        files.push((destination.to_owned(), source, "rw"));
    }
    for (destination, source, mode) in files {
        if !taken(&asked, &destination) {
            let options = json!(["rbind", "rprivate", mode]);
            let mount = json!({
                "destination": destination, "type": "bind", "source": source, "options": options,
            });
            asked.push(Asked {
                mount,
                fields: None,
                host_path: None,
            });
        }
    }
    // containerd puts what lies higher first.
    let depth = |it: &Asked| {
        let destination = it.destination();
        destination.trim_end_matches('/').matches('/').count()
    };
    asked.sort_by_key(depth);
    let mut mounts = default_mounts(privileged);
    // A mount of the manifest at such a place takes the place of containerd's own.
    mounts.retain(|mount| {
        let destination = mount["destination"].as_str().unwrap_or_default();
        !taken(&asked, destination)
    });
    for it in asked {
        let pointer = format!("/mounts/{}", mounts.len());
        if let Some([mount, source, propagation]) = it.fields {
            made.origins
                .add_word(format!("{pointer}/options"), "shared", propagation);
            made.origins.add(format!("{pointer}/source"), source);
            made.origins.add(pointer, mount);
        }
        if let Some(path) = it.host_path {
            made.foreseen.host_paths.insert(mounts.len(), path);
        }
        mounts.push(it.mount);
    }
    if let Some(field) = container
        .get("volumeMounts")
        .list()?
        .into_iter()
        .find(|field| field.get("mountPropagation").value() == Some(&Value::from("Bidirectional")))
    {
        let pointer = field.get("mountPropagation").pointer;
        made.origins.add("/linux/rootfsPropagation", pointer);
    }
    Ok(mounts)
}

fn volume_mount(
    pod: &Pod<'_>,
    container: &Field<'_>,
    index: usize,
    field: &Field<'_>,
    linux: &mut Value,
) -> Read<Asked> {
    let name = field.clone().object()?.get("name");
    let Some(volume) = pod.volumes.get(name.needed_text()?) else {
        return Err(name.fault("the name of a volume of the pod"));
    };
    let destination = field.get("mountPath").needed_text()?;
    let within = field.get("subPath").or(&field.get("subPathExpr")).text()?;
    let within = within.filter(|path| !path.is_empty());
    let container_name = container.get("name").needed_text()?;
    let source = match within {
        None => volume.path.clone(),
        Some(_) => format!(
            "{POD_DIRECTORY}/volume-subpaths/{}/{container_name}/{index}",
            escaped(name.needed_text()?)
        ),
    };
    let on_host = || match within {
        None => volume.path.clone(),
        Some(within) => format!("{}/{within}", volume.path.trim_end_matches('/')),
    };
    let propagation = field.get("mountPropagation");
    let spread = match propagation.text()? {
        None | Some("None") => "rprivate",
        Some("HostToContainer") => "rslave",
        Some("Bidirectional") => "rshared",
        Some(_) => {
            let expected = "None, HostToContainer or Bidirectional";
            return Err(propagation.fault(expected));
        }
    };
    // containerd makes the root of the container pass on what is mounted later.
    let unset = linux.get("rootfsPropagation").is_none();
    if spread == "rshared" || (spread == "rslave" && unset) {
        put(linux, "rootfsPropagation", spread);
    }
    let read_only = field.get("readOnly").is_true()?;
    let recursive = field.get("recursiveReadOnly").text()?;
    let mut options = vec!["rbind", spread];
    options.push(match (read_only, recursive) {
        (true, Some("Enabled" | "IfPossible")) => "rro",
        (true, _) => "ro",
        (false, _) => "rw",
    });
    Ok(Asked {
        mount: json!({
            "destination": destination, "type": "bind", "source": source, "options": options,
        }),
        fields: Some([
            field.pointer.clone(),
            volume.pointer.clone(),
            propagation.pointer,
        ]),
        host_path: volume.host_path.then(on_host),
    })
}
