//! Pods with `hostUsers: false`, from containerd 2.0 on: user 0 inside is nobody outside.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use serde_json::Value;

use portcullis_hardening::SANDBOX_PROFILE;
use portcullis_tests::cgroup_driver;
use portcullis_tests::cri::message::{
    ContainerConfig, ContainerSecurityContext, IdMapping, ImageSpec, LinuxContainerConfig,
    LinuxContainerResources, Mount, NamespaceOption, PodSandboxConfig, SandboxSecurityContext,
    UserNamespace,
};
use portcullis_tests::cri::{self, expected};
use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::process::{Confinement, SCRIPT};
use portcullis_tests::refusal::Refusal;
use portcullis_tests::wait::PATIENCE;
use portcullis_tests::world::Census;
use portcullis_tests::{image, in_world, needs, run};

/// Our runtime handler.
const HANDLER: &str = "portcullis";
/// What user 0 of the pod is on the host.
const HOST: u32 = 200_000;
/// Bundles of pods.
const BUNDLES: &str = "/run/containerd/io.containerd.runtime.v2.task/k8s.io";

fn ids(host_id: u32) -> Vec<IdMapping> {
    vec![IdMapping {
        host_id,
        container_id: 0,
        length: 65536,
    }]
}

/// A user namespace of the pod whose ids start at `host`.
fn users(host: u32) -> NamespaceOption {
    NamespaceOption {
        user: Some(UserNamespace {
            mode: 0,
            uids: ids(host),
            gids: ids(host),
        }),
        ..NamespaceOption::default()
    }
}

fn pod(name: &str, host: u32) -> PodSandboxConfig {
    let mut config = cri::pod("shop", name);
    let linux = config.linux.get_or_insert_default();
    linux.security_context = Some(SandboxSecurityContext {
        namespace_options: Some(users(host)),
        ..SandboxSecurityContext::default()
    });
    config
}

/// A container that runs as user 0, with a volume at `/data` whose ids are mapped.
fn container(name: &str, volume: &str) -> ContainerConfig {
    let mut config = cri::container(name, &["/bin/sleep", "600"]);
    config.image = Some(ImageSpec {
        image: image::BUSYBOX_ROOT.to_owned(),
    });
    config.mounts = vec![Mount {
        container_path: "/data".to_owned(),
        host_path: volume.to_owned(),
        readonly: false,
        uids: ids(HOST),
        gids: ids(HOST),
    }];
    config.linux = Some(LinuxContainerConfig {
        security_context: Some(ContainerSecurityContext {
            namespace_options: Some(users(HOST)),
            ..ContainerSecurityContext::default()
        }),
        ..LinuxContainerConfig::default()
    });
    config
}

mod needs_containerd {
    use super::*;

    #[test]
    fn t34_root_of_a_pod_is_nobody_on_the_host() -> Outcome {
        needs!(
            Root,
            Busybox,
            Containerd,
            Containerd2,
            Runc,
            Cni,
            Swtpm,
            Programs
        );
        in_world!(|world| {
            let node = Node::provision(world)?;
            let cri = node.containerd.cri();
            let volume = "/var/lib/kubelet/pods/uid-1/volumes/kubernetes.io~empty-dir/data";
            // On a filesystem whose ids can be mapped, which the world's own is not.
            let kubelet = "/var/lib/kubelet";
            world.mount_mappable(kubelet)?;
            fs::create_dir_all(volume).doing("make a volume")?;
            fs::write(format!("{volume}/file"), "").doing("write to the volume")?;
            let before = Census::take();
            let pod = expected(cri.run_pod(pod("web", HOST), HANDLER)?)?;
            // The second container joins the pod's user namespace as the first one does.
            for name in ["first", "second"] {
                let id = expected(cri.launch(&pod, container(name, volume))?)?;
                let look = "stat -c %u:%g /bin/busybox /data/file; cat /proc/self/uid_map";
                let said = expected(cri.exec(&id, &["/bin/sh", "-c", look])?)?;
                let said = String::from_utf8_lossy(&said.stdout).into_owned();
                let words: Vec<&str> = said.split_whitespace().collect();
                assert_eq!(words, ["0:0", "0:0", "0", "200000", "65536"]);
                let shown = fs::metadata(format!("{BUNDLES}/{id}/rootfs/bin/busybox"));
                assert_eq!(shown.doing("look at the root file system")?.uid(), HOST);
                let said = expected(cri.exec(&id, &["/bin/sh", "-c", SCRIPT])?)?;
                let found = Confinement::parse(&String::from_utf8_lossy(&said.stdout))?;
                let mapped_root = Confinement {
                    uid: 0,
                    ..Confinement::RESTRICTED
                };
                assert_eq!(found, mapped_root);
            }
            let stored = fs::metadata(format!("{volume}/file")).doing("look at the volume")?;
            assert_eq!(stored.uid(), 0);
            cri.remove_pod(&pod)?;
            before.until_clean(PATIENCE)?;
            run::to_end(Command::new("umount").arg(kubelet))?.success()?;
            node.finish()
        })
    }

