//! What a further process in a running container may have, and how limits may change.

use serde_json::{Value, json};

use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::grpc::Status;
use portcullis_tests::node::Node;
use portcullis_tests::process::{Confinement, SCRIPT};
use portcullis_tests::refusal::Refusal;
use portcullis_tests::{in_world, needs};

/// A container that waits.
const ID: &str = "long";
/// Where the added process leaves what it found.
const FOUND: &str = "/tmp/found";

/// A process spec that asks for all that runtimes give by default, and looks at what it got.
fn greedy() -> Value {
    let defaults = [
        "NET_RAW",
        "CHOWN",
        "DAC_OVERRIDE",
        "SETUID",
        "SETGID",
        "MKNOD",
    ];
    let all = defaults.map(|name| format!("CAP_{name}"));
    let script = format!(
        "({SCRIPT}; echo nofile: $(ulimit -Hn); echo oom: $(cat /proc/self/oom_score_adj)) > {FOUND}"
    );
    json!({
        "args": ["/bin/sh", "-c", script],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "user": {"uid": 1000, "gid": 1000},
        "capabilities": {
            "bounding": all, "effective": all, "inheritable": all, "permitted": all, "ambient": all,
        },
        "noNewPrivileges": false,
    })
}

/// Runs `spec` as a further process; its refusal, if it is refused.
fn exec(node: &Node, exec_id: &str, spec: &[u8]) -> Outcome<Result<u32, Status>> {
    let tasks = node.containerd.tasks();
    if let Err(status) = tasks.exec(ID, exec_id, spec, "")? {
        return Ok(Err(status));
    }
    if let Err(status) = tasks.start(ID, exec_id)? {
        return Ok(Err(status));
    }
    let code = tasks.wait(ID, exec_id)?.doing("wait for a process")?;
    tasks
        .delete_process(ID, exec_id)?
        .doing("delete a process")?;
    Ok(Ok(code))
}

/// What the last added process found.
fn found(node: &Node) -> Outcome<String> {
    let look = ["task", "exec", "--exec-id", "look", ID, "cat", FOUND];
    node.containerd.run_ctr(&look)?.success()
}

/// Expects an exec of `spec` to be refused with `expected`.
fn refused(node: &Node, spec: &[u8], expected: &str) -> Outcome {
    let status = exec(node, "refused", spec)?.unwrap_err();
    let refusal = Refusal::find(&status.message)?;
    assert_eq!(
        refusal.short(),
        expected,
        "{}",
        String::from_utf8_lossy(spec)
    );
    Ok(())
}

fn on_a_node(
    world: &portcullis_tests::world::World,
    binary: &str,
    body: impl FnOnce(&Node) -> Outcome,
) -> Outcome {
    let node = Node::provision(world)?;
    node.set("50-runtime", &format!("[runtime]\nbinary = \"{binary}\"\n"))?;
    node.start(ID, &[], &["sleep", "600"])?;
    body(&node)?;
    node.remove(ID)?;
    node.finish()
}

fn clamps(node: &Node) -> Outcome {
    let mut spec = greedy();
    assert_eq!(
        exec(node, "a", spec.to_string().as_bytes())?.doing("exec")?,
        0
    );
    assert_eq!(Confinement::parse(&found(node)?)?, Confinement::RESTRICTED);
    // What is left out must not mean "as the runtime pleases".
    for field in ["capabilities", "noNewPrivileges", "env"] {
        spec.as_object_mut().expect("an object").remove(field);
    }
    assert_eq!(
        exec(node, "b", spec.to_string().as_bytes())?.doing("exec")?,
        0
    );
    assert_eq!(Confinement::parse(&found(node)?)?, Confinement::RESTRICTED);
    // Limits can be lowered and not raised.
    for (asked, granted) in [(64, 64), (100_000_000, 1_048_576)] {
        spec["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": asked, "soft": 64}]);
        spec["oomScoreAdj"] = json!(0);
        assert_eq!(
            exec(node, "c", spec.to_string().as_bytes())?.doing("exec")?,
            0
        );
        let text = found(node)?;
        let line = text.lines().find_map(|line| line.strip_prefix("nofile: "));
        let limit: u64 = line
            .and_then(|limit| limit.parse().ok())
            .unwrap_or(u64::MAX);
        assert!(limit <= granted, "{text}");
    }
    Ok(())
}

