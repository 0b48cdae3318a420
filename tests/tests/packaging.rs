//! What a package installs: each file is read by the program it is for, and names the paths that
//! the programs use.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use portcullis_config::paths;
use portcullis_gate::Requirement;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::{needs, programs, require, run};
use serde_json::{Value, json};

const UNIT: &str = "packaging/systemd/portcullis-agent.service";
const FETCH: &str = "packaging/systemd/portcullis-fetch.service";
const RESPONDER: &str = "packaging/systemd/portcullis-responder@.service";
const RESPONDER_SOCKET: &str = "packaging/systemd/portcullis-responder.socket";
const SYSUSERS: &str = "packaging/systemd/portcullis.sysusers.conf";
const TMPFILES: &str = "packaging/systemd/portcullis.tmpfiles.conf";
const HOOK: &str = "packaging/hooks.d/portcullis.json";
const CONTAINERD_1: &str = "packaging/containerd/portcullis-v2.toml";
const CONTAINERD_2: &str = "packaging/containerd/portcullis-v3.toml";
const RUNTIME_CLASS: &str = "packaging/kubernetes/runtimeclass.yaml";
const POD: &str = "packaging/kubernetes/sample-pod.yaml";

/// Highest exposure of the agent's unit, in tenths: 2.0 of 10.
const EXPOSURE: &str = "--threshold=20";

