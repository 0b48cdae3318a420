//! Runtime options: which OCI runtime to drive, and how.

use std::path::PathBuf;

use containerd_shim_protos::shim::oci::Options as RuncOptions;
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use toml::de::{DeInteger, DeTable, DeValue};

/// Largest options file read, in bytes.
const MAX_CONFIG_BYTES: u64 = 256 * 1024;

/// What a caller may choose about the runtime. The node's own configuration may pin the binary.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RuntimeOptions {
    /// Name or path of the OCI runtime; empty means the node's default.
    pub(crate) binary_name: String,
    /// Root of the runtime's state; empty means the default.
    pub(crate) root: String,
    /// Use the systemd cgroup driver.
    pub(crate) systemd_cgroup: bool,
    /// Asks not to use `pivot_root`; refused.
    pub(crate) no_pivot_root: bool,
    /// Pass `--no-new-keyring`.
    pub(crate) no_new_keyring: bool,
    /// Owner of the container's stdio pipes.
    pub(crate) io_uid: u32,
    /// Group of the container's stdio pipes.
    pub(crate) io_gid: u32,
    /// cgroup the shim itself should run in.
    pub(crate) shim_cgroup: String,
}

/// Why options are refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OptionsError {
    /// A message type nobody told us about.
    #[error(
        "runtime options of unknown type '{type_url}': expected 'containerd.runc.v1.Options' or 'runtimeoptions.v1.Options'"
    )]
    UnknownType {
        /// Its type URL, escaped and cut.
        type_url: String,
    },
    /// The message does not decode.
    #[error("cannot decode runtime options of type '{type_url}'")]
    Decode {
        /// Its type URL.
        type_url: &'static str,
        /// What the decoder says.
        #[source]
        source: protobuf::Error,
    },
    /// The TOML text in the options is not right.
    #[error("cannot parse the runtime options' TOML")]
    Toml(#[source] Box<toml::de::Error>),
    /// A key that runc's options do not have, or a value of another kind than its key's.
    #[error("cannot take {key} in the runtime options' TOML: unknown, or not of its kind")]
    Key {
        /// The key, quoted.
        key: String,
    },
    /// The file named by `ConfigPath` cannot be read safely.
    #[error("cannot read runtime options file '{path}'")]
    Read {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: portcullis_host::HostError,
    },
}

/// The first message among `all` that is of a type known here; others are for other programs.
///
/// # Errors
///
/// [`OptionsError`] if that message does not decode.
pub(crate) fn find<'a>(all: impl Iterator<Item = &'a Any>) -> Result<RuntimeOptions, OptionsError> {
    for any in all {
        match decode(Some(any)) {
            Err(OptionsError::UnknownType { .. }) => {}
            decoded => return decoded,
        }
    }
    Ok(RuntimeOptions::default())
}

/// Decodes the options of a Create request or of a bootstrap message.
///
/// # Errors
///
/// [`OptionsError`]: a type that is not known is refused, never guessed, because field 3 of the
/// two known messages decodes as the other's.
pub(crate) fn decode(any: Option<&Any>) -> Result<RuntimeOptions, OptionsError> {
    let Some(any) = any.filter(|any| !any.type_url.is_empty()) else {
        return Ok(RuntimeOptions::default());
    };
    match any.type_url.rsplit('/').next() {
        Some("containerd.runc.v1.Options") => {
            let options = RuncOptions::parse_from_bytes(&any.value).map_err(|source| {
                OptionsError::Decode {
                    type_url: "containerd.runc.v1.Options",
                    source,
                }
            })?;
            Ok(options.into())
        }
        Some("runtimeoptions.v1.Options") => from_runtimeoptions(&any.value),
        Some("containerd.linux.runc.CreateOptions") => {
            create_options(&any.value).map_err(|source| OptionsError::Decode {
                type_url: "containerd.linux.runc.CreateOptions",
                source,
            })
        }
        _ => Err(OptionsError::UnknownType {
            type_url: any
                .type_url
                .chars()
                .take(80)
                .flat_map(char::escape_default)
                .collect(),
        }),
    }
}

