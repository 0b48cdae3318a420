//! Documents of reference values that follow each other, on the operator's machine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

fn run(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ran.status.code(), text(&ran.stdout), text(&ran.stderr))
}

fn done(directory: &Path, arguments: &[&str]) -> String {
    let (code, printed, said) = run(directory, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    printed
}

fn json_of(directory: &Path, arguments: &[&str]) -> Value {
    let mut arguments = arguments.to_vec();
    arguments.extend(["--output", "json"]);
    serde_json::from_str(&done(directory, &arguments)).unwrap()
}

/// Keys of two signers, two captured states, and a first document.
fn operator() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["alice", "bob"] {
        let generate = ["keys", "generate", "--use", "reference", "--name", name];
        let mut generate = generate.to_vec();
        generate.extend(["--out", "keys"]);
        done(directory.path(), &generate);
    }
    for (name, digit) in [("a", "00"), ("b", "11")] {
        let captured = json!({
            "boot_states": [{"name": name, "pcrs": {"sha256": {"7": digit.repeat(32)}}}],
            "tpms": [],
        });
        let path = directory.path().join(format!("{name}.json"));
        std::fs::write(path, captured.to_string()).unwrap();
    }
    let sign = ["reference", "sign", "--key", "keys/alice.pem", "--seq", "7"];
    let mut sign = sign.to_vec();
    sign.extend(["-i", "a.json", "-o", "a.jws"]);
    done(directory.path(), &sign);
    directory
}

fn add<'a>(to: &'a str, more: &[&'a str], out: &'a str) -> Vec<&'a str> {
    let mut arguments = vec![
        "reference",
        "add",
        "--to",
        to,
        "--signed-by",
        "keys/alice.jwk",
    ];
    arguments.extend(["--key", "keys/alice.pem", "-o", out]);
    arguments.extend(more);
    arguments
}

#[test]
fn the_next_document_keeps_adds_drops_and_withdraws() {
    let operator = operator();
    let at = operator.path();
    let next = json_of(at, &add("a.jws", &["-i", "b.json"], "b.jws"));
    assert_eq!(next["claims"]["boot_states"].as_array().unwrap().len(), 2);
    assert!(next["claims"]["seq"].as_u64().unwrap() > 7);
    assert_eq!(next["claims"].get("min_seq"), None, "both count");

    let last = json_of(at, &add("b.jws", &["--drop", "a", "--withdraw"], "c.jws"));
    assert_eq!(last["claims"]["boot_states"][0]["name"], "b");
    assert_eq!(last["claims"]["min_seq"], last["claims"]["seq"]);
    assert!(last["claims"]["seq"].as_u64() > next["claims"]["seq"].as_u64());

    let (code, _, said) = run(at, &add("c.jws", &["--drop", "a"], "d.jws"));
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("'a'"), "{said}");
    let (code, _, said) = run(at, &add("c.jws", &["--drop", "b"], "d.jws"));
    assert_eq!(code, Some(64), "{said}");
    assert!(!at.join("d.jws").exists());
}

#[test]
fn a_difference_is_named_by_its_place() {
    let operator = operator();
    let at = operator.path();
    done(at, &add("a.jws", &["-i", "b.json"], "b.jws"));
    let (code, printed, _) = run(
        at,
        &["reference", "diff", "a.jws", "b.jws", "--output", "json"],
    );
    assert_eq!(code, Some(1));
    let printed: Value = serde_json::from_str(&printed).unwrap();
    let added = json!({
        "pointer": "/boot_states/b/pcrs/sha256/7", "old": null, "new": "11".repeat(32),
    });
    assert!(printed["differences"].as_array().unwrap().contains(&added));
    let (code, printed, _) = run(at, &["reference", "diff", "a.jws", "a.jws"]);
    assert_eq!(
        (code, printed.as_str()),
        (Some(0), "They approve the same.\n")
    );
    let (code, _, said) = run(at, &["reference", "diff", "a.jws", "keys/alice.pem"]);
    assert_eq!(code, Some(64), "{said}");
}

#[test]
fn a_second_signature_is_for_the_same_claims_and_by_another_key() {
    let operator = operator();
    let at = operator.path();
    let cosign = |key: &'static str, signed_by: &'static str| {
        let mut arguments = vec![
            "reference",
            "cosign",
            "--key",
            key,
            "--signed-by",
            signed_by,
        ];
        arguments.extend(["-i", "a.jws", "-o", "a.bob.jws"]);
        arguments
    };
    let (code, _, said) = run(at, &cosign("keys/alice.pem", "keys/alice.jwk"));
    assert_eq!(code, Some(64), "{said}");
    let (code, _, said) = run(at, &cosign("keys/bob.pem", "keys/bob.jwk"));
    assert_eq!(code, Some(1), "not signed with that key: {said}");
    done(at, &cosign("keys/bob.pem", "keys/alice.jwk"));
    done(
        at,
        &["reference", "show", "--key", "keys/bob.jwk", "a.bob.jws"],
    );
    done(at, &["reference", "diff", "a.jws", "a.bob.jws"]);
}
