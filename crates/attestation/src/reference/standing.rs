//! Which documents of reference values count together: those with enough signatures that no newer
//! document of the same provider has withdrawn.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::Reference;
use crate::finding::Finding;

/// Providers that are remembered at most.
const MAX_PROVIDERS: usize = 256;

/// For each provider the lowest sequence number that still counts. It only rises.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Floors(BTreeMap<String, u64>);

/// The documents that count, and why the others do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Each once, whoever signed it first.
    pub accepted: Vec<Reference>,
    /// A finding for each of the others.
    pub refused: Vec<Finding>,
    /// What is to be remembered from now on.
    pub floors: Floors,
}

/// Weighs `documents`, each with the name of its file, at `now_s` seconds since 1970.
///
/// A document counts if pinned keys of `signatures` different signers signed the very same claims,
/// and if its sequence number is not below the floor of its provider. A document raises that floor
/// with its claim `min_seq` from its first second of validity on, and for good: an older document
/// that is put back, even together with the older state of its directory, stays withdrawn.
#[must_use]
pub fn standing(
    documents: Vec<(String, Reference)>,
    floors: &Floors,
    signatures: usize,
    now_s: u64,
) -> Standing {
    let mut signers: BTreeMap<[u8; 32], BTreeSet<String>> = BTreeMap::new();
    for (_, document) in &documents {
        signers
            .entry(document.claims_digest)
            .or_default()
            .insert(document.signer.clone());
    }
    let mut refused = Vec::new();
    let mut signed: Vec<(String, Reference)> = Vec::new();
    for (file, document) in documents {
        let found = signers
            .get(&document.claims_digest)
            .map_or(0, BTreeSet::len);
        if found < signatures {
            refused.push(Finding::new(
                "reference-values-undersigned",
                subject(&file),
                format!("signatures of {signatures} pinned keys"),
                found.to_string(),
            ));
            continue;
        }
        let known = signed
            .iter_mut()
            .find(|(_, known)| known.claims_digest == document.claims_digest);
        match known {
            // Nodes are bound to the one key or to the other.
            Some((_, known)) => known.approvals.extend(document.approvals),
            None => signed.push((file, document)),
        }
    }
    let mut floors = floors.clone();
    for (_, document) in &signed {
        let values = &document.values;
        if let Some(minimum) = values.minimum_sequence
            && values.not_before_s <= now_s
        {
            floors.raise(&values.issuer, minimum);
        }
    }
    let mut accepted = Vec::new();
    for (file, document) in signed {
        let floor = floors.of(&document.values.issuer);
        if document.values.sequence < floor {
            refused.push(Finding::new(
                "reference-values-withdrawn",
                subject(&file),
                format!("sequence {floor} or later, as a newer document asks"),
                document.values.sequence.to_string(),
            ));
        } else {
            accepted.push(document);
        }
    }
    Standing {
        accepted,
        refused,
        floors,
    }
}

fn subject(file: &str) -> String {
    let file: String = file.escape_debug().take(64).collect();
    format!("reference values '{file}'")
}

// === impl Floors ===

