//! Pods through containerd's CRI plugin, as a kubelet runs them.

use portcullis_tests::cri::message::{
    Capability, ContainerConfig, ContainerSecurityContext, LinuxContainerConfig, NamespaceOption,
    SandboxSecurityContext,
};
use portcullis_tests::cri::{self, Cri, Pod, expected};
use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::grpc::Status;
use portcullis_tests::node::Node;
use portcullis_tests::process::{Confinement, SCRIPT};
use portcullis_tests::refusal::Refusal;
use portcullis_tests::wait::PATIENCE;
use portcullis_tests::world::Census;
use portcullis_tests::{in_world, needs};

/// Our runtime handler.
const HANDLER: &str = "portcullis";

fn sleeper(name: &str) -> ContainerConfig {
    cri::container(name, &["/bin/sleep", "600"])
}

fn with_security(security_context: ContainerSecurityContext) -> ContainerConfig {
    let mut config = sleeper("asks");
    config.linux = Some(LinuxContainerConfig {
        security_context: Some(security_context),
        ..LinuxContainerConfig::default()
    });
    config
}

fn run_pod(cri: &Cri<'_>, name: &str) -> Outcome<Pod> {
    expected(cri.run_pod(cri::pod("shop", name), HANDLER)?)
}

fn confinement(cri: &Cri<'_>, id: &str) -> Outcome<Confinement> {
    let said = expected(cri.exec(id, &["/bin/sh", "-c", SCRIPT])?)?;
    Confinement::parse(&String::from_utf8_lossy(&said.stdout))
}

/// The refusal in an answer of CRI.
fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> Outcome<Refusal> {
    Refusal::find(&answer.unwrap_err().message)
}

/// Processes named like our shim.
fn shims() -> usize {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).contains("containerd-shim-portcullis"))
        .count()
}

mod needs_containerd {
    use super::*;