fn shipped(path: &str) -> String {
    fs::read_to_string(programs::shipped(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Where the package installs a program.
fn installed(program: &str) -> &'static str {
    let found = programs::INSTALLED
        .iter()
        .find(|(name, _)| *name == program);
    found
        .unwrap_or_else(|| panic!("'{program}' is not installed"))
        .1
}

/// The values of a setting of the unit, in order.
fn settings<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    unit.lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .collect()
}

/// Whether a tool of systemd is here. Where the suite is told that it must be, its absence fails.
fn has_systemd(tool: &str) -> bool {
    if require::find(tool).is_some() {
        return true;
    }
    let promised = std::env::var(require::PROMISED).unwrap_or_default();
    assert!(
        !promised.split(',').any(|need| need.trim() == "systemd"),
        "needs {tool}; install package 'systemd'"
    );
    eprintln!("skipped: needs {tool}; install package 'systemd'");
    false
}

/// A copy of a unit whose program exists on this machine.
fn for_this_machine(directory: &Path, unit: &str) -> Outcome<String> {
    let text = shipped(unit)
        .replace(installed("portcullis-agent"), "/bin/true")
        .replace(installed("portcullis-fetch"), "/bin/true");
    let name = Path::new(unit).file_name().unwrap_or_default();
    let path = directory.join(name);
    fs::write(&path, text).doing("copy the unit")?;
    Ok(path.display().to_string())
}

fn unit_for_this_machine(directory: &Path) -> Outcome<String> {
    for_this_machine(directory, UNIT)
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() -> Outcome {
    if !has_systemd("systemd-analyze") {
        return Ok(());
    }
    let scratch = tempfile::tempdir().doing("make a folder")?;
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify");
    for unit in [UNIT, FETCH, RESPONDER, RESPONDER_SOCKET] {
        verify.arg(for_this_machine(scratch.path(), unit)?);
    }
    let ran = run::to_end(&mut verify)?;
    assert_eq!(ran.stderr, "", "systemd complains");
    ran.success().map(drop)
}

#[test]
fn the_responder_listens_where_the_notifier_looks_for_it() {
    let socket = shipped(RESPONDER_SOCKET);
    assert_eq!(settings(&socket, "ListenStream"), [paths::RESPONDER]);
    assert_eq!(settings(&socket, "SocketMode"), ["0600"]);
    // Each connection is a process, and only so many at a time.
    assert_eq!(settings(&socket, "Accept"), ["yes"]);
    assert_eq!(settings(&socket, "MaxConnections"), ["8"]);
    let unit = shipped(RESPONDER);
    let command = format!("{} --responder", installed("portcullis-agent"));
    assert_eq!(settings(&unit, "ExecStart"), [command]);
    assert_eq!(settings(&unit, "StandardInput"), ["socket"]);
    let capabilities = ["CAP_DAC_READ_SEARCH CAP_KILL CAP_SYS_PTRACE"];
    assert_eq!(settings(&unit, "CapabilityBoundingSet"), capabilities);
    // They would hide runtimes' states, and processes, and make cgroups read-only.
    for name in ["ProtectHome", "ProtectProc", "ProcSubset", "PrivateNetwork"] {
        assert_eq!(settings(&unit, name), [""; 0], "{name}");
    }
    assert_eq!(settings(&unit, "ProtectControlGroups"), ["no"]);
}

#[test]
fn the_profile_of_pod_sandboxes_is_the_one_that_they_are_given() {
    let profile = shipped("packaging/apparmor/portcullis-sandbox");
    let named = format!("profile {} ", portcullis_hardening::SANDBOX_PROFILE);
    let heads: Vec<&str> = profile
        .lines()
        .filter(|line| line.starts_with("profile "))
        .collect();
    assert_eq!(heads.len(), 1, "{heads:?}");
    assert!(heads[0].starts_with(&named), "{heads:?}");
    // One that only complains confines nothing.
    assert!(!heads[0].contains("complain"), "{heads:?}");
}

#[test]
fn the_unit_is_confined() -> Outcome {
    if !has_systemd("systemd-analyze") {
        return Ok(());
    }
    let scratch = tempfile::tempdir().doing("make a folder")?;
    let unit = unit_for_this_machine(scratch.path())?;
    let analyze = ["security", "--no-pager", "--offline=yes", EXPOSURE, &unit];
    let report = run::to_end(Command::new("systemd-analyze").args(analyze))?.success()?;
    println!("{}", report.lines().last().unwrap_or_default());

    // The measure is not empty: without its confinement the unit fails it.
    let open = shipped(UNIT)
        .lines()
        .take_while(|line| !line.starts_with("User="))
        .fold(String::new(), |text, line| text + line + "\n");
    let path = scratch.path().join("open.service");
    fs::write(&path, open).doing("write a unit without confinement")?;
    let path = path.display().to_string();
    let analyze = ["security", "--no-pager", "--offline=yes", EXPOSURE, &path];
    let ran = run::to_end(Command::new("systemd-analyze").args(analyze))?;
    assert!(!ran.status.success(), "{}", ran.stdout);
    Ok(())
}

#[test]
fn the_unit_runs_the_agent_where_it_may_write_and_nowhere_else() {
    let unit = shipped(UNIT);
    assert_eq!(
        settings(&unit, "ExecStart"),
        [installed("portcullis-agent")]
    );
    assert_eq!(settings(&unit, "Type"), ["notify"]);
    // The gate asks only an agent of uid 0.
    assert_eq!(settings(&unit, "User"), ["root"]);
    assert_eq!(settings(&unit, "CapabilityBoundingSet"), [""]);
    let state = format!("/var/lib/{}", settings(&unit, "StateDirectory")[0]);
    let run = format!("/run/{}", settings(&unit, "RuntimeDirectory")[0]);
    assert_eq!((state.as_str(), run.as_str()), (paths::STATE, paths::RUN));
    for name in ["StateDirectoryMode", "RuntimeDirectoryMode"] {
        assert_eq!(settings(&unit, name), ["0700"], "{name}");
    }
    assert_eq!(settings(&unit, "ReadWritePaths"), [""; 0]);
    assert_eq!(settings(&unit, "DeviceAllow"), ["/dev/tpmrm0 rw"]);
    // It would hide the boot id, to which every verdict is bound.
    assert_eq!(settings(&unit, "ProcSubset"), [""; 0]);
    // The gate stays shut without the agent, so systemd must not give up on it.
    assert_eq!(settings(&unit, "Restart"), ["always"]);
    assert_eq!(settings(&unit, "StartLimitIntervalSec"), ["0"]);
}

mod needs_root {
    use super::*;

    #[test]
    fn systemd_makes_the_directories_and_the_group() -> Outcome {
        needs!(Root);
        if !has_systemd("systemd-tmpfiles") || !has_systemd("systemd-sysusers") {
            return Ok(());
        }
        let scratch = tempfile::tempdir().doing("make a folder")?;
        let root = format!("--root={}", scratch.path().display());
        let tmpfiles = programs::shipped(TMPFILES).display().to_string();
        let sysusers = programs::shipped(SYSUSERS).display().to_string();
        // Names of users are looked up beneath the root.
        fs::create_dir(scratch.path().join("etc")).doing("make 'etc'")?;
        fs::write(scratch.path().join("etc/passwd"), "root:x:0:0::/:/bin/sh\n")
            .doing("add root")?;
        fs::write(scratch.path().join("etc/group"), "root:x:0:\n").doing("add group root")?;
        run::to_end(Command::new("systemd-sysusers").args([&root, &sysusers]))?.success()?;
        let groups = fs::read_to_string(scratch.path().join("etc/group")).doing("read groups")?;
        assert!(
            groups.lines().any(|line| line.starts_with("tss:")),
            "{groups}"
        );
        run::to_end(Command::new("systemd-tmpfiles").args([&root, "--create", &tmpfiles]))?
            .success()?;
        for (path, mode) in [
            (paths::CONFIG_DIRECTORY, 0o755),
            (paths::DROP_INS, 0o755),
            (paths::TRUST, 0o755),
            (paths::REFERENCE, 0o755),
            (paths::RUN, 0o700),
            (paths::STATE, 0o700),
        ] {
            let place = scratch.path().join(path.trim_start_matches('/'));
            let metadata = fs::metadata(&place).doing(format!("look at '{path}'"))?;
            assert!(metadata.is_dir(), "{path}");
            let found = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
            assert_eq!(found, (0, 0, mode), "{path}");
        }
        Ok(())
    }
}

#[test]
fn the_hook_file_leaves_nothing_to_the_runtime() {
    let file: Value = serde_json::from_str(&shipped(HOOK)).unwrap_or_default();
    let hook = &file["hook"];
    let members = |value: &Value| -> Vec<String> {
        value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect()
    };
    assert_eq!(members(&file), ["hook", "stages", "version", "when"]);
    assert_eq!(file["version"], "1.0.0");
    assert_eq!(hook["path"], installed("portcullis-hook"));
    assert_eq!(file["stages"], json!(["createRuntime"]));
    assert_eq!(file["when"], json!({"always": true}));
    // An absent or empty environment means the runtime's own, and with it LD_PRELOAD.
    assert_eq!(hook["env"], json!(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]));
    // The hook ends first: only it can say why.
    assert_eq!(hook["args"], json!(["portcullis-hook", "--deadline", "8s"]));
    assert!(
        hook["timeout"]
            .as_u64()
            .is_some_and(|timeout_s| timeout_s > 8)
    );
}

#[test]
fn the_hook_file_names_a_hook_that_the_profiles_allow() {
    for profile in ["baseline", "restricted", "strict"] {
        let text = shipped(&format!("config/profiles/{profile}.toml"));
        assert!(text.contains(installed("portcullis-hook")), "{profile}");
    }
}

mod needs_containerd {
    use super::*;

    /// What containerd makes of the file, or why it does not.
    fn dump(file: &str) -> Outcome<String> {
        let scratch = tempfile::tempdir().doing("make a folder")?;
        let main = scratch.path().join("config.toml");
        let text = shipped(file);
        let version = text
            .lines()
            .find(|line| line.starts_with("version"))
            .unwrap_or_default();
        let import = programs::shipped(file);
        fs::write(
            &main,
            format!("{version}\nimports = [\"{}\"]\n", import.display()),
        )
        .doing("write a configuration that imports the file")?;
        let main = main.display().to_string();
        run::to_end(Command::new("containerd").args(["--config", &main, "config", "dump"]))?
            .success()
    }

    fn handlers(dump: &str) -> Vec<&str> {
        let mut names: Vec<&str> = dump
            .lines()
            .filter_map(|line| {
                line.trim()
                    .strip_suffix(']')?
                    .split_once(".containerd.runtimes.")
            })
            .map(|(_, name)| name)
            .filter(|name| !name.contains('.'))
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn containerd_takes_the_runtime_from_the_drop_in_for_its_version() -> Outcome {
        needs!(Containerd);
        let version = run::to_end(Command::new("containerd").arg("--version"))?.success()?;
        let is_first = version
            .split_whitespace()
            .any(|word| word.trim_start_matches('v').starts_with("1."));
        let dump = dump(if is_first { CONTAINERD_1 } else { CONTAINERD_2 })?;
        assert_eq!(handlers(&dump), ["portcullis", "runc"], "{dump}");
        for wanted in ["io.containerd.portcullis.v1", "portcullis.dev/*"] {
            assert!(dump.contains(wanted), "no '{wanted}' in {dump}");
        }
        Ok(())
    }
}

#[test]
fn both_drop_ins_define_the_same_runtime() {
    let table = |file: &str, plugin: &str| -> Vec<String> {
        let text = shipped(file);
        let header = format!("[plugins.{plugin}.containerd.runtimes.portcullis]");
        let mut lines = text.lines().skip_while(|line| *line != header);
        assert!(lines.next().is_some(), "no {header} in {file}");
        lines
            .take_while(|line| !line.is_empty())
            .map(|line| line.trim().to_owned())
            .collect()
    };
    let first = table(CONTAINERD_1, "\"io.containerd.grpc.v1.cri\"");
    let second = table(CONTAINERD_2, "'io.containerd.cri.v1.runtime'");
    assert_eq!(first, second);
    assert_eq!(
        first,
        [
            r#"runtime_type = "io.containerd.portcullis.v1""#,
            r#"pod_annotations = ["portcullis.dev/*"]"#,
        ]
    );
    assert!(shipped(CONTAINERD_1).contains("\nversion = 2\n"));
    assert!(shipped(CONTAINERD_2).contains("\nversion = 3\n"));
}

#[test]
fn the_runtime_class_names_the_handler_of_the_drop_ins() {
    let class = shipped(RUNTIME_CLASS);
    for line in [
        "apiVersion: node.k8s.io/v1",
        "kind: RuntimeClass",
        "handler: portcullis",
    ] {
        assert!(class.lines().any(|it| it == line), "no '{line}'");
    }
}

#[test]
fn the_sample_pod_asks_for_the_class_and_for_tags_that_can_be_read() -> Outcome {
    let pod = shipped(POD);
    assert!(
        pod.lines()
            .any(|line| line == "  runtimeClassName: portcullis")
    );
    let annotation = pod
        .lines()
        .find_map(|line| line.trim().strip_prefix("portcullis.dev/require-tags: "))
        .ok_or_else(|| Failure::new("no annotation"))?;
    let requirement = Requirement::parse(annotation.trim_matches('"')).doing("read the tags")?;
    assert!(!requirement.is_empty());
    for wanted in [
        "allowPrivilegeEscalation: false",
        "readOnlyRootFilesystem: true",
        "runAsNonRoot: true",
        "type: RuntimeDefault",
        r#"drop: ["ALL"]"#,
    ] {
        assert!(
            pod.lines().any(|line| line.trim() == wanted),
            "no '{wanted}'"
        );
    }
    for unwanted in [
        "privileged",
        "hostPath",
        "hostNetwork",
        "hostPID",
        "hostIPC",
    ] {
        assert!(!pod.contains(unwanted), "'{unwanted}'");
    }
    Ok(())
}
