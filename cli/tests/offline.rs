//! The real `portcullis`, where it needs neither an agent nor a configured node.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Identity of a TPM that does not exist: a type byte and 32 zero bytes.
const UEID: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What the command did.
#[derive(Debug)]
struct Ran {
    exit: i32,
    out: String,
    err: String,
}

/// Runs the command in `directory`, with an environment that has no say in anything.
fn run(directory: &Path, arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran {
        exit: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs it and expects success; returns the JSON it prints.
fn json_of(directory: &Path, arguments: &[&str]) -> Value {
    let ran = run(directory, &[arguments, &["--output", "json"]].concat());
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{arguments:?}");
    serde_json::from_str(&ran.out).unwrap()
}

/// Runs it and expects this exit code and this one line on stderr.
#[track_caller]
fn fails(directory: &Path, arguments: &[&str], exit: i32, line: &str) {
    let ran = run(directory, arguments);
    assert_eq!((ran.exit, ran.err.trim_end()), (exit, line));
    assert_eq!(ran.out, "");
    assert_eq!(ran.err.lines().count(), 1);
}

/// A directory with a key pair for each use in `keys/`.
fn with_keys() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for key_use in ["reference", "tag", "verdict"] {
        json_of(
            directory.path(),
            &["keys", "generate", "--use", key_use, "--out", "keys"],
        );
    }
    directory
}

fn capture(name: &str, digit: char) -> Value {
    let digest: String = std::iter::repeat_n(digit, 64).collect();
    let ak_name = format!("000b{digest}");
    json!({
        "boot_states": [{"name": name, "pcrs": {"sha256": {"0": digest, "7": digest}}}],
        "tpms": [{"ueid": UEID, "ak_name": ak_name}],
    })
}

fn write(directory: &Path, name: &str, value: &Value) {
    std::fs::write(directory.join(name), value.to_string()).unwrap();
}

#[test]
fn generates_a_private_key_for_its_owner_and_a_public_one_for_everybody() {
    let directory = tempfile::tempdir().unwrap();
    let made = json_of(
        directory.path(),
        &["keys", "generate", "--use", "tag", "--out", "keys"],
    );
    assert_eq!(made["private_key"], "keys/tag.pem");
    let mode = |name: &str| {
        std::fs::metadata(directory.path().join(name))
            .unwrap()
            .mode()
            & 0o7777
    };
    assert_eq!(
        (mode("keys/tag.pem"), mode("keys/tag.jwk"), mode("keys")),
        (0o600, 0o644, 0o700)
    );
    let jwk: Value =
        serde_json::from_slice(&std::fs::read(directory.path().join("keys/tag.jwk")).unwrap())
            .unwrap();
    assert_eq!(jwk["kid"], made["kid"]);
    assert_eq!(jwk["use"], "tag");
    assert_eq!(jwk.get("d"), None);
}

#[test]
fn never_replaces_a_key_unless_told_to() {
    let directory = with_keys();
    let pem = directory.path().join("keys/tag.pem");
    let before = std::fs::read(&pem).unwrap();
    let arguments = ["keys", "generate", "--use", "tag", "--out", "keys"];
    fails(
        directory.path(),
        &arguments,
        64,
        "portcullis: cannot write 'keys/tag.pem': the file exists; name another one, or use \
         '--force'",
    );
    assert_eq!(std::fs::read(&pem).unwrap(), before);
    json_of(
        directory.path(),
        &[arguments.as_slice(), &["--force"]].concat(),
    );
    assert_ne!(std::fs::read(&pem).unwrap(), before);
}

#[test]
fn leaves_no_private_key_whose_public_half_could_not_be_written() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("keys")).unwrap();
    std::fs::write(directory.path().join("keys/tag.jwk"), b"other").unwrap();
    let ran = run(
        directory.path(),
        &["keys", "generate", "--use", "tag", "--out", "keys"],
    );
    assert_eq!(ran.exit, 64);
    assert!(!directory.path().join("keys/tag.pem").exists());
}

#[test]
fn a_key_name_cannot_lead_out_of_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["../x", "a/b", "", ".hidden"] {
        let arguments = [
            "keys", "generate", "--use", "tag", "--out", "keys", "--name", name,
        ];
        assert_eq!(run(directory.path(), &arguments).exit, 64, "{name}");
    }
    assert!(!directory.path().join("x.pem").exists());
}

