//! What the agent hands over for one launch, and its form on the agent's socket.

use portcullis_attestation::boot_id::BootId;
use portcullis_attestation::hex;
use portcullis_attestation::pcr::{HashAlg, PcrIndex, PcrValues};
use portcullis_attestation::tpm_name::TpmName;
use serde_json::{Value, json};

/// Most PCR values that a live state may hold: a TPM has 24.
const PCR_LIMIT: usize = 24;

/// Most reasons for the lack of a verdict that are looked at.
const REASON_LIMIT: usize = 32;

/// Longest verdict that is looked at, in bytes.
pub const VERDICT_LIMIT_BYTES: usize = 64 * 1024;

/// Longest tag document that is looked at, in bytes.
pub const TAG_DOCUMENT_LIMIT_BYTES: usize = 64 * 1024;

/// The agent's answer to one launch. Only the verdict and the tag document are signed; the live
/// state is as good as the agent and the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The freshest verdict about this host, a JWT.
    pub verdict: Option<String>,
    /// Why there is no verdict, or no newer one, in the agent's words; empty if nothing is amiss.
    pub withheld: Vec<Reason>,
    /// The asset tag's document, a compact JWS.
    pub tag_document: Option<String>,
    /// What the TPM said after the request had arrived.
    pub live: LiveState,
}

/// One thing that keeps the agent from having a verdict: a finding of its verifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What kind; the name of a [`crate::Code`].
    pub code: String,
    /// What it is about.
    pub subject: String,
    /// What would have been right.
    pub expected: String,
    /// What was there.
    pub found: String,
}

/// State read from the TPM and the kernel for this launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveState {
    /// The kernel's boot id as the agent read it.
    pub boot_id: BootId,
    /// `TPMS_CLOCK_INFO.resetCount`: how often the TPM was reset.
    pub reset_count: u32,
    /// `TPMS_CLOCK_INFO.restartCount`: how often it was resumed since then.
    pub restart_count: u32,
    /// The PCRs and their bank.
    pub pcrs: PcrValues,
    /// The NV index of the asset tag; absent if it is not defined.
    pub tag: Option<TagSlot>,
    /// The NV index of the boot fuse: the hash of the verdict that was issued last in this boot of
    /// the TPM, empty if none was. `None` if the index is not defined.
    pub boot_fuse: Option<Vec<u8>>,
}

/// The NV index that holds the digest of the asset tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagSlot {
    /// The handle, for instance 0x01c10110.
    pub nv_index: u32,
    /// The index's Name: a digest over its public area, WRITTEN bit included.
    pub nv_name: TpmName,
    /// What is stored: SHA-384 of the tag document.
    pub contents: Vec<u8>,
}

/// Why an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read snapshot: '{pointer}' is not {expected}")]
pub struct Unreadable {
    /// JSON pointer of the offending place.
    pub pointer: &'static str,
    /// What should be there.
    pub expected: &'static str,
}

const fn unreadable(pointer: &'static str, expected: &'static str) -> Unreadable {
    Unreadable { pointer, expected }
}

fn text<'a>(value: &'a Value, pointer: &'static str) -> Result<&'a str, Unreadable> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .ok_or_else(|| unreadable(pointer, "a string"))
}

fn count(value: &Value, pointer: &'static str) -> Result<u32, Unreadable> {
    value
        .pointer(pointer)
        .and_then(Value::as_u64)
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| unreadable(pointer, "a 32-bit count"))
}

fn bytes(value: &Value, pointer: &'static str) -> Result<Vec<u8>, Unreadable> {
    hex::decode(text(value, pointer)?).ok_or_else(|| unreadable(pointer, "lower-case hex"))
}

fn document(
    value: &Value,
    pointer: &'static str,
    limit: usize,
) -> Result<Option<String>, Unreadable> {
    match value.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        // One byte more than the limit is enough for the decision to see the excess.
        Some(Value::String(text)) if text.len() <= limit + 1 => Ok(Some(text.clone())),
        Some(Value::String(text)) => Ok(Some(text.chars().take(limit + 1).collect())),
        Some(_) => Err(unreadable(pointer, "a string")),
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// Reads the reply of the agent's method `Snapshot`.
    ///
    /// # Errors
    /// Names the place that is missing or of the wrong form.
    pub fn from_json(value: &Value) -> Result<Self, Unreadable> {
        let live = value.get("live").ok_or(unreadable("/live", "an object"))?;
        Ok(Self {
            verdict: document(value, "/verdict", VERDICT_LIMIT_BYTES)?,
            withheld: reasons(value)?,
            tag_document: document(value, "/tag_document", TAG_DOCUMENT_LIMIT_BYTES)?,
            live: LiveState::from_json(live)?,
        })
    }

    /// The reply of the agent's method `Snapshot`.
    pub fn to_json(&self) -> Value {
        let mut answer = json!({
            "verdict": self.verdict,
            "tag_document": self.tag_document,
            "live": self.live.to_json(),
        });
        if let Some(members) = answer.as_object_mut()
            && !self.withheld.is_empty()
        {
            let reasons: Vec<Value> = self.withheld.iter().map(Reason::to_json).collect();
            members.insert("withheld".to_owned(), reasons.into());
        }
        answer
    }
}

