//! What the shim holds and hands on (T5): descriptors, capabilities, and its end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use portcullis_tests::containerd::PORTCULLIS;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::shim_tasks::ShimTasks;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::Shape;
use portcullis_tests::{image, in_world, needs, process, programs, run};

mod needs_root {
    use super::*;

    /// What `portcullis doctor` finds about runc.
    fn found() -> Outcome<Vec<serde_json::Value>> {
        let mut doctor = Command::new("portcullis");
        let ran = run::to_end(doctor.args(["doctor", "--output", "json"]))?;
        let json: serde_json::Value = serde_json::from_str(&ran.stdout).doing("read its answer")?;
        let runtimes = json["runtimes"].as_array().cloned().unwrap_or_default();
        let runc = runtimes.into_iter().find(|one| one["name"] == "runc");
        let runc = runc.ok_or_else(|| Failure::new(format!("no runc in {json}")))?;
        let found = runc["found"].as_array().cloned().unwrap_or_default();
        // A finding is never only told: the exit code says it too.
        assert!(found.is_empty() || ran.status.code() == Some(1), "{ran:?}");
        Ok(found)
    }

    #[test]
    fn t57_a_runtime_that_is_old_or_open_to_others_is_found() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            programs::install()?;
            // Comes before the one of the distribution.
            let path = "/usr/local/sbin/runc";
            fs::create_dir_all("/usr/local/sbin").doing("make a folder")?;
            for (version, mode, findings) in [
                ("1.5.0", 0o755, 0),
                ("1.1.5+ds1", 0o755, 2),
                ("1.5.0", 0o777, 1),
            ] {
                let script = format!("#!/bin/sh\necho runc version {version}\n");
                fs::write(path, script).doing("write a runtime")?;
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).doing("set a mode")?;
                let found = found()?;
                assert_eq!(found.len(), findings, "{version} {mode:o}: {found:?}");
            }
            Ok(())
        })
    }
}

mod needs_containerd {
    use super::*;

    /// A runtime that notes what it is given before it is the real one.
    const NOTING: &str = "/usr/local/sbin/noting-runtime";
    const NOTES: &str = "/run/notes";
    const SLEEPER: [&str; 2] = ["sleep", "600"];

    /// Has the shim run `runtime` through [`NOTING`].
    fn note(node: &Node, runtime: &str) -> Outcome {
        let script = format!(
            "#!/bin/sh\n{{ echo \"verb $*\"; ls -l /proc/self/fd; grep ^Cap /proc/self/status; }} >> {NOTES}\n\
             exec {runtime} \"$@\"\n"
        );
        fs::create_dir_all("/usr/local/sbin").doing("make a folder")?;
        fs::write(NOTING, script).doing("write a runtime")?;
        fs::set_permissions(NOTING, fs::Permissions::from_mode(0o755)).doing("set a mode")?;
        node.set("50-runtime", &format!("[runtime]\nbinary = \"{NOTING}\"\n"))
    }

    /// Descriptor numbers and targets in the output of `ls -l /proc/self/fd`, without that of the
    /// directory that `ls` itself has open.
    fn descriptors(listing: &str) -> Vec<String> {
        let lines = listing.lines().filter_map(|line| {
            let (left, target) = line.split_once(" -> ")?;
            let number = left.split_whitespace().next_back()?;
            let own = target.starts_with("/proc/") && target.ends_with("/fd");
            (!own).then(|| format!("{number} {target}"))
        });
        lines.collect()
    }

    fn shim_of(id: &str) -> Outcome<u32> {
        let connected = ShimTasks::of("default", id)?.connect(id)?;
        Ok(connected.doing("ask for the shim's pid")?.shim_pid)
    }