/// `runtimeoptions.v1.Options{type_url=1, config_path=2, config_body=3}`: the body is TOML; where
/// it is empty (containerd 1.6) the path is read.
fn from_runtimeoptions(bytes: &[u8]) -> Result<RuntimeOptions, OptionsError> {
    let (path, body) = runtimeoptions_fields(bytes).map_err(|source| OptionsError::Decode {
        type_url: "runtimeoptions.v1.Options",
        source,
    })?;
    let text = if body.is_empty() && !path.is_empty() {
        let path = PathBuf::from(path);
        portcullis_host::read_trusted_file(&path, MAX_CONFIG_BYTES)
            .map_err(|source| OptionsError::Read { path, source })?
    } else {
        body
    };
    let text = String::from_utf8_lossy(&text);
    from_toml(&text)
}

/// The TOML form of runc options, as containerd's CRI sends it. Filling a type through `serde`
/// would take 20 KiB of program for these few keys.
fn from_toml(text: &str) -> Result<RuntimeOptions, OptionsError> {
    let table = DeTable::parse(text).map_err(|error| OptionsError::Toml(Box::new(error)))?;
    let mut options = RuntimeOptions::default();
    for (key, value) in table.into_inner() {
        let key = key.into_inner();
        match (&*key, value.into_inner()) {
            ("BinaryName", DeValue::String(text)) => options.binary_name = text.into_owned(),
            ("Root", DeValue::String(text)) => options.root = text.into_owned(),
            ("ShimCgroup", DeValue::String(text)) => options.shim_cgroup = text.into_owned(),
            ("SystemdCgroup", DeValue::Boolean(on)) => options.systemd_cgroup = on,
            ("NoPivotRoot", DeValue::Boolean(on)) => options.no_pivot_root = on,
            ("NoNewKeyring", DeValue::Boolean(on)) => options.no_new_keyring = on,
            ("IoUid", DeValue::Integer(id)) => options.io_uid = number(&key, &id)?,
            ("IoGid", DeValue::Integer(id)) => options.io_gid = number(&key, &id)?,
            // Known to containerd, of no use here.
            (
                "CriuPath" | "CriuImagePath" | "CriuWorkPath" | "TaskApiAddress",
                DeValue::String(_),
            )
            | ("TaskApiVersion", DeValue::Integer(_)) => {}
            _ => return Err(unfit(&key)),
        }
    }
    Ok(options)
}

fn number(key: &str, found: &DeInteger<'_>) -> Result<u32, OptionsError> {
    u32::from_str_radix(found.as_str(), found.radix()).map_err(|_not_a_u32| unfit(key))
}

fn unfit(key: &str) -> OptionsError {
    OptionsError::Key {
        key: portcullis_gate::quote(key),
    }
}

/// Fields 2 and 3, read from the wire: the message has no generated type in the protocol crate.
fn runtimeoptions_fields(bytes: &[u8]) -> protobuf::Result<(String, Vec<u8>)> {
    let mut input = protobuf::CodedInputStream::from_bytes(bytes);
    let (mut path, mut body) = (String::new(), Vec::new());
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        match tag {
            18 => path = input.read_string()?,
            26 => body = input.read_bytes()?,
            _ => protobuf::rt::skip_field_for_tag(tag, &mut input)?,
        }
    }
    Ok((path, body))
}

/// COMPAT(containerd<2.0): clients write `NewTask`'s options of owner and shim cgroup into this
/// message of the runtime of 1.0 for each runtime that is not named `io.containerd.runc.*`.
///
/// # Source
///
/// containerd 1.6, `runtime/linux/runctypes/runc.proto`, `CreateOptions`.
fn create_options(bytes: &[u8]) -> protobuf::Result<RuntimeOptions> {
    let mut input = protobuf::CodedInputStream::from_bytes(bytes);
    let mut options = RuntimeOptions::default();
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        match tag {
            8 => options.no_pivot_root = input.read_bool()?,
            64 => options.no_new_keyring = input.read_bool()?,
            74 => options.shim_cgroup = input.read_string()?,
            80 => options.io_uid = input.read_uint32()?,
            88 => options.io_gid = input.read_uint32()?,
            _ => protobuf::rt::skip_field_for_tag(tag, &mut input)?,
        }
    }
    Ok(options)
}

// === impl RuntimeOptions ===

