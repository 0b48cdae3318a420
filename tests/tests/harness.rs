//! The harness itself, on containerd's own shim: what it promises to the other suites.

use std::fs;
use std::path::Path;
use std::process::Command;

use portcullis_tests::containerd::{Containerd, RUNC};
use portcullis_tests::cri::{self, expected};
use portcullis_tests::daemon::Daemon;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::{Census, Plan, Root, Shape, World};
use portcullis_tests::{image, in_world, needs, run};

/// Runs `true` in a container and gives what `ctr` answered.
fn run_true(containerd: &Containerd, options: &[&str]) -> Outcome<run::Ran> {
    let mut arguments = vec!["run", "--rm", "--runtime", RUNC];
    arguments.extend_from_slice(options);
    arguments.extend_from_slice(&[image::BUSYBOX, "probe", "/bin/true"]);
    containerd.run_ctr(&arguments)
}

mod needs_root {
    use super::*;

    #[test]
    fn a_world_shows_nothing_of_the_machine_and_keeps_its_changes() -> Outcome {
        needs!(Root, Busybox);
        const MARK: &str = "/etc/portcullis/left-by-the-harness";
        in_world!(|world| {
            for folder in ["/var/lib/containerd", "/run", "/etc/portcullis"] {
                assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "{folder}");
            }
            fs::write(MARK, "x").unwrap();
            assert!(world.logs().is_dir());
            Ok(())
        })?;
        assert_eq!(Path::new(MARK).exists(), World::current().is_some());
        Ok(())
    }

    /// A root file system with nothing but a shell, and a file to know it by.
    fn small_root(folder: &Path) -> Outcome {
        for name in ["bin", "etc", "proc", "run"] {
            fs::create_dir(folder.join(name)).doing("make a root file system")?;
        }
        let busybox = image::busybox().ok_or_else(|| Failure::new("busybox is missing"))?;
        for name in ["busybox", "sh"] {
            let program = folder.join("bin").join(name);
            fs::copy(&busybox, program).doing("copy busybox")?;
        }
        fs::write(folder.join("etc/os-release"), "ID=small\n").doing("name the system")
    }

    #[test]
    fn a_world_with_another_root_has_only_what_is_shown_of_the_machine() -> Outcome {
        needs!(Root, Busybox);
        const SCRIPT: &str = "cat /etc/os-release; echo x >/written; cat /written; \
             cat $SHOWN/file; echo x 2>&- >$SHOWN/file || echo protected; \
             ls /usr; ls -d /home 2>&- || echo nothing else";
        let scratch = tempfile::tempdir().doing("make a scratch folder")?;
        let [folder, shown, logs] = ["root", "shown", "world"].map(|at| scratch.path().join(at));
        for folder in [&folder, &shown, &logs] {
            fs::create_dir(folder).doing("make a folder")?;
        }
        small_root(&folder)?;
        fs::write(shown.join("file"), "shown\n").doing("write a file to be seen")?;
        let plan = Plan {
            scratch: logs,
            shape: Shape::default(),
            root: Some(Root {
                folder: folder.clone(),
                shown: vec![shown.clone()],
            }),
            keep: false,
            payload: ["/bin/sh", "-c", SCRIPT].map(Into::into).to_vec(),
        };
        let mut command = plan.command(env!("CARGO_BIN_EXE_portcullis-lab").as_ref());
        let printed = run::to_end(command.env("SHOWN", &shown))?.success()?;
        let expected = "ID=small\nx\nshown\nprotected\nlib\nnothing else\n";
        assert_eq!(printed, expected);
        assert!(!folder.join("written").exists());
        Ok(())
    }

    #[test]
    fn nothing_outlives_a_world() -> Outcome {
        needs!(Root, Busybox);
        in_world!(|world: &World| {
            let log = world.logs().join("orphan.log");
            Daemon::start(Command::new("sleep").arg("611.611"), &log)?.release();
            Ok(())
        })?;
        let alive = || {
            fs::read_dir("/proc").unwrap().flatten().any(|entry| {
                let line = fs::read(entry.path().join("cmdline"));
                line.is_ok_and(|line| line == b"sleep\x00611.611\x00")
            })
        };
        if World::current().is_some() {
            // The kernel shows the command line a moment after the program was started.
            return wait::until_true("the sleeper", PATIENCE, alive);
        }
        assert!(!alive());
        let groups = run::to_end(Command::new("find").args(["/sys/fs/cgroup", "-maxdepth", "2"]))?;
        let own = format!("portcullis-lab-{}-", std::process::id());
        assert!(!groups.stdout.contains(&own), "{}", groups.stdout);
        Ok(())
    }

    #[test]
    fn a_failure_inside_is_a_failure_outside() {
        needs!(Root, Busybox);
        let outcome = in_world!(|_world| Err(Failure::new("on purpose")));
        // Inside, the same lines run and must hand the failure on.
        if World::current().is_some() {
            outcome.unwrap();
        } else {
            let failure = outcome.unwrap_err().to_string();
            assert!(failure.contains("the world ended with"), "{failure}");
        }
    }

    #[test]
    fn a_test_that_does_not_run_inside_is_a_failure() {
        needs!(Root, Busybox);
        let keeper = env!("CARGO_BIN_EXE_portcullis-lab").as_ref();
        let place = "harness::no_such_test::here";
        let outcome =
            portcullis_tests::world::run_test(keeper, place, Shape::default(), |_world| Ok(()));
        let failure = outcome.unwrap_err().to_string();
        assert_eq!(failure, "no test named 'no_such_test' ran inside the world");
    }

    #[test]
    fn a_census_names_what_is_left() -> Outcome {
        needs!(Root, Busybox);
        in_world!(|world| {
            let before = Census::take();
            let log = world.logs().join("left.log");
            let mut left = Daemon::start(Command::new("sleep").arg("60"), &log)?;
            wait::until_true("the process to be seen", PATIENCE, || {
                before.remains().to_string().contains("(sleep)")
            })?;
            left.stop()?;
            before.until_clean(PATIENCE)
        })
    }
}

