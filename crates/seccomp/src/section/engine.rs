//! Profile files of container engines: an OCI section with rules for whom an entry is.
//!
//! # Source
//!
//! moby `profiles/seccomp` (`seccomp.go`, `seccomp_linux.go`), which containerd, Podman and
//! Kubernetes follow.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{SectionError, list, object_at, text, texts};
use crate::abi::Abi;

/// For whom a profile file is resolved.
#[derive(Debug, Clone)]
pub struct Circumstances {
    /// The processor's own ABI.
    pub native: Abi,
    /// Capabilities of the container, as `CAP_SYS_ADMIN`.
    pub capabilities: BTreeSet<String>,
}

/// A section for one kind of container, and where its entries stand in the profile file.
pub(super) struct Resolved {
    pub(super) section: Map<String, Value>,
    pub(super) pointers: Vec<String>,
}

/// True if a section has what only profile files have.
pub(super) fn is_profile(section: &Map<String, Value>) -> bool {
    let marks = ["includes", "excludes", "comment", "name"];
    let entries = section.get("syscalls").and_then(Value::as_array);
    section.contains_key("archMap")
        || entries
            .into_iter()
            .flatten()
            .any(|entry| marks.iter().any(|mark| entry.get(mark).is_some()))
}

/// The section that an engine would make of the profile.
pub(super) fn resolve(
    profile: &Map<String, Value>,
    circumstances: &Circumstances,
) -> Result<Resolved, SectionError> {
    let mut section = profile.clone();
    if section.remove("archMap").is_some() {
        let names = list(profile.get("architectures"), "/architectures")?;
        if !names.is_empty() {
            let wanted = "either 'architectures' or 'archMap'";
            return Err(SectionError::new("/archMap", wanted));
        }
        let architectures = architectures(profile, circumstances.native)?;
        section.insert("architectures".to_owned(), architectures.into());
    }
    let mut entries = Vec::new();
    let mut pointers = Vec::new();
    let listed = list(profile.get("syscalls"), "/syscalls")?;
    for (index, entry) in listed.iter().enumerate() {
        let pointer = format!("/syscalls/{index}");
        let mut entry = object_at(entry, &pointer)?.clone();
        entry.remove("comment");
        let includes = Filter::read(entry.remove("includes"), &format!("{pointer}/includes"))?;
        let excludes = Filter::read(entry.remove("excludes"), &format!("{pointer}/excludes"))?;
        if includes.leaves_out(circumstances) || excludes.takes_out(circumstances) {
            continue;
        }
        if let Some(name) = entry.remove("name").filter(|name| *name != "") {
            let wanted = "either 'name' or 'names'";
            if !list(entry.get("names"), &pointer)?.is_empty() {
                return Err(SectionError::new(&pointer, wanted));
            }
            let name = text(Some(&name), &format!("{pointer}/name"))?;
            entry.insert("names".to_owned(), vec![name].into());
        }
        entries.push(Value::Object(entry));
        pointers.push(pointer);
    }
    section.insert("syscalls".to_owned(), Value::Array(entries));
    Ok(Resolved { section, pointers })
}

/// The architectures that `archMap` has for a processor; none if it has none for it.
fn architectures(profile: &Map<String, Value>, native: Abi) -> Result<Vec<String>, SectionError> {
    for (index, item) in list(profile.get("archMap"), "/archMap")?.iter().enumerate() {
        let at = format!("/archMap/{index}");
        let item = object_at(item, &at)?;
        let name = text(item.get("architecture"), &format!("{at}/architecture"))?;
        if name == native.oci() {
            let sub = item.get("subArchitectures");
            let sub = texts(sub, &format!("{at}/subArchitectures"))?;
            return Ok([name].into_iter().chain(sub).collect());
        }
    }
    Ok(Vec::new())
}

/// `includes` or `excludes`.
#[derive(Default)]
struct Filter {
    capabilities: Vec<String>,
    processors: Vec<String>,
    kernel: bool,
}

// === impl Filter ===

impl Filter {
    fn read(value: Option<Value>, at: &str) -> Result<Self, SectionError> {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return Ok(Self::default());
        };
        let value = object_at(&value, at)?;
        if let Some(key) = value
            .keys()
            .find(|key| !["caps", "arches", "minKernel"].contains(&key.as_str()))
        {
            let wanted = "'caps', 'arches' and 'minKernel' only";
            return Err(SectionError::new(&format!("{at}/{key}"), wanted));
        }
        Ok(Self {
            capabilities: texts(value.get("caps"), &format!("{at}/caps"))?,
            processors: texts(value.get("arches"), &format!("{at}/arches"))?,
            kernel: value.get("minKernel").is_some_and(|it| *it != ""),
        })
    }

    fn names_processor(&self, circumstances: &Circumstances) -> bool {
        self.processors
            .iter()
            .any(|name| name == circumstances.native.go())
    }

    /// As `includes`: everything that it names must be so. The kernel is taken for new enough.
    fn leaves_out(&self, circumstances: &Circumstances) -> bool {
        let has = |name: &String| circumstances.capabilities.contains(name);
        let other = !self.processors.is_empty() && !self.names_processor(circumstances);
        other || !self.capabilities.iter().all(has)
    }

    /// As `excludes`: anything that it names is enough.
    fn takes_out(&self, circumstances: &Circumstances) -> bool {
        let has = |name: &String| circumstances.capabilities.contains(name);
        self.kernel || self.names_processor(circumstances) || self.capabilities.iter().any(has)
    }
}
