//! Who called `start`, and the form of answer that caller reads.
//!
//! containerd 2.3 and later send `BootstrapParams` on stdin and read a `BootstrapResult`; older
//! ones send runtime options (or nothing) and read plain address text.

use std::io::Read;

use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use protobuf::Message;
use protobuf::well_known_types::any::Any;

/// Most bytes of stdin read; containerd's own limit for this message.
const MAX_STDIN_BYTES: u64 = 10 * 1024 * 1024;

/// Task API version answered to a bootstrap caller; the server offers v2 and v3 alike.
const TASK_VERSION: i32 = 3;

/// The program that ran `start`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Caller {
    /// containerd 2.3 or later: protobuf answer.
    Bootstrap(Box<BootstrapParams>),
    /// containerd 1.6 to 2.2, CRI-O: plain text answer. With the runtime options, if any.
    Legacy(Option<Any>),
}

/// Why the message on stdin is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootstrapError {
    /// stdin broke.
    #[error("cannot read the bootstrap message from stdin")]
    Read(#[source] std::io::Error),
    /// More than [`MAX_STDIN_BYTES`].
    #[error("cannot take a bootstrap message of more than {MAX_STDIN_BYTES} bytes")]
    TooLong,
    /// The message is for another task.
    #[error(
        "bootstrap message names another task than the command line: expected the id and namespace given by '-id' and '-namespace'"
    )]
    WrongTask,
    /// The answer did not encode.
    #[error("cannot encode the bootstrap answer")]
    Encode(#[source] protobuf::Error),
}

