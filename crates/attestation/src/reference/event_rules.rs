//! Rules on events: what a boot state demands of the firmware's event log, so that a PCR need not
//! have one exact value.
//!
//! A rule speaks of digests only. Neither the type of an event nor the text beside it is covered
//! by what the TPM holds, so neither can be demanded; a step's note is for people.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::hex;
use crate::pcr::{HashAlg, PcrIndex};

/// Steps of one sequence. A boot measures some 50 events over all PCRs, firmware with many option
/// ROMs a few hundred.
const MAX_STEPS: usize = 512;
/// Sequences of one PCR.
const MAX_SEQUENCES: usize = 16;
/// Digests of one step, or of one Secure Boot variable.
const MAX_DIGESTS: usize = 64;
/// Bytes of a note.
const NOTE_BYTES: usize = 256;

/// What the events of one bank must be, PCR by PCR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRules {
    /// The bank whose digests the rules speak of.
    pub bank: HashAlg,
    /// PCRs whose every event is ruled, 0 to 9 and 11 to 14.
    pub pcrs: BTreeMap<PcrIndex, PcrRules>,
    /// What must be true of Secure Boot, beside the rules for PCR 7.
    pub secure_boot: Option<SecureBootRules>,
}

/// The events of one PCR: one of the sequences, from the first event to the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrRules {
    /// Alternatives, at least one; an empty sequence approves a PCR that nothing was measured into.
    pub any_of: Vec<Vec<Step>>,
}

/// One event of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it may have measured; at least one digest of the bank.
    pub digests: Vec<Vec<u8>>,
    /// Whether it may be absent.
    pub optional: bool,
    /// What people call it; decides nothing.
    pub note: Option<String>,
}

/// Secure Boot: on, as the firmware itself measured, and with these keys.
///
/// Each list holds digests of the event that measured the variable; empty means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecureBootRules {
    /// Platform key.
    pub pk: Vec<Vec<u8>>,
    /// Key exchange keys.
    pub kek: Vec<Vec<u8>>,
    /// Allowed signers and images.
    pub db: Vec<Vec<u8>>,
    /// Forbidden signers and images.
    pub dbx: Vec<Vec<u8>>,
}

// === impl EventRules ===

impl EventRules {
    /// No rules yet.
    #[must_use]
    pub const fn new(bank: HashAlg) -> Self {
        Self {
            bank,
            pcrs: BTreeMap::new(),
            secure_boot: None,
        }
    }

    /// Whether events of `pcr` can be ruled: what firmware and boot loaders measure. PCR 10 is
    /// extended by IMA for as long as the host runs, those from 15 on by others.
    #[must_use]
    pub const fn may_rule(pcr: PcrIndex) -> bool {
        pcr.get() <= 14 && pcr.get() != 10
    }

    /// Reads one bank of the claim `events`; `None` for anything that is not known here, because a
    /// rule that is passed over would be a rule that everybody meets.
    pub(super) fn from_claim(bank: HashAlg, claim: &Value) -> Option<Self> {
        let members = known(claim, &["pcrs", "secure_boot"])?;
        let mut rules = Self::new(bank);
        for (index, claim) in members
            .get("pcrs")
            .map_or(Some(&Map::new()), Value::as_object)?
        {
            let pcr = PcrIndex::parse(index).filter(|pcr| Self::may_rule(*pcr))?;
            rules.pcrs.insert(pcr, PcrRules::from_claim(bank, claim)?);
        }
        rules.secure_boot = match members.get("secure_boot") {
            None => None,
            Some(claim) => Some(SecureBootRules::from_claim(bank, claim)?),
        };
        (!rules.pcrs.is_empty() || rules.secure_boot.is_some()).then_some(rules)
    }

    /// One bank of the claim `events`.
    pub(super) fn to_claim(&self) -> Value {
        let pcrs: Map<String, Value> = self
            .pcrs
            .iter()
            .map(|(pcr, rules)| (pcr.to_string(), rules.to_claim()))
            .collect();
        let mut claim = Map::new();
        if !pcrs.is_empty() {
            claim.insert("pcrs".to_owned(), pcrs.into());
        }
        if let Some(rules) = &self.secure_boot {
            claim.insert("secure_boot".to_owned(), rules.to_claim());
        }
        claim.into()
    }
}

// === impl PcrRules ===

impl PcrRules {
    /// One sequence and no other.
    #[must_use]
    pub fn exactly(steps: Vec<Step>) -> Self {
        Self {
            any_of: vec![steps],
        }
    }

    fn from_claim(bank: HashAlg, claim: &Value) -> Option<Self> {
        if claim.is_array() {
            return Some(Self::exactly(read_steps(bank, claim)?));
        }
        let sequences = known(claim, &["any_of"])?.get("any_of")?.as_array()?;
        let fits = (1..=MAX_SEQUENCES).contains(&sequences.len());
        let any_of: Vec<Vec<Step>> = sequences
            .iter()
            .map(|claim| read_steps(bank, claim))
            .collect::<Option<_>>()?;
        fits.then_some(Self { any_of })
    }

