//! Why streams could not be set up, and what containerd is told.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ttrpc::Code;

/// Why the streams could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StdioError {
    /// A kind of stream that this shim does not carry.
    #[error(
        "cannot use scheme '{scheme}' for {stream}: expected a path, 'fifo', 'file', 'binary' or \
         'binary-v2'"
    )]
    Scheme {
        /// "stdin", "stdout" or "stderr".
        stream: &'static str,
        /// What was named.
        scheme: String,
    },
    /// A path or URI that does not say where the stream goes.
    #[error("cannot use '{found}' for {stream}: expected {expected}")]
    Uri {
        /// "stdin", "stdout" or "stderr".
        stream: &'static str,
        /// What would do.
        expected: &'static str,
        /// What was named, without its query.
        found: String,
    },
    /// The file is there and of another kind.
    #[error("cannot use '{path}' for {stream}: expected {expected}")]
    Kind {
        /// "stdin", "stdout" or "stderr".
        stream: &'static str,
        /// What it should be.
        expected: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The FIFO or file did not open.
    #[error("cannot open '{path}' for {stream}")]
    Open {
        /// "stdin", "stdout" or "stderr".
        stream: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody reads the FIFO.
    #[error(
        "nobody opened FIFO '{path}' of {stream} for reading within {} s",
        limit.as_secs()
    )]
    NoReader {
        /// "stdout" or "stderr".
        stream: &'static str,
        /// The FIFO.
        path: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// A pipe, or its registration with the event loop.
    #[error("cannot set up {stream}")]
    Pipe {
        /// "stdin", "stdout", "stderr", "terminal" or "logging program".
        stream: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The logging program is not one that may be run.
    #[error("cannot use logging program '{path}'")]
    Untrusted {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<portcullis_host::HostError>,
    },
    /// The logging program did not start.
    #[error("cannot run logging program '{path}'")]
    Program {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The logging program runs and does not say that it is ready.
    #[error("logging program '{path}' did not say within {} s that it is ready", limit.as_secs())]
    NotReady {
        /// The program.
        path: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// The logging program ended, or closed the descriptor, without saying that it is ready.
    #[error("logging program '{path}' gave up before it was ready")]
    GaveUp {
        /// The program.
        path: PathBuf,
    },
    /// The runtime did not send a terminal.
    #[error("the OCI runtime sent no terminal")]
    NoTerminal {
        /// Why none could be received.
        #[source]
        source: io::Error,
    },
    /// Where the runtime should send the terminal.
    #[error("cannot make console socket '{path}'")]
    ConsoleSocket {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

// === impl StdioError ===

impl StdioError {
    /// The status code containerd gets.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Scheme { .. } | Self::Uri { .. } | Self::Kind { .. } | Self::Untrusted { .. } => {
                Code::INVALID_ARGUMENT
            }
            Self::NoReader { .. } | Self::NotReady { .. } => Code::DEADLINE_EXCEEDED,
            Self::Open { .. }
            | Self::Pipe { .. }
            | Self::Program { .. }
            | Self::GaveUp { .. }
            | Self::NoTerminal { .. }
            | Self::ConsoleSocket { .. } => Code::UNKNOWN,
        }
    }
}
