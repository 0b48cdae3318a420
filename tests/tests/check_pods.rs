//! What `portcullis check` says about a manifest, beside what becomes of the pod.

use std::fs;

use portcullis_tests::cri::message::{
    Capability, ContainerConfig, ContainerSecurityContext, Int64Value, LinuxContainerConfig, Mount,
    NamespaceOption, PodSandboxConfig, SandboxSecurityContext,
};
use portcullis_tests::cri::{self, Cri};
use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::refusal::Refusal;
use portcullis_tests::{in_world, needs};
use serde_json::Value;

/// Our runtime handler.
const HANDLER: &str = "portcullis";
/// User of the image, as `portcullis check` takes it.
const IMAGE_USER: &str = "65534:65534";

/// A pod twice: as its author writes it, and as a kubelet asks for it.
struct Case {
    name: &'static str,
    /// What stands in the specification of the pod.
    pod: &'static str,
    /// What stands in its container.
    container: &'static str,
    sandbox: fn(&mut PodSandboxConfig),
    asked: fn(&mut ContainerConfig),
    /// The code with which it is refused; empty if it starts.
    code: &'static str,
}

/// The container's security settings, to be changed.
fn security(config: &mut ContainerConfig) -> &mut ContainerSecurityContext {
    let linux = config
        .linux
        .get_or_insert_with(LinuxContainerConfig::default);
    linux.security_context.get_or_insert_default()
}

/// The sandbox's security settings, to be changed.
fn of_sandbox(config: &mut PodSandboxConfig) -> &mut SandboxSecurityContext {
    let linux = config.linux.get_or_insert_default();
    linux.security_context.get_or_insert_default()
}

const CASES: [Case; 8] = [
    Case {
        name: "plain",
        pod: "",
        container: "",
        sandbox: |_| {},
        asked: |_| {},
        code: "",
    },
    Case {
        name: "adds",
        pod: "",
        container: "securityContext: {capabilities: {add: [SYS_ADMIN]}}",
        sandbox: |_| {},
        asked: |config| {
            security(config).capabilities = Some(Capability {
                add_capabilities: vec!["SYS_ADMIN".to_owned()],
                ..Capability::default()
            });
        },
        code: "capability-excess",
    },
    Case {
        name: "drops",
        pod: "",
        container: "securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}",
        sandbox: |_| {},
        asked: |config| {
            let security = security(config);
            security.no_new_privs = true;
            security.capabilities = Some(Capability {
                drop_capabilities: vec!["ALL".to_owned()],
                ..Capability::default()
            });
        },
        code: "",
    },
    Case {
        name: "privileged",
        pod: "",
        container: "securityContext: {privileged: true}",
        sandbox: |config| of_sandbox(config).privileged = true,
        asked: |config| security(config).privileged = true,
        code: "privileged-denied",
    },
    Case {
        name: "root",
        pod: "",
        container: "securityContext: {runAsUser: 0}",
        sandbox: |_| {},
        asked: |config| security(config).run_as_user = Some(Int64Value { value: 0 }),
        code: "root-user-denied",
    },
    Case {
        name: "host-network",
        pod: "hostNetwork: true",
        container: "",
        sandbox: |config| {
            of_sandbox(config).namespace_options = Some(NamespaceOption {
                network: 2,
                pid: 1,
                ..NamespaceOption::default()
            });
        },
        asked: |_| {},
        code: "host-namespace-denied",
    },
    Case {
        name: "host-path",
        pod: "volumes: [{name: etc, hostPath: {path: /etc}}]",
        container: "volumeMounts: [{name: etc, mountPath: /host}]",
        sandbox: |_| {},
        asked: |config| {
            config.mounts.push(Mount {
                container_path: "/host".to_owned(),
                host_path: "/etc".to_owned(),
                ..Mount::default()
            });
        },
        code: "mount-denied",
    },
    Case {
        name: "sysctl",
        pod: "securityContext: {sysctls: [{name: net.ipv4.ip_forward, value: '1'}]}",
        container: "",
        sandbox: |config| {
            let linux = config.linux.get_or_insert_default();
            let (name, value) = ("net.ipv4.ip_forward".to_owned(), "1".to_owned());
            linux.sysctls.insert(name, value);
        },
        asked: |_| {},
        code: "sysctl-denied",
    },
];

impl Case {
    fn manifest(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {}, namespace: shop}}\nspec:\n  {}\n  \
             automountServiceAccountToken: false\n  containers:\n  - name: {}\n    \
             image: docker.io/library/busybox:local\n    {}\n",
            self.name, self.pod, self.name, self.container
        )
    }

    /// What becomes of it: the refusal, if it does not start.
    fn start(&self, cri: &Cri<'_>) -> Outcome<Option<Refusal>> {
        let mut sandbox = cri::pod("shop", self.name);
        (self.sandbox)(&mut sandbox);
        let pod = match cri.run_pod(sandbox, HANDLER)? {
            Ok(pod) => pod,
            Err(status) => return Refusal::find(&status.message).map(Some),
        };
        let mut container = cri::container(self.name, &["/bin/sleep", "600"]);
        (self.asked)(&mut container);
        let started = match cri.launch(&pod, container)? {
            Ok(_) => None,
            Err(status) => Some(Refusal::find(&status.message)?),
        };
        cri.remove_pod(&pod)?;
        Ok(started)
    }
}

/// The first code in a judgement, as a launch would name it; empty if nothing is refused.
fn first_code(judgement: &Value) -> &str {
    let containers = judgement["workloads"][0]["containers"].as_array();
    let findings = containers
        .into_iter()
        .flatten()
        .filter_map(|container| container["findings"].as_array())
        .flatten();
    findings
        .filter(|finding| finding["action"] == "refused")
        .find_map(|finding| finding["code"].as_str())
        .unwrap_or_default()
}

mod needs_containerd {
    use super::*;

    #[test]
    fn a_check_foresees_what_becomes_of_a_pod() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let cri = node.containerd.cri();
            let mut tried = Vec::new();
            for case in &CASES {
                let path = format!("/run/{}.yaml", case.name);
                fs::write(&path, case.manifest()).doing("write a manifest")?;
                let asked = [
                    "check",
                    "--output",
                    "json",
                    "--image-user",
                    IMAGE_USER,
                    &path,
                ];
                let said = node.portcullis(&asked)?;
                let judged: Value = serde_json::from_str(&said.stdout).doing("read a judgement")?;
                assert_eq!(judged["host"], "permitted", "{}: {judged:#}", case.name);
                assert_eq!(first_code(&judged), case.code, "{}: {judged:#}", case.name);
                let refusal = case.start(&cri)?;
                let code = refusal.as_ref().map_or("", |refusal| refusal.code.as_str());
                assert_eq!(code, case.code, "{}", case.name);
                let Some(refusal) = refusal else { continue };
                let explained =
                    node.portcullis(&["explain", &refusal.reference, "--output", "json"])?;
                let explained = explained.success()?;
                let explained: Value = serde_json::from_str(&explained).doing("read a record")?;
                let remedies = &explained["remedies"];
                if remedies["tried_on"] != "not-tried" {
                    assert!(remedies["patch"].is_array(), "{}: {explained:#}", case.name);
                }
                tried.push((case.name, remedies["tried_on"].clone()));
            }
            let rebuilt = tried.iter().filter(|(_, on)| *on == "rebuilt").count();
            assert!(rebuilt >= 5, "{tried:?}");
            node.finish()
        })
    }
}
