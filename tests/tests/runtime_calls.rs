//! How the OCI runtime is called: which one, with which options, by whose choice.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::refusal::Refusal;
use portcullis_tests::{in_world, needs};

/// A runtime that notes how it is called, and is runc otherwise.
const NOTING: &str = "/usr/local/sbin/noting-runc";
/// A runtime that notes how it is called, and fails.
const FAILING: &str = "/usr/local/sbin/failing-runc";
/// Where both note it, a line for each call.
const CALLS: &str = "/run/calls";
/// The ledger of decisions.
const LEDGER: &str = "/var/lib/portcullis/ledger.jsonl";
/// Options in the form of containerd's own runtime.
const OPTIONS: &str = "/etc/options.toml";

fn install(path: &str, end: &str) -> Outcome {
    let script = format!("#!/bin/sh\necho \"$*\" >> {CALLS}\n{end}\n");
    fs::create_dir_all("/usr/local/sbin").doing("make a folder")?;
    fs::write(path, script).doing("write a runtime")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).doing("set a mode")
}

/// The calls of one command, and forgets all of them.
fn calls(verb: &str) -> Outcome<Vec<String>> {
    let text = fs::read_to_string(CALLS).unwrap_or_default();
    fs::write(CALLS, "").doing("forget the calls")?;
    let verb = format!(" {verb} ");
    let calls = text.lines().filter(|line| line.contains(&verb));
    Ok(calls.map(str::to_owned).collect())
}

mod needs_containerd {
    use super::*;

    #[test]
    fn t11_options_name_runtime_root_and_driver() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            install(NOTING, "exec runc \"$@\"")?;
            let with_options = ["--runtime-config-path", OPTIONS];

            let text = format!("BinaryName = \"{NOTING}\"\nRoot = \"/run/elsewhere\"\n");
            fs::write(OPTIONS, text).doing("write options")?;
            node.run("web", &with_options, &["true"])?.success()?;
            let create = calls("create")?;
            assert_eq!(create.len(), 1, "{create:?}");
            assert!(
                create[0].starts_with("--root /run/elsewhere/default "),
                "{create:?}"
            );
            assert!(!create[0].contains("--systemd-cgroup"), "{create:?}");

            // Without options the node's own choice counts.
            node.set("50-runtime", &format!("[runtime]\nbinary = \"{NOTING}\"\n"))?;
            node.run("web", &[], &["true"])?.success()?;
            let create = calls("create")?;
            assert!(
                create[0].starts_with("--root /run/containerd/runc/default "),
                "{create:?}"
            );
            node.finish()
        })
    }

    #[test]
    fn a_whole_life_takes_three_calls() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            install(NOTING, "exec runc \"$@\"")?;
            node.set("50-runtime", &format!("[runtime]\nbinary = \"{NOTING}\"\n"))?;
            // containerd runs the action `delete` too, after the task was deleted: that one must
            // find by itself that nothing is left.
            node.run("web", &[], &["true"])?.success()?;
            let text = fs::read_to_string(CALLS).doing("read the calls")?;
            let verb = |line: &str| line.split(' ').nth(6).unwrap_or_default().to_owned();
            let verbs: Vec<String> = text.lines().map(verb).collect();
            assert_eq!(verbs, ["create", "start", "delete"], "{text}");
            node.finish()
        })
    }

    #[test]
    fn t11_options_that_cannot_be_used_start_nothing() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let with_options = ["--runtime-config-path", OPTIONS];
            let cases = [
                ("Unheard = 1\n", 0o644),
                ("BinaryName = [\n", 0o644),
                // Readable and right, but anybody could have written it.
                ("BinaryName = \"runc\"\n", 0o666),
            ];
            for (text, mode) in cases {
                fs::write(OPTIONS, text).doing("write options")?;
                fs::set_permissions(OPTIONS, fs::Permissions::from_mode(mode))
                    .doing("set a mode")?;
                let said = node.run("web", &with_options, &["true"])?.refusal()?;
                node.forget("web")?;
                assert!(said.contains("options"), "{text}: {said}");
            }
            node.finish()
        })
    }

    #[test]
    fn t11_options_that_confine_less_are_refused_or_noted() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            install(NOTING, "exec runc \"$@\"")?;
            let with_options = ["--runtime-config-path", OPTIONS];
            let text = format!("BinaryName = \"{NOTING}\"\nRoot = \"/var/tmp/state\"\n");
            fs::write(OPTIONS, text).doing("write options")?;
            let refusal = node.refuses(&with_options)?;
            assert_eq!(refusal.short(), "refused [options-denied]", "{refusal}");
            assert_eq!(calls("create")?, Vec::<String>::new());

            // Audit mode starts what was asked for, as it was asked for.
            node.set("60-mode", "mode = \"audit\"\n")?;
            node.run("web", &with_options, &["true"])?.success()?;
            let create = calls("create")?;
            assert!(
                create[0].starts_with("--root /var/tmp/state/default "),
                "{create:?}"
            );
            let ledger = fs::read_to_string(LEDGER).doing("read the ledger")?;
            let noted =
                |line: &str| line.contains("would-refuse") && line.contains("options-denied");
            assert!(ledger.lines().any(noted), "{ledger}");
            node.finish()
        })
    }

    #[test]
    fn t12_the_systemd_driver_is_used_for_paths_of_its_form() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            // There is no systemd here to make a scope: what is asked of the runtime is what counts.
            install(FAILING, "exit 1")?;
            node.set(
                "50-runtime",
                &format!("[runtime]\nbinary = \"{FAILING}\"\n"),
            )?;
            for (path, driver) in [
                ("system.slice:portcullis:web", true),
                ("/default/web", false),
            ] {
                let said = node.run("web", &["--cgroup", path], &["true"])?.refusal()?;
                assert!(
                    Refusal::find(&said).is_err(),
                    "no refusal, but a failure: {said}"
                );
                node.forget("web")?;
                let create = calls("create")?;
                assert_eq!(create.len(), 1, "{create:?}");
                assert_eq!(
                    create[0].contains(" --systemd-cgroup create "),
                    driver,
                    "{create:?}"
                );
            }
            node.finish()
        })
    }

    #[test]
    fn t57_a_runtime_that_others_could_have_written_is_not_run() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            install(NOTING, "exec runc \"$@\"")?;
            node.set("50-runtime", &format!("[runtime]\nbinary = \"{NOTING}\"\n"))?;
            fs::set_permissions(NOTING, fs::Permissions::from_mode(0o777)).doing("set a mode")?;
            let refusal = node.refuses(&[])?;
            assert_eq!(refusal.short(), "refused [runtime-untrusted]", "{refusal}");
            assert_eq!(calls("create")?, Vec::<String>::new());
            node.finish()
        })
    }
}