impl Floors {
    /// Reads what [`Floors::to_json`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        if members.len() > MAX_PROVIDERS {
            return None;
        }
        members
            .iter()
            .map(|(issuer, floor)| Some((issuer.clone(), floor.as_u64()?)))
            .collect::<Option<_>>()
            .map(Self)
    }

    /// As a JSON object: provider to number.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let members: Map<String, Value> = self
            .0
            .iter()
            .map(|(issuer, floor)| (issuer.clone(), (*floor).into()))
            .collect();
        Value::Object(members)
    }

    /// The lowest number that counts for `issuer`; 0 if it never asked for one.
    #[must_use]
    pub fn of(&self, issuer: &str) -> u64 {
        self.0.get(issuer).copied().unwrap_or_default()
    }

    fn raise(&mut self, issuer: &str, minimum: u64) {
        let floor = self.0.entry(issuer.to_owned()).or_default();
        *floor = (*floor).max(minimum);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fakes::FakeKey;
    use crate::jwk::{KeyUse, TrustedKey, TrustedKeys};
    use crate::reference::{ReferenceValues, verify};

    const NOW_S: u64 = 1_000;

    fn values(seq: u64, min_seq: Option<u64>) -> ReferenceValues {
        let mut claims = json!({
            "iss": "ops", "iat": 900, "nbf": 900, "exp": 2_000, "seq": seq,
            "boot_states": [{"name": "a", "pcrs": {"sha256": {"7": "07".repeat(32)}}}],
        });
        if let Some(min_seq) = min_seq {
            claims["min_seq"] = min_seq.into();
        }
        ReferenceValues::from_claims(&claims).unwrap()
    }

    fn document(values: &ReferenceValues, signer: u8) -> (String, Reference) {
        let mut keys = TrustedKeys::new();
        for seed in 1..4 {
            let key = FakeKey::new(seed).public().clone();
            keys.insert(TrustedKey::new(key, KeyUse::Reference))
                .unwrap();
        }
        let token = values.sign(&mut FakeKey::new(signer)).unwrap();
        let file = format!("{}-{signer}.jws", values.sequence);
        (file, verify(&token, &keys).unwrap())
    }

    fn sequences(standing: &Standing) -> Vec<u64> {
        let accepted = standing.accepted.iter();
        accepted.map(|document| document.values.sequence).collect()
    }

    #[test]
    fn old_and_new_count_together_until_the_old_is_withdrawn() {
        let (old, new) = (values(1, None), values(2, Some(1)));
        let overlap = vec![document(&old, 1), document(&new, 1)];
        let overlap = standing(overlap, &Floors::default(), 1, NOW_S);
        assert_eq!(sequences(&overlap), [1, 2]);
        assert_eq!(overlap.refused, []);

        let last = values(3, Some(2));
        let over = vec![document(&old, 1), document(&new, 1), document(&last, 1)];
        let over = standing(over, &overlap.floors, 1, NOW_S);
        assert_eq!(sequences(&over), [2, 3]);
        assert_eq!(over.refused[0].code, "reference-values-withdrawn");
        assert_eq!(over.refused[0].subject, "reference values '1-1.jws'");
    }

    #[test]
    fn a_document_that_is_put_back_stays_withdrawn() {
        let floors = Floors::from_json(&json!({ "ops": 2 })).unwrap();
        let back = standing(vec![document(&values(1, None), 1)], &floors, 1, NOW_S);
        assert_eq!(sequences(&back), [] as [u64; 0]);
        assert_eq!(back.refused[0].code, "reference-values-withdrawn");
        assert_eq!(back.floors, floors);
        // A document that asks for less than is remembered lowers nothing.
        let lower = standing(vec![document(&values(2, Some(1)), 1)], &floors, 1, NOW_S);
        assert_eq!(lower.floors, floors);
    }

    #[test]
    fn a_document_withdraws_nothing_before_it_is_valid() {
        let (old, new) = (values(1, None), values(2, Some(2)));
        let documents = vec![document(&old, 1), document(&new, 1)];
        let early = standing(documents.clone(), &Floors::default(), 1, 899);
        assert_eq!(sequences(&early), [1, 2]);
        assert_eq!(early.floors, Floors::default());
        let late = standing(documents, &Floors::default(), 1, 900);
        assert_eq!(sequences(&late), [2]);
    }

    #[test]
    fn as_many_signers_as_asked_for_must_have_signed_the_same() {
        let (one, other) = (values(1, None), values(2, None));
        let alone = standing(vec![document(&one, 1)], &Floors::default(), 2, NOW_S);
        assert_eq!(sequences(&alone), [] as [u64; 0]);
        assert_eq!(alone.refused[0].code, "reference-values-undersigned");
        // Not by one signer twice, and not for other claims.
        for documents in [
            vec![document(&one, 1), document(&one, 1)],
            vec![document(&one, 1), document(&other, 2)],
        ] {
            let standing = standing(documents, &Floors::default(), 2, NOW_S);
            assert_eq!(sequences(&standing), [] as [u64; 0]);
        }
        let both = vec![document(&one, 1), document(&one, 2)];
        let both = standing(both, &Floors::default(), 2, NOW_S);
        assert_eq!(sequences(&both), [1]);
        assert_eq!(both.refused, []);
        // Nor does a document with too few signatures withdraw another.
        let both = vec![
            document(&one, 1),
            document(&one, 2),
            document(&values(9, Some(9)), 3),
        ];
        let both = standing(both, &Floors::default(), 2, NOW_S);
        assert_eq!(sequences(&both), [1]);
        assert_eq!(both.floors, Floors::default());
    }

    #[test]
    fn floors_read_back_and_nothing_else_does() {
        let floors = Floors::from_json(&json!({ "a": 1, "b": 2 })).unwrap();
        assert_eq!(Floors::from_json(&floors.to_json()), Some(floors));
        for other in [json!([]), json!({ "a": -1 }), json!({ "a": "1" }), json!(1)] {
            assert_eq!(Floors::from_json(&other), None, "{other}");
        }
    }
}
