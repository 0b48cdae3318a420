//! Reading of a verdict's claims.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::dialect::{Dialect, Names};
use super::{HOST, HOST_PROFILE, HostVerdict, Latched, PcrClaim, TagPin, Verdict, VerdictError};
use crate::claims::{ClaimError, Claims};
use crate::pcr::{HashAlg, PcrIndex, PcrSelection, PcrValues};
use crate::tpm_name::TpmName;
use crate::trust::{TrustTier, TrustVector};
use crate::ueid::Ueid;
use crate::{base64url, hex};

/// Bounds of `eat_nonce` in bytes.
const NONCE_BYTES: std::ops::RangeInclusive<usize> = 8..=64;
/// Characters of outside text that an error shows.
const QUOTE_LIMIT: usize = 64;

/// Reads the payload of a token in either dialect.
pub(super) fn verdict(kid: String, payload: &Value) -> Result<Verdict, VerdictError> {
    let claims = Claims::of(payload)?;
    let profile = claims.text("eat_profile")?;
    let Some(dialect) = Dialect::of_profile(profile) else {
        return Err(VerdictError::Profile {
            found: quoted(profile),
        });
    };
    refuse_mixture(dialect, claims.members())?;
    let names = dialect.names();

    let issued_at_s = claims.unsigned("iat")?;
    let expires_s = claims.unsigned("exp")?;
    if issued_at_s == 0 {
        return Err(claims.malformed("iat", "a time after 1970").into());
    }
    if expires_s <= issued_at_s {
        return Err(claims.malformed("exp", "a time after 'iat'").into());
    }
    let nonce = claims.required("eat_nonce", "8 to 64 bytes in base64url", |value| {
        base64url::decode(value.as_str()?).filter(|nonce| NONCE_BYTES.contains(&nonce.len()))
    })?;
    let verifier = claims.object(names.verifier_id)?;

    let (host, worst) = submodules(dialect, &claims)?;
    let status = claims
        .optional(names.status, "a status", read_status)?
        .unwrap_or(worst);
    refuse_contradiction("ear", status, worst)?;
    Ok(Verdict {
        dialect,
        kid,
        issuer: claims.text("iss")?.to_owned(),
        issued_at_s,
        expires_s,
        nonce,
        verifier_developer: verifier.text("developer")?.to_owned(),
        verifier_build: verifier.text("build")?.to_owned(),
        status,
        host,
    })
}

/// Reads the host's part whole, and of every other part enough to know the worst status.
fn submodules(
    dialect: Dialect,
    claims: &Claims<'_>,
) -> Result<(HostVerdict, TrustTier), VerdictError> {
    let parts = claims.object("submods")?;
    let mut worst = TrustTier::Affirming;
    for (name, part) in parts.members() {
        let part = part
            .as_object()
            .ok_or_else(|| parts.malformed(name, "an object"))?;
        refuse_mixture(dialect, part)?;
        let part = Claims::at(part, "submods", name);
        let (status, vector) = appraisal(dialect.names(), &part)?;
        refuse_contradiction(name, status, vector.worst())?;
        worst = worst.worse(status);
    }
    Ok((host(dialect, &parts.object(HOST)?)?, worst))
}

fn appraisal(names: Names, part: &Claims<'_>) -> Result<(TrustTier, TrustVector), ClaimError> {
    let status = part.required(names.status, "a status", read_status)?;
    let expected = "AR4SI claims with values from -128 to 127";
    let vector = part.required(names.vector, expected, |value| {
        TrustVector::from_claim(value.as_object()?)
    })?;
    Ok((status, vector))
}

fn host(dialect: Dialect, part: &Claims<'_>) -> Result<HostVerdict, VerdictError> {
    let names = dialect.names();
    let profile = match dialect {
        Dialect::Draft04 => Some(part.text("eat_profile")?),
        // The older drafts have no profile here, so there its absence says nothing.
        Dialect::Dotted => part.optional("eat_profile", "a text", Value::as_str)?,
    };
    if let Some(found) = profile.filter(|found| *found != HOST_PROFILE) {
        return Err(VerdictError::Profile {
            found: quoted(found),
        });
    }
    let (status, vector) = appraisal(names, part)?;
    let bound = bindings(names, part).map_err(|error| match error {
        ClaimError::Missing { .. } => VerdictError::Unbound(error),
        ClaimError::Malformed { .. } => VerdictError::Claim(error),
    })?;
    let verifier = part.object(names.verifier_claims)?;
    Ok(HostVerdict {
        status,
        vector,
        policy_ids: part
            .optional(names.policy, "names of policies", |value| {
                read_policies(dialect, value)
            })?
            .unwrap_or_default(),
        ueid: bound.ueid,
        reset_count: bound.reset_count,
        restart_count: bound.restart_count,
        clock_ms: bound.clock_ms,
        boot_seed: bound.boot_seed,
        ak_name: bound.ak_name,
        pcrs: bound.pcrs,
        tag: bound.tag,
        node_name: verifier
            .optional("node_name", "a text", Value::as_str)?
            .map(str::to_owned),
        sequence: verifier.unsigned("seq")?,
        tags: verifier
            .optional("tags", "texts", read_texts)?
            .unwrap_or_default(),
        max_age_s: verifier.optional("max_age", "a whole number", Value::as_u64)?,
        boot_state: verifier
            .optional("boot_state", "a text", Value::as_str)?
            .map(str::to_owned),
        latched: latched(&verifier)?,
    })
}

