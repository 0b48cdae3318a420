//! The attester: collects evidence of this node for one challenge.

use std::time::Duration;

use portcullis_attestation::attest::{Attest, Attested, SignedAttest};
use portcullis_attestation::boot_id::BootId;
use portcullis_attestation::event_log;
use portcullis_attestation::evidence::{Evidence, TagSlot, qualifying_data};
use portcullis_attestation::ima;
use portcullis_attestation::nonce::Nonce;
use portcullis_attestation::pcr::{PcrSelection, PcrValues};
use portcullis_config::paths;
use portcullis_tpm::{Deadline, Identity, NvSlot, Tpm, TpmError};

use crate::kernel_log;

/// Time for one operation of the TPM. Slow chips take seconds for a quote.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The gate's own binaries are not measured.
const GATE_DIGEST: [u8; 32] = [0; 32];
/// How often quote and values are taken again because a PCR was extended between them.
const ATTEMPTS: usize = 3;

/// What evidence is collected of.
#[derive(Debug)]
pub(crate) struct Challenge<'a> {
    /// Who the TPM is.
    pub(crate) identity: &'a Identity,
    /// What the quote covers.
    pub(crate) selection: PcrSelection,
    /// The verifier's challenge.
    pub(crate) nonce: Nonce,
    /// The boot the kernel is in.
    pub(crate) boot_id: BootId,
    /// The tag document, if there is one.
    pub(crate) tag_document: Option<String>,
}

/// Collects evidence.
///
/// Each operation may take the TPM a second; `between` is called after each, so that launches do
/// not wait for all of them.
pub(crate) fn collect(
    tpm: &mut Tpm,
    challenge: Challenge<'_>,
    between: &mut dyn FnMut(&mut Tpm),
) -> Result<Evidence, TpmError> {
    let qualifying = qualifying_data(&challenge.nonce, &challenge.boot_id, &GATE_DIGEST);
    let (quote, pcrs) = quote(tpm, challenge.selection, &qualifying, between)?;
    let tag_slot = tag_slot(tpm, challenge.identity, &qualifying)?;
    let tag_counter = tag_counter(tpm, challenge.identity, &qualifying)?;
    between(tpm);
    // After the quote: a log that grew since then still begins with what was quoted.
    let event_log = kernel_log::read(paths::EVENT_LOG, event_log::MAX_BYTES);
    let quotes_ima = pcrs.iter().any(|(pcr, _)| pcr.get() == ima::PCR);
    let ima_list = quotes_ima
        .then(|| kernel_log::read(paths::IMA_LIST, ima::MAX_BYTES))
        .flatten();
    Ok(Evidence {
        nonce: challenge.nonce,
        boot_id: challenge.boot_id,
        gate_digest: GATE_DIGEST,
        ueid: challenge.identity.ueid.clone(),
        ak_public: challenge.identity.ak_public.clone(),
        quote,
        pcrs,
        event_log,
        ima_list,
        tag_slot,
        tag_counter,
        tag_document: challenge.tag_document,
    })
}

/// A quote, and the values behind its digest.
fn quote(
    tpm: &mut Tpm,
    selection: PcrSelection,
    qualifying: &[u8],
    between: &mut dyn FnMut(&mut Tpm),
) -> Result<(SignedAttest, PcrValues), TpmError> {
    let mut attempt = 1;
    loop {
        let quote = tpm.quote(selection, qualifying, &Deadline::within(PATIENCE))?;
        let pcrs = tpm.pcrs(selection, &Deadline::within(PATIENCE))?;
        between(tpm);
        if attempt == ATTEMPTS || is_of(&quote, &pcrs) {
            return Ok((quote, pcrs));
        }
        attempt += 1;
    }
}

/// Whether the quote covers these values. A quote that cannot be read is the verifier's to refuse.
fn is_of(quote: &SignedAttest, pcrs: &PcrValues) -> bool {
    match Attest::parse(&quote.message).map(|attest| attest.attested) {
        Ok(Attested::Quote(quoted)) => quoted.pcr_digest == pcrs.digest(),
        Ok(Attested::Nv(_)) | Err(_) => true,
    }
}

/// The tag's NV index with the TPM's certificate; `None` if nothing stands there.
fn tag_slot(
    tpm: &mut Tpm,
    identity: &Identity,
    qualifying: &[u8],
) -> Result<Option<TagSlot>, TpmError> {
    let slot = tpm.tag(&Deadline::within(PATIENCE))?;
    certified(tpm, slot, identity, qualifying)
}

/// The same for the tag counter.
fn tag_counter(
    tpm: &mut Tpm,
    identity: &Identity,
    qualifying: &[u8],
) -> Result<Option<TagSlot>, TpmError> {
    let slot = tpm.tag_counter(&Deadline::within(PATIENCE))?;
    certified(tpm, slot, identity, qualifying)
}

fn certified(
    tpm: &mut Tpm,
    slot: Option<NvSlot>,
    identity: &Identity,
    qualifying: &[u8],
) -> Result<Option<TagSlot>, TpmError> {
    let Some(slot) = slot.filter(|slot| !slot.contents.is_empty()) else {
        return Ok(None);
    };
    let deadline = Deadline::within(PATIENCE);
    let certificate = tpm.certify_tag(&slot, &identity.ak_name, qualifying, &deadline)?;
    Ok(Some(TagSlot {
        public: slot.public_area,
        contents: slot.contents,
        certificate,
    }))
}
