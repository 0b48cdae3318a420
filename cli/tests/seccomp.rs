//! Seccomp sections, judged and compared without a node.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

fn run(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .arg("seccomp")
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ran.status.code(), text(&ran.stdout), text(&ran.stderr))
}

fn section(entries: &Value) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64"], "syscalls": entries,
    })
}

/// A family other than `AF_ALG`, it seems.
fn not_alg() -> Value {
    section(&json!([{
        "names": ["socket"], "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_NE"}],
    }]))
}

fn directory(files: &[(&str, &Value)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, document) in files {
        std::fs::write(directory.path().join(name), document.to_string()).unwrap();
    }
    directory
}

#[test]
fn lint_names_the_rule_the_place_and_a_call() {
    let directory = directory(&[("a.json", &not_alg())]);
    let lint = ["lint", "--arch", "x86_64", "a.json"];
    let (code, printed, _) = run(directory.path(), &lint);
    assert_eq!(code, Some(1));
    assert!(
        printed.contains("wide-compare-bypass /syscalls/0/args (socket)"),
        "{printed}"
    );
    assert!(
        printed.contains("for example socket(0x100000026, …)"),
        "{printed}"
    );
    let (code, printed, _) = run(
        directory.path(),
        &[&lint[..], &["--output", "json"]].concat(),
    );
    assert_eq!(code, Some(1));
    let printed: Value = serde_json::from_str(&printed).unwrap();
    let finding = &printed["findings"][0];
    assert_eq!(finding["rule"], "wide-compare-bypass");
    assert_eq!(finding["pointer"], "/syscalls/0/args");
    assert_eq!(finding["witness"]["number"], 41);
    assert_eq!(
        finding["witness"]["args"],
        json!([0x1_0000_0026_u64, 0, 0, 0, 0, 0])
    );
}

#[test]
fn lint_has_nothing_to_say_about_our_own_lists() {
    let lists = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/seccomp");
    for arch in ["x86_64", "aarch64"] {
        let file = format!("{arch}.json");
        let (code, printed, said) = run(Path::new(lists), &["lint", "--arch", arch, &file]);
        assert_eq!(code, Some(0), "{printed}{said}");
    }
}

#[test]
fn lint_reads_standard_input() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["seccomp", "lint", "--arch", "x86_64", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(not_alg().to_string().as_bytes()).unwrap();
    drop(input);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(1));
}

#[test]
fn what_cannot_be_judged_ends_with_2_and_one_line() {
    let twice = section(&json!([{"names": ["read"], "action": "ALLOW"}]));
    let directory = directory(&[
        ("action.json", &twice),
        ("config.json", &json!({"ociVersion": "1"})),
    ]);
    std::fs::write(directory.path().join("torn.json"), "{\"defaultAction\": ").unwrap();
    for (file, expected) in [
        (
            "action.json",
            "cannot read '/syscalls/0/action': expected an action of OCI",
        ),
        (
            "config.json",
            "expected a seccomp section; without one every call is permitted",
        ),
        ("torn.json", "cannot read 'torn.json' as JSON"),
        ("absent.json", "cannot read 'absent.json': No such file"),
    ] {
        let (code, printed, said) = run(directory.path(), &["lint", file]);
        assert_eq!((code, printed.as_str()), (Some(2), ""), "{file}");
        assert!(said.contains(expected), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let (code, ..) = run(
        directory.path(),
        &["lint", "--cap", "SYS_ADMIN", "action.json"],
    );
    assert_eq!(code, Some(64));
}

/// Families one and two, and two and three.
fn families() -> TempDir {
    let family = |value: u64| {
        json!({
            "names": ["socket"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 0xffff_ffff_u64, "valueTwo": value,
                      "op": "SCMP_CMP_MASKED_EQ"}],
        })
    };
    let read = json!({"names": ["read"], "action": "SCMP_ACT_ALLOW"});
    directory(&[
        ("a.json", &section(&json!([family(1), family(2), read]))),
        ("b.json", &section(&json!([family(2), family(3)]))),
        ("both.json", &section(&json!([family(2)]))),
    ])
}

#[test]
fn diff_shows_each_direction_with_a_call() {
    let directory = families();
    let diff = ["diff", "--arch", "x86_64", "a.json", "b.json"];
    let (code, printed, _) = run(directory.path(), &diff);
    assert_eq!(code, Some(1));
    assert_eq!(
        printed,
        "a.json permits, b.json does not (2)\n  \
         x86_64 read(…): ALLOW / ERRNO 38\n  \
         x86_64 socket(1, …): ALLOW / ERRNO 38\n\
         b.json permits, a.json does not (1)\n  \
         x86_64 socket(3, …): ERRNO 38 / ALLOW\n"
    );
    let (code, printed, _) = run(
        directory.path(),
        &[&diff[..], &["--output", "json"]].concat(),
    );
    assert_eq!(code, Some(1));
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["differences"][1]["direction"], "first-permits");
    assert_eq!(printed["differences"][1]["witness"]["call"], "socket(1, …)");
    let same = ["diff", "--arch", "x86_64", "a.json", "a.json"];
    assert_eq!(run(directory.path(), &same).0, Some(0));
}

