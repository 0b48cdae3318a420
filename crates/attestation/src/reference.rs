//! Reference values: the operator's signed list of approved boot states and known TPMs.

mod capture;
mod event_rules;
mod exact;
mod ima_rules;
mod standing;

pub use capture::CaptureFilesError;
pub use event_rules::{EventRules, PcrRules, SecureBootRules, Step, note_of};
pub(crate) use ima_rules::{FileVerdict, contents};
pub use ima_rules::{ImaRules, UnknownFile, is_directory};
pub use standing::{Floors, Standing, standing};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::approval::{self, Approval};
use crate::claims::{ClaimError, Claims};
use crate::finding::Finding;
use crate::hex;
use crate::ima;
use crate::jwk::TrustedKeys;
use crate::jws::{self, JwsError, SignError, Signer, Typ, Unverified};
use crate::pcr::{HashAlg, PcrIndex, PcrValues};
use crate::tpm_name::TpmName;
use crate::ueid::Ueid;
use crate::validity::Validity;

/// Boot states of one document.
const MAX_BOOT_STATES: usize = 256;
/// Characters of the name of a boot state.
const NAME_BYTES: usize = 128;

/// A verified document of reference values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// `urn:sha256:` and the hash of the token; names it in verdicts.
    pub id: String,
    /// What it says.
    pub values: ReferenceValues,
    /// Its boot states as a TPM can check them; signed by the key of the document, verified.
    pub approvals: Vec<Approval>,
    /// Key id of who signed it.
    pub signer: String,
    /// SHA-256 of the claims but for [`Reference::approvals`]: the same for all who signed them.
    pub claims_digest: [u8; 32],
}

/// Approved boot states and known TPMs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceValues {
    /// The reference value provider.
    pub issuer: String,
    /// When it was signed, in seconds since 1970.
    pub issued_at_s: u64,
    /// First second of validity.
    pub not_before_s: u64,
    /// First second after validity; later than `not_before_s`.
    pub expires_s: u64,
    /// Count of documents of this provider. All valid documents count together; this orders them
    /// for people.
    pub sequence: u64,
    /// Documents of this provider with a lower number are withdrawn, for good; see [`standing`].
    pub minimum_sequence: Option<u64>,
    /// Approved boot states; any one of them is enough.
    pub boot_states: Vec<BootState>,
    /// TPMs whose AK the operator saw proven.
    pub tpms: Vec<Endorsement>,
}

/// One approved way to boot: exact PCR values, rules on the events behind them, or both.
///
/// A state that rules events of a bank must speak of every PCR that is quoted in that bank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootState {
    /// The operator's name for it, printable ASCII.
    pub name: String,
    /// Exact values, one entry for each bank, at least one value in each.
    pub banks: Vec<PcrValues>,
    /// Rules on events, one entry for each bank; of a PCR that has no exact value in it.
    pub events: Vec<EventRules>,
    /// Files that may have been run or read since, by the kernel's IMA; says what PCR 10 is.
    pub ima: Option<ImaRules>,
}

/// The statement that an AK lives in the same genuine TPM as an EK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement {
    /// The TPM.
    pub ueid: Ueid,
    /// The AK.
    pub ak_name: TpmName,
}

