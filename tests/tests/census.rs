//! What went past the gate is found, whatever it was started with; what did not is not.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_tests::containerd::RUNC;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::run;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::{Shape, World};
use portcullis_tests::{image, in_world, needs};
use serde_json::{Value, json};

/// crun 1.8 refuses hybrid cgroups, so this world has no unified ones.
const SHAPE: Shape = Shape { unified: false };

/// A bundle that nobody hardened or gated.
fn bundle(world: &World, name: &str) -> Outcome<PathBuf> {
    let directory = world.private().join(name);
    let rootfs = directory.join("rootfs");
    for folder in ["bin", "proc", "tmp"] {
        fs::create_dir_all(rootfs.join(folder)).doing("make a root filesystem")?;
    }
    let busybox = image::busybox().ok_or_else(|| Failure::new("no busybox"))?;
    fs::copy(busybox, rootfs.join("bin/busybox")).doing("copy busybox")?;
    symlink("busybox", rootfs.join("bin/sleep")).doing("link sleep")?;
    run::to_end(
        Command::new("runc")
            .args(["spec", "--bundle"])
            .arg(&directory),
    )?
    .success()?;
    let path = directory.join("config.json");
    let text = fs::read(&path).doing("read config.json")?;
    let mut config: Value = serde_json::from_slice(&text).doing("parse config.json")?;
    config["process"]["args"] = json!(["/bin/sleep", "600"]);
    config["process"]["terminal"] = false.into();
    config["linux"]["cgroupsPath"] = format!("/census/{name}").into();
    config["annotations"] = json!({ "io.kubernetes.cri.image-name": "plain-image" });
    fs::write(&path, config.to_string()).doing("write config.json")?;
    Ok(directory)
}

/// Starts it without our pipes, which the container would hold open.
fn started_by(runtime: &str, id: &str, bundle: &Path) -> Outcome {
    let bundle = bundle.display();
    let line =
        format!("exec {runtime} run --detach --bundle {bundle} {id} </dev/null >/dev/null 2>&1");
    run::to_end(Command::new("sh").args(["-c", &line]))?
        .success()
        .map(drop)
}

/// Exit code of the census, and the containers by id.
fn census(arguments: &[&str]) -> Outcome<(i32, BTreeMap<String, Value>)> {
    let mut command = Command::new("portcullis");
    command.args(["census", "--output", "json"]).args(arguments);
    let ran = run::to_end(&mut command)?;
    let found: Value = serde_json::from_str(&ran.stdout)
        .doing(format!("read '{}' '{}'", ran.stdout, ran.stderr))?;
    let containers = found["containers"].as_array().into_iter().flatten();
    let by_id = containers.map(|one| {
        let id = one["id"].as_str().unwrap_or_default().to_owned();
        (id, one.clone())
    });
    Ok((ran.status.code().unwrap_or_default(), by_id.collect()))
}

fn expect(found: &BTreeMap<String, Value>, expected: &[(&str, &str, &str, &str)]) -> Outcome {
    let found: Vec<[String; 4]> = found
        .iter()
        .map(|(id, one)| {
            let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
            [
                id.clone(),
                text("coverage"),
                text("namespace"),
                text("runtime"),
            ]
        })
        .collect();
    let expected: Vec<[String; 4]> = expected
        .iter()
        .map(|it| [it.0, it.1, it.2, it.3].map(str::to_owned))
        .collect();
    if found == expected {
        return Ok(());
    }
    Err(Failure::new(format!(
        "expected {expected:?}, found {found:?}"
    )))
}

mod needs_swtpm {
    use super::*;

    #[test]
    fn exactly_what_went_past_the_gate_is_uncovered() -> Outcome {
        needs!(Root, Swtpm, Containerd, Runc, Crun, Busybox, Programs);
        in_world!(SHAPE, |world| {
            let node = Node::provision(world)?;
            assert_eq!(census(&[])?, (0, BTreeMap::new()));

            node.start("gated", &[], &["sleep", "600"])?;
            let (exit, found) = census(&[])?;
            expect(&found, &[("gated", "covered", "default", "runc")])?;
            assert_eq!(exit, 0);
            let explained = found["gated"]["ref"].as_str().unwrap_or_default();
            node.portcullis(&["explain", explained])?.success()?;

            let stock = [
                "run",
                "--detach",
                "--runtime",
                RUNC,
                image::BUSYBOX,
                "stock",
                "sleep",
                "600",
            ];
            node.containerd.run_ctr(&stock)?.success()?;
            started_by("runc", "plain", &bundle(world, "one")?)?;
            started_by("crun", "other", &bundle(world, "two")?)?;
            // The name of one that the gate let start.
            started_by("runc", "gated", &bundle(world, "three")?)?;
            let (exit, found) = census(&["--uncovered"])?;
            assert_eq!(exit, 1);
            expect(
                &found,
                &[
                    ("gated", "no-record", "", "runc"),
                    ("other", "no-record", "", "crun"),
                    ("plain", "no-record", "", "runc"),
                    ("stock", "no-record", "default", "runc"),
                ],
            )?;
            assert_eq!(found["plain"]["image"], "plain-image");
            // A process that joins a container is that container's.
            node.containerd
                .run_ctr(&["task", "exec", "--exec-id", "x", "gated", "true"])?
                .success()?;

            for (runtime, id) in [("runc", "plain"), ("crun", "other"), ("runc", "gated")] {
                let mut delete = Command::new(runtime);
                run::to_end(delete.args(["delete", "--force", id]))?.success()?;
            }
            node.remove("stock")?;
            let (exit, found) = census(&[])?;
            expect(&found, &[("gated", "covered", "default", "runc")])?;
            assert_eq!(exit, 0);
            node.remove("gated")?;
            wait::until_true("all cgroups to go", PATIENCE, || {
                census(&[]).is_ok_and(|(_, found)| found.is_empty())
            })?;
            node.finish()
        })
    }

    /// A runtime that nobody knows, or one whose state lies elsewhere.
    #[test]
    fn what_has_no_runtime_is_found_by_its_namespaces() -> Outcome {
        needs!(Root, Swtpm, Runc, Containerd, Busybox, Programs);
        in_world!(SHAPE, |world| {
            let node = Node::provision(world)?;
            let directory = bundle(world, "one")?;
            let rootfs = directory.join("rootfs");
            let mut hidden = Command::new("unshare");
            hidden
                .args(["--mount", "--pid", "--fork", "--kill-child", "chroot"])
                .arg(&rootfs)
                .args(["/bin/busybox", "sleep", "600"]);
            let mut hidden = hidden.spawn().doing("start a container by hand")?;
            wait::until_true("it to be seen", PATIENCE, || {
                census(&["--uncovered"]).is_ok_and(|(exit, found)| exit == 1 && found.len() == 1)
            })?;
            hidden.kill().doing("kill it")?;
            hidden.wait().doing("reap it")?;
            wait::until_true("it to be gone", PATIENCE, || {
                census(&[]).is_ok_and(|(exit, _)| exit == 0)
            })?;
            node.finish()
        })
    }
}
