//! Workloads, judged without a node by the settings that are shipped.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

struct Ran {
    exit: Option<i32>,
    out: String,
    err: String,
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// Checks `path` offline, with `more` arguments; `input` is what it reads.
fn check_with(path: &Path, more: &[&str], input: &[u8]) -> Ran {
    let settings = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/portcullis.toml");
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["check", "--offline", "--settings", settings])
        .args(more)
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let ran = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        exit: ran.status.code(),
        out: text(&ran.stdout),
        err: text(&ran.stderr),
    }
}

fn check(name: &str, more: &[&str]) -> Ran {
    check_with(&data(name), more, b"")
}

fn json_of(name: &str, more: &[&str]) -> Value {
    let ran = check(name, &[more, &["--output", "json"]].concat());
    assert!(!ran.out.is_empty(), "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

/// What is refused: container, rule, field of the manifest.
fn refused(judgement: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let mut all = Vec::new();
    for workload in judgement["workloads"].as_array().unwrap() {
        for container in workload["containers"].as_array().unwrap() {
            for finding in container["findings"].as_array().unwrap() {
                if finding["action"] == "refused" {
                    all.push((
                        text(&container["title"]),
                        text(&finding["rule"]),
                        text(&finding["manifest_pointer"]),
                    ));
                }
            }
        }
    }
    all
}

fn row(container: &str, rule: &str, field: &str) -> (String, String, String) {
    (container.to_owned(), rule.to_owned(), field.to_owned())
}

#[test]
fn a_pod_with_all_that_pss_asks_for_passes_as_it_is() {
    let ran = check("restricted.yaml", &[]);
    assert_eq!(ran.exit, Some(0), "{}", ran.out);
    assert!(ran.out.starts_with("Would it start? yes\n"), "{}", ran.out);
    assert!(!ran.out.contains("This change would pass"), "{}", ran.out);
}

#[test]
fn an_image_whose_user_is_not_known_leaves_it_open() {
    let unknown = json_of("nginx.yaml", &[]);
    assert_eq!(unknown["decision"], "undecided");
    assert_eq!(unknown["workloads"].as_array().unwrap().len(), 1);
    let depends = &unknown["workloads"][0]["containers"][1]["depends"];
    assert_eq!(depends["if"], "image-user");
    assert_eq!(depends["refusals"][0]["code"], "root-user-denied");
    assert_eq!(check("nginx.yaml", &[]).exit, Some(2));
    assert_eq!(
        check("nginx.yaml", &["--image-user", "101:101"]).exit,
        Some(0)
    );
    let root = json_of("nginx.yaml", &["--image-user", "0"]);
    assert_eq!(
        refused(&root),
        [row(
            "container 'nginx'",
            "non-root",
            "/spec/template/spec/containers/0/securityContext/runAsUser"
        )]
    );
    let wrong = check("nginx.yaml", &["--image-user", "nobody"]);
    assert_eq!(wrong.exit, Some(64));
}

#[test]
fn each_refusal_names_the_field_of_the_manifest() {
    let spec = "/spec/template/spec";
    assert_eq!(
        refused(&json_of("postgres.yaml", &[])),
        [row(
            "container 'owner'",
            "non-root",
            &format!("{spec}/initContainers/0/securityContext/runAsUser")
        )]
    );
    let exporter = refused(&json_of("node-exporter.yaml", &[]));
    for expected in [
        row("pod sandbox", "host-namespaces", &format!("{spec}/hostPID")),
        row(
            "pod sandbox",
            "host-namespaces",
            &format!("{spec}/hostNetwork"),
        ),
        row(
            "container 'node-exporter'",
            "host-namespaces",
            &format!("{spec}/hostPID"),
        ),
        row(
            "container 'node-exporter'",
            "mount-sources",
            &format!("{spec}/volumes/0/hostPath/path"),
        ),
    ] {
        assert!(exporter.contains(&expected), "{expected:?}: {exporter:?}");
    }
    assert_eq!(
        refused(&json_of("backup.yaml", &[])),
        [row(
            "container 'backup'",
            "mount-sources",
            "/spec/jobTemplate/spec/template/spec/volumes/0/hostPath/path"
        )]
    );
    let agent = refused(&json_of("agent.yaml", &[]));
    for expected in [
        row("pod sandbox", "sysctls", "/spec/securityContext/sysctls/1"),
        row(
            "container 'agent'",
            "privileged",
            "/spec/containers/0/securityContext/privileged",
        ),
        row(
            "container 'agent'",
            "working-directory",
            "/spec/containers/0/workingDir",
        ),
        row(
            "container 'agent'",
            "mount-propagation",
            "/spec/containers/0/volumeMounts/1/mountPropagation",
        ),
        row(
            "container 'side'",
            "capabilities",
            "/spec/containers/1/securityContext/capabilities/add",
        ),
    ] {
        assert!(agent.contains(&expected), "{expected:?}: {agent:?}");
    }
}

/// Applies a patch of ours: whole lists are never added to, but at their end.
fn patched(document: &Value, operations: &Value) -> Value {
    let mut document = document.clone();
    for operation in operations.as_array().unwrap() {
        let path = operation["path"].as_str().unwrap();
        let (parent, key) = path.rsplit_once('/').unwrap();
        let key = key.replace("~1", "/").replace("~0", "~");
        match (
            operation["op"].as_str().unwrap(),
            document.pointer_mut(parent).unwrap(),
        ) {
            ("remove", Value::Array(items)) => {
                items.remove(key.parse().unwrap());
            }
            ("remove", Value::Object(map)) => {
                map.remove(&key).unwrap();
            }
            ("add", Value::Array(items)) => items.push(operation["value"].clone()),
            (_, Value::Array(items)) => {
                let index: usize = key.parse().unwrap();
                *items.get_mut(index).unwrap() = operation["value"].clone();
            }
            (_, Value::Object(map)) => {
                map.insert(key, operation["value"].clone());
            }
            (op, other) => assert_eq!(op, "", "in {other}"),
        }
    }
    document
}

#[test]
fn a_patched_workload_passes() {
    let recorded = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../crates/hardening/tests/data/ctr-1.6.20-privileged.json"
    );
    // The same as agent.yaml, for readers of JSON.
    for path in [data("agent.json").as_path(), Path::new(recorded)] {
        let before = check_with(path, &["--output", "json"], b"");
        assert_ne!(before.exit, Some(0), "{}", path.display());
        let patch = check_with(path, &["--patch", "--output", "json"], b"");
        assert_eq!(patch.exit, Some(0), "{}", patch.err);
        let patch: Value = serde_json::from_str(&patch.out).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let after = patched(&document, &patch).to_string();
        let ran = check_with(Path::new("-"), &[], after.as_bytes());
        assert_eq!(ran.exit, Some(0), "{}: {}", path.display(), ran.out);
    }
}

#[test]
fn the_fragment_is_short_and_can_be_merged() {
    let ran = check("node-exporter.yaml", &["--patch"]);
    assert_eq!(
        ran.out,
        "spec:\n  template:\n    spec:\n      hostNetwork: false\n      hostPID: false\n      volumes:\n      \
         - emptyDir: {}\n        hostPath: null\n        name: root\n"
    );
    let ran = check("agent.yaml", &["--patch"]);
    assert!(ran.out.contains("- NET_BIND_SERVICE\n"), "{}", ran.out);
    assert!(!ran.out.contains("SYS_ADMIN"), "{}", ran.out);
    let nothing = check("restricted.yaml", &["--patch"]);
    assert_eq!((nothing.exit, nothing.out.as_str()), (Some(0), "{}\n"));
}

#[test]
fn what_no_change_can_mend_is_said() {
    let config = r#"{"ociVersion": "1.0.2", "hooks": {"prestart": [{"path": "/x"}]}}"#;
    // Everything about it can be mended; a profile that is not there cannot.
    let ran = check_with(
        Path::new("-"),
        &["--as", "config", "--profile", "none"],
        config.as_bytes(),
    );
    assert_eq!(ran.exit, Some(64), "{}", ran.err);
    assert!(ran.err.contains("[profile-unknown]"), "{}", ran.err);
}

#[test]
fn what_the_operator_could_allow_is_offered_ready_to_paste() {
    let config = json!({
        "process": {"user": {"uid": 7}, "cwd": "/"},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/x", "type": "bind", "source": "/opt", "options": ["rbind"]}],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}]},
    });
    let more = ["--as", "config", "--output", "json"];
    let ran = check_with(Path::new("-"), &more, config.to_string().as_bytes());
    let judged: Value = serde_json::from_str(&ran.out).unwrap();
    let offers = &judged["workloads"][0]["operator"];
    // /opt holds /opt/cni on a node that has it; then nothing is offered.
    if judged["refusals"][0]["found"] == "'/opt'" {
        assert_eq!(offers[0]["kind"], "mounts-allow");
        assert_eq!(offers[0]["settings"], "[mounts]\nallow = [\"/opt\"]\n");
        assert_eq!(offers[0]["suffices"], true);
    }
    let denied = config.to_string().replace("\"/opt\"", "\"/etc\"");
    let ran = check_with(Path::new("-"), &more, denied.as_bytes());
    let judged: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(judged["workloads"][0]["operator"], json!([]));
}

#[test]
fn a_bundle_is_a_directory_with_a_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let recorded = include_str!("../../crates/hardening/tests/data/ctr-1.6.20-run.json");
    std::fs::write(directory.path().join("config.json"), recorded).unwrap();
    std::fs::create_dir_all(directory.path().join("rootfs/tmp")).unwrap();
    let ran = check_with(directory.path(), &["--output", "json"], b"");
    assert_eq!(ran.exit, Some(0), "{}{}", ran.out, ran.err);
    let judged: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(judged["host"], "not-asked");
    let changes = judged["changes"].as_array().unwrap();
    let tmpfs = changes.iter().filter(|it| it["to"]["type"] == "tmpfs");
    let places: Vec<&str> = tmpfs
        .map(|it| it["to"]["destination"].as_str().unwrap())
        .collect();
    assert_eq!(
        places,
        ["/tmp"],
        "what the root filesystem has, and no more"
    );
}