impl From<RuncOptions> for RuntimeOptions {
    fn from(options: RuncOptions) -> Self {
        Self {
            binary_name: options.binary_name,
            root: options.root,
            systemd_cgroup: options.systemd_cgroup,
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            io_uid: options.io_uid,
            io_gid: options.io_gid,
            shim_cgroup: options.shim_cgroup,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, value: &[u8]) -> Any {
        Any {
            type_url: type_url.to_owned(),
            value: value.to_vec(),
            ..Any::default()
        }
    }

    #[test]
    fn takes_defaults_without_options() {
        assert_eq!(decode(None).unwrap(), RuntimeOptions::default());
        assert_eq!(
            decode(Some(&any("", b"x"))).unwrap(),
            RuntimeOptions::default()
        );
    }

    #[test]
    fn reads_runc_options_with_and_without_a_host_prefix() {
        let bytes = b"\x32\x04crun\x48\x01";
        for type_url in [
            "containerd.runc.v1.Options",
            "types.containerd.io/containerd.runc.v1.Options",
        ] {
            let options = decode(Some(&any(type_url, bytes))).unwrap();
            assert_eq!(options.binary_name, "crun");
            assert!(options.systemd_cgroup);
        }
    }

    #[test]
    fn reads_the_toml_body_that_cri_sends() {
        let body = b"BinaryName = \"/usr/bin/crun\"\nSystemdCgroup = true\n";
        let mut bytes = vec![26, u8::try_from(body.len()).unwrap()];
        bytes.extend_from_slice(body);
        let options = decode(Some(&any("runtimeoptions.v1.Options", &bytes))).unwrap();
        assert_eq!(options.binary_name, "/usr/bin/crun");
        assert!(options.systemd_cgroup);
        assert_eq!(
            options.shim_cgroup, "",
            "the body must not land in field 3 of the other message"
        );
    }

    #[test]
    fn reads_the_options_that_clients_of_containerd_1_write_for_foreign_runtimes() {
        // no_pivot_root, open_tcp, no_new_keyring, shim_cgroup, io_uid, io_gid.
        let bytes = b"\x08\x01\x10\x01\x40\x01\x4a\x02/s\x50\xe8\x07\x58\xd0\x0f";
        let options = decode(Some(&any("containerd.linux.runc.CreateOptions", bytes))).unwrap();
        let expected = RuntimeOptions {
            no_pivot_root: true,
            no_new_keyring: true,
            shim_cgroup: "/s".to_owned(),
            io_uid: 1000,
            io_gid: 2000,
            ..RuntimeOptions::default()
        };
        assert_eq!(options, expected);
        let cut = decode(Some(&any(
            "containerd.linux.runc.CreateOptions",
            b"\x4a\x7f/",
        )));
        assert!(matches!(cut, Err(OptionsError::Decode { .. })));
    }

    #[test]
    fn refuses_unknown_types_unknown_keys_and_broken_messages() {
        let unknown = decode(Some(&any("example.com/foo.Options", b"")));
        assert!(matches!(unknown, Err(OptionsError::UnknownType { .. })));
        let key = decode(Some(&any("runtimeoptions.v1.Options", b"\x1a\x08Evil = 1")));
        assert!(matches!(key, Err(OptionsError::Key { .. })));
        let cut = decode(Some(&any("runtimeoptions.v1.Options", b"\x1a\x7fx")));
        assert!(matches!(cut, Err(OptionsError::Decode { .. })));
    }

    #[test]
    fn reads_every_key_that_runc_has_in_toml() {
        let text = "BinaryName = \"a\"\nRoot = \"b\"\nShimCgroup = \"c\"\nSystemdCgroup = true\n\
                    NoPivotRoot = true\nNoNewKeyring = true\nIoUid = 1\nIoGid = 0xff\n\
                    CriuPath = \"d\"\nCriuImagePath = \"\"\nCriuWorkPath = \"\"\n\
                    TaskApiAddress = \"\"\nTaskApiVersion = 3\n";
        let expected = RuntimeOptions {
            binary_name: "a".to_owned(),
            root: "b".to_owned(),
            shim_cgroup: "c".to_owned(),
            systemd_cgroup: true,
            no_pivot_root: true,
            no_new_keyring: true,
            io_uid: 1,
            io_gid: 255,
        };
        assert_eq!(from_toml(text).unwrap(), expected);
    }

    #[test]
    fn refuses_values_of_another_kind_than_their_keys() {
        for text in [
            "BinaryName = 1",
            "SystemdCgroup = \"true\"",
            "IoUid = -1",
            "IoUid = 4294967296",
            "IoGid = 1.5",
            "TaskApiVersion = \"2\"",
            "[Root]",
            "binaryname = \"x\"",
        ] {
            let refused = from_toml(text);
            assert!(matches!(refused, Err(OptionsError::Key { .. })), "{text}");
        }
    }
}
