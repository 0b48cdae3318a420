//! `portcullis tag audit` over status files. Attested tags are in `tests/tests/asset_tag.rs`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

const UEID: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const POLICY: &str = "evidence = \"signed\"\nunique = [\"slot\"]\n[[host]]\nname = \"fra-*\"\nrequire = \"country=DE\"\n";

fn run(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Issues a tag and writes the status of a host that holds it.
fn host(directory: &Path, name: &str, ueid: &str, country: &str) {
    let issue = [
        "tag",
        "issue",
        "--key",
        "keys/tag.pem",
        "--tpm",
        UEID,
        "--counter",
        "4",
        "--force",
        "-o",
        "x.tag",
        "--tag",
        country,
    ];
    let (exit, _, said) = run(directory, &issue);
    assert_eq!(exit, 0, "{said}");
    let text = std::fs::read_to_string(directory.join("x.tag")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let status = json!({"node_name": name, "ueid": ueid, "tag_document": file.get("document")});
    write(directory, name, &status);
}

fn write(directory: &Path, name: &str, status: &Value) {
    std::fs::create_dir_all(directory.join("status")).unwrap();
    let path = directory.join("status").join(format!("{name}.json"));
    std::fs::write(path, status.to_string()).unwrap();
}

/// A directory with a tag key and the policy.
fn operator() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let generate = ["keys", "generate", "--use", "tag", "--out", "keys"];
    assert_eq!(run(directory.path(), &generate).0, 0);
    std::fs::write(directory.path().join("fleet.toml"), POLICY).unwrap();
    directory
}

const AUDIT: [&str; 8] = [
    "tag",
    "audit",
    "--policy",
    "fleet.toml",
    "--key",
    "keys/tag.jwk",
    "--output",
    "json",
];

fn audited(directory: &Path, exit: i32) -> Value {
    let (found, out, said) = run(directory, &[&AUDIT[..], &["status"]].concat());
    assert_eq!(found, exit, "{out}{said}");
    serde_json::from_str(&out).unwrap()
}

#[test]
fn a_signed_tag_counts_and_says_that_it_is_only_signed() {
    let directory = operator();
    host(directory.path(), "fra-1", UEID, "country=DE");
    let kept = audited(directory.path(), 0);
    assert_eq!(kept["hosts"][0]["evidence"], "signed");
    assert_eq!(
        kept["hosts"][0]["note"],
        "signed; the status carries no verdict"
    );
    assert_eq!(kept["hosts"][0]["tags"]["country"], "DE");
    // By default more is asked for.
    let strict = POLICY.replace("evidence = \"signed\"\n", "");
    std::fs::write(directory.path().join("fleet.toml"), strict).unwrap();
    let broken = audited(directory.path(), 1);
    assert_eq!(broken["violations"][0]["code"], "tag-unproved");
}

#[test]
fn tags_that_nobody_signed_for_this_tpm_are_not_believed() {
    let directory = operator();
    let path = directory.path();
    host(path, "fra-1", "another TPM", "country=DE");
    write(
        path,
        "fra-2",
        &json!({"node_name": "fra-2", "ueid": UEID, "tags": {"country": "DE"}}),
    );
    write(
        path,
        "fra-3",
        &json!({"node_name": "fra-3", "ueid": "x", "tag_document": "a.b.c"}),
    );
    let broken = audited(path, 1);
    let notes: Vec<&str> = (broken["hosts"].as_array().unwrap().iter())
        .map(|host| host["note"].as_str().unwrap())
        .collect();
    assert_eq!(
        notes,
        [
            "the tag document is for another TPM",
            "the status carries no tag document",
            "cannot read asset tag with the keys given"
        ]
    );
    assert_eq!(broken["violations"].as_array().unwrap().len(), 6);
    for host in broken["hosts"].as_array().unwrap() {
        assert_eq!(
            (&host["tags"], &host["evidence"]),
            (&json!({}), &json!("not proved"))
        );
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let directory = operator();
    let path = directory.path();
    std::fs::create_dir(path.join("status")).unwrap();
    let fails = |with: &str| {
        let (exit, _, said) = run(path, &[&AUDIT[..], &["status"]].concat());
        assert_eq!(exit, 64, "{said}");
        assert!(said.contains(with), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    };
    fails("cannot find a status file in 'status'");
    std::fs::write(path.join("status/a.json"), "{\"a\":1,\"a\":2}").unwrap();
    fails("cannot read status 'status/a.json'");
    std::fs::write(path.join("status/a.json"), "{}").unwrap();
    fails("expected what 'portcullis status --output json' prints");
    std::fs::write(path.join("fleet.toml"), "uniqe = []").unwrap();
    fails("cannot read tag policy 'fleet.toml': ");
}