#[test]
fn bad_input_is_one_line_with_the_place() {
    for (text, form, expected) in [
        (
            "kind: Pod\napiVersion: v1\nkind: Pod\n",
            "pod",
            "cannot judge '-': cannot accept key 'kind' twice in one object at line 3 column 1",
        ),
        (
            "kind: Service\n",
            "pod",
            "cannot judge '-': cannot find a pod in 1 object of kind 'Service'",
        ),
        (
            "kind: Pod\nspec: {containers: [{name: a, tty: maybe}]}\n",
            "pod",
            "cannot judge Pod '' of '-': cannot read manifest at '/spec/containers/0/tty': expected true or false, found a text",
        ),
        ("a: [", "pod", "cannot judge '-': cannot parse YAML: "),
        (
            "{\"a\": 1, \"a\": 2}",
            "pod",
            "cannot judge '-': cannot accept key 'a' twice",
        ),
    ] {
        let ran = check_with(Path::new("-"), &["--as", form], text.as_bytes());
        assert_eq!(ran.exit, Some(64), "{}", ran.err);
        let line = ran.err.strip_prefix("portcullis: ").unwrap();
        assert!(line.starts_with(expected), "{line}");
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    }
    let unclear = check_with(Path::new("-"), &[], b"{}");
    assert!(
        unclear
            .err
            .contains("expected 'ociVersion' of a config.json"),
        "{}",
        unclear.err
    );
}