    #[test]
    fn two_containers_of_a_pod_share_a_shim_and_are_both_hardened() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let cri = node.containerd.cri();
            let before = Census::take();
            let pod = run_pod(&cri, "web")?;
            for name in ["first", "second"] {
                let id = expected(cri.launch(&pod, sleeper(name))?)?;
                assert_eq!(confinement(&cri, &id)?, Confinement::RESTRICTED, "{name}");
            }
            assert_eq!(shims(), 1);
            cri.remove_pod(&pod)?;
            before.until_clean(PATIENCE)?;
            node.finish()
        })
    }

    #[test]
    fn a_refused_container_says_why_and_leaves_its_pod_running() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let cri = node.containerd.cri();
            let pod = run_pod(&cri, "web")?;
            let fine = expected(cri.launch(&pod, sleeper("fine"))?)?;
            let before = Census::take();
            let add = Capability {
                add_capabilities: vec!["SYS_ADMIN".to_owned()],
                ..Capability::default()
            };
            let asks = with_security(ContainerSecurityContext {
                capabilities: Some(add),
                ..ContainerSecurityContext::default()
            });
            let id = expected(cri.create(&pod, asks)?)?;
            let refused = refusal(cri.start(&id)?)?;
            assert_eq!(refused.short(), "refused [capability-excess]");
            // What `kubectl describe pod` shows.
            let shown = cri.status(&id)?;
            assert_eq!(Refusal::find(&shown.message)?.line, refused.line);
            before.until_clean(PATIENCE)?;
            assert_eq!(confinement(&cri, &fine)?, Confinement::RESTRICTED);
            cri.remove_pod(&pod)?;
            node.finish()
        })
    }

    #[test]
    fn a_pod_can_ask_for_more_tags_and_not_for_fewer() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let cri = node.containerd.cri();
            let asking = |name: &str, requirement: &str| {
                let mut config = cri::pod("shop", name);
                let key = "portcullis.dev/require-tags".to_owned();
                config.annotations.insert(key, requirement.to_owned());
                config
            };
            let refused = refusal(cri.run_pod(asking("a", "country=FR"), HANDLER)?)?;
            assert_eq!(refused.short(), "refused [asset-tag-mismatch]");
            let refused = refusal(cri.run_pod(asking("b", "country in ("), HANDLER)?)?;
            assert_eq!(refused.short(), "fault [tag-requirement-malformed]");
            // A pod that asks for nothing does not undo what the node asks for.
            node.set(
                "50-tags",
                "[[namespace]]\nname = \"shop\"\nrequire_tags = \"pool=pci\"\n",
            )?;
            let refused = refusal(cri.run_pod(asking("c", "country=DE"), HANDLER)?)?;
            assert_eq!(refused.short(), "refused [asset-tag-mismatch]");
            node.unset("50-tags")?;
            let pod = expected(cri.run_pod(asking("d", "country=DE,pool"), HANDLER)?)?;
            cri.remove_pod(&pod)?;
            node.finish()
        })
    }

    #[test]
    fn a_pod_of_the_host_and_a_privileged_one_are_refused() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let cri = node.containerd.cri();
            let before = Census::take();
            let of_node = |set: fn(&mut NamespaceOption)| {
                let mut options = NamespaceOption::default();
                set(&mut options);
                SandboxSecurityContext {
                    namespace_options: Some(options),
                    privileged: false,
                }
            };
            for (context, code) in [
                (
                    of_node(|options| options.network = 2),
                    "host-namespace-denied",
                ),
                (of_node(|options| options.pid = 2), "host-namespace-denied"),
                (of_node(|options| options.ipc = 2), "host-namespace-denied"),
            ] {
                let mut config = cri::pod("shop", "web");
                config
                    .linux
                    .as_mut()
                    .expect("Linux settings")
                    .security_context = Some(context);
                let refused = refusal(cri.run_pod(config, HANDLER)?)?;
                assert_eq!(refused.code, code, "{refused}");
            }
            before.until_clean(PATIENCE)?;
            let pod = run_pod(&cri, "next")?;
            cri.remove_pod(&pod)?;
            node.finish()
        })
    }

    #[test]
    fn a_privileged_container_is_refused() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let cri = node.containerd.cri();
            // A privileged pod alone gives its sandbox nothing; its containers may ask for more.
            let mut config = cri::pod("shop", "web");
            config
                .linux
                .as_mut()
                .expect("Linux settings")
                .security_context = Some(SandboxSecurityContext {
                privileged: true,
                ..SandboxSecurityContext::default()
            });
            let pod = expected(cri.run_pod(config, HANDLER)?)?;
            let asks = with_security(ContainerSecurityContext {
                privileged: true,
                ..ContainerSecurityContext::default()
            });
            let refused = refusal(cri.launch(&pod, asks)?)?;
            assert_eq!(refused.short(), "refused [privileged-denied]");
            cri.remove_pod(&pod)?;
            node.finish()
        })
    }

    #[test]
    fn pods_survive_a_restart_of_containerd_and_stay_clamped() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let mut node = Node::provision(world)?;
            let pod = run_pod(&node.containerd.cri(), "web")?;
            let id = expected(node.containerd.cri().launch(&pod, sleeper("main"))?)?;
            node.restart_containerd(world)?;
            let cri = node.containerd.cri();
            assert_eq!(cri.status(&id)?.state, 1);
            assert_eq!(confinement(&cri, &id)?, Confinement::RESTRICTED);
            cri.remove_pod(&pod)?;
            node.finish()
        })
    }

    #[test]
    fn a_running_pod_on_a_drifted_host_gets_no_further_container() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let cri = node.containerd.cri();
            let pod = run_pod(&cri, "web")?;
            let first = expected(cri.launch(&pod, sleeper("first"))?)?;
            node.tpm.extend(7, [1; 32]).doing("extend PCR 7")?;
            let refused = refusal(cri.launch(&pod, sleeper("second"))?)?;
            assert_eq!(refused.short(), "refused [pcr-drift]");
            // What runs goes on; it can be looked at and stopped.
            assert_eq!(cri.status(&first)?.state, 1);
            cri.remove_pod(&pod)?;
            node.finish()
        })
    }
}