#[test]
fn signs_captures_and_shows_what_it_signed() {
    let directory = with_keys();
    write(directory.path(), "a.json", &capture("debian-12", 'a'));
    write(directory.path(), "b.json", &capture("ubuntu-24.04", 'b'));
    let signed = json_of(
        directory.path(),
        &[
            "reference",
            "sign",
            "--key",
            "keys/reference.pem",
            "-i",
            "a.json",
            "-i",
            "b.json",
            "-o",
            "fleet.jws",
            "--valid",
            "30d",
            "--seq",
            "7",
            "--issuer",
            "operations",
        ],
    );
    let claims = &signed["claims"];
    assert_eq!(
        (&claims["iss"], &claims["seq"]),
        (&json!("operations"), &json!(7))
    );
    assert_eq!(claims["boot_states"].as_array().unwrap().len(), 2);
    assert_eq!(
        claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
        30 * 24 * 3600
    );
    let shown = json_of(
        directory.path(),
        &[
            "reference",
            "show",
            "--key",
            "keys/reference.jwk",
            "fleet.jws",
        ],
    );
    assert_eq!(
        (&shown["claims"], &shown["verified"]),
        (claims, &json!(true))
    );
    let text = run(
        directory.path(),
        &[
            "reference",
            "show",
            "--key",
            "keys/reference.jwk",
            "fleet.jws",
        ],
    );
    assert!(
        text.out.contains("Boot state ubuntu-24.04\n"),
        "{}",
        text.out
    );
    assert!(
        text.out.contains("PCR 7 (sha256)  bbbbbbbbbbbbbbbb…\n"),
        "{}",
        text.out
    );
}

#[test]
fn verifies_with_the_key_that_signed_and_with_no_other() {
    let directory = with_keys();
    write(directory.path(), "a.json", &capture("debian-12", 'a'));
    let sign = [
        "reference",
        "sign",
        "--key",
        "keys/reference.pem",
        "-i",
        "a.json",
        "-o",
        "a.jws",
    ];
    let kid = json_of(directory.path(), &sign)["kid"]
        .as_str()
        .unwrap()
        .to_owned();
    fails(
        directory.path(),
        &["reference", "show", "--key", "keys/tag.jwk", "a.jws"],
        1,
        &format!(
            "portcullis: cannot verify reference values: cannot find key '{kid}' of token among \
             the pinned keys"
        ),
    );
    let token = std::fs::read_to_string(directory.path().join("a.jws")).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{signed}.{first}{}", signature.get(1..).unwrap());
    std::fs::write(directory.path().join("forged.jws"), forged).unwrap();
    fails(
        directory.path(),
        &[
            "reference",
            "show",
            "--key",
            "keys/reference.jwk",
            "forged.jws",
        ],
        1,
        &format!(
            "portcullis: cannot verify reference values: cannot verify signature of token with \
             key '{kid}'"
        ),
    );
}

#[test]
fn refuses_captures_that_cannot_be_approved() {
    let directory = with_keys();
    let path = directory.path();
    write(path, "a.json", &capture("debian-12", 'a'));
    write(path, "other.json", &capture("debian-12", 'b'));
    write(
        path,
        "extra.json",
        &json!({"boot_states": [], "tpms": [], "exp": 1}),
    );
    write(path, "empty.json", &json!({"boot_states": [], "tpms": []}));
    std::fs::write(
        path.join("twice.json"),
        r#"{"boot_states":[],"tpms":[],"tpms":[]}"#,
    )
    .unwrap();
    for (input, line) in [
        (
            vec!["-i", "a.json", "-i", "other.json"],
            "portcullis: cannot merge captures: boot state 'debian-12' has two different sets of \
             values; capture one of them under another name",
        ),
        (
            vec!["-i", "extra.json"],
            "portcullis: cannot read capture 'extra.json': expected an object with 'boot_states' \
             and 'tpms'",
        ),
        (
            vec!["-i", "empty.json"],
            "portcullis: cannot approve captures without a boot state",
        ),
        (
            vec!["-i", "twice.json"],
            "portcullis: cannot read capture 'twice.json': cannot accept key 'tpms' twice in one \
             object at line 1 column 34",
        ),
        (
            vec!["-i", "absent.json"],
            "portcullis: cannot read 'absent.json': No such file or directory (os error 2)",
        ),
    ] {
        let mut arguments = vec![
            "reference",
            "sign",
            "--key",
            "keys/reference.pem",
            "-o",
            "x.jws",
        ];
        arguments.extend(input);
        fails(path, &arguments, 64, line);
        assert!(!path.join("x.jws").exists());
    }
}

