//! The agent while its TPM, or what it trusts, is away or another.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use portcullis_client::AgentError;
use portcullis_client::method::{Attest, Capture, Enroll, Status};
use portcullis_tests::failure::Outcome;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::{in_world, needs};

use crate::host::Host;
use crate::{VERDICT, append};

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
        let refused = host.call(&Attest::default()).unwrap_err();
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
        // The reading's own deadline, which is a little earlier, may be the one that passes first.
        assert!(
            matches!(
                refused,
                AgentError::TpmTimeout {
                    deadline_ms: 1..=300
                }
            ),
            "{refused:?}"
        );
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
        let refused = host.call(&Attest::default()).unwrap();
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
        let attested = host.call(&Attest::default()).unwrap();
        assert_eq!((attested.verdict, attested.status.as_str()), (None, "none"));
        assert_eq!(attested.findings[0].code, "trust-key-malformed");
        assert_eq!(host.verdict_sequence(), before);
        host.stop()
    })
}

#[test]
fn no_verdict_of_an_earlier_run_is_handed_out() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let mut host = Host::start_approved(world)?;
        let before = host.verdict_sequence();
        let token = fs::read_to_string(VERDICT).unwrap();
        // With the TPM away there is no new one, however young the old one is.
        host.kill()?;
        host.tpm.kill().unwrap();
        fs::write(VERDICT, token).unwrap();
        host.start_again()?;
        assert_eq!(host.call(&Status {}).unwrap().status.verdict, None);
        assert!(!Path::new(VERDICT).exists());
        assert!(before > 0);
        host.stop()
    })
}
