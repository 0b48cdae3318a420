//! The verdict key in the TPM: who can sign with it, and in which state of the host.

#[path = "agent_service/host.rs"]
#[expect(dead_code, reason = "the host of the agent's own suite can do more")]
mod host;
#[path = "verdict_key/liar.rs"]
mod liar;

use std::fs;
use std::path::Path;

use host::{Host, key};
use liar::{Liar, verifying_key};
use portcullis_attestation::approval::{self, Approval};
use portcullis_attestation::jwk::{KeyUse, TrustedKey, TrustedKeys};
use portcullis_attestation::jws::Signer;
use portcullis_attestation::key_policy::KeyPolicy;
use portcullis_attestation::reference;
use portcullis_client::AgentError;
use portcullis_client::method::{Attest, Enroll, Renew, Status, VerdictKeySummary};
use portcullis_gate::Moment;
use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::swtpm::PowerCycle;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::{in_world, needs};
use sha2::{Digest, Sha256};

const REFERENCE: &str = "/etc/portcullis/reference.d/approved.jws";
const KEY_POLICY: &str = "/etc/portcullis/portcullis.d/20-key-policy.toml";
/// The seed of the host's reference key.
const PROVIDER: u8 = 1;

/// TPM response codes.
const AUTH_UNAVAILABLE: u32 = 0x12f;
const POLICY_FAIL: u32 = 0x99d;
const VALUE_OF_FIRST_PARAMETER: u32 = 0x1c4;
const SIGNATURE_OF_SECOND_PARAMETER: u32 = 0x2db;
const VALUE_OF_FOURTH_PARAMETER: u32 = 0x4c4;

/// The approval in the reference values of the host.
fn approval() -> Approval {
    let mut keys = TrustedKeys::new();
    let provider = key(PROVIDER).public_key().clone();
    keys.insert(TrustedKey::new(provider, KeyUse::Reference))
        .unwrap();
    let document = fs::read_to_string(REFERENCE).unwrap();
    let reference = reference::verify(&document, &keys).unwrap();
    reference.approvals.into_iter().next().unwrap()
}

/// The public area of a key as the TPM loads it to verify with.
fn area(seed: u8) -> Vec<u8> {
    let key = key(seed);
    verifying_key(key.public_key().x(), key.public_key().y())
}

fn sign(seed: u8, message: &[u8]) -> [u8; 64] {
    key(seed)
        .sign_digest(&Sha256::digest(message).into())
        .unwrap()
}

fn summary(host: &Host) -> VerdictKeySummary {
    let status = host.call(&Status {}).unwrap().status;
    status.verdict_key.unwrap()
}

/// What the gate is told about the moment of a decision.
fn moment() -> Moment {
    portcullis_host::moment(Path::new(portcullis_config::paths::SEEN)).unwrap()
}

mod needs_root {
    use super::*;

