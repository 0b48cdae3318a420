//! A seccomp section as runc and crun read it.
//!
//! # Source
//!
//! OCI runtime-spec, "Seccomp"; runc `libcontainer/seccomp/seccomp_linux.go`; crun
//! `src/libcrun/seccomp.c`.

mod engine;

use std::collections::BTreeSet;

use portcullis_gate::quote;
use portcullis_hardening::{Condition, Conjunction, alternatives};
use serde_json::{Map, Value};

use crate::abi::Abi;
use crate::action::Action;

pub use engine::Circumstances;

/// Keys of a section, of an entry, and of an element of `args`.
const SECTION_KEYS: [&str; 7] = [
    "defaultAction",
    "defaultErrnoRet",
    "architectures",
    "flags",
    "listenerPath",
    "listenerMetadata",
    "syscalls",
];
const ENTRY_KEYS: [&str; 4] = ["names", "action", "errnoRet", "args"];
const ARGUMENT_KEYS: [&str; 4] = ["index", "value", "valueTwo", "op"];

/// Why a document is not a seccomp section.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {}: expected {expected}", place(pointer))]
pub struct SectionError {
    /// JSON pointer; empty for the document itself.
    pub pointer: String,
    /// What should stand there.
    pub expected: String,
}

/// A seccomp section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Where it stands in its document.
    pub(crate) pointer: String,
    /// The answer to calls that no entry names.
    pub(crate) default: Action,
    /// Its name as it stands there.
    pub(crate) default_name: String,
    pub(crate) default_errno: Option<u64>,
    /// `architectures`, as given.
    pub(crate) abis: Vec<Abi>,
    /// `flags`; the runtimes have a default where they are missing.
    pub(crate) flags: Option<BTreeSet<String>>,
    pub(crate) listener: Option<String>,
    pub(crate) entries: Vec<Entry>,
    /// Pointers of keys that no runtime knows.
    pub(crate) unknown_keys: Vec<String>,
}

/// An element of `syscalls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) pointer: String,
    pub(crate) names: Vec<String>,
    pub(crate) action: Action,
    /// The name of the action as it stands there.
    pub(crate) action_name: String,
    pub(crate) errno: Option<u64>,
    /// The conditions as they stand there.
    pub(crate) conditions: Vec<Condition>,
    /// Bits of a masked comparison that the mask takes away, by index of the condition.
    pub(crate) masked_away: Vec<usize>,
    /// What the runtimes make of them: rules, one of which must hold.
    pub(crate) rules: Vec<Conjunction>,
}

fn place(pointer: &str) -> String {
    if pointer.is_empty() {
        "the document".to_owned()
    } else {
        quote(pointer)
    }
}

/// A reader's place in a document.
struct Reader {
    unknown_keys: Vec<String>,
}

// === impl SectionError ===

impl SectionError {
    fn new(pointer: &str, expected: impl Into<String>) -> Self {
        Self {
            pointer: pointer.to_owned(),
            expected: expected.into(),
        }
    }
}

// === impl Section ===

impl Section {
    /// Reads an OCI configuration, its `linux.seccomp`, or a profile file of a container engine
    /// (Docker, containerd, Podman, Kubernetes) under `circumstances`.
    ///
    /// # Errors
    ///
    /// [`SectionError`] where a runtime would refuse the section, or could not read it.
    pub fn read(document: &Value, circumstances: &Circumstances) -> Result<Self, SectionError> {
        let object = object_at(document, "")?;
        let (section, pointer) = if object.contains_key("ociVersion") {
            let section = document
                .pointer("/linux/seccomp")
                .filter(|it| !it.is_null());
            let missing = "a seccomp section; without one every call is permitted";
            let section = section.ok_or_else(|| SectionError::new("/linux/seccomp", missing))?;
            (object_at(section, "/linux/seccomp")?, "/linux/seccomp")
        } else {
            (object, "")
        };
        if engine::is_profile(section) {
            let resolved = engine::resolve(section, circumstances)?;
            return Reader::read(&resolved.section, pointer, &resolved.pointers);
        }
        Reader::read(section, pointer, &[])
    }

    /// The ABIs that the filter serves on a processor whose own is `native`: libseccomp always
    /// includes that one.
    pub(crate) fn abis_on(&self, native: Abi) -> BTreeSet<Abi> {
        self.abis.iter().copied().chain([native]).collect()
    }

    /// True if some call asks a supervisor.
    pub(crate) fn notifies(&self) -> bool {
        self.default.notifies() || self.entries.iter().any(|entry| entry.action.notifies())
    }
}

// === impl Reader ===