fn refuses(node: &Node) -> Outcome {
    let base = r#""args":["/bin/true"],"user":{"uid":1000,"gid":1000}"#;
    for (spec, code) in [
        (
            format!("{{{base},\"cwd\":\"/\",\"cwd\":\"/tmp\"}}"),
            "fault [exec-spec-malformed]",
        ),
        (
            format!("{{{base},\"cwd\":\"/\",\"NoNewPrivileges\":false}}"),
            "fault [exec-spec-malformed]",
        ),
        (
            format!("{{{base},\"cwd\":\"/\",\"capabilities\":{{\"Bounding\":[]}}}}"),
            "fault [exec-spec-malformed]",
        ),
        (
            format!("{{{base},\"cwd\":\"/\"}} trailing"),
            "fault [exec-spec-malformed]",
        ),
        ("not json".to_owned(), "fault [exec-spec-malformed]"),
        (
            format!("{{{base},\"cwd\":\"/proc/self/fd/7\"}}"),
            "refused [working-directory-denied]",
        ),
        (
            format!(
                "{{{base},\"cwd\":\"/\",\"scheduler\":{{\"policy\":\"SCHED_FIFO\",\"priority\":99}}}}"
            ),
            "refused [exec-denied]",
        ),
        (
            format!(
                "{{{base},\"cwd\":\"/\",\"capabilities\":{{\"bounding\":[\"CAP_SYS_ADMIN\"]}}}}"
            ),
            "refused [capability-excess]",
        ),
        (
            r#"{"args":["/bin/true"],"cwd":"/","user":{"uid":0,"gid":0}}"#.to_owned(),
            "refused [exec-denied]",
        ),
    ] {
        refused(node, spec.as_bytes(), code)?;
    }
    let accepted = format!("{{{base},\"cwd\":\"/\"}}");
    assert_eq!(exec(node, "fine", accepted.as_bytes())?.doing("exec")?, 0);
    Ok(())
}

mod needs_containerd {
    use super::*;

    #[test]
    fn runc_gets_a_clamped_spec() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| on_a_node(world, "runc", clamps))
    }

    #[test]
    fn crun_gets_a_clamped_spec() -> Outcome {
        needs!(Root, Busybox, Containerd, Crun, Cni, Swtpm, Programs);
        let shape = portcullis_tests::world::Shape { unified: false };
        in_world!(shape, |world| on_a_node(world, "crun", clamps))
    }

    #[test]
    fn ambiguous_and_excessive_specs_are_refused() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| on_a_node(world, "runc", refuses))
    }

    #[test]
    fn no_exec_on_a_host_that_is_no_longer_trusted() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            on_a_node(world, "runc", |node| {
                let spec = greedy().to_string();
                assert_eq!(exec(node, "before", spec.as_bytes())?.doing("exec")?, 0);
                node.tpm.extend(7, [1; 32]).doing("extend PCR 7")?;
                refused(node, spec.as_bytes(), "refused [pcr-drift]")?;
                node.reboot_and_attest()?;
                assert_eq!(exec(node, "after", spec.as_bytes())?.doing("exec")?, 0);
                Ok(())
            })
        })
    }

    #[test]
    fn execs_can_be_forbidden() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            on_a_node(world, "runc", |node| {
                node.set("60-exec", "[exec]\nallow = false\n")?;
                refused(
                    node,
                    greedy().to_string().as_bytes(),
                    "refused [exec-denied]",
                )?;
                node.unset("60-exec")
            })
        })
    }

    #[test]
    fn limits_are_not_loosened() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            on_a_node(world, "runc", |node| {
                let tasks = node.containerd.tasks();
                for (resources, code) in [
                    (r#"{"pids":{"limit":-1}}"#, "refused [update-denied]"),
                    (
                        r#"{"pids":{"limit":1},"pids":{"limit":5}}"#,
                        "fault [resources-malformed]",
                    ),
                    (
                        r#"{"unified":{"cgroup.freeze":"1"}}"#,
                        "refused [update-denied]",
                    ),
                ] {
                    let status = tasks.update(ID, resources.as_bytes())?.unwrap_err();
                    let refusal = Refusal::find(&status.message)?;
                    assert_eq!(refusal.short(), code, "{resources}: {refusal}");
                }
                tasks
                    .update(ID, br#"{"pids":{"limit":40}}"#)?
                    .doing("lower a limit")
            })
        })
    }
}