#[test]
fn does_not_use_a_private_key_that_others_may_read() {
    let directory = with_keys();
    let key = directory.path().join("keys/tag.pem");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let issue = [
        "tag",
        "issue",
        "--key",
        "keys/tag.pem",
        "--tpm",
        UEID,
        "--counter",
        "4",
        "--tag",
        "a=b",
        "-o",
        "t.jws",
    ];
    fails(
        directory.path(),
        &issue,
        64,
        "portcullis: cannot use private key 'keys/tag.pem': others may read it; run 'chmod 0600 \
         keys/tag.pem'",
    );
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&key, "not a key").unwrap();
    fails(
        directory.path(),
        &issue,
        64,
        "portcullis: cannot use private key 'keys/tag.pem': cannot read private key: expected \
         PKCS#8 in PEM, of a key on P-256",
    );
}

#[test]
fn issues_a_tag_and_shows_what_it_says() {
    let directory = with_keys();
    let issued = json_of(
        directory.path(),
        &[
            "tag",
            "issue",
            "--key",
            "keys/tag.pem",
            "--tpm",
            UEID,
            "--counter",
            "4",
            "--tag",
            "country=DE",
            "--tag",
            "pool=",
            "--location",
            "-33.9,18.4",
            "-o",
            "w7.jws",
        ],
    );
    assert_eq!(issued["claims"]["sub"], UEID);
    assert_eq!(
        issued["claims"]["tags"],
        json!({"country": "DE", "pool": ""})
    );
    let kid = issued["kid"].as_str().unwrap();
    assert_eq!(
        issued["claims"]["iss"],
        format!("urn:ietf:params:oauth:jwk-thumbprint:sha-256:{kid}")
    );
    let show = ["tag", "show", "--key", "keys/tag.jwk", "w7.jws"];
    let shown = json_of(directory.path(), &show);
    assert_eq!(shown["claims"], issued["claims"]);
    assert_eq!(shown["sha384"], issued["sha384"]);
    let text = run(directory.path(), &show).out;
    assert!(text.contains("tags       country=DE, pool\n"), "{text}");
    assert!(text.contains("location   -33.9, 18.4\n"), "{text}");
    assert!(
        text.contains("(in 364 d 23 h)") || text.contains("(in 365 d)"),
        "{text}"
    );
}

#[test]
fn an_expired_tag_is_shown_and_refused() {
    let directory = with_keys();
    let tag = portcullis_attestation::tag::AssetTag {
        issuer: "tests".to_owned(),
        subject: portcullis_attestation::ueid::Ueid::parse(UEID).unwrap(),
        issued_at_s: 1000,
        not_before_s: 1000,
        expires_s: 2000,
        counter: 1,
        tags: std::iter::once(("a".to_owned(), "b".to_owned())).collect(),
        location: None,
    };
    let document = tag.sign(&mut private_key(directory.path(), "tag")).unwrap();
    std::fs::write(directory.path().join("old.jws"), document).unwrap();
    let ran = run(
        directory.path(),
        &["tag", "show", "--key", "keys/tag.jwk", "old.jws"],
    );
    assert_eq!(ran.exit, 1);
    assert!(
        ran.out.contains("expired since 1970-01-01T00:33:20Z"),
        "{}",
        ran.out
    );
}

#[test]
fn a_file_that_is_no_tag_never_reaches_the_agent() {
    let directory = with_keys();
    std::fs::write(directory.path().join("x.jws"), "a.b").unwrap();
    fails(
        directory.path(),
        &["tag", "provision", "x.jws"],
        64,
        "portcullis: cannot read asset tag 'x.jws': cannot split token into header, payload and \
         signature",
    );
    write(directory.path(), "a.json", &capture("debian-12", 'a'));
    let sign = [
        "reference",
        "sign",
        "--key",
        "keys/reference.pem",
        "-i",
        "a.json",
        "-o",
        "a.jws",
    ];
    json_of(directory.path(), &sign);
    fails(
        directory.path(),
        &["tag", "provision", "a.jws"],
        64,
        "portcullis: cannot read asset tag 'a.jws': cannot accept type 'portcullis-reference+jws' of \
         token: expected 'portcullis-tag+jws'",
    );
}