#[test]
fn lines_are_no_wider_than_a_terminal() {
    for name in ["agent.yaml", "nginx.yaml", "postgres.yaml"] {
        let ran = check(name, &[]);
        assert!(!ran.out.contains('\u{1b}'), "{}", ran.out);
        let widest = ran.out.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{}", ran.out);
    }
}

#[test]
fn the_table_reads_well() {
    let ran = check("backup.yaml", &[]);
    let table: String = ran
        .out
        .lines()
        .skip_while(|line| !line.starts_with("container 'backup'"))
        .take_while(|line| !line.starts_with("Assumed"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(table, BACKUP);
}

const BACKUP: &str = "\
container 'backup': refused
what     rule           field                        from -> to
refused  mount-sources  /spec/jobTemplate/spec       '/var/log', which touches
                        /template/spec/volumes/0     '/var/log'; expected a
                        /hostPath/path               volume, or a path of
                        (/mounts/6/source)           'mounts.allow='

rule           asked for by
mount-sources  SP 800-190 4.5.5; PSS HostPath Volumes, Volume Types; CIS Docker
               5.6, 5.32; CIS Kubernetes 5.2.11

";

/// The keys of every object in `value`, by its path without indexes.
fn keys(value: &Value, at: &str, all: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Array(items) => {
            for item in items {
                keys(item, at, all);
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                let at = format!("{at}/{key}");
                // What is in a patch is the workload's affair.
                if !at.contains("patch/") {
                    keys(value, &at, all);
                }
                all.insert(at);
            }
        }
        _ => {}
    }
}

#[test]
fn the_document_shows_what_is_printed() {
    let document = include_str!("../../docs/explain.md");
    let example = document.split("```json").nth(1).unwrap();
    let example: Value = serde_json::from_str(example.split("```").next().unwrap()).unwrap();
    let (mut shown, mut printed) = Default::default();
    keys(&example, "", &mut shown);
    keys(&json_of("agent.yaml", &[]), "", &mut printed);
    printed.retain(|it| {
        !it.starts_with("/refusals/") && !it.contains("_patch/") && !it.contains("/patch/")
    });
    assert_eq!(shown, printed);
    let finding = &example["workloads"][0]["containers"][0]["findings"][0];
    let agent = json_of("agent.yaml", &[]);
    let findings = agent["workloads"][0]["containers"][2]["findings"]
        .as_array()
        .unwrap();
    assert!(findings.contains(finding), "{findings:#?}");
}