    #[test]
    fn a_strict_pod_starts_and_its_sandbox_has_a_memory_limit() -> Outcome {
        needs!(
            Root,
            Busybox,
            Containerd,
            Containerd2,
            Runc,
            Cni,
            Swtpm,
            Programs
        );
        in_world!(|world| {
            let node = Node::provision(world)?;
            let cri = node.containerd.cri();
            let mut strict = pod("web", HOST);
            let profile = ("portcullis.dev/profile".to_owned(), "strict".to_owned());
            strict.annotations.extend([profile]);
            let pod = expected(cri.run_pod(strict, HANDLER)?)?;
            let path = format!("{BUNDLES}/{}/config.json", pod.id);
            let config = fs::read(&path).doing("read the sandbox' configuration")?;
            let config: Value = serde_json::from_slice(&config).doing("parse it")?;
            let limit = &config["linux"]["resources"]["memory"]["limit"];
            assert_eq!(*limit, 64 << 20);
            // CRI has no AppArmor profile for a sandbox either; the guest of 'cargo xtask vm' wants one.
            if !cgroup_driver::confinement().is_empty() {
                let label = &config["process"]["apparmorProfile"];
                assert_eq!(*label, SANDBOX_PROFILE);
            }
            // CRI can ask for one for what works in the pod, and has to.
            let asking = |name: &str, memory_limit_in_bytes: i64| {
                let mut config = container(name, "");
                config.mounts.clear();
                let linux = config.linux.get_or_insert_default();
                linux.resources = Some(LinuxContainerResources {
                    memory_limit_in_bytes,
                    // As a kubelet asks for every container.
                    cpu_shares: 2,
                    ..LinuxContainerResources::default()
                });
                config
            };
            let refused = cri.launch(&pod, asking("endless", 0))?.unwrap_err();
            let refused = Refusal::find(&refused.message)?;
            assert_eq!(refused.short(), "refused [resource-excess]");
            let id = expected(cri.launch(&pod, asking("limited", 64 << 20))?)?;
            assert_eq!(cri.status(&id)?.state, 1);
            cri.remove_pod(&pod)?;
            node.finish()
        })
    }

    #[test]
    fn t34_a_pod_whose_ids_are_those_of_the_host_is_refused() -> Outcome {
        needs!(
            Root,
            Busybox,
            Containerd,
            Containerd2,
            Runc,
            Cni,
            Swtpm,
            Programs
        );
        in_world!(|world| {
            let node = Node::provision(world)?;
            let cri = node.containerd.cri();
            let before = Census::take();
            for host in [0, 1000] {
                let refused = cri.run_pod(pod("web", host), HANDLER)?.unwrap_err();
                let refused = Refusal::find(&refused.message)?;
                assert_eq!(refused.short(), "refused [root-user-denied]");
            }
            before.until_clean(PATIENCE)?;
            node.finish()
        })
    }
}