/// Why reference values are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The token is not one that a pinned provider signed.
    #[error("cannot verify reference values")]
    Signature(#[source] JwsError),
    /// The token itself is not well formed.
    #[error("cannot read reference values")]
    Token(#[source] JwsError),
    /// The token is genuine, but its claims are not those of reference values.
    #[error("cannot read reference values")]
    Claim(#[from] ClaimError),
}

/// Verifies a document with the pinned keys of reference value providers.
///
/// Does *not* look at the time: [`crate::appraisal::appraise`] does.
///
/// # Errors
///
/// [`ReferenceError`].
pub fn verify(document: &str, keys: &TrustedKeys) -> Result<Reference, ReferenceError> {
    let payload = jws::verify(document, Typ::Reference, keys)?;
    let id = format!(
        "urn:sha256:{}",
        hex::encode(&Sha256::digest(document.as_bytes()))
    );
    let values = ReferenceValues::from_claims(&payload)?;
    let signer = Unverified::parse(document, Typ::Reference)?
        .kid()
        .to_owned();
    let approvals = match keys.find(&signer) {
        Some(signer) => approval::read(&payload, &values.boot_states, signer.key())?,
        // Cannot be: the signature verified with it.
        None => Vec::new(),
    };
    let claims = values.to_claims().to_string();
    Ok(Reference {
        id,
        values,
        approvals,
        signer,
        claims_digest: Sha256::digest(claims.as_bytes()).into(),
    })
}

// === impl ReferenceValues ===

impl ReferenceValues {
    /// Signs the values with the provider's key, and an [`Approval`] of each boot state that has
    /// exact values; the answer is the document.
    ///
    /// # Errors
    ///
    /// [`SignError`].
    pub fn sign(&self, signer: &mut dyn Signer) -> Result<String, SignError> {
        let approvals = approval::sign(&self.boot_states, signer)?;
        let mut claims = self.to_claims();
        if let Some(members) = claims.as_object_mut() {
            members.insert(approval::CLAIM.to_owned(), approvals);
        }
        jws::sign(Typ::Reference, &claims, signer)
    }

    /// Reads the claims of a document. Says nothing about who signed them: see [`verify`].
    ///
    /// # Errors
    ///
    /// [`ClaimError`]; also for a boot state without values, which any host would match.
    pub fn from_claims(payload: &Value) -> Result<Self, ClaimError> {
        let claims = Claims::of(payload)?;
        let validity = Validity::read(&claims)?;
        let expected = "at most 256 boot states, each with a name of its own and, for each PCR, \
                        either a value or rules on events";
        let boot_states = claims.required("boot_states", expected, |value| {
            read_boot_states(value.as_array()?)
        })?;
        let expected = "pairs of 'ueid' and 'ak_name'";
        let tpms = claims
            .optional("tpms", expected, |value| {
                value
                    .as_array()?
                    .iter()
                    .map(Endorsement::from_claim)
                    .collect()
            })?
            .unwrap_or_default();
        let sequence = claims.unsigned("seq")?;
        let expected = "a number not above 'seq'";
        let minimum_sequence = claims.optional("min_seq", expected, |value| {
            value.as_u64().filter(|minimum| *minimum <= sequence)
        })?;
        Ok(Self {
            issuer: claims.text("iss")?.to_owned(),
            issued_at_s: validity.issued_at_s,
            not_before_s: validity.not_before_s,
            expires_s: validity.expires_s,
            sequence,
            minimum_sequence,
            boot_states,
            tpms,
        })
    }

    /// The claims of the document.
    #[must_use]
    pub fn to_claims(&self) -> Value {
        let boot_states: Vec<Value> = self.boot_states.iter().map(BootState::to_claim).collect();
        let tpms: Vec<Value> = self.tpms.iter().map(Endorsement::to_claim).collect();
        let mut claims = json!({
            "iss": self.issuer,
            "iat": self.issued_at_s,
            "nbf": self.not_before_s,
            "exp": self.expires_s,
            "seq": self.sequence,
            "boot_states": boot_states,
            "tpms": tpms,
        });
        if let (Some(minimum), Some(members)) = (self.minimum_sequence, claims.as_object_mut()) {
            members.insert("min_seq".to_owned(), minimum.into());
        }
        claims
    }

    /// Whether the values may be used at `now_s`, in seconds since 1970.
    #[must_use]
    pub fn is_valid_at(&self, now_s: u64) -> bool {
        (self.not_before_s..self.expires_s).contains(&now_s)
    }
}

fn read_boot_states(states: &[Value]) -> Option<Vec<BootState>> {
    if states.len() > MAX_BOOT_STATES {
        return None;
    }
    let states: Vec<BootState> = states
        .iter()
        .map(BootState::from_claim)
        .collect::<Option<_>>()?;
    let mut names: Vec<&str> = states.iter().map(|state| state.name.as_str()).collect();
    names.sort_unstable();
    names.is_sorted_by(|one, next| one < next).then_some(states)
}

// === impl BootState ===

impl BootState {
    /// A state of exact values only.
    #[must_use]
    pub const fn exact(name: String, banks: Vec<PcrValues>) -> Self {
        Self {
            name,
            banks,
            events: Vec::new(),
            ima: None,
        }
    }

    /// The values of one bank.
    #[must_use]
    pub fn bank(&self, bank: HashAlg) -> Option<&PcrValues> {
        self.banks.iter().find(|values| values.bank() == bank)
    }

    /// The rules on events of one bank.
    #[must_use]
    pub fn event_rules(&self, bank: HashAlg) -> Option<&EventRules> {
        self.events.iter().find(|rules| rules.bank == bank)
    }

    /// Whether the state says in `bank` what `pcr` must be.
    #[must_use]
    pub fn covers(&self, bank: HashAlg, pcr: PcrIndex) -> bool {
        let is_exact = self
            .bank(bank)
            .is_some_and(|values| values.value(pcr).is_some());
        let is_ruled = || {
            self.event_rules(bank)
                .is_some_and(|rules| rules.pcrs.contains_key(&pcr))
        };
        is_exact || is_ruled() || self.ima.is_some() && pcr.get() == ima::PCR
    }

    /// Reads a claim; `None` also for a member that is not known here, because a demand that is
    /// passed over would be a demand that everybody meets.
    fn from_claim(claim: &Value) -> Option<Self> {
        let members = claim.as_object()?;
        if !members
            .keys()
            .all(|name| ["name", "pcrs", "events", "ima"].contains(&name.as_str()))
        {
            return None;
        }
        let name = members.get("name")?.as_str()?;
        let fits = !name.is_empty()
            && name.len() <= NAME_BYTES
            && name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let none = Map::new();
        let banks = |claim: &str| members.get(claim).map_or(Some(&none), Value::as_object);
        let state = Self {
            name: name.to_owned(),
            banks: banks("pcrs")?
                .iter()
                .map(|(bank, values)| {
                    PcrValues::from_claim(HashAlg::parse(bank)?, values.as_object()?)
                        .filter(|values| !values.is_empty())
                })
                .collect::<Option<_>>()?,
            events: banks("events")?
                .iter()
                .map(|(bank, rules)| EventRules::from_claim(HashAlg::parse(bank)?, rules))
                .collect::<Option<_>>()?,
            ima: match members.get("ima") {
                None => None,
                Some(claim) => Some(ImaRules::from_claim(claim)?),
            },
        };
        (fits && state.says_something() && !state.says_twice()).then_some(state)
    }

    /// Whether each bank it speaks of has a demand on a PCR: no host meets it unseen.
    fn says_something(&self) -> bool {
        let is_about_pcrs = |rules: &EventRules| {
            !rules.pcrs.is_empty() || rules.secure_boot.is_some() && self.bank(rules.bank).is_some()
        };
        (!self.banks.is_empty() || !self.events.is_empty()) && self.events.iter().all(is_about_pcrs)
    }

    /// Whether a PCR has both a value and rules.
    fn says_twice(&self) -> bool {
        let pins_ima = PcrIndex::new(ima::PCR)
            .is_some_and(|pcr| self.banks.iter().any(|values| values.value(pcr).is_some()));
        (self.ima.is_some() && pins_ima)
            || self.events.iter().any(|rules| {
                self.bank(rules.bank)
                    .is_some_and(|values| rules.pcrs.keys().any(|pcr| values.value(*pcr).is_some()))
            })
    }

    /// The state as a member of the claim `boot_states`.
    #[must_use]
    pub fn to_claim(&self) -> Value {
        let banks: Map<String, Value> = self
            .banks
            .iter()
            .map(|values| (values.bank().as_str().to_owned(), values.to_claim().into()))
            .collect();
        let events: Map<String, Value> = self
            .events
            .iter()
            .map(|rules| (rules.bank.as_str().to_owned(), rules.to_claim()))
            .collect();
        let mut claim = Map::new();
        claim.insert("name".to_owned(), self.name.as_str().into());
        if !banks.is_empty() {
            claim.insert("pcrs".to_owned(), banks.into());
        }
        if !events.is_empty() {
            claim.insert("events".to_owned(), events.into());
        }
        if let Some(rules) = &self.ima {
            claim.insert("ima".to_owned(), rules.to_claim());
        }
        claim.into()
    }
}

// === impl Endorsement ===

impl Endorsement {
    fn from_claim(claim: &Value) -> Option<Self> {
        let text = |name| claim.get(name).and_then(Value::as_str);
        Some(Self {
            ueid: Ueid::parse(text("ueid")?)?,
            ak_name: TpmName::parse(text("ak_name")?)?,
        })
    }

    fn to_claim(&self) -> Value {
        json!({ "ueid": self.ueid.as_str(), "ak_name": self.ak_name.to_string() })
    }
}

// === impl ReferenceError ===

impl ReferenceError {
    /// The finding an appraisal reports for a document that was refused; `file` names it.
    #[must_use]
    pub fn finding(&self, file: &str) -> Finding {
        let (code, expected) = match self {
            Self::Signature(_) => (
                "reference-values-signature-invalid",
                "a signature by a pinned reference key",
            ),
            Self::Token(_) | Self::Claim(_) => {
                ("reference-values-malformed", "signed reference values")
            }
        };
        let cause = std::error::Error::source(self)
            .map(ToString::to_string)
            .unwrap_or_default();
        let file: String = file.escape_debug().take(64).collect();
        Finding::new(code, format!("reference values '{file}'"), expected, cause)
    }
}

impl From<JwsError> for ReferenceError {
    fn from(cause: JwsError) -> Self {
        if cause.is_malformed() {
            Self::Token(cause)
        } else {
            Self::Signature(cause)
        }
    }
}

#[cfg(test)]
mod tests;
