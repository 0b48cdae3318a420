//! Whether the PCRs still hold what was attested.

use portcullis_attestation::hex;
use portcullis_attestation::pcr::{PcrSelection, PcrValues};
use portcullis_attestation::quarantine;
use portcullis_attestation::verdict::PcrClaim;

use crate::{Code, Refusal, quote};

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
    let mut drifted: Vec<Refusal> = attested
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
    drifted.sort_by_key(|refusal| refusal.code != Code::HostQuarantined);
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
