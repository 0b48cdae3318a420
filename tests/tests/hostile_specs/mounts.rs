//! Parts of the host as mounts, by all names that they have.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::run;
use serde_json::{Value, json};

use super::scene::{ALIASES, ALLOWED, Scene, set};
use super::table::Expected::Refused;
use super::table::{Answer, Case};

const DENIED: &str = "refused [mount-denied]";
const SOCKET: &str = "/run/containerd/containerd.sock";

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "/",
        expected: Refused(DENIED, "found '/', which touches"),
        ask: |scene| bind(scene, "/"),
    },
    Case {
        name: "/etc",
        expected: Refused(DENIED, "found '/etc', which touches '/etc'"),
        ask: |scene| bind(scene, "/etc"),
    },
    Case {
        name: "/etc by '..'",
        expected: Refused(
            DENIED,
            "found '/var/lab/allowed/../../../etc', which touches '/etc'",
        ),
        ask: |scene| bind(scene, "/var/lab/allowed/../../../etc"),
    },
    Case {
        name: "/etc by a symbolic link in an allowed folder",
        expected: Refused(
            DENIED,
            "found '/var/lab/allowed/link', which touches '/etc'",
        ),
        ask: by_link,
    },
    Case {
        name: "/etc by another mount of it",
        expected: Refused(DENIED, "found '/var/lab/aliases/etc', which touches '/etc'"),
        ask: |scene| by_alias(scene, "etc", "/var/lab/aliases/etc"),
    },
    Case {
        name: "/etc through the root of process 1",
        expected: Refused(DENIED, "found '/proc/1/root/etc', which touches"),
        ask: |scene| bind(scene, "/proc/1/root/etc"),
    },
    Case {
        name: "/proc",
        expected: Refused(DENIED, "found '/proc', which touches"),
        ask: |scene| bind(scene, "/proc"),
    },
    Case {
        name: "/sys, to be written to",
        expected: Refused(DENIED, "found '/sys', which touches"),
        ask: |scene| bind(scene, "/sys"),
    },
    Case {
        name: "the socket of containerd",
        expected: Refused(DENIED, "found socket '/run/containerd/containerd.sock'"),
        ask: |scene| bind(scene, SOCKET),
    },
    Case {
        name: "the socket of containerd by a symbolic link",
        expected: Refused(DENIED, "found socket '/var/lab/allowed/sock'"),
        ask: |scene| {
            link(SOCKET, "/var/lab/allowed/sock")?;
            bind(scene, "/var/lab/allowed/sock")
        },
    },
    Case {
        name: "the socket of containerd by another mount of its folder",
        expected: Refused(
            DENIED,
            "found socket '/var/lab/aliases/run/containerd/containerd.sock'",
        ),
        ask: |scene| {
            by_alias(
                scene,
                "run",
                "/var/lab/aliases/run/containerd/containerd.sock",
            )
        },
    },
    Case {
        name: "the folder of that socket by another mount",
        expected: Refused(
            DENIED,
            "found '/var/lab/aliases/run/containerd', which touches",
        ),
        ask: |scene| bind(scene, "/var/lab/aliases/run/containerd"),
    },
    Case {
        name: "the socket of the agent",
        expected: Refused(DENIED, "found socket '/run/portcullis/agent.sock'"),
        ask: |scene| bind(scene, "/run/portcullis/agent.sock"),
    },
    Case {
        name: "state of containerd",
        expected: Refused(DENIED, "found '/var/lib/containerd', which touches"),
        ask: |scene| bind(scene, "/var/lib/containerd"),
    },
    Case {
        name: "bundles of other containers",
        expected: Refused(
            DENIED,
            "found '/run/containerd/io.containerd.runtime.v2.task'",
        ),
        ask: |scene| bind(scene, "/run/containerd/io.containerd.runtime.v2.task"),
    },
    Case {
        name: "state of the kubelet",
        expected: Refused(DENIED, "found '/var/lib/kubelet/pods', which touches"),
        ask: |scene| {
            fs::create_dir_all("/var/lib/kubelet/pods").doing("make a folder")?;
            bind(scene, "/var/lib/kubelet/pods")
        },
    },
    Case {
        name: "state of Portcullis",
        expected: Refused(DENIED, "found '/var/lib/portcullis', which touches"),
        ask: |scene| bind(scene, "/var/lib/portcullis"),
    },
    Case {
        name: "a folder above parts of the host",
        expected: Refused(DENIED, "found '/var', which touches"),
        ask: |scene| bind(scene, "/var"),
    },
    Case {
        name: "a folder that nobody listed",
        expected: Refused(DENIED, "found '/var/lab/aliases';"),
        ask: |scene| bind(scene, ALIASES),
    },
    Case {
        name: "a block device in an allowed folder",
        expected: Refused(DENIED, "found block device '/var/lab/allowed/disk'"),
        ask: block_device,
    },
    Case {
        name: "/dev/null's folder",
        expected: Refused(DENIED, "found '/dev', which touches"),
        ask: |scene| bind(scene, "/dev"),
    },
    Case {
        name: "a source that is not there",
        expected: Refused(DENIED, "found '/var/lab/nowhere', which was not examined"),
        ask: |scene| bind(scene, "/var/lab/nowhere"),
    },
    Case {
        name: "a second /proc, without masks",
        expected: Refused(DENIED, "expected proc at /proc, found '/proc2'"),
        ask: |scene| mount(scene, "/proc2", "proc", "proc", &[]),
    },
    Case {
        name: "a second /sys, to be written to",
        expected: Refused(DENIED, "expected sysfs at /sys, found '/sys2'"),
        ask: |scene| mount(scene, "/sys2", "sysfs", "sysfs", &["rw"]),
    },
    Case {
        name: "an overlay of the host's folders",
        expected: Refused(DENIED, "found 'overlay'"),
        ask: |scene| {
            let options = ["lowerdir=/etc:/usr"];
            mount(scene, "/data", "overlay", "overlay", &options)
        },
    },
    Case {
        name: "a disk by its file system",
        expected: Refused(DENIED, "found 'ext4'"),
        ask: |scene| mount(scene, "/data", "ext4", "/dev/sda", &[]),
    },
    Case {
        name: "something over the masks of /proc",
        expected: Refused(DENIED, "found '/proc/sys'"),
        ask: |scene| mount(scene, "/proc/sys", "tmpfs", "tmpfs", &[]),
    },
    Case {
        name: "option remount",
        expected: Refused(DENIED, "found 'remount'"),
        ask: |scene| mount(scene, "/data", "bind", ALLOWED, &["bind", "remount", "rw"]),
    },
    Case {
        name: "two options in one text",
        expected: Refused(DENIED, "found 'nosuid,suid'"),
        ask: |scene| mount(scene, "/data", "tmpfs", "tmpfs", &["nosuid,suid"]),
    },
    Case {
        name: "mapped ids without a user namespace",
        expected: Refused(DENIED, "found 'idmap'"),
        ask: |scene| mount(scene, "/data", "bind", ALLOWED, &["rbind", "idmap"]),
    },
    Case {
        name: "propagation shared",
        expected: Refused("refused [propagation-denied]", "found 'shared'"),
        ask: |scene| mount(scene, "/data", "bind", ALLOWED, &["rbind", "shared"]),
    },
    Case {
        name: "the root of the host as root file system",
        expected: Refused("refused [root-filesystem-denied]", "found '/'"),
        ask: |scene| scene.config(|config| set(config, "/root/path", json!("/"))),
    },
    Case {
        name: "/etc as root file system",
        expected: Refused("refused [root-filesystem-denied]", "found '/etc'"),
        ask: |scene| scene.config(|config| set(config, "/root/path", json!("/etc"))),
    },
];

