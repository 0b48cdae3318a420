//! What an operator asks of the TPM: keys, and values for reference values.

use std::path::Path;
use std::sync::Arc;

use portcullis_attestation::hex;
use portcullis_attestation::nonce::Nonce;
use portcullis_client::AgentError;
use portcullis_client::method::{CaptureReply, EnrollReply, EvidenceReply, PcrValue};
use portcullis_config::paths;
use portcullis_tpm::{Deadline, Failure, Identity};
use serde_json::{Map, Value};

use crate::attester::{self, Challenge, PATIENCE};
use crate::cycle::tpm_answer;
use crate::enrollment::{Enrollment, key_policy};
use crate::tpm_thread::{TpmThread, serve_waiting};
use crate::{boot, log};

// === impl TpmThread ===

impl TpmThread {
    /// Makes the verdict key unless there is one that this TPM can use, and attests.
    pub(crate) fn enroll(&mut self) -> Result<EnrollReply, AgentError> {
        self.identity = None;
        let identity = self.identify().map_err(|error| tpm_answer(&error))?;
        let current = self.node.published().enrollment.clone();
        let usable = match current {
            Some(current) if current.is_of(&identity) && self.has_key(&current)? => Some(current),
            _ => None,
        };
        match usable {
            Some(current) => Ok(enrolled(&current, None)),
            None => self.new_enrollment(&identity),
        }
    }

    /// Makes a new verdict key in any case, and attests. The old one's blobs are overwritten: what
    /// it may still sign is up to those who pin it.
    pub(crate) fn renew(&mut self) -> Result<EnrollReply, AgentError> {
        self.identity = None;
        let identity = self.identify().map_err(|error| tpm_answer(&error))?;
        self.new_enrollment(&identity)
    }

    fn new_enrollment(&mut self, identity: &Identity) -> Result<EnrollReply, AgentError> {
        let policy =
            key_policy(&self.node.config).map_err(|reason| AgentError::EnrollRefused { reason })?;
        let deadline = Deadline::within(PATIENCE);
        let enrollment = self
            .tpm
            .create_signing_key(policy.as_ref(), &deadline)
            .and_then(|key| Enrollment::new(identity, key, policy))
            .map_err(|error| tpm_answer(&error))?;
        enrollment
            .store(Path::new(paths::STATE))
            .map_err(|error| AgentError::LedgerFailed {
                reason: log::chain(&error),
            })?;
        let mut published = self.node.published();
        // Signed with another key, or about another TPM.
        published.verdict = None;
        published.findings = Vec::new();
        let retired = published.enrollment.replace(enrollment.clone());
        drop(published);
        let (ueid, kid) = (&enrollment.ueid, enrollment.public_key.kid());
        let fields = [("ueid", ueid.as_str()), ("verdict_key", kid.as_str())];
        log::info("node enrolled", &fields);
        self.attest_after("enrolled");
        let retired_kid = retired.map(|old| old.public_key.kid().to_string());
        Ok(enrolled(&enrollment, retired_kid))
    }

    /// Whether the TPM still takes the key; it does not after it was cleared.
    fn has_key(&mut self, enrollment: &Enrollment) -> Result<bool, AgentError> {
        match self
            .tpm
            .probe_signing_key(&enrollment.key, &Deadline::within(PATIENCE))
        {
            Ok(()) => Ok(true),
            Err(error) if error.failure() == Failure::Failed => {
                log::warn(
                    "verdict key unusable, making a new one",
                    &[("cause", &log::chain(&error))],
                );
                Ok(false)
            }
            Err(error) => Err(tpm_answer(&error)),
        }
    }

    /// Reads the PCRs that reference values are made from.
    pub(crate) fn capture(&mut self) -> Result<CaptureReply, AgentError> {
        let identity = self.identify().map_err(|error| tpm_answer(&error))?;
        let deadline = Deadline::within(PATIENCE);
        let pcrs = self
            .tpm
            .pcrs(self.node.config.agent.pcrs, &deadline)
            .map_err(|error| tpm_answer(&error))?;
        let boot_id = boot::id().map_err(|error| AgentError::TpmFailed {
            reason: format!("cannot read the kernel's boot id: {error}"),
        })?;
        let values = pcrs.iter().map(|(pcr, value)| PcrValue {
            index: u32::from(pcr.get()),
            digest: hex::encode(value),
        });
        Ok(CaptureReply {
            ueid: identity.ueid.to_string(),
            ak_name: identity.ak_name.to_string(),
            pcr_bank: pcrs.bank().to_string(),
            pcrs: values.collect(),
            boot_id: boot_id.to_string(),
        })
    }

    /// Collects evidence in answer to a verifier's `nonce`.
    pub(crate) fn evidence(&mut self, nonce: Nonce) -> Result<EvidenceReply, AgentError> {
        let identity = self.identify().map_err(|error| tpm_answer(&error))?;
        let boot_id = boot::id().map_err(|error| AgentError::TpmFailed {
            reason: format!("cannot read the kernel's boot id: {error}"),
        })?;
        let challenge = Challenge {
            identity: &identity,
            selection: self.node.config.agent.pcrs,
            nonce,
            boot_id,
            tag_document: self.node.published().tag_document.clone(),
        };
        let node = Arc::clone(&self.node);
        let evidence = attester::collect(&mut self.tpm, challenge, &mut |tpm| {
            serve_waiting(tpm, &node);
        })
        .map_err(|error| tpm_answer(&error))?;
        match evidence.to_json() {
            Value::Object(evidence) => Ok(EvidenceReply { evidence }),
            _ => Ok(EvidenceReply {
                evidence: Map::new(),
            }),
        }
    }

    /// Attests if the node is enrolled. A failure is in the status and tried again; what was asked
    /// for is done all the same.
    pub(crate) fn attest_after(&mut self, event: &str) {
        if let Err(error) = self.attest() {
            log::info(
                "not attested yet",
                &[("after", event), ("cause", &log::chain(&error))],
            );
        }
    }
}

fn enrolled(enrollment: &Enrollment, retired_kid: Option<String>) -> EnrollReply {
    EnrollReply {
        ueid: enrollment.ueid.to_string(),
        ak_name: enrollment.ak_name.to_string(),
        verdict_key: match enrollment.verdict_key() {
            Value::Object(members) => members,
            _ => Map::new(),
        },
        retired_kid,
    }
}
