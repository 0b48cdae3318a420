//! Which OCI runtime a launch gets: what the request may choose, and what is trusted.

use std::path::{Component, Path};

use portcullis_gate::{Code, Refusal, Refusals, quote};
use portcullis_host::RuntimeBinary;
use protobuf::well_known_types::any::Any;

use crate::options::{self, RuntimeOptions};

/// The options of the request, or else `fallback`.
///
/// # Errors
///
/// `options-unknown`: options that are not understood are refused, never ignored.
pub(super) fn chosen(
    any: Option<&Any>,
    fallback: &RuntimeOptions,
) -> Result<RuntimeOptions, Refusal> {
    let Some(any) = any.filter(|any| !any.type_url.is_empty()) else {
        return Ok(fallback.clone());
    };
    options::decode(Some(any)).map_err(|error| {
        Refusal::new(
            Code::OptionsUnknown,
            "runtime options",
            "'containerd.runc.v1.Options' or 'runtimeoptions.v1.Options'",
            quote(&crate::log::chain(&error)),
        )
    })
}

/// Why `options` must not be used, if so.
///
/// `options-denied`: the runtime believes what it finds in its state, and `no_pivot_root` would
/// leave the host's root reachable beneath the container's.
pub(super) fn denied(options: &RuntimeOptions) -> Option<Refusals> {
    let mut refusals = Vec::new();
    if !is_state_root(&options.root) {
        refusals.push(Refusal::new(
            Code::OptionsDenied,
            "runtime options 'root'",
            "a directory in /run",
            quote(&options.root),
        ));
    }
    if options.no_pivot_root {
        refusals.push(Refusal::new(
            Code::OptionsDenied,
            "runtime options",
            "a root changed by pivot_root",
            "'no_pivot_root'",
        ));
    }
    Refusals::from_vec(refusals)
}

/// The program that `options` name, or else the node's.
///
/// A request may choose among the runtimes that are installed where distributions install
/// programs; the node's own setting may name any place. A file of an image belongs to root too.
///
/// # Errors
///
/// `runtime-untrusted`: somebody other than root could change it, or it is not there.
pub(super) fn trusted(
    options: &RuntimeOptions,
    node_default: &str,
) -> Result<RuntimeBinary, Refusal> {
    let named = Some(options.binary_name.as_str()).filter(|name| !name.is_empty());
    let name = named.unwrap_or(node_default);
    let untrusted = |found: String| {
        let subject = format!("OCI runtime {}", quote(name));
        let expected = "an installed program that root owns and nobody else can write";
        Refusal::new(Code::RuntimeUntrusted, subject, expected, found)
    };
    let path = Path::new(name);
    let looked_up = match path.file_name() {
        Some(file) if path.is_absolute() && name != node_default => Path::new(file),
        _ => path,
    };
    let binary = portcullis_host::runtime_binary(looked_up)
        .map_err(|error| untrusted(quote(&crate::log::chain(&error))))?;
    if path.is_absolute() && binary.path() != path {
        return Err(untrusted(format!(
            "the one installed is {}",
            quote(&binary.path().display().to_string())
        )));
    }
    Ok(binary)
}

/// Whether the runtime's state may be in `root`: somewhere only root can write, for the runtime
/// believes what it finds there.
fn is_state_root(root: &str) -> bool {
    let plain = !Path::new(root)
        .components()
        .any(|part| part == Component::ParentDir);
    root.is_empty() || (root.starts_with("/run/") && plain)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn options_unknown_when_the_type_is_not_one_of_ours() {
        let any = Any {
            type_url: "evil.Options".to_owned(),
            ..Any::default()
        };
        let refusal = chosen(Some(&any), &RuntimeOptions::default()).unwrap_err();
        assert_eq!(refusal.code, Code::OptionsUnknown);
        assert!(refusal.found.contains("evil.Options"), "{}", refusal.found);
    }

    #[test]
    fn options_denied_when_the_root_would_stay_reachable() {
        let any = Any {
            type_url: "containerd.runc.v1.Options".to_owned(),
            value: b"\x08\x01".to_vec(),
            ..Any::default()
        };
        let options = chosen(Some(&any), &RuntimeOptions::default()).unwrap();
        let refusals = denied(&options).unwrap();
        assert_eq!(refusals.first().code, Code::OptionsDenied);
    }

    #[test]
    fn runtime_untrusted_when_a_request_names_a_file_of_an_image() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sh");
        std::fs::copy("/bin/sh", &path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let options = RuntimeOptions {
            binary_name: path.display().to_string(),
            ..RuntimeOptions::default()
        };
        assert_eq!(
            trusted(&options, "runc").unwrap_err().code,
            Code::RuntimeUntrusted
        );
    }

    #[test]
    fn options_denied_when_others_could_write_the_runtimes_state() {
        for root in ["/tmp/x", "relative", "/run/../tmp", "/"] {
            assert!(!is_state_root(root), "{root}");
        }
        assert!(is_state_root("") && is_state_root("/run/containerd/runc"));
    }

    #[test]
    fn takes_the_servers_options_where_a_request_has_none() {
        let fallback = RuntimeOptions {
            binary_name: "crun".to_owned(),
            ..RuntimeOptions::default()
        };
        assert_eq!(chosen(None, &fallback).unwrap(), fallback);
    }

    #[test]
    fn runtime_untrusted_when_others_can_write_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runc");
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let named = path.display().to_string();
        let options = RuntimeOptions {
            binary_name: named,
            ..RuntimeOptions::default()
        };
        assert_eq!(
            trusted(&options, "runc").unwrap_err().code,
            Code::RuntimeUntrusted
        );
        assert_eq!(
            trusted(&RuntimeOptions::default(), &path.display().to_string())
                .unwrap_err()
                .code,
            Code::RuntimeUntrusted
        );
        let absent = trusted(&RuntimeOptions::default(), "no-such-runtime").unwrap_err();
        assert_eq!(absent.code, Code::RuntimeUntrusted);
    }
}