// === impl LiveState ===

impl LiveState {
    /// Reads the Varlink type `LiveState`.
    ///
    /// # Errors
    /// Names the place that is missing or of the wrong form; a PCR named twice is refused.
    pub fn from_json(value: &Value) -> Result<Self, Unreadable> {
        let tag = match value.get("tag") {
            None | Some(Value::Null) => None,
            Some(tag) => Some(TagSlot::from_json(tag)?),
        };
        Ok(Self {
            boot_id: BootId::parse(text(value, "/boot_id")?)
                .ok_or(unreadable("/boot_id", "a lower-case UUID"))?,
            reset_count: count(value, "/reset_count")?,
            restart_count: count(value, "/restart_count")?,
            pcrs: pcrs_from_json(value)?,
            tag,
            boot_fuse: match value.get("boot_fuse") {
                None | Some(Value::Null) => None,
                Some(_) => Some(bytes(value, "/boot_fuse")?),
            },
        })
    }

    /// The Varlink type `LiveState`.
    pub fn to_json(&self) -> Value {
        let pcrs: Vec<Value> = self
            .pcrs
            .iter()
            .map(|(index, value)| json!({"index": index.get(), "digest": hex::encode(value)}))
            .collect();
        let mut state = json!({
            "boot_id": self.boot_id.as_str(),
            "reset_count": self.reset_count,
            "restart_count": self.restart_count,
            "pcr_bank": self.pcrs.bank().as_str(),
            "pcrs": pcrs,
            "tag": self.tag.as_ref().map(TagSlot::to_json),
        });
        if let (Some(fuse), Some(members)) = (&self.boot_fuse, state.as_object_mut()) {
            members.insert("boot_fuse".to_owned(), hex::encode(fuse).into());
        }
        state
    }
}

fn pcrs_from_json(value: &Value) -> Result<PcrValues, Unreadable> {
    let bank = HashAlg::parse(text(value, "/pcr_bank")?)
        .ok_or(unreadable("/pcr_bank", "the name of a PCR bank"))?;
    let list = value
        .get("pcrs")
        .and_then(Value::as_array)
        .filter(|list| list.len() <= PCR_LIMIT)
        .ok_or(unreadable("/pcrs", "a list of at most 24 values"))?;
    let mut pcrs = PcrValues::new(bank);
    for entry in list {
        let index = u8::try_from(count(entry, "/index")?)
            .ok()
            .and_then(PcrIndex::new)
            .ok_or(unreadable("/pcrs/index", "a PCR index from 0 to 23"))?;
        if pcrs.value(index).is_some() {
            return Err(unreadable("/pcrs/index", "named once"));
        }
        if pcrs.insert(index, bytes(entry, "/digest")?).is_err() {
            return Err(unreadable("/pcrs/digest", "as long as the bank's digests"));
        }
    }
    Ok(pcrs)
}

fn reasons(value: &Value) -> Result<Vec<Reason>, Unreadable> {
    let list = match value.get("withheld") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(list) => list.as_array(),
    };
    list.ok_or(unreadable("/withheld", "a list"))?
        .iter()
        .take(REASON_LIMIT)
        .map(Reason::from_json)
        .collect()
}

// === impl Reason ===

impl Reason {
    fn from_json(value: &Value) -> Result<Self, Unreadable> {
        let field = |pointer| text(value, pointer).map(str::to_owned);
        Ok(Self {
            code: field("/code")?,
            subject: field("/subject")?,
            expected: field("/expected")?,
            found: field("/found")?,
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "code": self.code,
            "subject": self.subject,
            "expected": self.expected,
            "found": self.found,
        })
    }
}

// === impl TagSlot ===

impl TagSlot {
    fn from_json(value: &Value) -> Result<Self, Unreadable> {
        let nv_index = text(value, "/nv_index")?;
        let digits = nv_index.strip_prefix("0x").unwrap_or(nv_index);
        let handle: [u8; 4] = hex::decode(digits)
            .and_then(|handle| handle.try_into().ok())
            .ok_or(unreadable("/tag/nv_index", "eight hex digits"))?;
        Ok(Self {
            nv_index: u32::from_be_bytes(handle),
            nv_name: TpmName::parse(text(value, "/nv_name")?)
                .ok_or(unreadable("/tag/nv_name", "the Name of an NV index"))?,
            contents: bytes(value, "/contents")?,
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "nv_index": format!("0x{:08x}", self.nv_index),
            "nv_name": self.nv_name.to_string(),
            "contents": hex::encode(&self.contents),
        })
    }
}

#[cfg(test)]
mod tests;
