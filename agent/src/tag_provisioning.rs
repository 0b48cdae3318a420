//! What an operator asks of the TPM about the asset tag: where its counter stands, and a new tag.

use std::path::Path;

use portcullis_attestation::hex;
use portcullis_attestation::jwk::PublicKey;
use portcullis_attestation::jws::{Typ, Unverified};
use portcullis_attestation::tag::authorization::WriteAuthorization;
use portcullis_attestation::tag::{self, AssetTag, request, slot};
use portcullis_client::AgentError;
use portcullis_client::method::{ProvisionTag, ProvisionTagReply, RequestTagReply};
use portcullis_config::paths;
use portcullis_tpm::{Deadline, Identity, NvSlot, TagWrite};

use crate::attester::PATIENCE;
use crate::cycle::tpm_answer;
use crate::tpm_thread::TpmThread;
use crate::{atomic_file, boot, log};

/// A tag that may be provisioned, and the key that signed it.
struct Accepted {
    tag: AssetTag,
    authority: PublicKey,
    authorization: WriteAuthorization,
}

// === impl TpmThread ===

impl TpmThread {
    /// Where the tag counter stands, certified by the AK; the counter is made if there is none.
    pub(crate) fn request_tag(&mut self) -> Result<RequestTagReply, AgentError> {
        let failed = |error| tpm_answer(&error);
        let identity = self.identify().map_err(failed)?;
        let deadline = Deadline::within(PATIENCE);
        let slot = self.tpm.start_tag_counter(&deadline).map_err(failed)?;
        let certificate = self
            .tpm
            .certify_tag(
                &slot,
                &identity.ak_name,
                &request::qualifying_data(&identity.ueid),
                &deadline,
            )
            .map_err(failed)?;
        Ok(RequestTagReply {
            ueid: identity.ueid.to_string(),
            ak_name: identity.ak_name.to_string(),
            ak_public: hex::encode(&identity.ak_public),
            counter: stand(&slot)?,
            nv_public: hex::encode(&slot.public_area),
            message: hex::encode(&certificate.message),
            signature: hex::encode(&certificate.signature),
        })
    }

    /// Writes the digest of a document to the TPM and keeps the document, if it is a valid tag of
    /// this TPM by a pinned authority and the next one; then attests, because the verdict pins the
    /// tag.
    pub(crate) fn provision_tag(
        &mut self,
        call: ProvisionTag,
    ) -> Result<ProvisionTagReply, AgentError> {
        let identity = self.identify().map_err(|error| tpm_answer(&error))?;
        let accepted = accept(&call, &identity)?;
        let digest = tag::digest(&call.document);
        let slot = self.write(&accepted, &digest)?;
        // The TPM first: a document without its digest would be called tampered for ever, a
        // digest without its document is put right by the next try.
        atomic_file::write(Path::new(paths::TAG_DOCUMENT), call.document.as_bytes()).map_err(
            |error| AgentError::LedgerFailed {
                reason: log::chain(&error),
            },
        )?;
        self.node.published().tag_document = Some(call.document);
        let counter = accepted.tag.counter.to_string();
        log::info(
            "asset tag provisioned",
            &[("sha384", &hex::encode(&digest)), ("counter", &counter)],
        );
        self.attest_after("asset tag provisioned");
        Ok(ProvisionTagReply {
            nv_index: format!("{:#010x}", slot.index),
            nv_name: slot.public.name().to_string(),
            sha384: hex::encode(&digest),
        })
    }

    /// Counts on to the tag's number, unless an earlier try did, and writes.
    fn write(
        &mut self,
        accepted: &Accepted,
        digest: &[u8; tag::DIGEST_BYTES],
    ) -> Result<NvSlot, AgentError> {
        let failed = |error| tpm_answer(&error);
        let deadline = Deadline::within(PATIENCE);
        let counter = self.tpm.start_tag_counter(&deadline).map_err(failed)?;
        let (stands, wanted) = (stand(&counter)?, accepted.tag.counter);
        if wanted != stands && stands.checked_add(1) != Some(wanted) {
            return Err(AgentError::TagRefused {
                reason: format!(
                    "it is for tag counter {wanted}, and this TPM's stands at {stands}; have one \
                     issued for {} ('portcullis tag request')",
                    stands.saturating_add(1)
                ),
            });
        }
        let subject = &accepted.tag.subject;
        // What may need the owner's authorization comes first: when it fails, the present tag
        // still counts.
        self.tpm
            .define_tag(&accepted.authority, subject, &deadline)
            .map_err(failed)?;
        if wanted != stands {
            self.tpm.count_tag(&deadline).map_err(failed)?;
        }
        let write = TagWrite {
            authority: &accepted.authority,
            subject,
            digest,
            authorization: &accepted.authorization,
        };
        self.tpm
            .write_tag(&write, &Deadline::within(PATIENCE))
            .map_err(failed)
    }
}

/// What a counter holds.
fn stand(counter: &NvSlot) -> Result<u64, AgentError> {
    let bytes = counter.contents.as_array().copied();
    bytes
        .map(u64::from_be_bytes)
        .ok_or_else(|| AgentError::TpmFailed {
            reason: format!(
                "cannot read tag counter {:#010x}: {} bytes in place of {}",
                slot::COUNTER_INDEX,
                counter.contents.len(),
                slot::COUNTER_BYTES
            ),
        })
}

fn accept(call: &ProvisionTag, identity: &Identity) -> Result<Accepted, AgentError> {
    let refused = |reason: String| AgentError::TagRefused { reason };
    let keys = portcullis_config::trusted_keys().map_err(|faults| refused(faults.to_string()))?;
    let tag = tag::verify(&call.document, &keys).map_err(|error| refused(log::chain(&error)))?;
    let authority = Unverified::parse(&call.document, Typ::Tag)
        .ok()
        .and_then(|token| keys.find(token.kid()).map(|pinned| pinned.key().clone()))
        .ok_or_else(|| refused("no pinned key signed it".to_owned()))?;
    if tag.subject != identity.ueid {
        let reason = format!(
            "it is for TPM {}, this is TPM {}",
            tag.subject, identity.ueid
        );
        return Err(refused(reason));
    }
    let now_s = boot::unix_s();
    if !tag.is_valid_at(now_s) {
        let reason = format!(
            "it is valid from {} to {}, and it is {now_s} now",
            tag.not_before_s, tag.expires_s
        );
        return Err(refused(reason));
    }
    let authorization = call
        .authorization
        .as_deref()
        .and_then(WriteAuthorization::parse)
        .ok_or_else(|| {
            refused("the authority's authorization to write it to the TPM is missing".to_owned())
        })?;
    authorization
        .verify(&call.document, &tag.subject, &authority)
        .map_err(|cause| {
            refused(format!(
                "the authorization to write it to the TPM is for something else: {cause}"
            ))
        })?;
    Ok(Accepted {
        tag,
        authority,
        authorization,
    })
}