    fn hands_on_three_descriptors_and_all_rights(node: &Node, runtime: &str) -> Outcome {
        note(node, runtime)?;
        node.start("web", &[], &SLEEPER)?;
        let exec = [
            "task",
            "exec",
            "--exec-id",
            "e",
            "web",
            "ls",
            "-l",
            "/proc/self/fd",
        ];
        let listing = node.containerd.run_ctr(&exec)?.success()?;
        let inside = descriptors(&listing);
        assert_eq!(inside.len(), 3, "{runtime}: {listing}");
        let ran = node
            .run("once", &[], &["ls", "-l", "/proc/self/fd"])?
            .success()?;
        assert_eq!(descriptors(&ran).len(), 3, "{runtime}: {ran}");

        let notes = fs::read_to_string(NOTES).doing("read the notes")?;
        let bounds = process::status(std::process::id(), "CapBnd")?;
        let mut verbs = 0;
        for call in notes.split("verb ").skip(1) {
            for descriptor in descriptors(call) {
                let number = descriptor.split(' ').next().unwrap_or_default();
                assert!(["0", "1", "2"].contains(&number), "{runtime}: {call}");
            }
            let effective = call.lines().find_map(|line| line.strip_prefix("CapEff:"));
            assert_eq!(
                effective.map(str::trim),
                Some(bounds.as_str()),
                "{runtime}: {call}"
            );
            verbs += 1;
        }
        assert!(verbs >= 6, "{runtime}: {notes}");

        // The shim itself, with containers under it.
        let pid = shim_of("web")?;
        assert_eq!(process::status(pid, "CapEff")?, "00000000002800e3");
        assert_eq!(process::status(pid, "CapInh")?, "0000000000000000");
        assert_eq!(process::status(pid, "CapAmb")?, "0000000000000000");
        assert_eq!(process::status(pid, "CapPrm")?, bounds);
        // A filter would keep it from reading back a container's.
        assert_eq!(process::status(pid, "Seccomp")?, "0");
        node.remove("web")
    }

    #[test]
    fn t53_runc_gets_three_descriptors_and_its_rights_from_a_shim_with_few() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            hands_on_three_descriptors_and_all_rights(&node, "runc")?;
            node.finish()
        })
    }

    #[test]
    fn t53_crun_gets_three_descriptors_and_its_rights_from_a_shim_with_few() -> Outcome {
        needs!(Root, Busybox, Containerd, Crun, Cni, Swtpm, Programs);
        let shape = Shape { unified: false };
        in_world!(shape, |world| {
            let node = Node::provision(world)?;
            hands_on_three_descriptors_and_all_rights(&node, "crun")?;
            node.finish()
        })
    }

    /// An overlay does in its upper layer only what whoever mounted it could.
    #[test]
    fn t53_a_root_filesystem_is_not_poorer_for_a_shim_with_few_rights() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            node.set("50-profile", "[profile]\ndefault = \"baseline\"\n")?;
            let script = "cd /root && touch a && chown 1000 a && chmod 4750 a && mknod n p && \
                          rm -r /home && mkdir /home && rm /bin/busybox && ls -ln a";
            let arguments = [
                "run",
                "--rm",
                "--runtime",
                PORTCULLIS,
                image::BUSYBOX_ROOT,
                "web",
                "sh",
                "-c",
                script,
            ];
            let listed = node.containerd.run_ctr(&arguments)?.success()?;
            assert!(listed.starts_with("-rwsr-x---    1 1000 "), "{listed}");
            node.finish()
        })
    }

    /// T56: a shim that cannot have memory ends, and its container with it.
    #[test]
    fn t56_a_failed_allocation_ends_the_pod_and_nothing_new_starts() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            node.start("web", &[], &SLEEPER)?;
            let pid = shim_of("web")?;
            let tasks = ShimTasks::of("default", "web")?;
            let inside = tasks
                .connect("web")?
                .doing("ask for the container's pid")?
                .task_pid;
            // What it has, and not a page more.
            let limit = format!("--as={}", 1024);
            let prlimit = ["--pid", &pid.to_string(), &limit];
            run::to_end(Command::new("prlimit").args(prlimit))?.success()?;
            let filler = "x".repeat(3 << 20);
            let spec = format!(
                r#"{{"args":["/bin/touch","/tmp/started"],"cwd":"/","env":["F={filler}"],"user":{{"uid":1000,"gid":1000}}}}"#
            );
            // Neither added nor answered: the connection ends with the shim.
            let added = tasks.exec("web", "e", spec.as_bytes());
            assert!(!matches!(added, Ok(Ok(()))), "an exec was added: {added:?}");
            wait::until_true("end of the shim", PATIENCE, || !runs(pid))?;
            wait::until_true("end of the container", PATIENCE, || !runs(inside))?;
            let gone = || node.containerd.run_ctr(&["task", "ls", "-q"]);
            wait::until_true("containerd to see it", PATIENCE, || {
                gone().is_ok_and(|ran| {
                    ran.stdout.trim().is_empty() || !ran.stdout.contains("RUNNING")
                })
            })?;
            node.forget("web")?;
            node.starts()?;
            node.finish()
        })
    }

    /// Whether a process runs; one that has ended and was not collected does not.
    fn runs(pid: u32) -> bool {
        process::status(pid, "State").is_ok_and(|state| !state.starts_with('Z'))
    }
}
