//! An OCI configuration that every reader understands alike.

use portcullis_gate::{Code, Refusal, Refusals};
use portcullis_json::Limits;
use serde_json::{Map, Value};

use crate::facts::NamespaceKind;
use crate::schema;

/// A configuration of a container with many mounts and a long seccomp list has about 50 KiB.
const LIMITS: Limits = Limits {
    max_bytes: 10 << 20,
    max_depth: 64,
};

/// A `config.json` in canonical form.
///
/// Keys are unique and spelled as the specification spells them, known values have the type the
/// specification gives them. Unknown keys are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct OciConfig {
    root: Map<String, Value>,
}

/// A bind mount of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindMount<'a> {
    /// Its place in `mounts`.
    pub index: usize,
    /// Path in the container, as written.
    pub destination: &'a str,
    /// Path on the host, as written; empty if there is none.
    pub source: &'a str,
}

// === impl OciConfig ===

impl OciConfig {
    /// Reads `bytes` of a `config.json`: at most 10 MiB, nested at most 64 deep.
    ///
    /// Does not judge what the configuration asks for; see [`crate::harden`].
    ///
    /// # Errors
    ///
    /// `oci-config-malformed` if it is not JSON, if two readers could read it differently
    /// (duplicate keys, a known key in another spelling, numbers that do not survive), or if a
    /// known value has another type than the specification gives it.
    ///
    /// # Source
    ///
    /// OCI runtime-spec, "Configuration"; Go `encoding/json`, "Unmarshal" for the spelling rule.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusals> {
        let value = portcullis_json::parse(bytes, LIMITS).map_err(|cause| {
            malformed(
                "config.json",
                "JSON that all readers read alike".to_owned(),
                cause,
            )
        })?;
        schema::conform(&value, &schema::SPEC).map_err(|fault| {
            malformed(fault.subject("config.json"), fault.expected, fault.found)
        })?;
        match value {
            Value::Object(root) => Ok(Self { root }),
            _ => Err(malformed("config.json", "an object".to_owned(), "null")),
        }
    }

    /// Canonical JSON: keys sorted, no white space.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        crate::change::canonical_bytes(&self.root)
    }

    /// The tree, for reading.
    #[must_use]
    pub const fn as_map(&self) -> &Map<String, Value> {
        &self.root
    }

    pub(crate) const fn as_map_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.root
    }

    /// The annotation `key`.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.root.get("annotations")?.get(key)?.as_str()
    }

    /// The value of `linux.cgroupsPath`.
    #[must_use]
    pub fn cgroups_path(&self) -> Option<&str> {
        self.root.get("linux")?.get("cgroupsPath")?.as_str()
    }

    /// The value of `root.path`.
    #[must_use]
    pub fn root_path(&self) -> Option<&str> {
        self.root.get("root")?.get("path")?.as_str()
    }

    /// True if the process gets a terminal.
    #[must_use]
    pub fn terminal(&self) -> bool {
        self.pointer("/process/terminal")
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }

    /// The uid of the process; 0 if none is given, as the runtimes take it.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.pointer("/process/user/uid")
            .and_then(Value::as_u64)
            .and_then(|uid| u32::try_from(uid).ok())
            .unwrap_or(0)
    }

    /// True if a hook, at whichever stage, runs the program at `path`.
    pub(crate) fn has_hook(&self, path: &str) -> bool {
        let stages = self.as_map().get("hooks").and_then(Value::as_object);
        let lists = stages.into_iter().flat_map(Map::values);
        let mut hooks = lists.filter_map(Value::as_array).flatten();
        hooks.any(|hook| hook.get("path").and_then(Value::as_str) == Some(path))
    }

    /// Bind mounts, in order.
    pub fn bind_mounts(&self) -> impl Iterator<Item = BindMount<'_>> {
        let mounts = self
            .root
            .get("mounts")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        mounts.iter().enumerate().filter_map(|(index, mount)| {
            let mount = mount.as_object()?;
            is_bind(mount).then(|| BindMount {
                index,
                destination: text(mount, "destination"),
                source: text(mount, "source"),
            })
        })
    }

    /// Namespaces that are joined by path. Kinds that are not known are left out: hardening
    /// refuses them.
    pub fn joined_namespaces(&self) -> impl Iterator<Item = (NamespaceKind, &str)> {
        let namespaces = self
            .pointer("/linux/namespaces")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        namespaces.iter().filter_map(|namespace| {
            let namespace = namespace.as_object()?;
            let path = text(namespace, "path");
            let kind = NamespaceKind::of_name(text(namespace, "type"))?;
            (!path.is_empty()).then_some((kind, path))
        })
    }

    fn pointer(&self, pointer: &str) -> Option<&Value> {
        let mut keys = pointer.split('/').skip(1);
        let first = self.root.get(keys.next()?)?;
        keys.try_fold(first, |value, key| value.get(key))
    }
}

fn malformed(
    subject: impl Into<String>,
    expected: String,
    found: impl std::fmt::Display,
) -> Refusals {
    Refusal::new(
        Code::OciConfigMalformed,
        subject,
        expected,
        found.to_string(),
    )
    .into()
}

/// The string at `key`, or the empty string.
pub(crate) fn text<'a>(map: &'a Map<String, Value>, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The strings of the array at `key`.
pub(crate) fn texts<'a>(map: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a str> {
    map.get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// True if the runtimes take `mount` for a bind mount: by an option, whatever its type says, or
/// by its type.
pub(crate) fn is_bind(mount: &Map<String, Value>) -> bool {
    text(mount, "type") == "bind"
        || texts(mount, "options").any(|it| matches!(it, "bind" | "rbind"))
}

#[cfg(test)]
mod tests;