/// Reads stdin to its end and tells which kind of caller wrote it.
///
/// # Errors
///
/// [`BootstrapError`]; a terminal counts as empty.
///
/// # Source
///
/// containerd `pkg/shim/compat.go: parseBootstrapParams`.
pub(crate) fn read_caller(
    stdin: impl Read,
    id: &str,
    namespace: &str,
) -> Result<Caller, BootstrapError> {
    let mut bytes = Vec::new();
    stdin
        .take(MAX_STDIN_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(BootstrapError::Read)?;
    if bytes.len() as u64 > MAX_STDIN_BYTES {
        return Err(BootstrapError::TooLong);
    }
    caller(&bytes, id, namespace)
}

fn caller(bytes: &[u8], id: &str, namespace: &str) -> Result<Caller, BootstrapError> {
    let Ok(params) = BootstrapParams::parse_from_bytes(bytes) else {
        return Ok(Caller::legacy(bytes));
    };
    if bytes.is_empty() {
        return Ok(Caller::Legacy(None));
    }
    if params.instance_id == id && params.namespace == namespace {
        return Ok(Caller::Bootstrap(Box::new(params)));
    }
    // A legacy options `Any` decodes too: its type URL becomes the id, its value the namespace.
    let only_any = BootstrapParams {
        instance_id: params.instance_id.clone(),
        namespace: params.namespace.clone(),
        ..BootstrapParams::default()
    };
    if params == only_any {
        Ok(Caller::legacy(bytes))
    } else {
        Err(BootstrapError::WrongTask)
    }
}

// === impl Caller ===

impl Caller {
    /// An older containerd, which sends an `Any` of runtime options; what is not one means none.
    fn legacy(bytes: &[u8]) -> Self {
        let options = Any::parse_from_bytes(bytes).ok();
        Self::Legacy(options.filter(|any| !any.type_url.is_empty()))
    }

    /// Where events go: containerd's ttrpc socket, from the message or, by `fallback`, from the
    /// environment. `None` if there is none (CRI-O).
    pub(crate) fn events_address(&self, fallback: Option<String>) -> Option<String> {
        match self {
            Self::Bootstrap(params) if !params.containerd_ttrpc_address.is_empty() => {
                Some(params.containerd_ttrpc_address.clone())
            }
            _ => fallback,
        }
        .filter(|address| !address.is_empty())
    }

    /// containerd's gRPC address: part of the name of the shim's own socket.
    pub(crate) fn grpc_address<'a>(&'a self, flag: &'a str) -> &'a str {
        match self {
            Self::Bootstrap(params) if !params.containerd_grpc_address.is_empty() => {
                &params.containerd_grpc_address
            }
            _ => flag,
        }
    }

    /// Directory that containerd wants the socket in.
    pub(crate) fn socket_dir(&self) -> Option<&str> {
        match self {
            Self::Bootstrap(params) => params.socket_dir.as_deref().filter(|dir| !dir.is_empty()),
            Self::Legacy(_) => None,
        }
    }

    /// Runtime options that travel in the message.
    pub(crate) fn options(&self) -> impl Iterator<Item = &Any> {
        let (extensions, legacy) = match self {
            Self::Bootstrap(params) => (params.extensions.as_slice(), None),
            Self::Legacy(options) => (&[] as &[_], options.as_ref()),
        };
        let extensions = extensions
            .iter()
            .filter_map(|extension| extension.value.as_ref());
        extensions.chain(legacy)
    }

    /// The bytes to print on stdout for a server that listens on `address`.
    ///
    /// # Errors
    ///
    /// [`BootstrapError::Encode`].
    pub(crate) fn answer(&self, address: &str) -> Result<Vec<u8>, BootstrapError> {
        match self {
            Self::Legacy(_) => Ok(address.as_bytes().to_vec()),
            Self::Bootstrap(_) => BootstrapResult {
                version: TASK_VERSION,
                address: address.to_owned(),
                protocol: "ttrpc".to_owned(),
                ..BootstrapResult::default()
            }
            .write_to_bytes()
            .map_err(BootstrapError::Encode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> BootstrapParams {
        BootstrapParams {
            instance_id: "web".to_owned(),
            namespace: "k8s.io".to_owned(),
            containerd_version: "2.3.4".to_owned(),
            containerd_ttrpc_address: "unix:///run/containerd/containerd.sock.ttrpc".to_owned(),
            ..BootstrapParams::default()
        }
    }

    #[test]
    fn answers_plain_text_to_empty_stdin_and_to_garbage() {
        for bytes in [b"".as_slice(), b"\xff\xff\xff", b"{\"version\": 3}"] {
            assert_eq!(
                caller(bytes, "web", "k8s.io").unwrap(),
                Caller::Legacy(None)
            );
        }
        assert_eq!(
            Caller::Legacy(None).answer("unix:///run/x").unwrap(),
            b"unix:///run/x"
        );
    }

    #[test]
    fn answers_plain_text_to_legacy_options() {
        let options = Any {
            type_url: "containerd.runc.v1.Options".to_owned(),
            value: b"\x32\x04crun".to_vec(),
            ..Any::default()
        };
        let bytes = options.write_to_bytes().unwrap();
        let caller = caller(&bytes, "web", "k8s.io").unwrap();
        assert_eq!(caller.options().collect::<Vec<_>>(), [&options]);
        assert_eq!(caller, Caller::Legacy(Some(options)));
    }

    #[test]
    fn answers_protobuf_to_a_bootstrap_caller() {
        let bytes = params().write_to_bytes().unwrap();
        let caller = caller(&bytes, "web", "k8s.io").unwrap();
        let answer = BootstrapResult::parse_from_bytes(&caller.answer("unix:///run/x").unwrap());
        let answer = answer.unwrap();
        assert_eq!(
            (answer.version, answer.address.as_str()),
            (3, "unix:///run/x")
        );
        assert_eq!(answer.protocol, "ttrpc");
    }

    #[test]
    fn refuses_a_message_for_another_task() {
        let bytes = params().write_to_bytes().unwrap();
        assert!(matches!(
            caller(&bytes, "other", "k8s.io"),
            Err(BootstrapError::WrongTask)
        ));
        assert!(matches!(
            caller(&bytes, "web", "default"),
            Err(BootstrapError::WrongTask)
        ));
    }

    #[test]
    fn prefers_the_message_over_the_environment() {
        let caller = Caller::Bootstrap(Box::new(params()));
        let address = caller.events_address(Some("unix:///elsewhere".to_owned()));
        assert_eq!(
            address.as_deref(),
            Some("unix:///run/containerd/containerd.sock.ttrpc")
        );
        assert_eq!(
            Caller::Legacy(None).events_address(Some(String::new())),
            None
        );
    }
}
