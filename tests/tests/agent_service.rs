//! The agent as its clients see it: a real process, a real TPM, at its real paths.

#[path = "agent_service/host.rs"]
mod host;
#[path = "agent_service/ledger.rs"]
mod ledger;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use host::{Host, SOCKET};
use portcullis_attestation::boot_id::BootId;
use portcullis_attestation::jwk::{KeyUse, TrustedKey, TrustedKeys};
use portcullis_attestation::trust::TrustTier;
use portcullis_attestation::{tag, verdict};
use portcullis_client::AgentError;
use portcullis_client::method::{
    Attest, Capture, Enroll, Explain, InterfaceDescription, Record, ServiceInfo, Status,
};
use portcullis_gate::Moment;
use portcullis_tests::failure::Outcome;
use portcullis_tests::swtpm::PowerCycle;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::{in_world, needs};
use serde_json::{Map, Value, json};

const VERDICT: &str = "/run/portcullis/verdict.jwt";
const LEDGER: &str = "/var/lib/portcullis/ledger.jsonl";

/// A record as a shim sends it.
fn record(reference: &str, decision: &str) -> Map<String, Value> {
    let record = json!({
        "ref": reference,
        "operation": "create",
        "decision": decision,
        "node": "here",
        "container": { "namespace": "default", "id": "web-1" },
        "latency_us": 812,
    });
    record.as_object().unwrap().clone()
}

fn append(host: &Host, reference: &str, decision: &str) -> Result<u64, AgentError> {
    let record = record(reference, decision);
    host.call(&Record { record }).map(|reply| reply.sequence)
}

