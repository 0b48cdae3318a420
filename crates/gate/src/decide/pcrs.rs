//! Whether the PCRs still hold what was attested.

use portcullis_attestation::hex;
use portcullis_attestation::ima;
use portcullis_attestation::pcr::{PcrSelection, PcrValues};
use portcullis_attestation::quarantine;
use portcullis_attestation::trust::{Claim, ClaimValue};
use portcullis_attestation::verdict::{HostVerdict, PcrClaim};

use crate::{Code, Refusal, quote};

/// Why a verdict is about too little; `None` if it covers what is `demanded`.
///
/// Without this a verifier gone wrong could leave out the one PCR that has changed: the live values
/// are compared with what the verdict names and with nothing else. The one that IMA extends is not
/// asked of a verdict that speaks of what ran since boot: every program that runs moves it.
pub(super) fn uncovered(
    node: &str,
    demanded: PcrSelection,
    verdict: &HostVerdict,
) -> Option<Refusal> {
    let attested = verdict.pcrs.selection;
    let appraises_runtime = matches!(
        verdict.vector.value(Claim::Executables),
        Some(ClaimValue::APPROVED | ClaimValue::UNRECOGNIZED_RUNTIME)
    );
    let demanded = PcrSelection::new(
        demanded.bank(),
        (demanded.iter()).filter(|pcr| !(appraises_runtime && pcr.get() == ima::PCR)),
    );
    let code = if attested.bank() != demanded.bank() {
        Code::VerdictPcrBankMismatch
    } else if attested.covers(demanded) {
        return None;
    } else {
        Code::VerdictPcrsIncomplete
    };
    Some(Refusal::new(
        code,
        format!("verdict of node {}", quote(node)),
        format!("{} at least", described(demanded)),
        described(attested),
    ))
}

/// Compares the live values with the verdict's, and names each PCR that differs.
pub(super) fn refusals(node: &str, attested: &PcrClaim, live: &PcrValues) -> Vec<Refusal> {
    let node = quote(node);
    let selection = attested.selection;
    if !live.selection().covers(selection) {
        return vec![Refusal::new(
            Code::PcrSelectionMismatch,
            format!("live PCRs of node {node}"),
            described(selection),
            described(live.selection()),
        )];
    }
    // A live reading may hold more PCRs than were attested; those say nothing.
    let mut covered = PcrValues::new(selection.bank());
    for (index, value) in live.iter().filter(|(index, _)| selection.contains(*index)) {
        // Values of the same bank have its length already.
        let _same_length = covered.insert(index, value.to_vec());
    }
    if covered.digest() == attested.digest {
        return Vec::new();
    }
    let bank = selection.bank();
    let drifted: Vec<Refusal> = attested
        .values
        .iter()
        .flat_map(PcrValues::iter)
        .filter_map(|(index, expected)| {
            let found = covered.value(index).unwrap_or_default();
            let code = if quarantine::is_marked(bank, expected, found) {
                Code::HostQuarantined
            } else {
                Code::PcrDrift
            };
            (found != expected).then(|| {
                Refusal::new(
                    code,
                    format!("node {node} PCR {index} ({bank})"),
                    format!("{} as attested", hex::encode(expected)),
                    hex::encode(found),
                )
            })
        })
        .collect();
    // What the operator did on purpose comes before what else there is.
    let is_on_purpose = |refusal: &Refusal| refusal.code == Code::HostQuarantined;
    let (mut drifted, others): (Vec<_>, Vec<_>) = drifted.into_iter().partition(is_on_purpose);
    drifted.extend(others);
    if drifted.is_empty() {
        drifted.push(Refusal::new(
            Code::PcrDrift,
            format!("node {node} digest of PCRs {selection} ({bank})"),
            format!("{} as attested", hex::encode(&attested.digest)),
            hex::encode(&covered.digest()),
        ));
    }
    drifted
}

fn described(selection: PcrSelection) -> String {
    format!("PCRs {selection} ({})", selection.bank())
}
