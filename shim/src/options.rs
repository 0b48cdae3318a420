//! Runtime options: which OCI runtime to drive, and how.

use std::path::PathBuf;

use containerd_shim_protos::shim::oci::Options as RuncOptions;
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use serde::Deserialize;

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

/// The TOML form of runc options, as containerd's CRI sends it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase", deny_unknown_fields)]
struct TomlOptions {
    binary_name: String,
    root: String,
    systemd_cgroup: bool,
    no_pivot_root: bool,
    no_new_keyring: bool,
    io_uid: u32,
    io_gid: u32,
    shim_cgroup: String,
    // Known to containerd, of no use here.
    criu_path: String,
    criu_image_path: String,
    criu_work_path: String,
    task_api_address: String,
    task_api_version: u32,
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
    let options: TomlOptions =
        toml::from_str(&text).map_err(|error| OptionsError::Toml(Box::new(error)))?;
    Ok(options.into())
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

impl From<TomlOptions> for RuntimeOptions {
    fn from(options: TomlOptions) -> Self {
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
    fn refuses_unknown_types_unknown_keys_and_broken_messages() {
        let unknown = decode(Some(&any("example.com/foo.Options", b"")));
        assert!(matches!(unknown, Err(OptionsError::UnknownType { .. })));
        let key = decode(Some(&any("runtimeoptions.v1.Options", b"\x1a\x08Evil = 1")));
        assert!(matches!(key, Err(OptionsError::Toml(_))));
        let cut = decode(Some(&any("runtimeoptions.v1.Options", b"\x1a\x7fx")));
        assert!(matches!(cut, Err(OptionsError::Decode { .. })));
    }
}
