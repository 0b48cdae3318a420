//! The flag `-info`: what shim and runtime can do, as containerd's `RuntimeInfo`.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use protobuf::Message;
use protobuf::well_known_types::any::Any;

use crate::options;
use crate::sys;

/// containerd's name for this shim.
const NAME: &str = "io.containerd.portcullis.v1";

/// Type of the `features` field.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// Most bytes of options read.
const MAX_STDIN_BYTES: u64 = 1024 * 1024;

/// Most bytes of `features` passed on.
const MAX_FEATURES_BYTES: usize = 1024 * 1024;

/// Prints the information. A runtime without `features` is no failure: containerd asks before
/// every Create until it gets an answer.
///
/// # Errors
///
/// Only if stdout is broken.
pub(crate) fn run() -> io::Result<()> {
    let mut stdin = Vec::new();
    if !io::IsTerminal::is_terminal(&io::stdin()) {
        io::stdin()
            .lock()
            .take(MAX_STDIN_BYTES)
            .read_to_end(&mut stdin)?;
    }
    let options = Any::parse_from_bytes(&stdin)
        .ok()
        .filter(|any| !any.type_url.is_empty());
    let binary = options::decode(options.as_ref())
        .unwrap_or_default()
        .binary_name;
    let info = RuntimeInfo {
        name: NAME.to_owned(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..RuntimeVersion::default()
        })
        .into(),
        options: options.into(),
        features: features(if binary.is_empty() { "runc" } else { &binary }).into(),
        ..RuntimeInfo::default()
    };
    let bytes = info.write_to_bytes().map_err(io::Error::other)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&bytes)?;
    stdout.flush()
}

/// The runtime's own words: what it can do, the shim can.
fn features(binary: &str) -> Option<Any> {
    let binary = portcullis_host::runtime_binary(Path::new(binary)).ok()?;
    let mut command = Command::new(binary.path());
    command
        .arg("features")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    sys::die_with_parent(&mut command);
    let output = command.output().ok()?;
    if !output.status.success() || output.stdout.len() > MAX_FEATURES_BYTES {
        return None;
    }
    // containerd would take broken features for a broken shim.
    serde_json::from_slice::<serde_json::Value>(&output.stdout).ok()?;
    Some(Any {
        type_url: FEATURES.to_owned(),
        value: output.stdout,
        ..Any::default()
    })
}
