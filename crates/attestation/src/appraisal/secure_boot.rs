//! Secure Boot, by what the firmware measured of it.
//!
//! Whether it is on is decided by the digest that its measurement must have. Keys are variables
//! that are known by name, so their events are read, after their digest proved the data; one that
//! is not proven is no key, and a list of keys is not met without one.

use super::measured::Replayed;
use crate::event_log::{Event, Variable};
use crate::finding::Finding;
use crate::hashing;
use crate::hex;
use crate::pcr::{HashAlg, PcrIndex, PcrValues};
use crate::reference::{EventRules, SecureBootRules};

/// What ends the firmware's own measurements: success, failure of two kinds.
const SEPARATORS: [[u8; 4]; 3] = [[0; 4], [0xff; 4], [1, 0, 0, 0]];

/// What is not as the rules have it.
///
/// # Source
///
/// TCG PC Client Platform Firmware Profile 1.06, section 3.3.4.8 "PCR[7] – Secure Boot Policy
/// Measurements": the variables come before the separator, after which others may extend.
pub(super) fn findings(
    rule: &SecureBootRules,
    rules: &EventRules,
    quoted: &PcrValues,
    log: &Replayed<'_>,
) -> Vec<Finding> {
    let bank = rules.bank;
    let Some((pcr, value)) = PcrIndex::new(7).and_then(|pcr| Some((pcr, quoted.value(pcr)?)))
    else {
        // Not quoted: reported as such.
        return Vec::new();
    };
    let events = match log.proven(pcr, value) {
        Ok(events) => events,
        // The rules of PCR 7 have reported it.
        Err(_) if rules.pcrs.contains_key(&pcr) => return Vec::new(),
        Err(finding) => return vec![finding],
    };
    let firmware = of_firmware(bank, &events);
    let mut findings: Vec<Finding> = off(bank, firmware).into_iter().collect();
    for (name, allowed) in rule.variables() {
        if !allowed.is_empty() {
            findings.extend(unknown_key(bank, name, allowed, firmware));
        }
    }
    findings
}

/// The events before the separator. Without one the firmware did not finish, and nothing counts.
fn of_firmware<'e, 'a>(bank: HashAlg, events: &'e [&'e Event<'a>]) -> &'e [&'e Event<'a>] {
    let separators: Vec<Vec<u8>> = SEPARATORS
        .iter()
        .filter_map(|data| hashing::digest(bank, &[data]))
        .collect();
    let end = events.iter().position(|event| {
        let digest = event.digest(bank).unwrap_or_default();
        separators.iter().any(|one| one == digest)
    });
    end.and_then(|end| events.get(..end)).unwrap_or_default()
}

/// The finding, unless the firmware measured that it is on, and not also that it is off.
fn off(bank: HashAlg, firmware: &[&Event<'_>]) -> Option<Finding> {
    let measured = |value: &[u8]| {
        let data = Variable::to_data(Variable::GLOBAL, "SecureBoot", value);
        let digest = hashing::digest(bank, &[&data]);
        firmware
            .iter()
            .find(|event| event.digest(bank) == digest.as_deref())
    };
    let found = match (measured(&[0]).or_else(|| measured(&[])), measured(&[1])) {
        (None, Some(_on)) => return None,
        (Some(off), _) => format!("off, by event {} of PCR 7", off.number),
        (None, None) => "neither on nor off among the firmware's events".to_owned(),
    };
    Some(Finding::new(
        "secure-boot-off",
        "Secure Boot",
        "on, as measured by the firmware",
        found,
    ))
}

/// The finding, unless the firmware measured the variable and each time as one of `allowed`.
fn unknown_key(
    bank: HashAlg,
    name: &str,
    allowed: &[Vec<u8>],
    firmware: &[&Event<'_>],
) -> Option<Finding> {
    let mut measured = firmware.iter().filter(|event| {
        event
            .checked(bank)
            .and_then(|checked| Variable::parse(checked.bytes()))
            .is_some_and(|variable| variable.name == name)
    });
    let is_allowed = |event: &&&Event<'_>| {
        let digest = event.digest(bank).unwrap_or_default();
        allowed.iter().any(|one| one == digest)
    };
    let found = match measured.clone().find(|event| !is_allowed(event)) {
        Some(event) => {
            let digest = hex::encode(event.digest(bank).unwrap_or_default());
            format!("{digest}, event {}", event.number)
        }
        None if measured.next().is_some() => return None,
        None => "none".to_owned(),
    };
    let first = allowed.first().map(|one| hex::encode(one));
    let others = match allowed.len() {
        0 | 1 => String::new(),
        2 => " or one other".to_owned(),
        count => format!(" or one of {} others", count.saturating_sub(1)),
    };
    Some(Finding::new(
        "secure-boot-key-unknown",
        format!("variable {name} of Secure Boot ({bank})"),
        format!("{}{others}", first.unwrap_or_default()),
        found,
    ))
}
