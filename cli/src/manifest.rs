//! PCR values out of a CoRIM, a vendor's manifest of reference values.
//!
//! Looks at nothing but the bytes it is given, so that it can be fuzzed.

use corim::types::measurement::{Digest, DigestAlg, IntegrityRegisterId, IntegrityRegisters};
use corim::types::triples::ReferenceTriple;
use corim::validate::decode_and_validate_at;
use portcullis_attestation::hex;
use serde_json::{Map, Value, json};

/// Highest PCR.
const LAST_PCR: u64 = 23;
/// Hash algorithms by their numbers and names in IANA's "Named Information" registry, with the PCR
/// bank and the length of a digest in bytes.
const BANKS: [(i64, &str, &str, usize); 2] =
    [(1, "sha-256", "sha256", 32), (7, "sha-384", "sha384", 48)];

/// Why a manifest gives no PCR values.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("cannot read CoRIM: {reason}")]
    Read { reason: String },
    #[error("cannot use CoRIM: it has no integrity registers with reference values")]
    Empty,
    #[error("cannot use CoRIM: register '{register}' is not a PCR from 0 to 23")]
    Register { register: String },
    #[error("cannot use CoRIM: register {register} has no digest of SHA-256 or SHA-384")]
    Digest { register: u64 },
    #[error(
        "cannot use CoRIM: register {register} has several values in bank {bank}; a PCR of a boot state has one"
    )]
    Several { register: u64, bank: &'static str },
}

/// Boot states of an unsigned CoRIM in CBOR that is valid at `now_s`, in seconds since 1970: one for
/// each reference triple with integrity registers, called `name`, and numbered if there are several.
///
/// # Errors
///
/// [`ManifestError`]. There is at least one boot state.
///
/// # Source
///
/// draft-ietf-rats-corim-10, "Reference Values Triple" and "Integrity Registers".
pub(crate) fn boot_states(
    bytes: &[u8],
    name: &str,
    now_s: i64,
) -> Result<Vec<Value>, ManifestError> {
    let (_, comids) =
        decode_and_validate_at(bytes, now_s).map_err(|error| ManifestError::Read {
            reason: error.to_string().replace('\n', " "),
        })?;
    let triples = comids
        .iter()
        .flat_map(|comid| comid.triples.reference_triples.iter().flatten());
    let mut states = Vec::new();
    for triple in triples {
        let banks = banks_of(triple)?;
        if !banks.is_empty() {
            states.push(banks);
        }
    }
    if states.is_empty() {
        return Err(ManifestError::Empty);
    }
    let only_one = states.len() == 1;
    let named = states.into_iter().enumerate().map(|(index, banks)| {
        let name = if only_one {
            name.to_owned()
        } else {
            format!("{name}-{}", index.saturating_add(1))
        };
        json!({ "name": name, "pcrs": banks })
    });
    Ok(named.collect())
}

/// PCR values of all measurements of a triple: bank, then index, then value.
fn banks_of(triple: &ReferenceTriple) -> Result<Map<String, Value>, ManifestError> {
    let mut banks = Map::new();
    for measurement in triple.measurements() {
        if let Some(registers) = &measurement.mval.integrity_registers {
            add(&mut banks, registers)?;
        }
    }
    Ok(banks)
}

fn add(
    banks: &mut Map<String, Value>,
    registers: &IntegrityRegisters,
) -> Result<(), ManifestError> {
    for (register, digests) in &registers.0 {
        let register = pcr(register)?;
        let mut known = false;
        for digest in digests {
            let Some(bank) = bank_of(digest) else {
                continue;
            };
            known = true;
            let values = banks
                .entry(bank)
                .or_insert_with(|| Value::Object(Map::new()));
            let Some(values) = values.as_object_mut() else {
                continue;
            };
            let value = Value::String(hex::encode(&digest.1));
            match values.insert(register.to_string(), value.clone()) {
                Some(other) if other != value => {
                    return Err(ManifestError::Several { register, bank });
                }
                _ => {}
            }
        }
        if !known {
            return Err(ManifestError::Digest { register });
        }
    }
    Ok(())
}

fn pcr(register: &IntegrityRegisterId) -> Result<u64, ManifestError> {
    let (number, shown) = match register {
        IntegrityRegisterId::Uint(number) => (Some(*number), number.to_string()),
        IntegrityRegisterId::Text(text) => (
            text.parse().ok(),
            text.escape_debug().take(32).collect::<String>(),
        ),
        // Of a draft to come.
        _ => (None, "of an unknown form".to_owned()),
    };
    number
        .filter(|number| *number <= LAST_PCR)
        .ok_or(ManifestError::Register { register: shown })
}

fn bank_of(digest: &Digest) -> Option<&'static str> {
    BANKS
        .iter()
        .find(|(number, name, _, length)| {
            digest.1.len() == *length
                && match &digest.0 {
                    DigestAlg::Int(found) => found == number,
                    DigestAlg::Text(found) => found == name,
                    _ => false,
                }
        })
        .map(|(_, _, bank, _)| *bank)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use corim::types::environment::EnvironmentMap;
    use corim::types::measurement::{MeasurementMap, MeasurementValuesMap};

    use super::*;

    fn triple(registers: Vec<(IntegrityRegisterId, Vec<Digest>)>) -> ReferenceTriple {
        let environment = EnvironmentMap {
            class: None,
            instance: None,
            group: None,
        };
        let registers: BTreeMap<_, _> = registers.into_iter().collect();
        let mut values = MeasurementValuesMap::default();
        values.integrity_registers = Some(IntegrityRegisters(registers));
        let measurement = MeasurementMap {
            mkey: None,
            mval: values,
            authorized_by: None,
        };
        ReferenceTriple::new(environment, vec![measurement])
    }

    fn sha256(byte: u8) -> Digest {
        Digest::new(1, vec![byte; 32])
    }

    #[test]
    fn registers_become_pcrs_of_their_banks() {
        let banks = banks_of(&triple(vec![
            (
                IntegrityRegisterId::Uint(0),
                vec![sha256(1), Digest::new(7, vec![2; 48])],
            ),
            (
                IntegrityRegisterId::Text("7".to_owned()),
                vec![Digest::new_text("sha-256", vec![3; 32])],
            ),
        ]))
        .unwrap();
        assert_eq!(
            Value::Object(banks),
            json!({
                "sha256": { "0": "01".repeat(32), "7": "03".repeat(32) },
                "sha384": { "0": "02".repeat(48) },
            })
        );
    }

    #[test]
    fn what_is_no_pcr_value_is_named() {
        for (register, digests, named) in [
            (IntegrityRegisterId::Uint(24), vec![sha256(1)], "'24'"),
            (
                IntegrityRegisterId::Text("mrtd".to_owned()),
                vec![sha256(1)],
                "'mrtd'",
            ),
            (
                IntegrityRegisterId::Uint(4),
                vec![Digest::new(1, vec![1; 20])],
                "no digest",
            ),
            (IntegrityRegisterId::Uint(4), vec![], "no digest"),
            (
                IntegrityRegisterId::Uint(4),
                vec![sha256(1), sha256(2)],
                "several",
            ),
        ] {
            let refused = banks_of(&triple(vec![(register, digests)])).unwrap_err();
            assert!(refused.to_string().contains(named), "{refused}");
        }
    }
}
