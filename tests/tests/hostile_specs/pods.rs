//! What pods and their containers ask for, through CRI as a kubelet does.

use portcullis_tests::cri::message::{
    Capability, ContainerConfig, ContainerSecurityContext, LinuxContainerConfig, Mount,
    NamespaceOption, PodSandboxConfig, SandboxSecurityContext,
};
use portcullis_tests::failure::Outcome;
use portcullis_tests::image;

use super::scene::Scene;
use super::table::Expected::{Clamped, Refused};
use super::table::{Answer, Case};

/// CRI's word for the namespace of the node.
const NODE: i32 = 2;

pub(crate) const CASES: &[Case] = &[
    Case {
        // containerd gives such a pod the host name of the node too, which is named first.
        name: "a pod with hostNetwork",
        expected: Refused(
            "refused [host-namespace-denied]",
            "the network namespace of the host",
        ),
        ask: |scene| of_node(scene, |options| options.network = NODE),
    },
    Case {
        name: "a pod with hostPID",
        expected: Refused(
            "refused [host-namespace-denied]",
            "the pid namespace of the host",
        ),
        ask: |scene| of_node(scene, |options| options.pid = NODE),
    },
    Case {
        name: "a pod with hostIPC",
        expected: Refused(
            "refused [host-namespace-denied]",
            "the ipc namespace of the host",
        ),
        ask: |scene| of_node(scene, |options| options.ipc = NODE),
    },
    Case {
        name: "a pod with sysctl kernel.msgmax",
        expected: Refused("refused [sysctl-denied]", "'kernel.msgmax'"),
        ask: |scene| {
            scene.pod(|config| {
                let linux = config.linux.get_or_insert_default();
                linux
                    .sysctls
                    .insert("kernel.msgmax".to_owned(), "65536".to_owned());
            })
        },
    },
    Case {
        name: "a privileged pod, whose sandbox gets nothing by it",
        expected: Clamped,
        ask: |scene| {
            scene.pod(|config| {
                secure_pod(
                    config,
                    SandboxSecurityContext {
                        privileged: true,
                        ..SandboxSecurityContext::default()
                    },
                );
            })
        },
    },
    Case {
        name: "a container with SYS_ADMIN",
        expected: Refused("refused [capability-excess]", "CAP_SYS_ADMIN"),
        ask: |scene| add_capability(scene, "SYS_ADMIN"),
    },
    Case {
        name: "a container with allowPrivilegeEscalation",
        expected: Clamped,
        ask: |scene| secured(scene, ContainerSecurityContext::default()),
    },
    Case {
        name: "a container that runs as root",
        expected: Refused("refused [root-user-denied]", "uid 0"),
        ask: |scene| {
            scene.container(|config| {
                image::BUSYBOX_ROOT.clone_into(&mut config.image.get_or_insert_default().image);
            })
        },
    },
    Case {
        name: "a container with a path of the host",
        expected: Refused("refused [mount-denied]", "'/etc', which touches"),
        ask: |scene| host_path(scene, "/etc"),
    },
    Case {
        name: "a container with the socket of containerd",
        expected: Refused(
            "refused [mount-denied]",
            "socket '/run/containerd/containerd.sock'",
        ),
        ask: |scene| host_path(scene, "/run/containerd/containerd.sock"),
    },
    Case {
        name: "a container in the process namespace of the node",
        // containerd takes that of the pod for it.
        expected: Clamped,
        ask: |scene| {
            secured(
                scene,
                ContainerSecurityContext {
                    namespace_options: Some(NamespaceOption {
                        pid: NODE,
                        ..NamespaceOption::default()
                    }),
                    ..ContainerSecurityContext::default()
                },
            )
        },
    },
    Case {
        name: "a privileged container",
        expected: Refused("refused [privileged-denied]", "drop 'privileged: true'"),
        ask: |scene| {
            secured(
                scene,
                ContainerSecurityContext {
                    privileged: true,
                    ..ContainerSecurityContext::default()
                },
            )
        },
    },
];

fn secure_pod(config: &mut PodSandboxConfig, context: SandboxSecurityContext) {
    config.linux.get_or_insert_default().security_context = Some(context);
}

/// A pod with namespaces of the node.
fn of_node(scene: &Scene, set: fn(&mut NamespaceOption)) -> Outcome<Answer> {
    let mut options = NamespaceOption::default();
    set(&mut options);
    scene.pod(|config| {
        secure_pod(
            config,
            SandboxSecurityContext {
                namespace_options: Some(options),
                privileged: false,
            },
        );
    })
}

fn secured(scene: &Scene, context: ContainerSecurityContext) -> Outcome<Answer> {
    scene.container(|config: &mut ContainerConfig| {
        config.linux = Some(LinuxContainerConfig {
            security_context: Some(context),
            ..LinuxContainerConfig::default()
        });
    })
}

fn add_capability(scene: &Scene, name: &str) -> Outcome<Answer> {
    let capabilities = Some(Capability {
        add_capabilities: vec![name.to_owned()],
        ..Capability::default()
    });
    secured(
        scene,
        ContainerSecurityContext {
            capabilities,
            ..ContainerSecurityContext::default()
        },
    )
}

fn host_path(scene: &Scene, path: &str) -> Outcome<Answer> {
    scene.container(|config| {
        config.mounts = vec![Mount {
            container_path: "/data".to_owned(),
            host_path: path.to_owned(),
            ..Mount::default()
        }];
    })
}
