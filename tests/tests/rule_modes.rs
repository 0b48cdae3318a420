//! Rules that are enforced, audited and off, in node policy and in that of a namespace.

use std::fs;

use portcullis_config::paths;
use portcullis_tests::containerd::{NAMESPACE, PORTCULLIS};
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::image::{BUSYBOX, BUSYBOX_ROOT as ROOT};
use portcullis_tests::node::Node;
use portcullis_tests::process::{Confinement, SCRIPT};
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::{Shape, World};
use portcullis_tests::{in_world, needs};
use serde_json::{Value, json};

/// Drop-in with the modes.
const RULES: &str = "60-rules";
/// The metric of what that rule has found.
const FINDINGS: &str = "portcullis_audited_findings_total{rule=\"non-root\"}";
/// A container that waits.
const ID: &str = "long";

/// Entries of the ledger about operation `operation`, oldest first.
fn entries(node: &Node, operation: &str) -> Outcome<Vec<Value>> {
    let ran = node.portcullis(&["ledger", "list", "--output", "json"])?;
    let text = ran.success()?;
    let all: Value = serde_json::from_str(&text).doing("read the ledger")?;
    let list = all.as_array().or_else(|| all["entries"].as_array());
    let list = list.ok_or_else(|| Failure::new(format!("no entries in: {text}")))?;
    let of_kind = |entry: &&Value| entry["operation"] == operation;
    Ok(list.iter().filter(of_kind).cloned().collect())
}

/// The newest of them, whole.
fn last(node: &Node, operation: &str) -> Outcome<Value> {
    let entries = entries(node, operation)?;
    let newest = entries.last().and_then(|entry| entry["ref"].as_str());
    let newest = newest.ok_or_else(|| Failure::new("an empty ledger"))?;
    let ran = node.portcullis(&["explain", newest, "--output", "json"])?;
    serde_json::from_str(&ran.success()?).doing("read an entry")
}