mod needs_containerd {
    use super::*;

    #[test]
    fn a_container_runs_and_its_exit_code_comes_back() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, RuncShim);
        in_world!(|world| {
            let before = Census::take();
            let containerd = Containerd::start(world)?;
            run_true(&containerd, &[])?.success()?;
            let script = [
                "run",
                "--rm",
                "--runtime",
                RUNC,
                image::BUSYBOX,
                "probe",
                "sh",
                "-c",
            ];
            let mut arguments = script.to_vec();
            arguments.push("echo hello; exit 7");
            let ran = containerd.run_ctr(&arguments)?;
            assert_eq!(
                (ran.status.code(), ran.stdout.as_str()),
                (Some(7), "hello\n")
            );
            containerd.stop()?;
            before.until_clean(PATIENCE)
        })
    }

    #[test]
    fn crun_runs_a_container_where_it_sees_one_cgroup_version() -> Outcome {
        needs!(Root, Busybox, Containerd, Crun, Cni, RuncShim);
        in_world!(Shape { unified: false }, |world| {
            let containerd = Containerd::start(world)?;
            run_true(&containerd, &["--runc-binary", "crun"])?.success()?;
            containerd.stop()
        })
    }

    #[test]
    fn a_pod_runs_through_cri_and_leaves_nothing() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, RuncShim);
        in_world!(|world| {
            let before = Census::take();
            let containerd = Containerd::start(world)?;
            let cri = containerd.cri();
            let pod = expected(cri.run_pod(cri::pod("shop", "web"), "runc")?)?;
            let sleep = cri::container("main", &["/bin/sleep", "600"]);
            let id = expected(cri.launch(&pod, sleep)?)?;
            let said = expected(cri.exec(&id, &["/bin/sh", "-c", "echo $HOSTNAME; exit 4"])?)?;
            assert_eq!((said.exit_code, said.stdout.as_slice()), (4, &b"web\n"[..]));
            assert_eq!(cri.status(&id)?.state, 1);
            cri.remove(&id)?;
            cri.remove_pod(&pod)?;
            containerd.stop()?;
            before.until_clean(PATIENCE)
        })
    }

    #[test]
    fn a_refusal_of_cri_has_its_code() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, RuncShim);
        in_world!(|world| {
            let containerd = Containerd::start(world)?;
            let refusal = containerd.cri().start("no-such-container")?.unwrap_err();
            assert_eq!(
                refusal.code,
                portcullis_tests::grpc::Status::NOT_FOUND,
                "{refusal}"
            );
            containerd.stop()
        })
    }
}