#[test]
fn explains_every_code_it_lists() {
    let directory = tempfile::tempdir().unwrap();
    let listed = json_of(directory.path(), &["explain", "--list"]);
    let codes = listed["codes"].as_array().unwrap();
    assert_eq!(codes.len(), portcullis_gate::Code::ALL.len());
    for entry in codes {
        let code = entry["code"].as_str().unwrap();
        assert_eq!(json_of(directory.path(), &["explain", code]), *entry);
    }
    let rules = listed["rules"].as_array().unwrap();
    assert_eq!(rules.len(), portcullis_gate::Rule::ALL.len());
    for entry in rules {
        let rule = entry["rule"].as_str().unwrap();
        let explained = json_of(directory.path(), &["explain", rule]);
        for key in ["rule", "title", "references", "fields", "advice"] {
            assert_eq!(explained[key], entry[key], "{rule}");
        }
    }
}

#[test]
fn suggests_what_may_have_been_meant() {
    let directory = tempfile::tempdir().unwrap();
    fails(
        directory.path(),
        &["explain", "pcr-dirft"],
        64,
        "portcullis: cannot explain 'pcr-dirft': there is no such code or rule; did you mean 'pcr-drift'?",
    );
    let ran = run(directory.path(), &["refrence", "sign"]);
    assert_eq!(ran.exit, 64);
    assert!(
        ran.err.contains("similar subcommand") && ran.err.contains("'reference'"),
        "{}",
        ran.err
    );
    let ran = run(directory.path(), &["tag", "issue", "--locaton", "0,0"]);
    assert!(
        ran.err.contains("a similar argument exists: '--location'"),
        "{}",
        ran.err
    );
}

#[test]
fn help_and_version_end_with_0_and_wrong_usage_with_64() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, exit) in [
        (vec!["--help"], 0),
        (vec!["--version"], 0),
        (vec!["tag", "issue", "--help"], 0),
        (vec![], 64),
        (vec!["tag"], 64),
        (vec!["status", "--output", "yaml"], 64),
        (vec!["explain"], 64),
    ] {
        assert_eq!(
            run(directory.path(), &arguments).exit,
            exit,
            "{arguments:?}"
        );
    }
}

#[test]
fn a_failure_is_json_too_when_json_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let ran = run(directory.path(), &["explain", "zzzz", "--output", "json"]);
    let line =
        "portcullis: cannot explain 'zzzz': expected eight hexadecimal digits, a code or a rule";
    assert_eq!((ran.exit, ran.err.trim_end()), (64, line));
    assert_eq!(
        serde_json::from_str::<Value>(&ran.out).unwrap(),
        json!({"error": {"exit_code": 64, "message": line, "refusals": []}})
    );
}

#[test]
fn writes_no_colour_where_nobody_sees_it() {
    let directory = with_keys();
    let ran = run(directory.path(), &["explain", "pcr-drift"]);
    assert!(!ran.out.contains('\u{1b}'), "{:?}", ran.out);
}

#[test]
fn a_malformed_configuration_is_refused_before_anything_else() {
    let directory = tempfile::tempdir().unwrap();
    let text = r#"{"ociVersion":"1.0.2","process":{},"Process":{}}"#;
    std::fs::write(directory.path().join("config.json"), text).unwrap();
    let ran = run(directory.path(), &["check", "config.json"]);
    assert_eq!(ran.exit, 64);
    assert!(
        ran.err
            .starts_with("portcullis: fault [oci-config-malformed] "),
        "{}",
        ran.err
    );
    assert_eq!(ran.err.lines().count(), 1);
}

#[test]
fn an_endless_input_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    fails(
        directory.path(),
        &["check", "/dev/zero"],
        64,
        "portcullis: cannot accept '/dev/zero' of more than 16777216 bytes",
    );
}

fn private_key(directory: &Path, name: &str) -> portcullis_attestation::software_key::SoftwareKey {
    let pem = std::fs::read_to_string(directory.join(format!("keys/{name}.pem"))).unwrap();
    portcullis_attestation::software_key::SoftwareKey::from_pem(&pem).unwrap()
}