impl Reader {
    /// Reads a section that stands at `at`; `pointers` are the places of its entries, if they stand
    /// elsewhere than in the order of the list.
    fn read(
        section: &Map<String, Value>,
        at: &str,
        pointers: &[String],
    ) -> Result<Section, SectionError> {
        let mut reader = Self {
            unknown_keys: Vec::new(),
        };
        reader.keys(section, at, &SECTION_KEYS);
        let name_at = format!("{at}/defaultAction");
        let name = text(section.get("defaultAction"), &name_at)?;
        let errno = number(
            section.get("defaultErrnoRet"),
            &format!("{at}/defaultErrnoRet"),
        )?;
        let default = Action::from_oci(&name, errno).ok_or_else(|| wrong_action(&name_at))?;
        let mut abis = Vec::new();
        let names = texts(section.get("architectures"), &format!("{at}/architectures"))?;
        for (index, name) in names.iter().enumerate() {
            let unknown = "an architecture of OCI, as 'SCMP_ARCH_X86_64'";
            let place = format!("{at}/architectures/{index}");
            abis.push(Abi::from_oci(name).ok_or_else(|| SectionError::new(&place, unknown))?);
        }
        let listener = match section.get("listenerPath").filter(|it| !it.is_null()) {
            Some(path) => Some(text(Some(path), &format!("{at}/listenerPath"))?),
            None => None,
        };
        let mut entries = Vec::new();
        for (index, entry) in list(section.get("syscalls"), &format!("{at}/syscalls"))?
            .iter()
            .enumerate()
        {
            let own = format!("{at}/syscalls/{index}");
            let pointer = pointers.get(index).map_or(own, |it| format!("{at}{it}"));
            entries.push(reader.entry(entry, pointer)?);
        }
        let flags = match section.get("flags").filter(|it| !it.is_null()) {
            Some(flags) => Some(texts(Some(flags), &format!("{at}/flags"))?),
            None => None,
        };
        Ok(Section {
            pointer: at.to_owned(),
            default,
            default_name: name,
            default_errno: errno,
            abis,
            flags: flags.map(|flags| flags.into_iter().collect()),
            listener: listener.filter(|path| !path.is_empty()),
            entries,
            unknown_keys: reader.unknown_keys,
        })
    }

    fn entry(&mut self, entry: &Value, pointer: String) -> Result<Entry, SectionError> {
        let entry = object_at(entry, &pointer)?;
        self.keys(entry, &pointer, &ENTRY_KEYS);
        let action_at = format!("{pointer}/action");
        let action_name = text(entry.get("action"), &action_at)?;
        let errno = number(entry.get("errnoRet"), &format!("{pointer}/errnoRet"))?;
        let action =
            Action::from_oci(&action_name, errno).ok_or_else(|| wrong_action(&action_at))?;
        let args = list(entry.get("args"), &format!("{pointer}/args"))?;
        let mut conditions = Vec::new();
        let mut masked_away = Vec::new();
        for (index, arg) in args.iter().enumerate() {
            let at = format!("{pointer}/args/{index}");
            self.keys(object_at(arg, &at)?, &at, &ARGUMENT_KEYS);
            let wanted = "'index' from 0 to 5, 'value', 'valueTwo' and an 'op' of OCI";
            let condition =
                Condition::from_oci(arg).ok_or_else(|| SectionError::new(&at, wanted))?;
            let bits = |key| arg.get(key).and_then(Value::as_u64).unwrap_or(0);
            let masked = arg.get("op").and_then(Value::as_str) == Some("SCMP_CMP_MASKED_EQ");
            if masked && bits("valueTwo") & !bits("value") != 0 {
                masked_away.push(index);
            }
            conditions.push(condition);
        }
        let names = texts(entry.get("names"), &format!("{pointer}/names"))?;
        if let Some(index) = names.iter().position(String::is_empty) {
            let at = format!("{pointer}/names/{index}");
            return Err(SectionError::new(&at, "the name of a call"));
        }
        Ok(Entry {
            names,
            action,
            action_name,
            errno,
            rules: alternatives(args).unwrap_or_default(),
            conditions,
            masked_away,
            pointer,
        })
    }

    fn keys(&mut self, object: &Map<String, Value>, at: &str, known: &[&str]) {
        let unknown = object.keys().filter(|key| !known.contains(&key.as_str()));
        let pointers = unknown.map(|key| {
            let key = key.replace('~', "~0").replace('/', "~1");
            format!("{at}/{key}")
        });
        self.unknown_keys.extend(pointers);
    }
}

fn wrong_action(pointer: &str) -> SectionError {
    SectionError::new(pointer, "an action of OCI, as 'SCMP_ACT_ERRNO'")
}

fn object_at<'a>(value: &'a Value, at: &str) -> Result<&'a Map<String, Value>, SectionError> {
    value
        .as_object()
        .ok_or_else(|| SectionError::new(at, "an object"))
}

fn text(value: Option<&Value>, at: &str) -> Result<String, SectionError> {
    let text = value.and_then(Value::as_str).map(str::to_owned);
    text.ok_or_else(|| SectionError::new(at, "a text"))
}

fn number(value: Option<&Value>, at: &str) -> Result<Option<u64>, SectionError> {
    match value.filter(|it| !it.is_null()) {
        None => Ok(None),
        Some(value) => {
            let number = value.as_u64().filter(|it| *it <= u64::from(u32::MAX));
            let wanted = || SectionError::new(at, "a number from 0 to 4294967295");
            number.ok_or_else(wanted).map(Some)
        }
    }
}

/// A list; one that is missing or `null` is empty.
fn list<'a>(value: Option<&'a Value>, at: &str) -> Result<&'a [Value], SectionError> {
    match value {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(SectionError::new(at, "a list")),
    }
}

fn texts(value: Option<&Value>, at: &str) -> Result<Vec<String>, SectionError> {
    let list = list(value, at)?.iter().enumerate();
    list.map(|(index, item)| text(Some(item), &format!("{at}/{index}")))
        .collect()
}

#[cfg(test)]
mod tests;