fn mount(
    scene: &Scene,
    destination: &str,
    kind: &str,
    source: &str,
    options: &[&str],
) -> Outcome<Answer> {
    let mount: Value = json!({
        "destination": destination, "type": kind, "source": source, "options": options,
    });
    scene.config(|config| set(config, "/mounts/-", mount))
}

fn bind(scene: &Scene, source: &str) -> Outcome<Answer> {
    mount(scene, "/data", "bind", source, &["rbind", "rw"])
}

fn link(to: &str, at: &str) -> Outcome {
    symlink(to, at).doing(format!("link '{at}'"))
}

fn by_link(scene: &Scene) -> Outcome<Answer> {
    link("/etc", "/var/lab/allowed/link")?;
    bind(scene, "/var/lab/allowed/link")
}

/// Mounts `source` once more where it was mounted with the folder `name` of the host.
fn by_alias(scene: &Scene, name: &str, source: &str) -> Outcome<Answer> {
    let at = format!("{ALIASES}/{name}");
    fs::create_dir_all(&at).doing("make a mount point")?;
    let mut mount = Command::new("mount");
    mount.args(["--bind", &format!("/{name}"), &at]);
    run::to_end(&mut mount)?.success()?;
    bind(scene, source)
}

/// The node is of a disk that no machine has.
fn block_device(scene: &Scene) -> Outcome<Answer> {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let node = format!("{ALLOWED}/disk");
    let device = makedev(240, 255);
    mknod(node.as_str(), SFlag::S_IFBLK, Mode::S_IRUSR, device).doing("make a node")?;
    bind(scene, &node)
}
