//! Where a workload comes from, and what it may run beside and on, with real pods and runtimes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;

use portcullis_tests::containerd::POD_NAMESPACE;
use portcullis_tests::cri::message::{
    ContainerConfig, ContainerSecurityContext, ImageSpec, Int64Value, LinuxContainerConfig,
};
use portcullis_tests::cri::{self, Cri, Pod, expected};
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::refusal::Refusal;
use portcullis_tests::run;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::Shape;
use portcullis_tests::{image, in_world, needs};
use serde_json::Value;

/// Our runtime handler.
const HANDLER: &str = "portcullis";
/// An approved place.
const APPROVED: &str = "registry.portcullis.test/prod/app";
/// What is remembered of runtimes.
const RUNTIMES: &str = "/run/portcullis-gate/runtimes";
/// The level of the first workload.
const PIN: &str = "/var/lib/portcullis-gate/sensitivity";

fn sleeper(name: &str, image: &str) -> ContainerConfig {
    let mut config = cri::container(name, &["/bin/sleep", "600"]);
    config.image = Some(ImageSpec {
        image: image.to_owned(),
    });
    config
}

fn run_pod(cri: &Cri<'_>, namespace: &str, name: &str) -> Outcome<Pod> {
    expected(cri.run_pod(cri::pod(namespace, name), HANDLER)?)
}

/// `ctr` among the images of pods.
fn images(arguments: &[&str]) -> Outcome<String> {
    let mut command = Command::new("ctr");
    command.args(["--namespace", POD_NAMESPACE, "images"]);
    run::to_end(command.args(arguments))?.success()
}

/// Gives the image `from` another name, and waits until CRI knows it.
fn name_image(cri: &Cri<'_>, pod: &Pod, from: &str, to: &str) -> Outcome {
    images(&["tag", "--force", from, to])?;
    wait::until_true(&format!("CRI to know '{to}'"), PATIENCE, || {
        let created = cri.create(pod, sleeper("probe", to));
        created.is_ok_and(|made| made.is_ok_and(|id| cri.remove(&id).is_ok()))
    })
}

/// The digest of the busybox image.
fn digest() -> Outcome<String> {
    let listed = images(&["list"])?;
    let line = listed.lines().find(|line| line.starts_with(image::BUSYBOX));
    let words = line.unwrap_or_default().split_whitespace();
    let digest = words.into_iter().find(|word| word.starts_with("sha256:"));
    digest
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(format!("no digest in '{listed}'")))
}

/// Expects the refusal `code` of a container in a pod; says which image containerd has named.
fn refused(node: &Node, pod: &Pod, config: ContainerConfig, code: &str) -> Outcome<Option<String>> {
    let cri = node.containerd.cri();
    let id = expected(cri.create(pod, config)?)?;
    let refusal = match cri.start(&id)? {
        Ok(()) => return Err(Failure::new(format!("started instead of '{code}'"))),
        Err(status) => Refusal::find(&status.message)?,
    };
    assert_eq!(refusal.code, code, "{refusal}");
    cri.remove(&id)?;
    let record = explained(node, &refusal.reference)?;
    let image = record["container"]["image"].as_str();
    Ok(image.map(str::to_owned))
}

fn explained(node: &Node, reference: &str) -> Outcome<Value> {
    let said = node.portcullis(&["explain", reference, "--output", "json"])?;
    serde_json::from_str(&said.success()?).doing("read the record")
}

fn expect_code(refusal: &Refusal, code: &str) {
    assert_eq!(refusal.code, code, "{refusal}");
}

/// Puts a program in the place of the runtime `path` that says `version` and does the same.
fn pretend(path: &str, version: &str) -> Outcome {
    let real = format!("{path}.real");
    if !Path::new(&real).exists() {
        fs::rename(path, &real).doing("put the runtime aside")?;
    }
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' --version '*) echo asked >> /run/asked\n{version}\n;; \
         *) exec {real} \"$@\" ;; esac\n"
    );
    let next = format!("{path}.next");
    fs::write(&next, script).doing("write a runtime")?;
    fs::set_permissions(&next, fs::Permissions::from_mode(0o755)).doing("make it a program")?;
    fs::rename(&next, path).doing("install a runtime")
}

fn asked() -> usize {
    let asked = fs::read_to_string("/run/asked").unwrap_or_default();
    asked.lines().count()
}

fn which(program: &str) -> Outcome<String> {
    let path = portcullis_host::runtime_binary(Path::new(program)).doing("find the runtime")?;
    Ok(path.path().display().to_string())
}

