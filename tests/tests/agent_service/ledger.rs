//! The ledger as an operator and an auditor see it: anchored by the agent, verified by the command.

use std::fs;
use std::path::Path;
use std::process::Command;

use portcullis_attestation::hex;
use portcullis_client::method::{AnchorLedger, Status};
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::run::{self, Ran};
use portcullis_tests::wait::PATIENCE;
use portcullis_tests::{in_world, needs};
use portcullis_tpm::{Deadline, Tcti, Tpm};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::host::Host;
use super::{LEDGER, append};

const COPY: &str = "/run/copy";

fn portcullis(arguments: &[&str]) -> Outcome<Ran> {
    run::to_end(Command::new("portcullis").args(arguments))
}

/// Runs `ledger verify` and returns its exit code and what it found.
fn verify(arguments: &[&str]) -> Outcome<(i32, Value)> {
    let mut all = vec!["ledger", "verify", "--output", "json"];
    all.extend_from_slice(arguments);
    let ran = portcullis(&all)?;
    let found =
        serde_json::from_str(&ran.stdout).doing(format!("read '{}' {}", ran.stdout, ran.stderr))?;
    Ok((ran.status.code().unwrap_or_default(), found))
}

/// Expects this exit code, and these codes of faults in this order.
fn expect(arguments: &[&str], exit: i32, faults: &[&str]) -> Outcome<Value> {
    let (code, found) = verify(arguments)?;
    let codes: Vec<&str> = found["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|finding| finding["fault"] == true)
        .filter_map(|finding| finding["code"].as_str())
        .collect();
    if code == exit && codes == faults {
        return Ok(found);
    }
    Err(Failure::new(format!(
        "'{arguments:?}': expected {exit} {faults:?}, found {code} {found}"
    )))
}

/// What an auditor takes along: the ledger, and the operator's keys and reference values.
fn take_along() -> Outcome {
    let trust = Path::new(COPY).join("trust");
    fs::create_dir_all(&trust).doing("make a directory")?;
    for directory in ["/etc/portcullis/trust.d", "/etc/portcullis/reference.d"] {
        for entry in fs::read_dir(directory).doing("list")?.flatten() {
            fs::copy(entry.path(), trust.join(entry.file_name())).doing("copy")?;
        }
    }
    fs::copy(LEDGER, format!("{COPY}/ledger.jsonl"))
        .doing("copy the ledger")
        .map(drop)
}

/// The TPM behind the agent's back, as root has it.
fn behind_the_agent<T>(host: &Host, act: impl FnOnce(&mut Tpm, &Deadline) -> T) -> T {
    let mut tpm = Tpm::new(host.tpm.tcti().parse::<Tcti>().unwrap());
    let result = act(&mut tpm, &Deadline::within(PATIENCE));
    tpm.release();
    result
}

fn last_digest() -> [u8; 32] {
    let text = fs::read_to_string(LEDGER).unwrap();
    Sha256::digest(text.lines().last().unwrap().as_bytes()).into()
}

fn anchor_state(host: &Host) -> Value {
    let status = host.call(&Status {}).unwrap().status;
    serde_json::to_value(status.ledger_anchor).unwrap()
}

mod needs_root {
    use super::*;

    #[test]
    fn an_anchored_ledger_is_verified_here_and_elsewhere() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start_approved(world)?;
            assert_eq!(anchor_state(&host)["state"], "not-yet");
            for number in 1..=3 {
                append(&host, &format!("0000000{number}"), "permitted").unwrap();
            }
            expect(&[], 0, &[])?;
            // The TPM has nothing to sign yet.
            assert_eq!(verify(&["--live"])?.0, 2);
            let first = host.call(&AnchorLedger {}).unwrap();
            assert_eq!((first.through, first.sequence), (3, 4));
            assert_eq!(anchor_state(&host)["state"], "anchored");
            append(&host, "00000004", "refused").unwrap();
            let second = host.call(&AnchorLedger {}).unwrap();
            assert_eq!((second.through, second.counter), (5, first.counter + 1));
            append(&host, "00000005", "refused").unwrap();

            let found = expect(&["--live"], 0, &[])?;
            assert_eq!(
                (&found["entries"], &found["anchors_verified"]),
                (&7.into(), &2.into())
            );
            assert_eq!(found["last_anchor"]["through"], 5);
            take_along()?;
            let (copy, trust) = (COPY.to_owned(), format!("{COPY}/trust"));
            expect(&["--ledger", &copy, "--trust", &trust], 0, &[])?;
            let name = host.call(&Status {}).unwrap().status.ak_name.unwrap();
            expect(&["--ledger", &copy, "--ak", &name], 0, &[])?;
            let document = format!("{trust}/approved.jws");
            expect(&["--ledger", &copy, "--ak", &document], 0, &[])?;
            let stranger = name.replace(&name[60..], "00000000");
            let unknown = ["anchor-key-unknown"; 2];
            expect(&["--ledger", &copy, "--ak", &stranger], 1, &unknown)?;

            // At the end the agent anchors what is new, and an idle one writes nothing.
            host.restart()?;
            let found = expect(&["--live"], 0, &[])?;
            assert_eq!(found["last_anchor"]["through"], 7);
            host.restart()?;
            let same = expect(&["--live"], 0, &[])?;
            assert_eq!(same["head_sha256"], found["head_sha256"]);
            host.stop()
        })
    }

    #[test]
    fn whatever_is_done_to_a_ledger_is_told() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start_approved(world)?;
            for round in 0..2 {
                for number in 1..=2 {
                    append(&host, &format!("{round}000000{number}"), "permitted").unwrap();
                }
                host.call(&AnchorLedger {}).unwrap();
            }
            host.kill()?;
            let whole = fs::read_to_string(LEDGER).doing("read")?;
            let lines: Vec<&str> = whole.lines().collect();
            assert_eq!(lines.len(), 6);
            let write = |text: &str| fs::write(LEDGER, text).doing("write the ledger");

            write(&whole.replace("00000002", "0000000f"))?;
            let found = expect(&[], 1, &["chain-broken", "anchor-head"])?;
            assert_eq!(found["first_fault"]["line"], 3);
            assert_eq!(found["first_fault"]["sequence"], 3);
            assert_eq!(found["first_fault"]["file"], LEDGER);
            write(&[&lines[..1], &lines[2..], &[""]].concat().join("\n"))?;
            expect(&[], 1, &["sequence-broken", "chain-broken", "anchor-head"])?;
            write(&whole.replacen("permitted", "permitted\\u0000", 1))?;
            expect(&[], 1, &["chain-broken"])?;
            write(&whole.replacen('{', "{\"ref\":\"x\",", 1))?;
            expect(&[], 1, &["entry-malformed", "chain-broken"])?;

            // Cut before the last anchor: the files alone do not say so, the TPM does.
            write(&[&lines[..4], &[""]].concat().join("\n"))?;
            expect(&[], 0, &[])?;
            host.start_again()?;
            expect(&["--live"], 1, &["live-mismatch"])?;
            let kept = format!("6:{}", hex::encode(&Sha256::digest(lines[5])));
            expect(&["--contains", &kept], 1, &["entry-missing"])?;
            // The agent writes down what it finds, and the gap stays for ever.
            host.call(&AnchorLedger {}).unwrap();
            assert!(host.log().contains("TPM and ledger are apart"));
            expect(&["--live"], 1, &["anchor-counter", "anchor-extend"])?;
            host.stop()
        })
    }

    #[test]
    fn an_anchor_that_was_interrupted_is_finished_and_a_foreign_one_told() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start_approved(world)?;
            append(&host, "00000001", "permitted").unwrap();
            host.call(&AnchorLedger {}).unwrap();
            append(&host, "00000002", "permitted").unwrap();
            host.kill()?;
            // As if the machine had died after the first step, then after the second.
            for counted in [false, true] {
                behind_the_agent(&host, |tpm, deadline| {
                    tpm.extend_anchor(&last_digest(), deadline).unwrap();
                    if counted {
                        tpm.count_anchor(deadline).unwrap();
                    }
                });
                host.start_again()?;
                append(&host, "00000003", "permitted").unwrap();
                expect(&["--live"], 0, &[])?;
                host.call(&AnchorLedger {}).unwrap();
                expect(&["--live"], 0, &[])?;
                append(&host, "00000004", "permitted").unwrap();
                host.kill()?;
            }
            behind_the_agent(&host, |tpm, deadline| tpm.count_anchor(deadline).unwrap());
            host.start_again()?;
            expect(&["--live"], 1, &["live-mismatch"])?;
            host.call(&AnchorLedger {}).unwrap();
            expect(&["--live"], 1, &["anchor-counter"])?;
            host.stop()
        })
    }

    #[test]
    fn a_tpm_that_cannot_anchor_does_not_stop_the_ledger() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start(world)?;
            append(&host, "00000001", "permitted").unwrap();
            host.call(&AnchorLedger {}).unwrap_err();
            let state = anchor_state(&host);
            assert_eq!(state["state"], "not-anchored");
            assert!(state["reason"].as_str().unwrap().contains("not enrolled"));
            host.approve()?;
            // The owner takes the hierarchy: TPM2_HierarchyChangeAuth to 'x'.
            let mut frame = vec![0x80, 0x02, 0, 0, 0, 0x1e, 0, 0, 0x01, 0x29];
            frame.extend(0x4000_0001_u32.to_be_bytes());
            frame.extend([0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0, 0, 1, b'x']);
            let answer = host.tpm.command(&frame).unwrap();
            assert_eq!(answer[6..10], [0; 4], "{answer:02x?}");
            host.call(&AnchorLedger {}).unwrap_err();
            let state = anchor_state(&host);
            let reason = state["reason"].as_str().unwrap();
            assert!(reason.contains("NV_DefineSpace"), "{reason}");
            append(&host, "00000002", "permitted").unwrap();
            expect(&[], 0, &[])?;
            host.stop()
        })
    }

    #[test]
    fn exported_statements_verify_with_a_program_that_is_not_ours() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start(world)?;
            append(&host, "00000001", "permitted").unwrap();
            append(&host, "00000002", "refused").unwrap();
            let openssl = |arguments: &str| {
                let mut command = Command::new("openssl");
                run::to_end(command.args(arguments.split(' ')).current_dir("/run"))?.success()
            };
            openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out export.pem")?;
            openssl("pkey -in export.pem -pubout -out export.pub")?;
            run::to_end(Command::new("chmod").args(["0600", "/run/export.pem"]))?.success()?;
            let export = [
                "ledger",
                "export",
                "--key",
                "/run/export.pem",
                "--out",
                "/run/export.jsonl",
                "--outcome",
                "refused",
            ];
            portcullis(&export)?.success()?;
            let text = fs::read_to_string("/run/export.jsonl").doing("read")?;
            assert_eq!(text.lines().count(), 1);
            let envelope: Value = serde_json::from_str(text.trim()).doing("parse")?;
            fs::write("/run/payload.b64", envelope["payload"].as_str().unwrap()).doing("write")?;
            let signature = envelope["signatures"][0]["sig"].as_str().unwrap();
            fs::write("/run/sig.b64", signature).doing("write")?;
            openssl("base64 -d -A -in sig.b64 -out sig.der")?;
            openssl("base64 -d -A -in payload.b64 -out payload")?;
            let payload = fs::read("/run/payload").doing("read")?;
            let kind = envelope["payloadType"].as_str().unwrap();
            assert_eq!(kind, "application/vnd.in-toto+json");
            let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
            fs::write("/run/pae", [head.as_bytes(), &payload].concat()).doing("write")?;
            openssl("dgst -sha256 -verify export.pub -signature sig.der pae")?;
            let statement: Value = serde_json::from_slice(&payload).doing("parse")?;
            assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
            assert_eq!(statement["predicate"]["ref"], "00000002");
            assert_eq!(
                statement["subject"][0]["digest"]["sha256"],
                hex::encode(&last_digest())
            );

            let damaged = fs::read_to_string(LEDGER).doing("read")?;
            fs::write(LEDGER, damaged.replace("00000001", "0000000f")).doing("write")?;
            let mut again = export.to_vec();
            again.push("--force");
            assert_eq!(portcullis(&again)?.status.code(), Some(1));
            host.stop()
        })
    }
}
