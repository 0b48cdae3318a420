//! The real `portcullis` on recorded event logs.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const GOLDEN: &str = "secureboot/binary_bios_measurements";

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["reference", "events"])
        .args(arguments)
        .current_dir(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/data/measured-boot"
        ))
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(output: &Output) -> (Option<i32>, String, String) {
    let of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), of(&output.stdout), of(&output.stderr))
}

#[test]
fn a_log_is_shown_with_what_is_proven_and_what_is_not() {
    let (exit, out, err) = text(&run(&[GOLDEN]));
    assert_eq!((exit, err.as_str()), (Some(0), ""));
    let line = |number: &str| {
        out.lines()
            .find(|line| line.trim().starts_with(number))
            .unwrap()
    };
    assert_eq!(
        line("4 "),
        "     4   7  EV_EFI_VARIABLE_DRIVER_CONFIG       ccfc4bb32888a345  SecureBoot = 01"
    );
    assert!(line("49 ").contains("/vmlinuz console=ttyS0"), "{out}");
    assert!(!line("49 ").contains("unproven"), "{out}");
    assert!(
        line("44 ").ends_with("unproven: (hd0,gpt1)/vmlinuz"),
        "{out}"
    );
    assert_eq!(out.lines().count(), 54 + 11 + 3);
}

#[test]
fn json_has_every_bank_replayed_as_tpm2_pcrread_printed_them() {
    let (exit, out, _) = text(&run(&["--output", "json", GOLDEN]));
    assert_eq!(exit, Some(0));
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["events"].as_array().unwrap().len(), 54);
    for (bank, read) in [
        (
            "sha1",
            include_str!("../../tests/data/measured-boot/secureboot/pcrs.sha1.txt"),
        ),
        (
            "sha256",
            include_str!("../../tests/data/measured-boot/secureboot/pcrs.sha256.txt"),
        ),
    ] {
        for (pcr, value) in json["pcrs"][bank].as_object().unwrap() {
            let line = read.lines().find_map(|line| {
                let (index, value) = line.split_once(": 0x")?;
                (index.trim() == pcr).then_some(value)
            });
            assert_eq!(
                value.as_str().unwrap().to_uppercase(),
                line.unwrap(),
                "{bank} {pcr}"
            );
        }
    }
}

#[test]
fn one_pcr_and_another_bank_can_be_asked_for() {
    let (exit, out, _) = text(&run(&["--pcr", "9", "--bank", "sha1", GOLDEN]));
    assert_eq!(exit, Some(0));
    assert!(out.starts_with("Events (sha1)\n"), "{out}");
    assert_eq!(out.lines().count(), 4 + 1 + 3, "{out}");
    for wrong in [["--pcr", "24"], ["--bank", "md5"]] {
        assert_eq!(
            run(&[&wrong[..], &[GOLDEN]].concat()).status.code(),
            Some(64)
        );
    }
    let (exit, _, err) = text(&run(&["--bank", "sha384", GOLDEN]));
    assert_eq!(exit, Some(64));
    assert!(
        err.contains("bank sha384: it has no digests of it"),
        "{err}"
    );
}

#[test]
fn a_log_that_cannot_be_read_is_one_line_with_the_place() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["reference", "events", "-"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = include_bytes!("../../tests/data/measured-boot/secureboot/binary_bios_measurements");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&log[..5000]).unwrap();
    drop(stdin);
    let (exit, out, err) = text(&child.wait_with_output().unwrap());
    assert_eq!((exit, out.as_str()), (Some(64), ""));
    assert_eq!(
        err,
        "portcullis: cannot show event log: cannot read event 7 of event log: event at byte 4300 \
         ends after the log\n"
    );
}