mod needs_containerd {
    use super::*;

    #[test]
    fn only_images_by_digest_from_approved_registries_start() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let cri = node.containerd.cri();
            let pod = run_pod(&cri, "shop", "before")?;
            let digest = digest()?;
            let (by_digest, by_tag) = (format!("{APPROVED}@{digest}"), format!("{APPROVED}:v1"));
            name_image(&cri, &pod, image::BUSYBOX_ROOT, &by_tag)?;
            node.set(
                "50-image",
                "[image]\ndigest_only = true\nregistries = [\"registry.portcullis.test/prod/*\"]\n",
            )?;
            // Nobody vouches for what 'ctr' says.
            let refusal = node.refuses(&[])?;
            expect_code(&refusal, "image-unknown");
            // The pause image is the node's own choice, by tag and from elsewhere.
            let after = run_pod(&cri, "shop", "after")?;
            let busybox = || sleeper("web", image::BUSYBOX);
            assert_eq!(
                refused(&node, &pod, busybox(), "image-digest-missing")?.as_deref(),
                Some(image::BUSYBOX)
            );
            // containerd before 2 gives an image that has a tag, too, by its tag.
            name_image(&cri, &pod, image::BUSYBOX, &by_digest)?;
            let named = refused(
                &node,
                &pod,
                sleeper("web", &by_digest),
                "image-digest-missing",
            )?;
            assert_eq!(named.as_deref(), Some(image::BUSYBOX));
            images(&["rm", image::BUSYBOX])?;
            wait::until_true("the image to be named by digest alone", PATIENCE, || {
                let id = cri.create(&pod, sleeper("web", &by_digest));
                let Ok(Ok(id)) = id else { return false };
                let started = cri.start(&id).is_ok_and(|started| started.is_ok());
                cri.remove(&id).is_ok() && started
            })?;
            let id = expected(cri.launch(&after, sleeper("web", &by_digest))?)?;
            assert_eq!(cri.status(&id)?.state, 1);
            // The rules hold by themselves, and namespaces add to them.
            node.set(
                "50-image",
                "[image]\nregistries = [\"registry.portcullis.test/prod/*\"]\n\
                 [[namespace]]\nname = \"pay\"\ndigest_only = true\n\
                 registries = [\"registry.portcullis.test/prod/pay-*\"]\n",
            )?;
            let mut elsewhere = sleeper("elsewhere", &by_tag);
            elsewhere.linux = Some(LinuxContainerConfig {
                security_context: Some(ContainerSecurityContext {
                    run_as_user: Some(Int64Value { value: 1000 }),
                    ..ContainerSecurityContext::default()
                }),
                ..LinuxContainerConfig::default()
            });
            // Of two tags of one image containerd gives the first, whatever it was asked for.
            let named = refused(&node, &pod, elsewhere, "image-registry-denied")?;
            assert_eq!(named.as_deref(), Some(image::BUSYBOX_ROOT));
            node.set(
                "50-image",
                "[image]\nregistries = [\"docker.io/library/*\"]\n\
                 [rules]\nimage-registry = \"audit\"\n",
            )?;
            let id = expected(cri.launch(&pod, sleeper("noted", &by_digest))?)?;
            assert_eq!(cri.status(&id)?.state, 1);
            node.unset("50-image")?;
            cri.remove_pod(&pod)?;
            cri.remove_pod(&after)?;
            node.finish()
        })
    }

    #[test]
    fn levels_by_the_asset_tag_are_held_to() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let cri = node.containerd.cri();
            // The tag of the host says pool=shop.
            let set = |text: &str| node.set("50-level", text);
            set("[sensitivity]\ntag = \"pool\"\n\
                 [[namespace]]\nname = \"shop\"\nsensitivity = \"shop\"\n\
                 [[namespace]]\nname = \"pay*\"\nsensitivity = \"pci\"\n\
                 [[namespace]]\nname = \"*-eu\"\nsensitivity = \"gdpr\"\n")?;
            let refuses = |namespace: &str, code: &str| -> Outcome {
                let mut config = cri::pod(namespace, "refused");
                // A pod cannot choose its level.
                let key = "portcullis.dev/sensitivity".to_owned();
                config.annotations.insert(key, "shop".to_owned());
                let answer = cri.run_pod(config, HANDLER)?;
                let status = answer.err().ok_or_else(|| Failure::new("it started"))?;
                expect_code(&Refusal::find(&status.message)?, code);
                Ok(())
            };
            refuses("pay", "sensitivity-mismatch")?;
            refuses("pay-eu", "sensitivity-unknown")?;
            refuses("other", "sensitivity-unknown")?;
            let pod = run_pod(&cri, "shop", "web")?;
            expected(cri.launch(&pod, sleeper("web", image::BUSYBOX))?)?;
            set("[sensitivity]\ntag = \"level\"\ndefault = \"shop\"\n")?;
            refuses("shop", "sensitivity-unknown")?;
            assert!(!Path::new(PIN).exists());
            cri.remove_pod(&pod)?;
            node.unset("50-level")?;
            node.finish()
        })
    }

    #[test]
    fn the_first_workload_pins_the_level_until_it_is_released() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let mut node = Node::provision(world)?;
            node.set(
                "50-level",
                "[sensitivity]\ntag = \"level\"\npin = true\n\
                 [[namespace]]\nname = \"pay\"\nsensitivity = \"pci\"\n\
                 [[namespace]]\nname = \"shop\"\nsensitivity = \"public\"\n",
            )?;
            let level = |node: &Node| -> Outcome<Value> {
                let shown = node.portcullis(&["sensitivity", "show", "--output", "json"])?;
                let shown: Value = serde_json::from_str(&shown.success()?).doing("read")?;
                Ok(shown["level"].clone())
            };
            // What is refused for another reason takes no level.
            let mut host = cri::pod("pay", "host");
            let linux = host.linux.as_mut().expect("Linux settings");
            let options = cri::message::NamespaceOption {
                network: 2,
                ..cri::message::NamespaceOption::default()
            };
            linux.security_context = Some(cri::message::SandboxSecurityContext {
                namespace_options: Some(options),
                privileged: false,
            });
            let status = node.containerd.cri().run_pod(host, HANDLER)?.unwrap_err();
            expect_code(&Refusal::find(&status.message)?, "host-namespace-denied");
            assert_eq!(level(&node)?, Value::Null);
            let pod = run_pod(&node.containerd.cri(), "pay", "web")?;
            assert_eq!(level(&node)?, "pci");
            let refuses = |node: &Node, namespace: &str| -> Outcome {
                let asked = cri::pod(namespace, "other");
                let status = node.containerd.cri().run_pod(asked, HANDLER)?.unwrap_err();
                expect_code(&Refusal::find(&status.message)?, "sensitivity-mismatch");
                Ok(())
            };
            refuses(&node, "shop")?;
            node.restart_containerd(world)?;
            refuses(&node, "shop")?;
            let release = ["sensitivity", "release", "--reason", "CHG-118 drained"];
            let ran = node.portcullis(&release)?;
            assert_eq!(ran.status.code(), Some(1), "{}", ran.stderr);
            assert!(ran.stderr.contains("containers run"), "{}", ran.stderr);
            node.containerd.cri().remove_pod(&pod)?;
            // Drained, it keeps its level over a reboot.
            node.reboot_and_attest()?;
            refuses(&node, "shop")?;
            assert_eq!(level(&node)?, "pci");
            node.portcullis(&release)?.success()?;
            assert_eq!(level(&node)?, Value::Null);
            let ledger = node.portcullis(&["ledger", "list", "--events", "--output", "json"])?;
            assert!(ledger.success()?.contains("sensitivity-released"));
            let pod = run_pod(&node.containerd.cri(), "shop", "web")?;
            assert_eq!(level(&node)?, "public");
            refuses(&node, "pay")?;
            // A file that cannot be read is not taken for none.
            fs::write(PIN, "pci").doing("damage the file")?;
            let asked = cri::pod("shop", "again");
            let status = node.containerd.cri().run_pod(asked, HANDLER)?.unwrap_err();
            expect_code(&Refusal::find(&status.message)?, "host-unreadable");
            node.containerd.cri().remove_pod(&pod)?;
            node.unset("50-level")?;
            node.finish()
        })
    }

    #[test]
    fn of_a_crowd_of_two_levels_one_gets_the_host() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            node.set(
                "50-level",
                "[sensitivity]\npin = true\n\
                 [[namespace]]\nname = \"pay\"\nsensitivity = \"pci\"\n\
                 [[namespace]]\nname = \"shop\"\nsensitivity = \"public\"\n",
            )?;
            let answers: Vec<_> = thread::scope(|scope| {
                let all: Vec<_> = (0..20)
                    .map(|number| {
                        let cri = node.containerd.cri();
                        scope.spawn(move || {
                            let namespace = ["pay", "shop"][number % 2];
                            let asked = cri::pod(namespace, &format!("web-{number}"));
                            (namespace, cri.run_pod(asked, HANDLER))
                        })
                    })
                    .collect();
                all.into_iter()
                    .map(|one| one.join().expect("a thread"))
                    .collect()
            });
            let pinned = fs::read_to_string(PIN).doing("read the level")?;
            let winner = ["shop", "pay"][usize::from(pinned.contains(" pci "))];
            let mut pods = Vec::new();
            for (namespace, answer) in answers {
                match answer? {
                    Ok(pod) => {
                        assert_eq!(namespace, winner);
                        pods.push(pod);
                    }
                    Err(status) => {
                        expect_code(&Refusal::find(&status.message)?, "sensitivity-mismatch");
                        assert_ne!(namespace, winner, "{status}");
                    }
                }
            }
            assert_eq!(pods.len(), 10);
            for pod in &pods {
                node.containerd.cri().remove_pod(pod)?;
            }
            node.unset("50-level")?;
            node.finish()
        })
    }

    #[test]
    fn versions_of_real_runtimes_and_of_the_kernel_are_held_to() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Crun, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let set = |text: &str| node.set("50-versions", &format!("[versions]\n{text}\n"));
            let refuses = |text: &str, code: &str| -> Outcome {
                set(text)?;
                expect_code(&node.refuses(&[])?, code);
                Ok(())
            };
            let starts = |text: &str| -> Outcome {
                set(text)?;
                node.starts()
            };
            assert!(
                !Path::new(RUNTIMES).exists(),
                "nobody asks unless a rule does"
            );
            starts("runc = \"1.0.0-rc93\"\nkernel = \"4.18\"\nlibseccomp = \"2.3\"")?;
            refuses("runc = \"99.0\"", "runtime-version-denied")?;
            refuses("libseccomp = \"99.0\"", "runtime-version-denied")?;
            refuses("kernel = \"99.0\"", "kernel-version-denied")?;
            // The other runtime is no way round.
            refuses("crun = \"1.0\"", "runtime-version-denied")?;
            starts("deny = [\"runc 99.0\"]")?;
            let release = fs::read_to_string("/proc/sys/kernel/osrelease").doing("read")?;
            let denied = format!("deny = [\"kernel {}\"]", release.trim());
            refuses(&denied, "kernel-version-denied")?;

            let runc = which("runc")?;
            let count = |version: &str| pretend(&runc, &format!("echo 'runc version {version}'"));
            count("1.1.11")?;
            refuses("deny = [\"runc 1.1.11\"]", "runtime-version-denied")?;
            refuses("deny = [\"runc 1.1.11\"]", "runtime-version-denied")?;
            assert_eq!(asked(), 1, "one file is asked once");
            refuses("libseccomp = \"2.5\"", "version-unknown")?;
            assert_eq!(asked(), 2, "its library is a file of its own");
            count("1.1.12")?;
            starts("runc = \"1.1.12\"\ndeny = [\"runc 1.1.11\"]")?;
            assert_eq!(asked(), 3, "another one is asked again");
            count("nonsense")?;
            refuses("runc = \"1.0\"", "version-unknown")?;
            pretend(&runc, "exec sleep 60")?;
            refuses("runc = \"1.0\"", "version-unknown")?;
            starts("runc = \"\"")?;
            fs::rename(format!("{runc}.real"), &runc).doing("put the runtime back")?;
            node.unset("50-versions")?;
            node.starts()?;
            node.finish()
        })
    }

    #[test]
    fn crun_is_asked_by_its_own_rule() -> Outcome {
        needs!(Root, Busybox, Containerd, Crun, Swtpm, Programs);
        in_world!(Shape { unified: false }, |world| {
            let node = Node::provision(world)?;
            let set = |text: &str| {
                let runtime = "[runtime]\nbinary = \"crun\"\n[versions]\n";
                node.set("50-versions", &format!("{runtime}{text}\n"))
            };
            set("crun = \"0.19\"")?;
            node.starts()?;
            set("crun = \"99.0\"")?;
            expect_code(&node.refuses(&[])?, "runtime-version-denied");
            set("runc = \"1.0\"")?;
            expect_code(&node.refuses(&[])?, "runtime-version-denied");
            // It does not say which libseccomp it uses.
            set("libseccomp = \"2.3\"")?;
            expect_code(&node.refuses(&[])?, "version-unknown");
            node.unset("50-versions")?;
            node.finish()
        })
    }
}
