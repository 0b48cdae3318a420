//! Appraisal: evidence against signed reference values gives a status and findings.
//!
//! Two kinds of trouble are kept apart. Evidence that is not genuine (wrong nonce, bad signature)
//! describes no host, so the appraisal has no [`AttestedState`] and no verdict can be issued.
//! Genuine evidence of a host that is not approved gives a state, and a verdict that speaks
//! against it.

mod boot;
mod event_rules;
mod ima;
mod measured;
mod secure_boot;
mod tag_slot;

use std::collections::BTreeMap;

use crate::ak::AkPublic;
use crate::attest::{Attest, AttestError, Attested, Quote};
use crate::boot_id::BootId;
use crate::clock::ClockInfo;
use crate::evidence::{Evidence, qualifying_data};
use crate::finding::Finding;
use crate::hex;
use crate::jwk::TrustedKeys;
use crate::nonce::Nonce;
use crate::pcr::{PcrIndex, PcrValues};
use crate::reference::{BootState, Reference};
use crate::tpm_name::TpmName;
use crate::trust::{Claim, ClaimValue, TrustTier, TrustVector};
use crate::ueid::Ueid;
use crate::verdict::TagPin;

/// What the verifier holds evidence against.
#[derive(Debug, Clone, Copy)]
pub struct AppraisalPolicy<'a> {
    /// Reference values whose signature verified; those out of date are passed over.
    pub references: &'a [Reference],
    /// Findings about reference values that were refused, to be reported along.
    pub refused_references: &'a [Finding],
    /// Pinned keys, for the asset tag.
    pub keys: &'a TrustedKeys,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Appraisal {
    /// The worst tier of the vector. Only [`TrustTier::is_affirming`] is trust.
    pub status: TrustTier,
    /// The claims.
    pub vector: TrustVector,
    /// Everything that was not as it has to be; empty if all was.
    pub findings: Vec<Finding>,
    /// The boot state that matched.
    pub boot_state: Option<String>,
    /// Documents of reference values that were in date.
    pub policy_ids: Vec<String>,
    /// Tags of a document that is genuine, in date, and bound to this TPM; else empty.
    pub tags: BTreeMap<String, String>,
    /// What the evidence proved; `None` if it proved nothing.
    pub state: Option<AttestedState>,
}

/// The state of a host that its TPM signed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestedState {
    /// The nonce that was answered.
    pub nonce: Nonce,
    /// The TPM, as the evidence names it; an endorsement ties it to the AK.
    pub ueid: Ueid,
    /// The kernel's boot id.
    pub boot_id: BootId,
    /// The TPM's clock.
    pub clock: ClockInfo,
    /// The AK.
    pub ak_name: TpmName,
    /// The quoted PCRs.
    pub pcrs: PcrValues,
    /// The asset tag's slot, if the TPM certified it.
    pub tag: Option<TagPin>,
}

/// Appraises `evidence` that was asked for with `nonce`, at `now_s` seconds since 1970.
///
/// Does not issue a verdict, and does not know whether a nonce was used before: the caller draws a
/// new one for every attestation.
pub fn appraise(
    evidence: &Evidence,
    nonce: &Nonce,
    policy: &AppraisalPolicy<'_>,
    now_s: u64,
) -> Appraisal {
    let genuine = match authenticate(evidence, nonce) {
        Ok(genuine) => genuine,
        Err(finding) => return unproven(finding),
    };
    let mut findings = policy.refused_references.to_vec();
    let mut vector = TrustVector::default();

    let valid: Vec<&Reference> = policy
        .references
        .iter()
        .filter(|one| one.values.is_valid_at(now_s))
        .collect();
    let matched = match in_date(policy, &valid, now_s) {
        Some(finding) => {
            findings.push(finding);
            None
        }
        None => match boot::match_state(evidence, &valid) {
            Ok(mut matched) => {
                findings.append(&mut matched.findings);
                Some(matched)
            }
            Err(differences) => {
                findings.extend(differences);
                None
            }
        },
    };
    vector.set(
        Claim::Executables,
        matched
            .as_ref()
            .map_or(ClaimValue::UNSUPPORTABLE, |matched| matched.executables),
    );
    let boot_state = matched.as_ref().map(|matched| matched.state);
    if is_endorsed(evidence, &genuine.ak, &valid) {
        vector.set(Claim::InstanceIdentity, ClaimValue::APPROVED);
        vector.set(Claim::Hardware, ClaimValue::APPROVED);
    } else {
        vector.set(Claim::InstanceIdentity, ClaimValue::UNRECOGNIZED);
        let subject = format!("AK of TPM '{}'", evidence.ueid);
        let expected = "an AK endorsed by reference values";
        findings.push(Finding::new(
            "ak-unknown",
            subject,
            expected,
            genuine.ak.name().to_string(),
        ));
    }
    let slot = tag_slot::appraise(evidence, &genuine, policy.keys, now_s);
    findings.extend(slot.findings);

    Appraisal {
        status: vector.worst(),
        vector,
        findings,
        boot_state: boot_state.map(|state| state.name.clone()),
        policy_ids: valid.iter().map(|one| one.id.clone()).collect(),
        tags: slot.tags,
        state: Some(AttestedState {
            nonce: *nonce,
            ueid: evidence.ueid.clone(),
            boot_id: evidence.boot_id.clone(),
            clock: genuine.attest.clock,
            ak_name: genuine.ak.name().clone(),
            pcrs: pinned(&evidence.pcrs, boot_state),
            tag: slot.pin,
        }),
    }
}