/// What ties a verdict to one TPM in one boot, to what it had measured, and to its tag.
struct Bindings {
    ueid: Ueid,
    reset_count: u32,
    restart_count: u32,
    clock_ms: Option<u64>,
    boot_seed: String,
    ak_name: TpmName,
    pcrs: PcrClaim,
    tag: Option<TagPin>,
}

fn bindings(names: Names, part: &Claims<'_>) -> Result<Bindings, ClaimError> {
    let attester = part.object(names.attester_claims)?;
    Ok(Bindings {
        ueid: attester.required("ueid", "a ueid", |value| Ueid::parse(value.as_str()?))?,
        reset_count: attester.unsigned_32("bootcount")?,
        restart_count: attester.unsigned_32("tpm_restart_count")?,
        clock_ms: attester.optional("tpm_clock", "a whole number", Value::as_u64)?,
        boot_seed: attester.required("bootseed", "32 bytes in base64url", |value| {
            let text = value.as_str()?;
            base64url::decode_array::<32>(text).map(|_| text.to_owned())
        })?,
        ak_name: attester.required("tpm_ak_name", "a TPM name in hexadecimal", read_name)?,
        pcrs: pcrs(&attester)?,
        tag: tag_pin(&attester)?,
    })
}

fn pcrs(attester: &Claims<'_>) -> Result<PcrClaim, ClaimError> {
    let bank = attester.required("pcr_bank", "a hash algorithm", |value| {
        HashAlg::parse(value.as_str()?)
    })?;
    let expected = "PCR indices from 0 to 23, ascending, at least one";
    let selection = attester.required("pcr_selection", expected, |value| {
        read_selection(bank, value.as_array()?)
    })?;
    let digest = attester.required("pcr_digest", "32 bytes in hexadecimal", |value| {
        hex::decode_array(value.as_str()?)
    })?;
    let expected = "the values of 'pcr_selection' behind 'pcr_digest'";
    let values = attester.optional("pcrs", expected, |value| {
        PcrValues::from_claim(bank, value.as_object()?)
            .filter(|values| values.selection() == selection && values.digest() == digest)
    })?;
    Ok(PcrClaim {
        selection,
        digest,
        values,
    })
}

/// Ascending, because the digest is over the values in that order and in no other.
fn read_selection(bank: HashAlg, indices: &[Value]) -> Option<PcrSelection> {
    let pcrs: Vec<PcrIndex> = indices
        .iter()
        .map(|index| PcrIndex::new(u8::try_from(index.as_u64()?).ok()?))
        .collect::<Option<_>>()?;
    (!pcrs.is_empty() && pcrs.is_sorted_by(|one, next| one < next))
        .then(|| PcrSelection::new(bank, pcrs))
}

/// All four claims of the tag or none: half a pin would leave the other half to the host.
fn tag_pin(attester: &Claims<'_>) -> Result<Option<TagPin>, ClaimError> {
    let claims = [
        "tag_nv_index",
        "tag_nv_name",
        "tag_digest_sha384",
        "tag_counter",
    ];
    if !claims.iter().any(|claim| attester.has(claim)) {
        return Ok(None);
    }
    Ok(Some(TagPin {
        nv_index: attester.required("tag_nv_index", "an NV index such as 0x01c10110", |value| {
            let digits = value.as_str()?.strip_prefix("0x")?;
            hex::decode_array(digits).map(u32::from_be_bytes)
        })?,
        nv_name: attester.required("tag_nv_name", "a TPM name in hexadecimal", read_name)?,
        digest: attester.required("tag_digest_sha384", "48 bytes in hexadecimal", |value| {
            hex::decode_array(value.as_str()?)
        })?,
        counter: attester.unsigned("tag_counter")?,
    }))
}

/// Not of the drafts: a verifier that latches says so here, beside a status that is not affirming.
fn latched(verifier: &Claims<'_>) -> Result<Option<Latched>, ClaimError> {
    if !verifier.has("latched") {
        return Ok(None);
    }
    let claim = verifier.object("latched")?;
    Ok(Some(Latched {
        since_s: claim.unsigned("since")?,
        code: claim.text("code")?.to_owned(),
        subject: claim.text("subject")?.to_owned(),
    }))
}

fn read_status(value: &Value) -> Option<TrustTier> {
    TrustTier::parse(value.as_str()?)
}

fn read_name(value: &Value) -> Option<TpmName> {
    TpmName::parse(value.as_str()?)
}

fn read_texts(value: &Value) -> Option<BTreeMap<String, String>> {
    let pairs = value.as_object()?.iter();
    pairs
        .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn read_policies(dialect: Dialect, value: &Value) -> Option<Vec<String>> {
    match dialect {
        Dialect::Draft04 => value
            .as_array()?
            .iter()
            .map(|id| id.as_str().map(str::to_owned))
            .collect(),
        Dialect::Dotted => Some(vec![value.as_str()?.to_owned()]),
    }
}

fn refuse_mixture(dialect: Dialect, members: &Map<String, Value>) -> Result<(), VerdictError> {
    match dialect.intruder(members) {
        Some(claim) => Err(VerdictError::Mixed { claim }),
        None => Ok(()),
    }
}

fn refuse_contradiction(
    part: &str,
    status: TrustTier,
    worst: TrustTier,
) -> Result<(), VerdictError> {
    if status.is_better_than(worst) {
        return Err(VerdictError::Contradiction {
            part: quoted(part),
            status,
            worst,
        });
    }
    Ok(())
}

fn quoted(text: &str) -> String {
    text.escape_debug().take(QUOTE_LIMIT).collect()
}