#[test]
fn diff_sums_up_an_architecture_that_one_side_serves() {
    let names = json!({"names": ["read", "write", "socketcall"], "action": "SCMP_ACT_ALLOW"});
    let closed = section(&json!([names]));
    let mut open = closed.clone();
    open["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
    let directory = directory(&[("open.json", &open), ("closed.json", &closed)]);
    let diff = ["diff", "--arch", "x86_64", "open.json", "closed.json"];
    let (code, printed, _) = run(directory.path(), &diff);
    assert_eq!(code, Some(1));
    assert_eq!(
        printed,
        "open.json permits, closed.json does not (3)\n  \
         x86 read(…): ALLOW / KILL_THREAD\n    \
         and 2 more by way of x86 (all with '--output json')\n\
         answered in another way (1)\n  \
         x86 any other call(…): ERRNO 38 / KILL_THREAD\n"
    );
}

#[test]
fn intersect_writes_what_both_permit() {
    let directory = families();
    let intersect = [
        "intersect",
        "--arch",
        "x86_64",
        "a.json",
        "b.json",
        "-o",
        "met.json",
    ];
    let (code, printed, said) = run(directory.path(), &intersect);
    assert_eq!(
        (code, printed.as_str()),
        (Some(0), "wrote met.json\n"),
        "{said}"
    );
    let same = ["diff", "--arch", "x86_64", "met.json", "both.json"];
    let (code, printed, _) = run(directory.path(), &same);
    assert_eq!(code, Some(0), "{printed}");
    // The file is there now.
    let (code, _, said) = run(directory.path(), &intersect);
    assert_eq!(code, Some(64), "{said}");
}

#[test]
fn intersect_refuses_or_tightens_what_rules_cannot_say() {
    let half = |op: &str, value: u64| {
        let arg = |index: u64| json!({"index": index, "value": value, "op": op});
        section(&json!([{
            "names": ["mremap"], "action": "SCMP_ACT_ALLOW", "args": [arg(0), arg(1)],
        }]))
    };
    let directory = directory(&[
        ("low.json", &half("SCMP_CMP_GT", 0x1111_1111_1111_1111)),
        ("high.json", &half("SCMP_CMP_LT", u64::MAX - 9)),
    ]);
    let intersect = ["intersect", "--arch", "x86_64", "low.json", "high.json"];
    let (code, printed, said) = run(directory.path(), &intersect);
    assert_eq!((code, printed.as_str()), (Some(2), ""));
    assert!(
        said.contains("cannot write the intersection as OCI rules: mremap("),
        "{said}"
    );
    let (code, printed, said) = run(directory.path(), &[&intersect[..], &["--tighten"]].concat());
    assert_eq!(code, Some(1));
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["syscalls"], json!([]));
    assert!(said.starts_with("stricter: mremap("), "{said}");
}
