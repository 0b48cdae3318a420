//! What `ctr run` asks for with its flags.

use std::fs;

use portcullis_tests::failure::{Doing, Outcome};

use super::scene::Scene;
use super::table::Expected::{Clamped, Refused};
use super::table::{Answer, Case};

/// A seccomp list that stops nothing.
const OPEN_SECCOMP: &str = "/run/open-seccomp.json";

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "--privileged",
        expected: Refused("refused [privileged-denied]", "drop 'privileged: true'"),
        ask: |scene| scene.flags(&["--privileged"]),
    },
    Case {
        name: "--cap-add CAP_SYS_ADMIN",
        expected: Refused("refused [capability-excess]", "CAP_SYS_ADMIN"),
        ask: |scene| scene.flags(&["--cap-add", "CAP_SYS_ADMIN"]),
    },
    Case {
        name: "--cap-add CAP_NET_RAW, which callers add by themselves",
        expected: Clamped,
        ask: |scene| scene.flags(&["--cap-add", "CAP_NET_RAW"]),
    },
    Case {
        name: "--allow-new-privs",
        expected: Clamped,
        ask: |scene| scene.flags(&["--allow-new-privs"]),
    },
    Case {
        name: "--seccomp-profile that allows everything",
        expected: Clamped,
        ask: open_seccomp,
    },
    Case {
        name: "--net-host",
        expected: Refused(
            "refused [host-namespace-denied]",
            "the network namespace of the host",
        ),
        ask: |scene| scene.flags(&["--net-host"]),
    },
    Case {
        name: "--with-ns pid:/proc/1/ns/pid",
        expected: Refused(
            "refused [host-namespace-denied]",
            "the pid namespace of a pod",
        ),
        ask: |scene| scene.flags(&["--with-ns", "pid:/proc/1/ns/pid"]),
    },
    Case {
        name: "--uidmap 0:0:65536",
        expected: Refused("refused [root-user-denied]", "/linux/uidMappings"),
        ask: |scene| scene.flags(&["--uidmap", "0:0:65536", "--gidmap", "0:0:65536"]),
    },
    Case {
        name: "--mount of /etc",
        expected: Refused("refused [mount-denied]", "'/etc', which touches"),
        ask: |scene| scene.flags(&["--mount", "type=bind,src=/etc,dst=/data,options=rbind:ro"]),
    },
    Case {
        name: "--mount of the socket of containerd",
        expected: Refused(
            "refused [mount-denied]",
            "socket '/run/containerd/containerd.sock'",
        ),
        ask: |scene| {
            let source = "src=/run/containerd/containerd.sock";
            scene.flags(&[
                "--mount",
                &format!("type=bind,{source},dst=/sock,options=rbind"),
            ])
        },
    },
    Case {
        name: "--mount with propagation shared",
        expected: Refused("refused [propagation-denied]", "'rshared'"),
        ask: |scene| {
            let mount = "type=bind,src=/var/lab/allowed,dst=/data,options=rbind:rshared";
            scene.flags(&["--mount", mount])
        },
    },
    Case {
        name: "--rootfs-propagation shared",
        expected: Refused("refused [propagation-denied]", "/linux/rootfsPropagation"),
        ask: |scene| scene.flags(&["--rootfs-propagation", "shared"]),
    },
    Case {
        name: "--device /dev/fuse",
        expected: Refused("refused [device-denied]", "'/dev/fuse'"),
        ask: |scene| scene.flags(&["--device", "/dev/fuse"]),
    },
    Case {
        name: "--annotation run.oci.handler",
        expected: Refused("refused [annotation-denied]", "'run.oci.handler'"),
        ask: |scene| scene.flags(&["--annotation", "run.oci.handler=wasm"]),
    },
    Case {
        name: "--cgroup that goes up",
        expected: Refused("refused [oci-field-denied]", "a path that does not go up"),
        ask: |scene| scene.flags(&["--cgroup", "/default/../../escaped"]),
    },
    Case {
        name: "--cgroup /, the host's own",
        expected: Refused("refused [resource-denied]", "the root of all cgroups"),
        ask: |scene| scene.flags(&["--cgroup", "/"]),
    },
    Case {
        name: "--cwd /proc/self/fd/7",
        expected: Refused("refused [working-directory-denied]", "'/proc/self/fd/7'"),
        ask: |scene| scene.flags(&["--cwd", "/proc/self/fd/7"]),
    },
];

fn open_seccomp(scene: &Scene) -> Outcome<Answer> {
    let list = r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#;
    fs::write(OPEN_SECCOMP, list).doing("write a seccomp list")?;
    scene.flags(&["--seccomp", "--seccomp-profile", OPEN_SECCOMP])
}