/// Rules of what audit found in a record, sorted, each once.
fn audited(record: &Value) -> Vec<String> {
    let found = ["refusals", "changes"].into_iter();
    let found = found.flat_map(|kind| record["audited"][kind].as_array().cloned());
    let mut rules: Vec<String> = found
        .flatten()
        .filter_map(|finding| Some(finding["rule"].as_str()?.to_owned()))
        .collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// Runs a container of `image` that looks at itself.
fn look(node: &Node, image: &str) -> Outcome<Confinement> {
    let run = ["run", "--rm", "--runtime", PORTCULLIS, image, "probe"];
    let arguments = run.into_iter().chain(["sh", "-c", SCRIPT]);
    let ran = node.containerd.run_ctr(&arguments.collect::<Vec<_>>())?;
    Confinement::parse(&ran.success()?)
}

fn set(node: &Node, modes: &str) -> Outcome {
    node.set(RULES, &format!("[rules]\n{modes}"))
}

/// One rule through its modes: what a container may do, and what is written about it.
fn each_mode_of_one_rule(node: &Node) -> Outcome {
    assert_eq!(
        node.refuses_image(ROOT, &[])?.short(),
        "refused [root-user-denied]"
    );
    let refused = last(node, "create")?;
    assert_eq!(refused["refusals"][0]["rule"], "non-root");

    set(node, "non-root = \"audit\"\n")?;
    let before = node.containerd.log().len();
    assert_eq!(look(node, ROOT)?.uid, 0);
    let record = last(node, "create")?;
    assert_eq!(record["decision"], "permitted");
    assert_eq!(audited(&record), ["non-root"]);
    assert_eq!(record["audited"]["refusals"][0]["code"], "root-user-denied");
    let log = node.containerd.log();
    let warning = "container 'probe' is against rule 'non-root', which is in audit; ref=";
    assert!(log.split_at(before).1.contains(warning), "{log}");
    let shown = node.portcullis(&["explain", &text(&record["ref"])])?;
    let shown = shown.success()?;
    assert!(shown.contains("non-root: [root-user-denied]"), "{shown}");
    // Who does nothing against the rule is not in the record.
    look(node, BUSYBOX)?;
    assert_eq!(last(node, "create")?.get("audited"), None);

    set(node, "non-root = \"off\"\n")?;
    let before = node.containerd.log().len();
    assert_eq!(look(node, ROOT)?.uid, 0);
    assert_eq!(last(node, "create")?.get("audited"), None);
    let log = node.containerd.log();
    assert!(!log.split_at(before).1.contains("non-root"), "{log}");

    set(node, "non-root = \"enforce\"\n")?;
    assert_eq!(
        node.refuses_image(ROOT, &[])?.short(),
        "refused [root-user-denied]"
    );
    Ok(())
}

/// What the kernel holds is compared with what was written, and that holds less now.
fn loosened_rules_are_no_mismatch(node: &Node) -> Outcome {
    let enforced = look(node, BUSYBOX)?;
    assert_eq!(enforced, Confinement::RESTRICTED);
    set(
        node,
        "read-only-root = \"audit\"\nnon-root = \"audit\"\nseccomp = \"off\"\n\
         capabilities = \"audit\"\nno-new-privileges = \"audit\"\n\
         masked-paths = \"off\"\nmount-options = \"audit\"\n",
    )?;
    let loose = look(node, ROOT)?;
    assert!(loose.root_writable && loose.capabilities != 0, "{loose}");
    assert_eq!(loose.uid, 0);
    let record = last(node, "create")?;
    // `ctr` sets no_new_privs by itself.
    let expected = [
        "capabilities",
        "mount-options",
        "non-root",
        "read-only-root",
    ];
    assert_eq!(audited(&record), expected, "{record}");
    let changes = record["changes"].as_array().cloned().unwrap_or_default();
    let changed = |rule: &str| changes.iter().any(|change| change["rule"] == rule);
    assert!(changed("pids-limit") && !changed("seccomp"), "{record}");
    Ok(())
}

/// A namespace enforces what the node does not, and cannot do the opposite.
fn a_namespace_only_tightens(node: &Node) -> Outcome {
    let namespace = |rules: &str| {
        format!(
            "[rules]\nnon-root = \"audit\"\n[[namespace]]\nname = \"{NAMESPACE}\"\nrules = {rules}\n"
        )
    };
    node.set(RULES, &namespace("{ non-root = \"enforce\" }"))?;
    assert_eq!(
        node.refuses_image(ROOT, &[])?.short(),
        "refused [root-user-denied]"
    );
    node.set(
        RULES,
        &namespace("{ non-root = \"off\", read-only-root = \"off\" }"),
    )?;
    let found = look(node, ROOT)?;
    assert!(!found.root_writable, "{found}");
    assert_eq!(audited(&last(node, "create")?), ["non-root"]);
    Ok(())
}

/// An exec is under the modes of its container's creation, whatever holds now.
fn execs_keep_the_modes_of_their_container(node: &Node) -> Outcome {
    let spec = json!({"args": ["/bin/true"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
    let spec = spec.to_string();
    let exec = |exec_id: &str| -> Outcome<Option<String>> {
        let tasks = node.containerd.tasks();
        let made = tasks.exec(ID, exec_id, spec.as_bytes(), "")?;
        let started = match made {
            Ok(()) => tasks.start(ID, exec_id)?,
            Err(status) => Err(status),
        };
        match started {
            Err(status) => Ok(Some(status.message)),
            Ok(_) => {
                let code = tasks.wait(ID, exec_id)?.doing("wait for a process")?;
                assert_eq!(code, 0);
                let deleted = tasks.delete_process(ID, exec_id)?;
                deleted.doing("delete a process").map(|_| None)
            }
        }
    };
    node.start(ID, &[], &["sleep", "600"])?;
    set(node, "non-root = \"audit\"\n")?;
    let refused = exec("a")?.unwrap_or_default();
    assert!(refused.contains("[exec-denied]"), "{refused}");
    assert_eq!(last(node, "exec")?["refusals"][0]["rule"], "non-root");
    node.remove(ID)?;

    node.start(ID, &[], &["sleep", "600"])?;
    set(node, "non-root = \"enforce\"\n")?;
    assert_eq!(exec("b")?, None);
    let record = last(node, "exec")?;
    assert_eq!(record["decision"], "permitted");
    assert_eq!(audited(&record), ["non-root"]);
    node.remove(ID)
}

/// An annotation that nobody knows does not reach the runtime, and one that steers it starts nothing.
fn annotations_are_an_allow_list(node: &Node) -> Outcome {
    let unknown = ["--annotation", "example.com/a=b"];
    node.run("probe", &unknown, &["true"])?.success()?;
    let record = last(node, "create")?;
    let changes = record["changes"].as_array().cloned().unwrap_or_default();
    let stripped = changes.iter().find(|it| it["rule"] == "annotations");
    let names = stripped.map(|change| change["from"].clone());
    assert_eq!(names, Some(json!(["'example.com/a'"])), "{record}");
    let steering = ["--annotation", "run.oci.systemd.subgroup=x"];
    let refusal = node.refuses(&steering)?;
    assert_eq!(refusal.short(), "refused [annotation-denied]");
    set(node, "annotations = \"audit\"\n")?;
    let both = [unknown, steering].concat();
    node.run("probe", &both, &["true"])?.success()?;
    let record = last(node, "create")?;
    assert_eq!(audited(&record), ["annotations"]);
    assert_eq!(
        record["audited"]["refusals"][0]["code"],
        "annotation-denied"
    );
    Ok(())
}

/// What is not enforced can be seen on the node, and is counted.
fn what_is_given_up_is_shown(node: &Node) -> Outcome {
    let relaxation = |name: &str, expires: &str| {
        let digest = "0".repeat(64);
        format!(
            "[[relaxation]]\nname = \"{name}\"\nnamespace = \"legacy\"\n\
             image = \"sha256:{digest}\"\nexpires = \"{expires}\"\nreason = \"r\"\n"
        )
    };
    let relaxations = [
        relaxation("tmp-exec", "2100-01-01"),
        relaxation("abi32", "2020-01-01"),
    ];
    set(
        node,
        &format!("non-root = \"audit\"\n{}", relaxations.concat()),
    )?;
    let before = metric(FINDINGS);
    look(node, ROOT)?;
    let shown = node.portcullis(&["status"])?.success()?;
    for line in [
        "not enforced: non-root (audit)",
        "1 active, 1 expired",
        "expired after 2020-01-01: r",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    for (series, least) in [
        (FINDINGS, before + 1),
        ("portcullis_relaxations{state=\"active\"}", 1),
        ("portcullis_relaxations{state=\"expired\"}", 1),
    ] {
        wait::until_true(&format!("{series} {least}"), PATIENCE, || {
            metric(series) >= least
        })?;
    }
    Ok(())
}

/// The number that the agent shows for `series`; 0 if none.
fn metric(series: &str) -> u64 {
    let text = fs::read_to_string(paths::METRICS).unwrap_or_default();
    let mut lines = text.lines();
    let found = lines.find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    found.unwrap_or(0)
}

/// A setting that cannot be kept stops everything.
fn what_the_gate_rests_on_is_not_loosened(node: &Node) -> Outcome {
    set(node, "root-filesystem = \"off\"\n")?;
    let refusal = node.refuses(&[])?;
    assert_eq!(refusal.short(), "fault [config-malformed]");
    assert!(refusal.line.contains("rules.root-filesystem"), "{refusal}");
    node.unset(RULES)?;
    node.starts()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn all(world: &World, runtime: &str) -> Outcome {
    let node = Node::provision(world)?;
    node.set(
        "50-runtime",
        &format!("[runtime]\nbinary = \"{runtime}\"\n"),
    )?;
    for case in [
        each_mode_of_one_rule,
        loosened_rules_are_no_mismatch,
        a_namespace_only_tightens,
        execs_keep_the_modes_of_their_container,
        annotations_are_an_allow_list,
        what_is_given_up_is_shown,
        what_the_gate_rests_on_is_not_loosened,
    ] {
        set(&node, "")?;
        case(&node)?;
    }
    node.finish()
}

mod needs_containerd {
    use super::*;

    #[test]
    fn rules_hold_as_their_modes_say_with_runc() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| all(world, "runc"))
    }

    #[test]
    fn rules_hold_as_their_modes_say_with_crun() -> Outcome {
        needs!(Root, Busybox, Containerd, Crun, Cni, Swtpm, Programs);
        let shape = Shape { unified: false };
        in_world!(shape, |world| all(world, "crun"))
    }
}