/// Evidence whose quote verified and answers the nonce.
struct Genuine {
    ak: AkPublic,
    attest: Attest,
    qualifying_data: [u8; 32],
}

fn authenticate(evidence: &Evidence, nonce: &Nonce) -> Result<Genuine, Finding> {
    let ak = AkPublic::parse(&evidence.ak_public).map_err(|cause| {
        let expected = "a restricted signing key of the TPM";
        Finding::new(
            "evidence-malformed",
            "public area of the AK",
            expected,
            chain(&cause),
        )
    })?;
    if evidence.nonce != *nonce {
        let found = evidence.nonce.to_string();
        return Err(Finding::new(
            "nonce-mismatch",
            "evidence",
            nonce.to_string(),
            found,
        ));
    }
    let attest = evidence
        .quote
        .verify(&ak)
        .map_err(|cause| quote_finding(&ak, &cause))?;
    let qualifying_data = qualifying_data(nonce, &evidence.boot_id, &evidence.gate_digest);
    if attest.extra_data != qualifying_data {
        return Err(Finding::new(
            "nonce-mismatch",
            "quote",
            format!("qualifying data {}", hex::encode(&qualifying_data)),
            hex::encode(&attest.extra_data),
        ));
    }
    let Attested::Quote(quote) = &attest.attested else {
        let subject = "what the AK signed";
        return Err(Finding::new(
            "evidence-malformed",
            subject,
            "a quote",
            "NV contents",
        ));
    };
    match other_values(quote, &evidence.pcrs) {
        Some(finding) => Err(finding),
        None => Ok(Genuine {
            ak,
            attest,
            qualifying_data,
        }),
    }
}

/// The values come beside the quote, unsigned: they count only if they give its digest.
fn other_values(quote: &Quote, pcrs: &PcrValues) -> Option<Finding> {
    let (quoted, given) = (quote.selection, pcrs.selection());
    let (expected, found) = if quoted != given || quoted.is_empty() {
        (
            format!("PCR {quoted} ({})", quoted.bank()),
            format!("PCR {given} ({})", given.bank()),
        )
    } else if quote.pcr_digest != pcrs.digest() {
        let expected = format!("values with digest {}", hex::encode(&quote.pcr_digest));
        (expected, hex::encode(&pcrs.digest()))
    } else {
        return None;
    };
    Some(Finding::new(
        "evidence-malformed",
        "PCR values beside the quote",
        expected,
        found,
    ))
}

fn quote_finding(ak: &AkPublic, cause: &AttestError) -> Finding {
    let name = ak.name();
    match cause {
        AttestError::Signature { .. } | AttestError::SignatureFormat(_) => Finding::new(
            "quote-signature-invalid",
            "quote",
            format!("a signature by AK {name}"),
            chain(cause),
        ),
        AttestError::Message(_) => {
            Finding::new("evidence-malformed", "quote", "a TPMS_ATTEST", chain(cause))
        }
    }
}

/// An appraisal of evidence that proves nothing.
fn unproven(finding: Finding) -> Appraisal {
    let mut vector = TrustVector::default();
    vector.set(Claim::Executables, ClaimValue::CRYPTO_FAILED);
    Appraisal {
        status: vector.worst(),
        vector,
        findings: vec![finding],
        boot_state: None,
        policy_ids: Vec::new(),
        tags: BTreeMap::new(),
        state: None,
    }
}

/// What is wrong if no document is in date.
fn in_date(policy: &AppraisalPolicy<'_>, valid: &[&Reference], now_s: u64) -> Option<Finding> {
    if !valid.is_empty() {
        return None;
    }
    let newest = policy
        .references
        .iter()
        .map(|one| &one.values)
        .max_by_key(|one| one.expires_s);
    Some(match newest {
        None => {
            let expected = "reference values signed by a pinned key";
            Finding::new(
                "reference-values-missing",
                "reference values",
                expected,
                "none",
            )
        }
        Some(newest) => Finding::new(
            "reference-values-expired",
            format!("reference values of '{}'", newest.issuer.escape_debug()),
            format!("valid at {now_s}"),
            format!("valid from {} to {}", newest.not_before_s, newest.expires_s),
        ),
    })
}

fn is_endorsed(evidence: &Evidence, ak: &AkPublic, valid: &[&Reference]) -> bool {
    valid
        .iter()
        .flat_map(|one| &one.values.tpms)
        .any(|tpm| tpm.ueid == evidence.ueid && tpm.ak_name == *ak.name())
}

/// The PCRs that a verdict pins until the next one. IMA extends PCR 10 with every program that
/// runs, so where its list was appraised the register is not held to the value it had.
fn pinned(quoted: &PcrValues, state: Option<&BootState>) -> PcrValues {
    let mut pinned = quoted.clone();
    let appraised = state.and_then(|state| state.ima.as_ref());
    if let Some(pcr) = appraised.and_then(|_| PcrIndex::new(crate::ima::PCR)) {
        pinned.remove(pcr);
    }
    pinned
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests;