/// Sends raw bytes and reads until the agent hangs up or ends a message.
fn raw(bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(SOCKET).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The agent may hang up before it has read everything.
    drop(stream.write_all(bytes));
    let mut answer = Vec::new();
    let mut byte = [0];
    while let Ok(1) = stream.read(&mut byte) {
        if byte == [0] {
            break;
        }
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap()
}

mod needs_root {
    use super::*;

    // === enrolment and attestation ===

    #[test]
    fn a_node_is_enrolled_approved_and_vouched_for() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start(world)?;
            assert_eq!(host.call(&Attest {}), Err(AgentError::NotEnrolled {}));
            let before = host.call(&Status {}).unwrap().status;
            assert!(!before.enrolled && before.verdict.is_none());

            let enrolled = host.call(&Enroll {}).unwrap();
            // Reference values are missing, so the node is spoken against, not passed over.
            let unapproved = host.call(&Attest {}).unwrap();
            assert_eq!(unapproved.status, "contraindicated");
            assert_eq!(unapproved.findings[0].code, "reference-values-missing");

            host.approve()?;
            let attested = host.call(&Attest {}).unwrap();
            assert_eq!(
                (attested.status.as_str(), attested.findings.len()),
                ("affirming", 0)
            );

            let mut keys = TrustedKeys::new();
            let key = TrustedKey::from_value(&Value::Object(enrolled.verdict_key)).unwrap();
            assert_eq!(key.key_use(), KeyUse::Verdict);
            keys.insert(key).unwrap();
            let token = attested.verdict.unwrap();
            let read = verdict::verify(&token, &keys).unwrap();
            assert_eq!(read.host.ueid.as_str(), enrolled.ueid);
            assert_eq!(read.host.ak_name.to_string(), enrolled.ak_name);
            assert_eq!(read.host.boot_state.as_deref(), Some("approved"));
            assert_eq!(read.status, TrustTier::Affirming);

            assert_eq!(fs::read_to_string(VERDICT).unwrap(), token);
            assert_eq!(fs::metadata(VERDICT).unwrap().mode() & 0o7777, 0o600);
            let status = host.call(&Status {}).unwrap().status;
            assert_eq!(status.verdict.unwrap().sequence, read.host.sequence);
            assert_eq!(status.last_failure, None);
            host.stop()
        })
    }

    #[test]
    fn enrolling_twice_changes_nothing() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start(world)?;
            let first = host.call(&Enroll {}).unwrap();
            assert_eq!(host.call(&Enroll {}).unwrap(), first);
            host.restart()?;
            assert_eq!(host.call(&Enroll {}).unwrap(), first);
            for (path, mode) in [
                ("/var/lib/portcullis", 0o700),
                ("/var/lib/portcullis/keys", 0o700),
                ("/var/lib/portcullis/keys/verdict.private", 0o600),
                ("/var/lib/portcullis/enrollment.json", 0o600),
                ("/run/portcullis", 0o700),
                (SOCKET, 0o600),
            ] {
                assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, mode, "{path}");
            }
            host.stop()
        })
    }

    #[test]
    fn a_key_the_tpm_does_not_take_is_replaced_when_the_operator_enrolls() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start_approved(world)?;
            let first = host.call(&Enroll {}).unwrap();
            // As after a clear of the TPM: the blob is whole and the TPM refuses it.
            let path = "/var/lib/portcullis/keys/verdict.private";
            let mut private = fs::read(path).unwrap();
            *private.last_mut().unwrap() ^= 1;
            fs::write(path, private).unwrap();
            host.restart()?;
            let refused = host.call(&Attest {}).unwrap();
            assert_eq!(refused.verdict, None);
            assert!(
                refused.findings[0].found.contains("cannot run Load"),
                "{:?}",
                refused.findings
            );

            let second = host.call(&Enroll {}).unwrap();
            assert_eq!(second.ak_name, first.ak_name);
            assert_ne!(second.verdict_key, first.verdict_key);
            assert!(host.call(&Attest {}).unwrap().verdict.is_some());
            host.stop()
        })
    }

    #[test]
    fn a_damaged_enrolment_is_reported_and_mended_by_enrolling() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start_approved(world)?;
            for damaged in [
                "",
                "{",
                "{}",
                "{\"version\":2}",
                "{\"version\":1,\"version\":1}",
            ] {
                fs::write("/var/lib/portcullis/enrollment.json", damaged).unwrap();
                host.restart()?;
                let status = host.call(&Status {}).unwrap().status;
                assert!(!status.enrolled, "{damaged:?}");
                assert!(status.last_failure.unwrap().contains("enrollment"));
            }
            host.call(&Enroll {}).unwrap();
            assert!(host.call(&Status {}).unwrap().status.enrolled);
            host.stop()
        })
    }

    #[test]
    fn the_gate_permits_on_a_snapshot_and_refuses_after_drift() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start_approved(world)?;
            let snapshot = host.snapshot().unwrap();
            assert!(host.decides(&snapshot).is_empty());
            host.tpm.extend(11, [1; 32]).unwrap();
            let snapshot = host.snapshot().unwrap();
            assert_eq!(host.decides(&snapshot), ["pcr-drift"]);

            let attested = host.call(&Attest {}).unwrap();
            assert_eq!(attested.status, "contraindicated");
            assert_eq!(attested.findings[0].code, "pcr-mismatch");
            let snapshot = host.snapshot().unwrap();
            assert_eq!(
                host.decides(&snapshot),
                ["verdict-withheld", "pcr-mismatch"]
            );
            host.stop()
        })
    }

    #[test]
    fn a_reboot_of_the_tpm_is_refused_and_then_attested_anew() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start_approved(world)?;
            let before = host.verdict_sequence();
            host.tpm.power_cycle(PowerCycle::Reset).unwrap();
            let snapshot = host.snapshot().unwrap();
            assert_eq!(host.decides(&snapshot), ["host-rebooted"]);
            // Nobody asks for it: the reading itself showed the new boot.
            wait::until_true("a verdict of the new boot", PATIENCE, || {
                host.verdict_sequence() > before
            })?;
            let snapshot = host.snapshot().unwrap();
            assert!(host.decides(&snapshot).is_empty());
            host.stop()
        })
    }

    #[test]
    fn a_tag_is_written_bound_and_vouched_for() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start_approved(world)?;
            let document = host.tag(|_| {});
            let provisioned = host.call(&host.provision(&document)).unwrap();
            assert_eq!(provisioned.nv_index, "0x01c10110");
            let digest = portcullis_attestation::hex::encode(&tag::digest(&document));
            assert_eq!(provisioned.sha384, digest);

            let snapshot = host.snapshot().unwrap();
            assert_eq!(snapshot.tag_document.as_deref(), Some(document.as_str()));
            assert_eq!(
                snapshot.live.tag.as_ref().unwrap().contents,
                tag::digest(&document)
            );
            // The verdict pins the tag already.
            assert!(host.decides(&snapshot).is_empty());
            assert!(host.call(&Status {}).unwrap().status.tag_present);
            host.stop()
        })
    }

    #[test]
    fn a_tag_that_is_not_for_this_tpm_reaches_neither_tpm_nor_disk() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start_approved(world)?;
            let other = host.tag(|tag| {
                let spki = b"another endorsement key";
                tag.subject = portcullis_attestation::ueid::Ueid::of_endorsement_key(spki);
            });
            let expired = host.tag(|tag| (tag.not_before_s, tag.expires_s) = (1, 2));
            let early = host.tag(|tag| (tag.not_before_s, tag.expires_s) = (9 << 40, 9 << 41));
            let mut forged = host.tag(|_| {});
            let last = forged.pop().unwrap();
            forged.push(if last == 'A' { 'Q' } else { 'A' });
            for (document, reason) in [
                (other, "it is for TPM"),
                (expired, "it is valid from 1 to 2"),
                (early, "it is valid from"),
                (forged, "cannot verify asset tag"),
                ("a.b.c".to_owned(), "cannot read asset tag"),
                (String::new(), "cannot read asset tag"),
            ] {
                let refused = host.call(&host.provision(&document)).unwrap_err();
                let AgentError::TagRefused { reason: found } = refused else {
                    panic!("{refused}")
                };
                assert!(found.contains(reason), "{found}");
            }
            assert_eq!(host.snapshot().unwrap().live.tag, None);
            assert!(!Path::new("/var/lib/portcullis/tag.jws").exists());
            host.stop()
        })
    }

    #[test]
    fn a_capture_needs_no_enrolment_and_names_every_configured_pcr() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start(world)?;
            let captured = host.call(&Capture {}).unwrap();
            let indices: Vec<_> = captured.pcrs.iter().map(|pcr| pcr.index).collect();
            assert_eq!(indices, [0, 1, 2, 3, 4, 5, 7, 9, 11, 14]);
            assert_eq!(captured.pcr_bank, "sha256");
            assert!(BootId::parse(&captured.boot_id).is_some());
            assert_eq!(captured.ueid, host.call(&Enroll {}).unwrap().ueid);
            host.stop()
        })
    }

    #[test]
    fn sequence_numbers_grow_across_restarts_and_crashes() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start_approved(world)?;
            let mut seen = vec![host.verdict_sequence()];
            for round in 0..3 {
                if round == 1 {
                    host.crash()?;
                } else {
                    host.restart()?;
                }
                host.call(&Attest {}).unwrap();
                seen.push(host.verdict_sequence());
            }
            assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
            host.stop()
        })
    }

    // === when the TPM is away ===

    #[test]
    fn an_agent_without_a_tpm_lives_and_says_why_launches_are_undecided() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start_approved(world)?;
            host.tpm.kill().unwrap();
            host.restart()?;
            let refused = host.snapshot().unwrap_err();
            assert!(
                matches!(refused, AgentError::TpmUnreachable { .. }),
                "{refused}"
            );
            let refused = host.call(&Attest {}).unwrap_err();
            assert!(
                matches!(refused, AgentError::TpmUnreachable { .. }),
                "{refused}"
            );
            let status = host.call(&Status {}).unwrap().status;
            assert!(status.enrolled);
            assert!(
                status
                    .last_failure
                    .unwrap()
                    .contains("cannot reach the TPM")
            );

            host.tpm.start_again().unwrap();
            // The schedule finds it again by itself.
            wait::until_true("an attestation", PATIENCE, || {
                host.call(&Status {}).unwrap().status.last_failure.is_none()
            })?;
            let snapshot = host.snapshot().unwrap();
            assert!(host.decides(&snapshot).is_empty());
            host.stop()
        })
    }

    #[test]
    fn a_frozen_tpm_is_a_timeout_within_the_deadline_and_stops_nobody_else() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start_approved(world)?;
            host.tpm.freeze().unwrap();
            let begun = Instant::now();
            let refused = host
                .snapshot_within(Duration::from_millis(300))
                .unwrap_err();
            assert_eq!(refused, AgentError::TpmTimeout { deadline_ms: 300 });
            assert!(
                begun.elapsed() < Duration::from_millis(300),
                "{:?}",
                begun.elapsed()
            );
            // The ledger and the status do not need the TPM.
            append(&host, "00000001", "undecided").unwrap();
            host.call(&Status {}).unwrap();
            host.tpm.thaw().unwrap();
            host.snapshot().unwrap();
            host.stop()
        })
    }

    #[test]
    fn another_tpm_in_place_of_the_enrolled_one_loses_the_verdict() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start_approved(world)?;
            host.replace_tpm()?;
            host.restart()?;
            let refused = host.call(&Attest {}).unwrap();
            assert_eq!(refused.verdict, None);
            assert!(refused.findings[0].found.contains("portcullis enroll"));
            assert_eq!(host.snapshot().unwrap().verdict, None);
            assert!(!Path::new(VERDICT).exists());
            // Enrolling is the operator's answer.
            let enrolled = host.call(&Enroll {}).unwrap();
            assert_eq!(host.call(&Capture {}).unwrap().ueid, enrolled.ueid);
            host.stop()
        })
    }

    #[test]
    fn unusable_trust_files_are_reported_and_no_verdict_is_issued() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start_approved(world)?;
            fs::write("/etc/portcullis/trust.d/broken.jwk", "{").unwrap();
            let before = host.verdict_sequence();
            let attested = host.call(&Attest {}).unwrap();
            assert_eq!((attested.verdict, attested.status.as_str()), (None, "none"));
            assert_eq!(attested.findings[0].code, "trust-key-malformed");
            assert_eq!(host.verdict_sequence(), before);
            host.stop()
        })
    }

    // === the ledger ===

    #[test]
    fn a_decision_is_in_the_ledger_before_it_is_answered_and_can_be_explained() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start(world)?;
            assert_eq!(append(&host, "8d21c0aa", "permitted").unwrap(), 1);
            assert!(fs::read_to_string(LEDGER).unwrap().contains("8d21c0aa"));
            assert_eq!(append(&host, "8d21c0ab", "refused").unwrap(), 2);
            host.crash()?;
            assert_eq!(append(&host, "8d21c0ac", "undecided").unwrap(), 3);

            let reference = "8d21c0ab".to_owned();
            let explained = host.call(&Explain { reference }).unwrap().record;
            assert_eq!(
                (&explained["seq"], &explained["decision"]),
                (&2.into(), &"refused".into())
            );
            for unknown in ["8d21c0ad", "", "8D21C0AA", "../../../x"] {
                let reference = unknown.to_owned();
                let refused = host.call(&Explain { reference }).unwrap_err();
                assert!(
                    matches!(refused, AgentError::RecordUnknown { .. }),
                    "{refused}"
                );
            }
            let status = host.call(&Status {}).unwrap().status;
            assert_eq!((status.ledger_sequence, status.launches.undecided), (3, 1));
            host.stop()
        })
    }

    #[test]
    fn a_record_that_is_none_is_refused_and_leaves_no_line() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start(world)?;
            let mut oversized = record("00000001", "permitted");
            oversized.insert("profile".to_owned(), "x".repeat(64 * 1024).into());
            let mut unknown_decision = record("00000001", "maybe");
            unknown_decision.insert("note".to_owned(), Value::Null);
            let mut event = record("00000001", "permitted");
            event.insert("event".to_owned(), "anchor".into());
            for malformed in [
                Map::new(),
                event,
                record("0000000", "permitted"),
                record("0000000G", "permitted"),
                unknown_decision,
                oversized,
            ] {
                let refused = host.call(&Record { record: malformed }).unwrap_err();
                assert!(
                    matches!(refused, AgentError::RecordMalformed { .. }),
                    "{refused}"
                );
            }
            assert_eq!(fs::read_to_string(LEDGER).unwrap(), "");
            host.stop()
        })
    }

    #[test]
    fn a_torn_ledger_is_mended_at_the_start_and_nothing_is_dropped() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start(world)?;
            append(&host, "00000001", "permitted").unwrap();
            host.kill()?;
            let mut torn = fs::OpenOptions::new().append(true).open(LEDGER).unwrap();
            torn.write_all(b"{\"ref\":\"00000002").unwrap();
            host.start_again()?;
            assert_eq!(append(&host, "00000003", "permitted").unwrap(), 3);
            let aside = fs::read_dir("/var/lib/portcullis")
                .unwrap()
                .flatten()
                .find(|entry| entry.file_name().to_string_lossy().contains(".torn-"))
                .unwrap();
            assert_eq!(fs::read(aside.path()).unwrap(), b"{\"ref\":\"00000002");
            host.stop()
        })
    }

    #[test]
    fn a_ledger_that_cannot_be_continued_refuses_records_and_keeps_the_agent() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start(world)?;
            host.kill()?;
            fs::write(LEDGER, "not a record\n").unwrap();
            host.start_again()?;
            let refused = append(&host, "00000001", "permitted").unwrap_err();
            assert!(
                matches!(refused, AgentError::LedgerFailed { .. }),
                "{refused}"
            );
            host.call(&Status {}).unwrap();
            host.stop()
        })
    }

    // === the socket ===

    #[test]
    fn introspection_tells_who_it_is_and_what_it_can_do() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start(world)?;
            let service = host.call(&ServiceInfo {}).unwrap();
            assert_eq!(
                service.interfaces,
                ["org.varlink.service", "dev.portcullis.Agent"]
            );
            for (interface, text) in [
                ("dev.portcullis.Agent", portcullis_client::INTERFACE),
                ("org.varlink.service", portcullis_client::SERVICE_INTERFACE),
            ] {
                let interface = interface.to_owned();
                let reply = host.call(&InterfaceDescription { interface }).unwrap();
                assert_eq!(reply.description, text);
            }
            let interface = "org.example".to_owned();
            let refused = host.call(&InterfaceDescription { interface }).unwrap_err();
            assert!(
                matches!(refused, AgentError::InterfaceNotFound { .. }),
                "{refused}"
            );
            host.stop()
        })
    }

    #[test]
    fn what_is_no_call_gets_one_line_and_the_agent_lives() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start(world)?;
            let huge = vec![b' '; 1024 * 1024 + 1];
            let cases: [(&[u8], &str); 11] = [
                (b"\0", "InvalidParameter"),
                (b"garbage\0", "InvalidParameter"),
                (b"\xff\xfe\0", "InvalidParameter"),
                (b"[]\0", "InvalidParameter"),
                (b"{\"method\":\"a\",\"method\":\"b\"}\0", "InvalidParameter"),
                (b"{\"method\":7}\0", "InvalidParameter"),
                (b"{\"method\":\"org.example.X\"}\0", "InterfaceNotFound"),
                (b"{\"method\":\"dev.portcullis.Agent.Nope\"}\0", "MethodNotFound"),
                (
                    b"{\"method\":\"dev.portcullis.Agent.Snapshot\",\"parameters\":{\"deadline_ms\":-1}}\0",
                    "InvalidParameter",
                ),
                (
                    b"{\"method\":\"dev.portcullis.Agent.Status\",\"parameters\":{\"x\":1}}\0",
                    "InvalidParameter",
                ),
                (&huge, "InvalidParameter"),
            ];
            for (bytes, error) in cases {
                let answer = raw(bytes);
                let value: Value = serde_json::from_str(&answer).unwrap();
                let name = value["error"].as_str().unwrap();
                assert!(name.ends_with(error), "{answer}");
                assert_eq!(answer.lines().count(), 1);
            }
            host.call(&Status {}).unwrap();
            host.stop()
        })
    }

    #[test]
    fn a_slow_client_holds_up_nobody() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start_approved(world)?;
            // Connected and silent, half a call, and a call whose answer is never read.
            let _silent: Vec<_> = (0..50)
                .map(|_| UnixStream::connect(SOCKET).unwrap())
                .collect();
            let mut half = UnixStream::connect(SOCKET).unwrap();
            half.write_all(b"{\"method\":").unwrap();
            let mut deaf = UnixStream::connect(SOCKET).unwrap();
            deaf.write_all(b"{\"method\":\"dev.portcullis.Agent.Status\"}\0")
                .unwrap();
            host.snapshot_within(Duration::from_secs(1)).unwrap();
            host.stop()
        })
    }

    #[test]
    fn more_clients_than_the_limit_are_told_that_it_is_busy() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start(world)?;
            let mut held = Vec::new();
            let mut busy = None;
            for _ in 0..600 {
                let mut stream = UnixStream::connect(SOCKET).unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_millis(1)))
                    .unwrap();
                let mut answer = [0; 200];
                if let Ok(count) = stream.read(&mut answer) {
                    busy = Some(String::from_utf8_lossy(&answer[..count]).into_owned());
                    break;
                }
                held.push(stream);
            }
            assert!(busy.unwrap().contains("dev.portcullis.Agent.Busy"));
            drop(held);
            wait::until_true("room again", PATIENCE, || host.try_call(&Status {}).is_ok())?;
            host.stop()
        })
    }

    #[test]
    fn two_hundred_launches_at_once_share_readings() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start_approved(world)?;
            let host = &host;
            thread::scope(|scope| {
                let launches: Vec<_> = (0..200)
                    .map(|_| scope.spawn(|| host.snapshot_within(Duration::from_secs(10))))
                    .collect();
                for launch in launches {
                    let snapshot = launch.join().unwrap().unwrap();
                    assert!(host.decides(&snapshot).is_empty());
                }
            });
            Ok(())
        })
    }

    #[test]
    fn a_snapshot_is_never_older_than_its_call() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start_approved(world)?;
            let pcr = portcullis_attestation::pcr::PcrIndex::new(11).unwrap();
            for round in 0..20_u8 {
                host.tpm.extend(11, [round; 32]).unwrap();
                let expected = host.tpm.pcr(11).unwrap();
                let live = host.snapshot().unwrap().live;
                assert_eq!(
                    live.pcrs.value(pcr),
                    Some(expected.as_slice()),
                    "round {round}"
                );
            }
            host.stop()
        })
    }

    #[test]
    fn only_root_may_call() -> Outcome {
        if std::env::var_os(host::CALLER).is_some() {
            println!(
                "answer: {}",
                raw(b"{\"method\":\"dev.portcullis.Agent.Status\"}\0")
            );
            return Ok(());
        }
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start(world)?;
            // Even if someone opened the doors.
            fs::set_permissions("/run/portcullis", fs::Permissions::from_mode(0o755)).unwrap();
            fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o666)).unwrap();
            let printed = host::test_as_nobody("needs_root::only_root_may_call")?;
            let refused = "answer: {\"error\":\"org.varlink.service.PermissionDenied\"";
            assert!(printed.contains(refused), "{printed}");
            host.stop()
        })
    }

    // === start and stop ===

    #[test]
    fn it_tells_systemd_when_it_is_ready_and_when_it_stops() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start_approved(world)?;
            host.kill()?;
            let manager = UnixDatagram::bind("/run/notify").unwrap();
            manager.set_read_timeout(Some(PATIENCE)).unwrap();
            let told = || {
                let mut buffer = [0; 64];
                let count = manager.recv(&mut buffer).unwrap();
                String::from_utf8(buffer[..count].to_vec()).unwrap()
            };
            let before = host.stored_sequence();
            host.start_with(&[("NOTIFY_SOCKET", "/run/notify")])?;
            assert_eq!(told(), "READY=1");
            // Ready means attested, so that the first launch finds a verdict of this boot.
            assert!(host.verdict_sequence() > before);
            host.stop()?;
            assert_eq!(told(), "STOPPING=1");
            assert!(!Path::new(SOCKET).exists());
            Ok(())
        })
    }

    #[test]
    fn a_second_agent_does_not_start_and_the_first_one_goes_on() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start(world)?;
            let second = host::run_agent(&[])?;
            assert_eq!(second.code, Some(70));
            assert!(
                second.stderr.contains("another agent runs"),
                "{}",
                second.stderr
            );
            host.call(&Status {}).unwrap();
            host.stop()
        })
    }

    #[test]
    fn wrong_settings_are_all_named_and_end_it_with_64() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start(world)?;
            host.kill()?;
            let wrong = "[agent]\ntcti = \"mssim:x\"\npcrs = [99]\nunknown = 1\n";
            fs::write("/etc/portcullis/portcullis.d/wrong.toml", wrong).unwrap();
            let ended = host::run_agent(&[])?;
            assert_eq!(ended.code, Some(64));
            for key in ["tcti", "pcrs", "unknown"] {
                assert!(ended.stderr.contains(key), "{key}: {}", ended.stderr);
            }
            Ok(())
        })
    }

    #[test]
    fn the_command_line_moves_nothing() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|_world| {
            host::install()?;
            for (argument, code) in [
                ("--help", 0),
                ("--version", 0),
                ("--socket=/x", 64),
                ("x", 64),
            ] {
                assert_eq!(host::run_agent(&[argument])?.code, Some(code), "{argument}");
            }
            Ok(())
        })
    }

    #[test]
    fn the_log_holds_no_token_and_no_key() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start_approved(world)?;
            let document = host.tag(|_| {});
            host.call(&host.provision(&document)).unwrap();
            let token = fs::read_to_string(VERDICT).unwrap();
            let log = host.log();
            assert!(log.contains("verdict issued"));
            for secret in [token, document] {
                for part in secret.split('.') {
                    assert!(!log.contains(part), "{log}");
                }
            }
            host.stop()
        })
    }

    #[test]
    fn a_verdict_survives_a_restart_of_the_agent_while_the_tpm_is_away() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start_approved(world)?;
            let before = host.verdict_sequence();
            host.tpm.kill().unwrap();
            host.restart()?;
            assert_eq!(host.verdict_sequence(), before);
            // One that this agent did not sign is not taken over.
            host.kill()?;
            let forged = portcullis_attestation::jws::sign(
                portcullis_attestation::jws::Typ::Verdict,
                &json!({"iss": "x"}),
                &mut host::key(3),
            )
            .unwrap();
            fs::write(VERDICT, forged).unwrap();
            host.start_again()?;
            assert_eq!(host.call(&Status {}).unwrap().status.verdict, None);
            host.stop()
        })
    }
}

/// What the gate is told about the moment of a decision.
fn moment() -> Moment {
    portcullis_host::moment(Path::new(portcullis_config::paths::SEEN)).unwrap()
}
