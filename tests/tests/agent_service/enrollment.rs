//! Enrolment: keys, files, and what a node is before and after it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use portcullis_attestation::boot_id::BootId;
use portcullis_attestation::jwk::{KeyUse, TrustedKey, TrustedKeys};
use portcullis_attestation::trust::TrustTier;
use portcullis_attestation::verdict;
use portcullis_client::AgentError;
use portcullis_client::method::{Attest, Capture, Enroll, Status};
use portcullis_tests::failure::Outcome;
use portcullis_tests::{in_world, needs};
use serde_json::Value;

use crate::VERDICT;
use crate::host::{Host, SOCKET};

#[test]
fn a_node_is_enrolled_approved_and_vouched_for() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let host = Host::start(world)?;
        assert_eq!(
            host.call(&Attest::default()),
            Err(AgentError::NotEnrolled {})
        );
        let before = host.call(&Status {}).unwrap().status;
        assert!(!before.enrolled && before.verdict.is_none());

        let enrolled = host.call(&Enroll {}).unwrap();
        // Reference values are missing, so the node is spoken against, not passed over.
        let unapproved = host.call(&Attest::default()).unwrap();
        assert_eq!(unapproved.status, "contraindicated");
        assert_eq!(unapproved.findings[0].code, "reference-values-missing");

        host.approve()?;
        let attested = host.call(&Attest::default()).unwrap();
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
        let refused = host.call(&Attest::default()).unwrap();
        assert_eq!(refused.verdict, None);
        assert!(
            refused.findings[0].found.contains("cannot run Load"),
            "{:?}",
            refused.findings
        );

        let second = host.call(&Enroll {}).unwrap();
        assert_eq!(second.ak_name, first.ak_name);
        assert_ne!(second.verdict_key, first.verdict_key);
        assert!(host.call(&Attest::default()).unwrap().verdict.is_some());
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
fn a_capture_needs_no_enrolment_and_names_every_configured_pcr() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let host = Host::start(world)?;
        let captured = host.call(&Capture {}).unwrap();
        let indices: Vec<_> = captured.pcrs.iter().map(|pcr| pcr.index).collect();
        assert_eq!(indices, [0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 14]);
        assert_eq!(captured.pcr_bank, "sha256");
        assert!(BootId::parse(&captured.boot_id).is_some());
        assert_eq!(captured.ueid, host.call(&Enroll {}).unwrap().ueid);
        host.stop()
    })
}