    fn to_claim(&self) -> Value {
        let mut sequences: Vec<Value> = self
            .any_of
            .iter()
            .map(|steps| steps.iter().map(Step::to_claim).collect())
            .collect();
        match sequences.len() {
            1 => sequences.swap_remove(0),
            _ => json!({ "any_of": sequences }),
        }
    }
}

fn read_steps(bank: HashAlg, claim: &Value) -> Option<Vec<Step>> {
    let steps = claim.as_array()?;
    if steps.len() > MAX_STEPS {
        return None;
    }
    steps
        .iter()
        .map(|step| Step::from_claim(bank, step))
        .collect()
}

// === impl Step ===

impl Step {
    /// An event that must be there.
    #[must_use]
    pub fn measured(digest: Vec<u8>) -> Self {
        Self {
            digests: vec![digest],
            optional: false,
            note: None,
        }
    }

    /// Whether the step approves an event with this digest.
    #[must_use]
    pub fn allows(&self, digest: &[u8]) -> bool {
        self.digests.iter().any(|allowed| allowed == digest)
    }

    fn from_claim(bank: HashAlg, claim: &Value) -> Option<Self> {
        let members = known(claim, &["digests", "optional", "note"])?;
        let note = match members.get("note") {
            None => None,
            Some(note) => Some(read_note(note)?),
        };
        Some(Self {
            digests: read_digests(bank, members.get("digests")?).filter(|all| !all.is_empty())?,
            optional: members
                .get("optional")
                .map_or(Some(false), Value::as_bool)?,
            note,
        })
    }

    fn to_claim(&self) -> Value {
        let mut claim = Map::new();
        claim.insert("digests".to_owned(), write_digests(&self.digests));
        if self.optional {
            claim.insert("optional".to_owned(), true.into());
        }
        if let Some(note) = &self.note {
            claim.insert("note".to_owned(), note.as_str().into());
        }
        claim.into()
    }
}

/// A note's text, cut so that it can be read back: control characters become `?`.
#[must_use]
pub fn note_of(text: &str) -> String {
    let mut note = String::new();
    for one in text.chars() {
        let one = if one.is_control() { '?' } else { one };
        if note.len().saturating_add(one.len_utf8()) > NOTE_BYTES {
            break;
        }
        note.push(one);
    }
    note
}

fn read_note(claim: &Value) -> Option<String> {
    let note = claim.as_str()?;
    (note_of(note) == note).then(|| note.to_owned())
}

// === impl SecureBootRules ===

impl SecureBootRules {
    /// The names of the variables and what may have been measured of each.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &[Vec<u8>])> {
        [
            ("PK", &self.pk),
            ("KEK", &self.kek),
            ("db", &self.db),
            ("dbx", &self.dbx),
        ]
        .into_iter()
        .map(|(name, digests)| (name, digests.as_slice()))
    }

    fn from_claim(bank: HashAlg, claim: &Value) -> Option<Self> {
        let members = known(claim, &["pk", "kek", "db", "dbx"])?;
        let digests = |name: &str| match members.get(name) {
            None => Some(Vec::new()),
            Some(claim) => read_digests(bank, claim).filter(|all| !all.is_empty()),
        };
        Some(Self {
            pk: digests("pk")?,
            kek: digests("kek")?,
            db: digests("db")?,
            dbx: digests("dbx")?,
        })
    }

    fn to_claim(&self) -> Value {
        self.variables()
            .filter(|(_, digests)| !digests.is_empty())
            .map(|(name, digests)| (name.to_ascii_lowercase(), write_digests(digests)))
            .collect::<Map<_, _>>()
            .into()
    }
}

/// The members of an object that has no others than these.
pub(super) fn known<'a>(claim: &'a Value, names: &[&str]) -> Option<&'a Map<String, Value>> {
    let members = claim.as_object()?;
    let is_known = members.keys().all(|name| names.contains(&name.as_str()));
    is_known.then_some(members)
}

fn read_digests(bank: HashAlg, claim: &Value) -> Option<Vec<Vec<u8>>> {
    let digests = claim.as_array()?;
    if digests.len() > MAX_DIGESTS {
        return None;
    }
    digests
        .iter()
        .map(|digest| {
            hex::decode(digest.as_str()?).filter(|bytes| bytes.len() == bank.digest_bytes())
        })
        .collect()
}

fn write_digests(digests: &[Vec<u8>]) -> Value {
    digests
        .iter()
        .map(|digest| Value::from(hex::encode(digest)))
        .collect()
}

#[cfg(test)]
mod tests;