    /// Everything a program with all rights can try, before drift and after.
    #[test]
    #[expect(
        clippy::too_many_lines,
        reason = "one liar's whole story, in its order"
    )]
    fn after_drift_the_tpm_signs_for_no_program_whatever_it_tries() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start_approved(world)?;
            // The agent is replaced by the liar.
            host.kill()?;
            let approval = approval();
            let pcrs: Vec<u32> = approval
                .pcrs()
                .iter()
                .map(|(pcr, _)| pcr.get().into())
                .collect();
            let (policy, old) = (*approval.policy(), approval.pcrs().digest());
            let (message, provider) = (approval::message(&policy), area(PROVIDER));
            let policy_ref = approval::policy_ref();
            let liar = Liar::new(&host.tpm);

            // Never by password, and in the approved state with the provider's approval: otherwise the
            // refusals below would prove nothing.
            let verdict_key = liar.load_verdict_key();
            assert_eq!(liar.sign_by_password(verdict_key), Err(AUTH_UNAVAILABLE));
            let session = liar.policy_session();
            liar.policy_pcr(session, &pcrs, None).unwrap();
            assert_eq!(
                liar.policy_digest(session),
                policy,
                "software and TPM agree"
            );
            assert_eq!(
                liar.sign(verdict_key, session),
                Err(POLICY_FAIL),
                "not authorised"
            );
            let ticket = liar
                .ticket(&provider, &message, approval.signature())
                .unwrap();
            liar.policy_authorize(session, &policy, &policy_ref, &provider, &ticket)
                .unwrap();
            let bound_to = KeyPolicy::new([key(PROVIDER).public_key().clone()]).unwrap();
            assert_eq!(liar.policy_digest(session), bound_to.digest());
            assert_eq!(liar.sign(verdict_key, session), Ok(()));
            // A session that was satisfied before the drift; used after it.
            let kept = liar.policy_session();
            liar.policy_pcr(kept, &pcrs, None).unwrap();
            liar.policy_authorize(kept, &policy, &policy_ref, &provider, &ticket)
                .unwrap();

            host.tpm.extend(11, [1; 32]).doing("extend PCR 11")?;

            assert_eq!(liar.sign_by_password(verdict_key), Err(AUTH_UNAVAILABLE));
            let pcr_changed = liar.sign(verdict_key, kept).unwrap_err();
            assert!(
                matches!(pcr_changed, 0x128 | POLICY_FAIL),
                "{pcr_changed:x}"
            );
            liar.flush(kept);

            // The values that are there now, by themselves and with the old approval.
            let session = liar.policy_session();
            liar.policy_pcr(session, &pcrs, None).unwrap();
            let new = liar.policy_digest(session);
            assert_ne!(new, policy);
            assert_eq!(liar.sign(verdict_key, session), Err(POLICY_FAIL));
            let replayed = liar.policy_authorize(session, &policy, &policy_ref, &provider, &ticket);
            assert_eq!(replayed, Err(VALUE_OF_FIRST_PARAMETER));
            // The new policy in the place of the one the ticket is for, and without a ticket.
            for (ticket, refused) in [
                (ticket, VALUE_OF_FOURTH_PARAMETER),
                (Liar::null_ticket(), VALUE_OF_FOURTH_PARAMETER),
            ] {
                let forged = liar.policy_authorize(session, &new, &policy_ref, &provider, &ticket);
                assert_eq!(forged, Err(refused));
            }
            // The old values, claimed.
            let claimed = liar.policy_pcr(session, &pcrs, Some(&old));
            assert_eq!(claimed, Err(VALUE_OF_FIRST_PARAMETER));
            liar.flush(session);

            // An approval by a key of the liar's: under its own name, and under the provider's.
            let message = approval::message(&new);
            let (own, forged) = (area(9), sign(9, &message));
            assert_eq!(
                liar.ticket(&provider, &message, &forged),
                Err(SIGNATURE_OF_SECOND_PARAMETER)
            );
            let ticket = liar.ticket(&own, &message, &forged).unwrap();
            let session = liar.policy_session();
            liar.policy_pcr(session, &pcrs, None).unwrap();
            liar.policy_authorize(session, &new, &policy_ref, &own, &ticket)
                .unwrap();
            assert_eq!(liar.sign(verdict_key, session), Err(POLICY_FAIL));
            liar.flush(session);

            // No register at all, and a session without a policy.
            let session = liar.policy_session();
            assert_eq!(liar.sign(verdict_key, session), Err(POLICY_FAIL));
            liar.policy_pcr(session, &[], None).unwrap();
            assert_eq!(liar.sign(verdict_key, session), Err(POLICY_FAIL));
            liar.flush(session);
            liar.flush(verdict_key);
            host.stop()
        })
    }

    #[test]
    fn in_drift_the_node_says_why_it_has_no_verdict() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start_approved(world)?;
            assert_eq!(summary(&host).policy, "approved-state");
            assert_eq!(summary(&host).defect, None);
            host.tpm.extend(11, [1; 32]).doing("extend PCR 11")?;
            let answer = host.call(&Attest::default()).unwrap();
            assert_eq!(
                (answer.status.as_str(), answer.verdict),
                ("contraindicated", None)
            );
            let codes: Vec<&str> = answer.findings.iter().map(|it| it.code.as_str()).collect();
            assert_eq!(codes, ["pcr-mismatch", "verdict-withheld"]);
            assert_eq!(answer.findings[1].found, "pcr-mismatch PCR 11 (sha256)");
            assert!(!fs::exists("/run/portcullis/verdict.jwt").unwrap());
            let snapshot = host.snapshot().unwrap();
            assert_eq!(
                host.decides(&snapshot),
                ["verdict-withheld", "pcr-mismatch"]
            );
            // It finds out again after a restart.
            host.restart()?;
            wait::until_true("the first attestation", PATIENCE, || {
                let snapshot = host.snapshot().unwrap();
                host.decides(&snapshot) == ["verdict-withheld", "pcr-mismatch"]
            })?;
            // Nothing is to be done by hand once the host is in an approved state.
            host.tpm
                .power_cycle(PowerCycle::Reset)
                .doing("restart the TPM")?;
            assert!(host.call(&Attest::default()).unwrap().verdict.is_some());
            host.stop()
        })
    }

    #[test]
    fn an_update_needs_a_signed_document_and_no_enrolment() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start_approved(world)?;
            let before = summary(&host);
            // Another kernel; the operator approves it.
            host.tpm.extend(11, [1; 32]).doing("extend PCR 11")?;
            assert_eq!(host.call(&Attest::default()).unwrap().verdict, None);
            host.approve()?;
            let snapshot = host.snapshot().unwrap();
            assert!(host.decides(&snapshot).is_empty());
            assert_eq!(summary(&host), before);
            host.stop()
        })
    }

    #[test]
    fn a_document_without_approvals_or_by_another_key_is_named() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start_approved(world)?;
            // Signed by a key that was pinned after the verdict key was made.
            host.pin("second", KeyUse::Reference, &key(7))?;
            assert_eq!(
                summary(&host).defect.as_deref(),
                Some("is bound to other keys than are pinned")
            );
            host.approve_with(7)?;
            let answer = host.call(&Attest::default()).unwrap();
            assert_eq!(answer.verdict, None);
            let last = answer.findings.last().unwrap();
            assert_eq!(last.code, "verdict-withheld");
            assert!(
                last.found.contains("to which the verdict key is not bound"),
                "{last:?}"
            );
            // Bound to both from now on.
            let renewed = host.call(&Renew {}).unwrap();
            assert!(renewed.retired_kid.is_some());
            assert_eq!(summary(&host).approvers.len(), 2);
            host.restart()?;
            assert!(host.call(&Attest::default()).unwrap().verdict.is_some());
            host.approve()?;
            assert!(host.call(&Attest::default()).unwrap().verdict.is_some());
            host.stop()
        })
    }

    #[test]
    fn a_key_of_before_is_named_and_renewed() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start(world)?;
            fs::write(KEY_POLICY, "[agent]\nkey_policy = \"none\"\n").doing("set the policy")?;
            host.restart()?;
            host.approve()?;
            assert_eq!(summary(&host).policy, "none");
            assert_eq!(summary(&host).defect, None);
            fs::remove_file(KEY_POLICY).doing("take the setting away")?;
            host.restart()?;
            // It goes on signing: an update of the package stops no node.
            assert!(host.call(&Attest::default()).unwrap().verdict.is_some());
            let old = summary(&host);
            assert_eq!(old.defect.as_deref(), Some("signs in any state"));
            let kept = host.call(&Enroll {}).unwrap();
            assert_eq!(
                (summary(&host).kid, kept.retired_kid),
                (old.kid.clone(), None)
            );
            let renewed = host.call(&Renew {}).unwrap();
            assert_eq!(renewed.retired_kid, Some(old.kid));
            assert_eq!(summary(&host).policy, "approved-state");
            assert!(host.call(&Attest::default()).unwrap().verdict.is_some());
            host.stop()
        })
    }

    #[test]
    fn a_node_without_a_pinned_reference_key_is_not_enrolled() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let host = Host::start(world)?;
            fs::remove_file("/etc/portcullis/trust.d/reference.jwk").doing("unpin")?;
            let Err(AgentError::EnrollRefused { reason }) = host.call(&Enroll {}) else {
                panic!("enrolled")
            };
            assert!(reason.starts_with("no reference key is pinned"), "{reason}");
            assert!(!host.call(&Status {}).unwrap().status.enrolled);
            host.stop()
        })
    }
}
