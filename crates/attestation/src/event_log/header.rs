//! What EV_NO_ACTION events say: the algorithms of the log and the locality of the TPM's start.

use super::{Algorithm, Event, EventKind, EventLogError, MAX_ALGORITHMS, truncated};
use crate::little_endian::Cursor;
use crate::pcr::HashAlg;

/// Begins the header of a crypto-agile log.
const SPEC_ID: &[u8] = b"Spec ID Event03\0";
/// Bytes of the first event before its data.
const BEFORE_DATA: usize = 32;
/// platformClass, specVersionMinor, specVersionMajor, specErrata, uintnSize.
const VERSION_BYTES: usize = 8;
/// Begins the event with the locality.
const LOCALITY: &[u8] = b"StartupLocality\0";
/// Largest digest of any algorithm, in bytes.
const MAX_DIGEST_BYTES: u16 = 64;

/// The algorithms that the header names; `None` if the first event is no header, so that the log
/// is of the older form.
///
/// # Source
///
/// TCG PC Client Platform Firmware Profile, "TCG_EfiSpecIDEvent".
pub(super) fn algorithms(first: &Event<'_>) -> Result<Option<Vec<Algorithm>>, EventLogError> {
    let Some(body) = first
        .data
        .strip_prefix(SPEC_ID)
        .filter(|_| first.kind == EventKind::NO_ACTION)
    else {
        return Ok(None);
    };
    let place = |offset: usize| {
        BEFORE_DATA
            .saturating_add(SPEC_ID.len())
            .saturating_add(offset)
    };
    let unexpected = |field, offset: usize, expected, found: String| EventLogError::Unexpected {
        number: 0,
        field,
        offset: place(offset),
        expected,
        found,
    };
    let mut cursor = Cursor::new(body);
    let read = |cursor: &mut Cursor<'_>| {
        cursor.bytes("specVersion", VERSION_BYTES)?;
        let at = cursor.offset();
        Ok((at, cursor.u32("numberOfAlgorithms")?))
    };
    let short = |mut short: crate::little_endian::TooShort| {
        short.offset = place(short.offset);
        truncated(0, short)
    };
    let (at, count) = read(&mut cursor).map_err(short)?;
    if count == 0 || count > MAX_ALGORITHMS {
        let expected = "1 to 16";
        return Err(unexpected(
            "numberOfAlgorithms",
            at,
            expected,
            count.to_string(),
        ));
    }
    let mut algorithms: Vec<Algorithm> = Vec::new();
    for _ in 0..count {
        let at = cursor.offset();
        let id = cursor.u16("algorithmId").map_err(short)?;
        let size = cursor.u16("digestSize").map_err(short)?;
        if algorithms.iter().any(|one| one.id == id) {
            let expected = "each algorithm once";
            return Err(unexpected(
                "algorithmId",
                at,
                expected,
                format!("{id:#06x}"),
            ));
        }
        let digest_bytes = usize::from(size);
        let fits = match HashAlg::from_tpm_id(id) {
            Some(known) => known.digest_bytes() == digest_bytes,
            None => (1..=MAX_DIGEST_BYTES).contains(&size),
        };
        if !fits {
            let expected = "the size of the algorithm's digest";
            return Err(unexpected("digestSize", at, expected, size.to_string()));
        }
        algorithms.push(Algorithm { id, digest_bytes });
    }
    // What the vendor puts behind it means nothing here, but it has to be there.
    let vendor = cursor.u8("vendorInfoSize").map_err(short)?;
    cursor
        .bytes("vendorInfo", usize::from(vendor))
        .map_err(short)?;
    Ok(Some(algorithms))
}

/// The locality that the TPM was started from, which PCR 0 begins with; 0 if no event says it.
///
/// # Source
///
/// TCG PC Client Platform Firmware Profile, "TCG_EfiStartupLocalityEvent".
pub(super) fn startup_locality(events: &[Event<'_>]) -> Result<u8, EventLogError> {
    let mut said = None;
    for event in events {
        let Some(locality) = event
            .data
            .strip_prefix(LOCALITY)
            .filter(|_| event.kind == EventKind::NO_ACTION)
        else {
            continue;
        };
        match *locality {
            [locality @ (0 | 3 | 4)] if said.is_none() => said = Some(locality),
            _ => {
                return Err(EventLogError::Unexpected {
                    number: event.number,
                    field: "startupLocality",
                    offset: event.offset,
                    expected: "0, 3 or 4, once",
                    found: if said.is_some() {
                        "another one".to_owned()
                    } else {
                        format!("{:02x?}", locality.get(..4).unwrap_or(locality))
                    },
                });
            }
        }
    }
    Ok(said.unwrap_or(0))
}
